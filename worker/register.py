"""Tells this environment's Prefect of the worker type `prefork`, as installing a package would.

Prefect finds worker types by the entry points of installed packages; the stack is none. Run with
the environment's own Python, once after its packages are installed.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = "prefect_stack_worker"
FILES = {
    "METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1\n",
    "entry_points.txt": "[prefect.collections]\nprefect_stack = worker.prefork.worker\n",
    "INSTALLER": "prefect-stack\n",
}


def main() -> None:
    """Write the entry point, and have its module found."""
    site = Path(sysconfig.get_path("purelib"))
    folder = site / f"{NAME}-1.dist-info"
    folder.mkdir(exist_ok=True)
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    (site / f"{NAME}_lookup.py").write_bytes((ROOT / "worker/lookup.py").read_bytes())
    line = f"import {NAME}_lookup; {NAME}_lookup.install({str(ROOT)!r})\n"
    (site / f"{NAME}.pth").write_text(line, encoding="utf-8")


if __name__ == "__main__":
    main()
