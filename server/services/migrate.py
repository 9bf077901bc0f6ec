"""`migrate` upgrades the database to the revision of the installed Prefect.

See `server.database.migrate`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from server import environment as common
from server.service import Service

if TYPE_CHECKING:
    from server.place import Place
    from server.settings import Settings


def command(_settings: Settings, _place: Place) -> list[str]:
    return [sys.executable, "-P", "-m", "server.database.migrate"]


def environment(_settings: Settings, place: Place) -> dict[str, str]:
    return {**common.COMMON, **common.home(place), **common.database(place)}


SERVICE = Service(
    name="migrate",
    image="server",
    command=command,
    environment=environment,
    secrets=frozenset({"database"}),
    networks=frozenset({"database"}),
    waits_for={"postgres": "healthy"},
    grace_seconds=10,
    local_server_only=True,
)
