"""Where the modules of a stack are looked for: after all others.

`worker/register.py` puts this file beside the installed packages, and each interpreter of the
environment runs `install` when it starts. The folder of the stack holds packages with names that a
user's repository may have too, `flows` and `scripts` for two. Were it in `sys.path`, they would
hide a user's that have no `__init__.py`, even if it stood last.
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
    """Finds what nobody else has found, in the folders of stacks."""

    def __init__(self, folders: list[str]) -> None:
        """In `folders`, one after the other."""
        self._folders = folders

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where the module `name` is, if it is one of the stack."""
        from importlib.machinery import PathFinder  # noqa: PLC0415 - not before it is needed

        return PathFinder.find_spec(name, self._folders, target) if path is None else None


def install(root: str) -> None:
    """Look in the stack at `root` for what is not found otherwise.

    What is started with the folder of a stack in PYTHONPATH looks there before, and last as well.
    """
    given = [each for each in sys.path if is_stack(each)]
    sys.path[:] = [each for each in sys.path if each not in given]
    sys.meta_path.append(LastOfAll([*given, root]))


def is_stack(folder: str) -> bool:
    """Whether a stack is in `folder`."""
    return bool(folder) and os.path.isfile(os.path.join(folder, "worker", "register.py"))  # noqa: PTH113, PTH118
