"""A YAML file that knows the line of every value, so that error messages can name it."""

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
    """The content of one file, with the line of each value."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            MistakeError: the file cannot be read, is not YAML, or is not a mapping.
        """
        self.name = path.name
        self.filled: set[tuple[str | int, ...]] = set()  # locations of substituted values
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
        if self.content is None:  # the file is empty or has only comments
            self.content = CommentedMap()
        if not isinstance(self.content, CommentedMap):
            raise MistakeError(
                f"{path.name} is not a mapping",
                expected="name: value",
                found=type(self.content).__name__,
            )

    def line(self, location: Sequence[str | int]) -> int:
        """The line number of the value at `location`, or of its nearest parent in the file."""
        node, line = self.content, 1
        for part in location:
            if isinstance(node, CommentedMap) and part in node:
                if part in (node.lc.data or {}):  # keys merged in by `<<` have no line here
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
        """An error that names this file and the line of `location`.

        `found` is not shown if it was substituted into the file, because it may be a secret.
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
        return any(location[: len(filled)] == filled for filled in self.filled)


def plain(node: Any) -> Any:
    """`node` converted from ruamel's types to the plain types of JSON."""
    if isinstance(node, dict):
        return {str(key): plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [plain(value) for value in node]
    if isinstance(node, ScalarBoolean):  # a subclass of int
        return bool(node)
    if isinstance(node, dt.date):
        return node.isoformat()
    for scalar in (str, float):  # ruamel's subclasses remember how the value was written
        if isinstance(node, scalar):
            return scalar(node)
    return int(node) if isinstance(node, int) and not isinstance(node, bool) else node
