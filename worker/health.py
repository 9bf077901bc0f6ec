"""Checks that the worker makes progress: it polls for work, and the server gets its heartbeats.

Prefect's own health server is not enough: it starts before the worker, and reports success during
the first minute of a process that then dies of an error. This module imports only the standard
library, since Docker starts it every few seconds.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import sys
import time
import urllib.parse
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from server import secrets
from server.api import remote
from server.api.client import Api
from server.api.http_check import check_http
from server.place import DOCKER, WORK_POOL, Place, worker_name

if TYPE_CHECKING:
    from server.settings import Settings

UNREPORTED_SECONDS = 60.0  # if the server has not accepted the end of a run by then, it is a fault
STALE_SECONDS = 100.0  # a heartbeat is sent every 30 s
CLOCK_SECONDS = 2.0  # smaller differences do not count: the server gives its time in whole seconds


def check_service(settings: Settings, place: Place, started: float) -> str | None:
    """Check the worker of a stack without Docker, for its supervisor; see `check`."""
    from server import environment  # noqa: PLC0415 - it would slow down the command for Docker

    api = settings.remote  # such a stack has no login of its own
    if api is None:
        api = Api(place.api_url, environment.login(settings, place), csrf=not settings.auth)
    name, port = worker_name(settings.stack_name), place.worker_health_port
    # The time of the heartbeat may be a fraction of a second before that of the process.
    problem = check(api, port, name, started - 1)
    return problem or check_reports(place.journal)


def check(api: Api, health_port: int, name: str, since: float) -> str | None:
    """Return None if the worker makes progress, otherwise what is wrong.

    Args:
        api: the API that the worker polls.
        health_port: the port on loopback of the worker's own health server.
        name: the name of the worker.
        since: when its process started, in seconds since the epoch; older heartbeats do not count.
    """
    problem = check_http("127.0.0.1", health_port, "/health")
    if problem:
        return problem
    try:
        heard = last_heartbeat(api, name)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"the server does not answer the worker: {error}"
    now = time.time()
    if heard is None or heard < since:
        return "the server has not heard of the worker since it started"
    if now - heard > STALE_SECONDS:
        return f"the server has not heard of the worker for {now - heard:.0f} s"
    return None


def check_reports(journal: Path) -> str | None:
    """Return None if the worker can report the ends of its runs, otherwise what is wrong.

    Args:
        journal: the folder of the worker's journals; it need not exist.
    """
    # Imported here because, after an upgrade, `scripts/stack down` imports this module in the
    # environment of the running stack, which may be older than the package.
    from prefect_prefork import END  # noqa: PLC0415

    now = time.time()
    count = 0
    for path in journal.glob(f"*/*/*{END}"):
        with contextlib.suppress(OSError):  # it has just been reported
            count += now - path.stat().st_mtime > UNREPORTED_SECONDS
    return f"the server has not taken the ends of {count} runs" if count else None


def last_heartbeat(api: Api, name: str) -> float | None:
    """Return when the server last heard of a worker, in seconds since the epoch; None if never.

    The time is by the clock of this machine, from which that of a remote server may differ.

    Raises:
        ValueError: The server refuses the request.
        OSError: The server does not answer.
    """
    path = f"/work_pools/{urllib.parse.quote(WORK_POOL)}/workers/filter"
    answer = api.ask("POST", path, {})
    now = time.time()
    workers = answer.json()
    times = [worker["last_heartbeat_time"] for worker in workers if worker["name"] == name]
    if not times:
        return None
    heard = datetime.fromisoformat(times[0]).timestamp()
    ahead = (answer.time or now) - now
    return heard - ahead if abs(ahead) > CLOCK_SECONDS else heard


def main() -> None:
    """Check the worker of this container; exit with 1 if it is unhealthy."""
    api = remote.read(DOCKER.secrets) or _own_api()
    name = worker_name(os.environ["STACK_NAME"])
    problem = check(api, DOCKER.worker_health_port, name, _container_started())
    if problem := problem or check_reports(DOCKER.journal):
        sys.exit(problem)


def _own_api() -> Api:
    """Return the API of the stack's own server, without the settings, which are slow to import."""
    if os.environ["STACK_AUTH"] == "off":
        return Api(DOCKER.api_url)
    password = secrets.read(DOCKER.secrets / secrets.API_PASSWORD)
    return Api(DOCKER.api_url, f"{os.environ['STACK_USER']}:{password}", csrf=False)


def _container_started() -> float:
    """Return when process 1 started, in seconds since the epoch, rounded down."""
    ticks = int(Path("/proc/1/stat").read_text().rsplit(")", 1)[1].split()[19])
    lines = Path("/proc/stat").read_text().splitlines()
    booted = next(int(line.split()[1]) for line in lines if line.startswith("btime"))
    return booted + ticks // os.sysconf("SC_CLK_TCK") - 1.0


if __name__ == "__main__":
    main()
