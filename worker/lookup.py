"""Makes Python look for the modules of a stack after all others.

`worker/register.py` copies this file beside the installed packages, and each interpreter of the
environment runs `install` when it starts. The folder of the stack contains packages such as `flows`
and `scripts`, whose names a user's repository may also have. If it were in `sys.path`, even at the
end, they would hide a user's packages that have no `__init__.py`.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # importing `typing` takes as long as all of this
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class LastOfAll:
    """A finder for `sys.meta_path` that looks in the folders of stacks, in their order."""

    def __init__(self, folders: list[str]) -> None:
        self._folders = folders

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of the module `name`, if it is one of a stack."""
        from importlib.machinery import PathFinder  # noqa: PLC0415 - rarely needed

        return PathFinder.find_spec(name, self._folders, target) if path is None else None


def install(root: str) -> None:
    """Look in the stack at `root` for modules that are not found otherwise.

    If PYTHONPATH contains the folder of a stack, look there first, but also after all others.
    """
    given = [folder for folder in sys.path if is_stack(folder)]
    sys.path[:] = [folder for folder in sys.path if folder not in given]
    sys.meta_path.append(LastOfAll([*given, root]))


def is_stack(folder: str) -> bool:
    """Return whether `folder` contains a stack."""
    return bool(folder) and os.path.isfile(os.path.join(folder, "worker", "register.py"))  # noqa: PTH113, PTH118
