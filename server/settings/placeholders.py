"""The placeholders `{{ $NAME }}` of `prefect.yaml` and `stack.yaml`, in Prefect's own form.

A value comes from a setting, from another line of `.env`, or from the environment.
"""

from __future__ import annotations

import contextlib
import os
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
        with contextlib.suppress(OSError):  # who needs the file says so
            text = (root / name).read_text(encoding="utf-8", errors="replace")
            found |= set(REFERENCE.findall(text))
    return found


def complete(root: Path) -> bool:
    """Whether all declarations in `root` can be read, so that no other name is referred to."""
    return all(os.access(root / name, os.R_OK, effective_ids=True) for name in DECLARATIONS)
