"""The placeholders `{{ $NAME }}` in `prefect.yaml` and `stack.yaml`, in Prefect's own syntax.

Their values come from settings, from other lines of `.env`, or from the environment.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

DECLARATIONS = ("prefect.yaml", "stack.yaml")
# The syntax of a placeholder in `prefect.utilities.templating`.
REFERENCE = re.compile(r"{{\s*\$([A-Za-z_]\w*)\s*}}")


def names(root: Path) -> set[str]:
    """Every name that the declarations in `root` refer to."""
    referenced: set[str] = set()
    for name in DECLARATIONS:
        with contextlib.suppress(OSError):  # whoever needs the file reports that it is missing
            text = (root / name).read_text(encoding="utf-8", errors="replace")
            referenced |= set(REFERENCE.findall(text))
    return referenced


def complete(root: Path) -> bool:
    """Whether all declarations in `root` are readable, so that `names` has missed none."""
    return all(os.access(root / name, os.R_OK, effective_ids=True) for name in DECLARATIONS)
