"""The placeholders `{{ $NAME }}` of `prefect.yaml` and `stack.yaml`, in Prefect's own form.

A value comes from a setting, from another line of `.env`, or from the environment.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

DECLARATIONS = ("prefect.yaml", "stack.yaml")
# As `prefect.utilities.templating` reads a placeholder.
REFERENCE = re.compile(r"{{\s*\$([A-Za-z_]\w*)\s*}}")


def names(root: Path) -> set[str]:
    """Every name that a declaration in `root` refers to."""
    found: set[str] = set()
    for name in DECLARATIONS:
        path = root / name
        if path.is_file():
            found |= set(REFERENCE.findall(path.read_text(encoding="utf-8", errors="replace")))
    return found
