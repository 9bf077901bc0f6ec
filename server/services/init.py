"""`init` checks the settings and creates missing secrets: see `server.init`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from server.service import Service

if TYPE_CHECKING:
    from server.place import Place
    from server.settings import Settings


def command(_settings: Settings, _place: Place) -> list[str]:
    return [sys.executable, "-m", "server.init"]


SERVICE = Service(
    name="init",
    image="server",
    command=command,
    secrets=frozenset({"database", "encryption", "api", "bootstrap"}),  # `init` creates them
    grace_seconds=10,
    before_secrets=True,
)
