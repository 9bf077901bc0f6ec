"""`worker` polls the work pool for runs and starts them.

It has access to the flows and to the API, but not to the database.
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

# Seconds between two polls. The prefork worker is notified of new runs by the server and polls at
# once; with the process worker, a person who pressed "Run" waits for the next poll.
QUERY_SECONDS = {"prefork": 5, "process": 1}
# How long before its scheduled time the worker picks up a run.
PREFETCH_SECONDS = 10
# How often a run sends a heartbeat: the shortest interval that Prefect accepts. An automation in
# stack.yaml relies on this value.
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
    # Bootstrap creates the work pool; the worker starts even if bootstrap has failed.
    waits_for={"bootstrap": "ended"},
    health=health_of("worker.health"),
    grace_seconds=60,
)
