"""Advice about what is allowed but unwise: a short password, a file of secrets open to others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from server import advice, settings
from server.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

OPEN = "other users of this machine can read {} in .env: chmod 600 .env"


def advice_about(folder: Path, text: str, mode: int = 0o600) -> list[str]:
    """Return the advice about a `.env` that holds `text`."""
    path = folder / ".env"
    path.write_text(text)
    path.chmod(mode)
    return advice.of(settings.load(path, folder), path)


def test_a_stack_without_settings_is_told_nothing(tmp_path: Path) -> None:
    assert advice.of(Settings(), tmp_path / ".env") == []


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_file_with_a_secret_that_others_could_open_is_named(mode: int, tmp_path: Path) -> None:
    text = "STACK_PORT=4300\nSLACK_WEBHOOK_URL=https://hooks.example/x\n"
    assert advice_about(tmp_path, text, mode) == [OPEN.format("SLACK_WEBHOOK_URL")]


@pytest.mark.parametrize("name", sorted(settings.SECRETS))
def test_every_secret_counts(name: str, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(f"{name}=x\n")
    path.chmod(0o644)
    assert advice.of(Settings(), path) == [OPEN.format(name)]


def test_what_a_declaration_asks_for_counts_as_a_secret(tmp_path: Path) -> None:
    (tmp_path / "stack.yaml").write_text("value: '{{ $MY_TOKEN }} {{ $STACK_PORT }}'\n")
    assert advice_about(tmp_path, "MY_TOKEN=x\n", 0o644) == [OPEN.format("MY_TOKEN")]
    assert advice_about(tmp_path, "STACK_PORT=4300\n", 0o644) == []


@pytest.mark.parametrize(
    ("text", "mode"), [("STACK_PASSWORD=\n", 0o644), ("STACK_PORT=1\n", 0o644)]
)
def test_a_file_without_a_secret_may_be_open(text: str, mode: int, tmp_path: Path) -> None:
    assert advice_about(tmp_path, text, mode) == []


def test_a_closed_file_is_fine(tmp_path: Path) -> None:
    assert advice_about(tmp_path, "STACK_PASSWORD=twelve-chars\n") == []


def test_a_short_password_is_told_with_what_to_do(tmp_path: Path) -> None:
    assert advice_about(tmp_path, "STACK_PASSWORD=hunter2\nPOSTGRES_PASSWORD=hunter\n") == [
        (
            "POSTGRES_PASSWORD has 6 characters, and a new stack requires at least 12: "
            "the database keeps it; the next stack needs a longer one"
        ),
        (
            "STACK_PASSWORD has 7 characters, and a new stack requires at least 12: "
            "choose a longer one"
        ),
    ]
