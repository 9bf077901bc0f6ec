"""A YAML file that knows the line of every value, so that messages can name it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scalarbool import ScalarBoolean

from server.errors import MistakeError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class YamlFile:
    """The content of one file, and the line of each part of it."""

    def __init__(self, path: Path) -> None:
        """Read `path`.

        Raises:
            MistakeError: no such file, or it is not YAML, or not a mapping.
        """
        self.name = path.name
        self.filled: set[tuple[str | int, ...]] = set()  # the places of substituted values
        try:
            self.content: Any = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ReaderError) as error:
            raise MistakeError(
                f"{path.name} cannot be read",
                expected="a readable text file",
                found=" ".join(str(error).split()),
            ) from error
        except MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise MistakeError(
                f"{path.name} line {line} is not YAML",
                expected="a file that parses",
                found=str(error.problem),
                do=f"correct {path.name}",
            ) from error
        if self.content is None:  # the file has only comments
            self.content = CommentedMap()
        if not isinstance(self.content, CommentedMap):
            raise MistakeError(
                f"{path.name} holds no mapping",
                expected="name: value",
                found=type(self.content).__name__,
            )

    def line(self, location: Sequence[str | int]) -> int:
        """The line, from 1, of the value at `location`, or of its nearest parent that has one."""
        node, line = self.content, 1
        for part in location:
            if isinstance(node, CommentedMap) and part in node:
                if part in (node.lc.data or {}):  # else it was merged in by `<<`
                    line = node.lc.key(part)[0] + 1
            elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
                line = node.lc.item(part)[0] + 1
            else:
                break
            node = node[part]
        return int(line)

    def mistake(
        self,
        location: Sequence[str | int],
        what: str,
        *,
        expected: str | None = None,
        found: str | None = None,
        do: str | None = None,
    ) -> MistakeError:
        """A mistake that names this file and the line of `location`.

        A value that is not the file's own may be a secret, and is not shown.
        """
        if found is not None and self._is_filled(tuple(location)):
            found = "a value that is not shown"
        return MistakeError(
            f"{self.name} line {self.line(location)}: {what}",
            expected=expected,
            found=found,
            do=do or f"correct {self.name}",
        )

    def _is_filled(self, location: tuple[str | int, ...]) -> bool:
        return any(location[: len(each)] == each for each in self.filled)


def plain(node: Any) -> Any:
    """`node` as the plain dicts, lists and scalars that JSON knows."""
    if isinstance(node, dict):
        return {str(key): plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [plain(value) for value in node]
    if isinstance(node, ScalarBoolean):  # an int to Python
        return bool(node)
    if isinstance(node, dt.date):
        return node.isoformat()
    for scalar in (str, float):  # ruamel's own kinds remember how they were written
        if isinstance(node, scalar):
            return scalar(node)
    return int(node) if isinstance(node, int) and not isinstance(node, bool) else node
