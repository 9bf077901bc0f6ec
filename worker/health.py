"""Whether the worker makes progress: it asks for work, and the server has heard of it.

Prefect's own answer alone is not enough: its health server is there before the worker is, and says
yes for the first minute of a process that then dies of an error. Only the standard library, since
Docker starts this every few seconds.
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

UNREPORTED_SECONDS = 60.0  # after which a run's end that the server has not taken is a fault
STALE_SECONDS = 100.0  # a heartbeat comes every 30
CLOCK_SECONDS = 2.0  # the server tells its time in whole seconds: less is no difference


def check_service(settings: Settings, place: Place, started: float) -> str | None:
    """The health check for the supervisor of an embedded stack; see `check`."""
    from server import environment  # noqa: PLC0415 - not for the command, which Docker starts often

    login = environment.login(settings, place)
    api = settings.remote or Api(place.api_url, login, csrf=not settings.auth)
    name, port = worker_name(settings.stack_name), place.worker_health_port
    # The heartbeat's time may be a fraction of a second before that of the process.
    problem = check(api, port, name, started - 1)
    return problem or check_reports(place.journal)


def check(api: Api, health_port: int, name: str, since: float) -> str | None:
    """None when the worker does its work, else what is wrong.

    Args:
        api: that the worker asks for work.
        health_port: where the worker itself answers, on loopback.
        name: of the worker.
        since: when its process started, in seconds of the epoch: an older heartbeat is another's.
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
    """None when the worker can report how its runs end, else how many it could not.

    Args:
        journal: the folder of the worker's journals; it need not be there.
    """
    # Not at the top: after an upgrade, `scripts/stack down` imports this module in the environment
    # of the running stack, which may have been made before there was such a package.
    from prefect_prefork import END  # noqa: PLC0415

    now = time.time()
    count = 0
    for path in journal.glob(f"*/*/*{END}"):
        with contextlib.suppress(OSError):  # it is reported just now
            count += now - path.stat().st_mtime > UNREPORTED_SECONDS
    return f"the server has not taken the ends of {count} runs" if count else None


def last_heartbeat(api: Api, name: str) -> float | None:
    """When the server last heard of a worker, in seconds of the epoch; None if never.

    By the clock of this machine: that of a remote server may be another.

    Raises:
        ValueError: the server refuses.
        OSError: it does not answer.
    """
    path = f"/work_pools/{urllib.parse.quote(WORK_POOL)}/workers/filter"
    answer = api.ask("POST", path, {})
    now = time.time()
    times = [each["last_heartbeat_time"] for each in answer.json() if each["name"] == name]
    if not times:
        return None
    heard = datetime.fromisoformat(times[0]).timestamp()
    ahead = (answer.time or now) - now
    return heard - ahead if abs(ahead) > CLOCK_SECONDS else heard


def main() -> None:
    """Check the worker of this container; exit with 1 if it is ill."""
    api = remote.read(DOCKER.secrets) or _own_api()
    name = worker_name(os.environ["STACK_NAME"])
    problem = check(api, DOCKER.worker_health_port, name, _container_started())
    if problem := problem or check_reports(DOCKER.journal):
        sys.exit(problem)


def _own_api() -> Api:
    """The API of the stack's own server. Without the settings, which take time to import."""
    if os.environ["STACK_AUTH"] == "off":
        return Api(DOCKER.api_url)
    password = secrets.read(DOCKER.secrets / secrets.API_PASSWORD)
    return Api(DOCKER.api_url, f"{os.environ['STACK_USER']}:{password}", csrf=False)


def _container_started() -> float:
    """When process 1 started, in seconds of the epoch, rounded down."""
    ticks = int(Path("/proc/1/stat").read_text().rsplit(")", 1)[1].split()[19])
    lines = Path("/proc/stat").read_text().splitlines()
    booted = next(int(line.split()[1]) for line in lines if line.startswith("btime"))
    return booted + ticks // os.sysconf("SC_CLK_TCK") - 1.0


if __name__ == "__main__":
    main()
