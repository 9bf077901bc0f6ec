"""`worker` asks for the runs of the work pool and starts them.

It has the flows, the login to the API, and no route to the database.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from server import environment as common
from server.place import WORK_POOL, worker_name
from server.service import Service, health_of

if TYPE_CHECKING:
    from server.place import Place
    from server.settings import Settings

# How often the worker asks for work. Prefork hears of a new run from the server and asks then; for
# the other type, a person who pressed "Run" waits for it.
QUERY_SECONDS = {"prefork": 5, "process": 1}
# Runs that wait for their time are taken this long before it.
PREFETCH_SECONDS = 10
# How often a run says that it lives, the shortest that Prefect takes. stack.yaml counts with it.
HEARTBEAT_SECONDS = 30


def command(settings: Settings, _place: Place) -> list[str]:
    return [
        *(sys.executable, "-P", "-m", "prefect"),
        *("worker", "start", "--pool", WORK_POOL, "--type", settings.worker_type),
        *("--name", worker_name(settings.stack_name), "--with-healthcheck"),
        *("--no-create-pool-if-not-found", "--install-policy", "never"),
    ]


def environment(settings: Settings, place: Place) -> dict[str, str]:
    return {
        **common.COMMON,
        **common.home(place),
        **common.client(settings, place),
        "STACK_DATA_DIR": str(place.data),
        "PREFORK_JOURNAL_FOLDER": str(place.journal),
        "PREFECT_LOCAL_STORAGE_PATH": str(place.data / "results"),
        "PREFECT_WORKER_QUERY_SECONDS": str(QUERY_SECONDS[settings.worker_type]),
        "PREFECT_WORKER_PREFETCH_SECONDS": str(PREFETCH_SECONDS),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
        "PREFECT_WORKER_WEBSERVER_PORT": str(place.worker_health_port),
    }


SERVICE = Service(
    name="worker",
    image="worker",
    command=command,
    environment=environment,
    secrets=frozenset({"api"}),
    networks=frozenset({"default"}),
    # After bootstrap, which makes the pool, whatever that ends with.
    waits_for={"bootstrap": "ended"},
    health=health_of("worker.health"),
    grace_seconds=60,
)
