"""A `prefect.yaml` of the test's own, whose wrong line is marked."""

from pathlib import Path

import pytest

from server.bootstrap import declared, deployments
from server.errors import MistakeError

MARK = "  # here"


def with_line(text: str, old: str, new: str) -> str:
    """`text` with the line `old` replaced by the lines of `new`."""
    assert text.count(f"{old}\n") == 1, f"{old!r} is not there, or more than once"
    return text.replace(f"{old}\n", f"{new}\n" if new else "")


def check(folder: Path, text: str) -> list[deployments.Checked]:
    """Read and check `text` as the `prefect.yaml` of the project in `folder`, as bootstrap does."""
    (folder / "prefect.yaml").write_text(text)
    return deployments.check(folder, *declared.read(folder / "prefect.yaml"))


def mistake(folder: Path, text: str) -> str:
    """The message that `text` is refused with, without its start, which names the marked line."""
    with pytest.raises(MistakeError) as error:
        check(folder, text)
    assert error.value.exit_code == 2
    assert text.count(MARK) == 1
    number = text[: text.index(MARK)].count("\n") + 1
    place = f"prefect.yaml line {number}: "
    assert str(error.value).startswith(place)
    return str(error.value).removeprefix(place)
