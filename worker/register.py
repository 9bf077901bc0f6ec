"""Makes each interpreter of the stack's environment find the modules of the stack.

Run it with the Python of that environment, once after its packages are installed. The worker type
`prefork` does not need it, since that is an installed package.
"""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = "prefect_stack_worker"


def main() -> None:
    """Install `worker.lookup` into this environment, for the stack that this file belongs to."""
    site = Path(sysconfig.get_path("purelib"))
    (site / f"{NAME}_lookup.py").write_bytes((ROOT / "worker/lookup.py").read_bytes())
    line = f"import {NAME}_lookup; {NAME}_lookup.install({str(ROOT)!r})\n"
    (site / f"{NAME}.pth").write_text(line, encoding="utf-8")
    # Version 0.1 wrote a distribution here that announced the worker type.
    shutil.rmtree(site / f"{NAME}-1.dist-info", ignore_errors=True)


if __name__ == "__main__":
    main()
