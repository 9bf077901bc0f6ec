"""Fixtures of the unit tests."""

import os

import pytest

from server import place
from server.settings import Settings


@pytest.fixture(autouse=True)
def _environment_without_a_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the settings of a stack that this machine's own environment may hold."""
    settings = {*Settings.names(), place.VARIABLE}
    for name in list(os.environ):
        if name.upper() in settings:
            monkeypatch.delenv(name)
