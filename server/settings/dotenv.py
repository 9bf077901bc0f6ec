"""Reads `.env` the way Docker Compose does, so that both backends see the same values.

Compose and python-dotenv disagree on `$` and on escapes, which are common in passwords. A value
that they would read differently is refused, with its line and the way to write it unambiguously.
tests/unit/test_dotenv.py compares this module with `docker compose config`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.errors import MistakeError

if TYPE_CHECKING:
    from pathlib import Path

LINE = re.compile(
    r"""^\s*(?:export\s+)?(?P<key>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*
        (?: '(?P<single>(?:[^'\\]|\\.)*)' \s*(?:\#.*)?
          | "(?P<double>(?:[^"\\]|\\.)*)" \s*(?:\#.*)?
          | (?P<plain>[^'"\s].*|)
        )$""",
    re.VERBOSE,
)
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}
DOLLAR = re.compile(r"\$\$|\$")


# Set for a process whose environment already holds the values that it needs from `.env`: the user
# that it runs as may not be allowed to read the file.
HANDED = "STACK_ENV_HANDED"


@dataclass(frozen=True)
class Entry:
    """One setting of the file: its value without quotes, and its line number."""

    value: str
    line: int


def read(path: Path) -> dict[str, Entry]:
    """The settings in `path` by name; empty if the file does not exist or `HANDED` is set.

    Raises:
        MistakeError: the file cannot be read, a line is not a setting, or a value is ambiguous.
    """
    if HANDED in os.environ or not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MistakeError(
            f"{path.name} cannot be read", expected="a readable text file", found=str(error)
        ) from error
    entries: dict[str, Entry] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = LINE.match(line.rstrip())
        if match is None:
            raise MistakeError(
                f"{path.name} line {number} is not a setting",
                expected="NAME=value, NAME='value' or a comment",
                found="a line that does not read as one (it is not shown: it may hold a secret)",
                do=f"edit line {number} of {path.name}",
            )
        entries[match["key"]] = Entry(_value(match, path.name, number), number)
    return entries


def _value(match: re.Match[str], name: str, number: int) -> str:
    if match["single"] is not None:
        return match["single"].replace("\\'", "'")
    if match["double"] is not None:
        parts = re.split(r"(\\.)", match["double"])
        return "".join(
            _escape(part, name, number)
            if part.startswith("\\")
            else _dollars(part, match["key"], name, number)
            for part in parts
        )
    plain = match["plain"].split(" #", maxsplit=1)[0].rstrip()
    if "#" in plain:
        raise MistakeError(
            f"{name} line {number}: the value of {match['key']} has a # in it",
            expected="a value with a # in single quotes (releases of Compose differ on a bare one)",
            found="a bare #",
            do=f"write {match['key']}='...' with single quotes",
        )
    return _dollars(plain, match["key"], name, number)


def _escape(part: str, name: str, number: int) -> str:
    if part[1] not in ESCAPES:
        raise MistakeError(
            f"{name} line {number} has an escape that Docker Compose reads in its own way",
            expected=r"one of \n \r \t \" \\ \$ inside double quotes",
            found=part,
            do="write the value in single quotes, where a backslash is just a backslash",
        )
    return ESCAPES[part[1]]


def _dollars(text: str, key: str, name: str, number: int) -> str:
    if any(match == "$" for match in DOLLAR.findall(text)):
        raise MistakeError(
            f"{name} line {number}: the value of {key} has a $ that Docker Compose would expand",
            expected="a value with a $ in single quotes",
            found="a bare $",
            do=f"write {key}='...' with single quotes",
        )
    return text.replace("$$", "$")
