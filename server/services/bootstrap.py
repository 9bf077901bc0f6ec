"""`bootstrap` makes the server match `prefect.yaml` and `stack.yaml`: see `server.bootstrap`.

It runs in the worker's image, because it imports the flows just as the worker does.
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
    return [sys.executable, "-P", "-m", "server.bootstrap"]


def environment(settings: Settings, place: Place) -> dict[str, str]:
    return {**common.COMMON, **common.home(place), **common.client(settings, place)}


SERVICE = Service(
    name="bootstrap",
    image="worker",
    command=command,
    environment=environment,
    secrets=frozenset({"api", "bootstrap"}),
    networks=frozenset({"default"}),
    waits_for={"init": "done", "server": "healthy"},
    grace_seconds=10,
    # A single wrong declaration must not keep the other services down.
    required=False,
    checks_remote_server=True,
)
