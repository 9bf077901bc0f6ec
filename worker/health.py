"""Whether the worker makes progress: it asks for work, and the server has heard of it.

Prefect's own answer alone is not enough: its health server is there before the worker is, and says
yes for the first minute of a process that then dies of an error. Only the standard library, since
Docker starts this every few seconds.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import sys
import urllib.parse
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server import secrets
from server.place import DOCKER, WORK_POOL, Place, worker_name
from server.probe import HTTP_TIMEOUT, check_http

if TYPE_CHECKING:
    from collections.abc import Iterator

STALE_SECONDS = 100.0  # a heartbeat comes every 30
CLIENT = "stack-health"


def check(place: Place, login: str, name: str, since: float) -> str | None:
    """None when the worker does its work, else what is wrong.

    Args:
        place: of the stack, as this process sees it.
        login: `user:password`; empty where the API asks for none.
        name: of the worker.
        since: when its process started, in seconds of the epoch: an older heartbeat is another's.
    """
    problem = check_http("127.0.0.1", place.worker_health_port, "/health")
    if problem:
        return problem
    try:
        heard = last_heartbeat(place.api_url, login, name)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"the server does not answer the worker: {error}"
    now = datetime.now().astimezone().timestamp()
    if heard is None or heard < since:
        return "the server has not heard of the worker since it started"
    if now - heard > STALE_SECONDS:
        return f"the server has not heard of the worker for {now - heard:.0f} s"
    return None


def last_heartbeat(api_url: str, login: str, name: str) -> float | None:
    """When the server last heard of a worker, in seconds of the epoch; None if never.

    Raises:
        ValueError: the server refuses.
        OSError: it does not answer.
    """
    path = f"/work_pools/{urllib.parse.quote(WORK_POOL)}/workers/filter"
    with _api(api_url, login) as ask:
        workers = ask("POST", path, "{}")
    times = [each["last_heartbeat_time"] for each in workers if each["name"] == name]
    return datetime.fromisoformat(times[0]).timestamp() if times else None


@contextmanager
def _api(api_url: str, login: str) -> Iterator[Any]:
    address = urllib.parse.urlsplit(api_url)
    headers = {"Content-Type": "application/json"}
    connection = http.client.HTTPConnection(
        address.hostname or "", address.port, timeout=HTTP_TIMEOUT
    )

    def ask(method: str, path: str, body: str | None = None) -> Any:
        connection.request(method, address.path + path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status >= http.client.BAD_REQUEST:
            raise ValueError(f"{method} {path} answers {answer.status}")
        return json.loads(content)

    try:
        if login:
            headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        else:  # then the server asks for a token on everything that writes, or might
            token = ask("GET", f"/csrf-token?client={CLIENT}")["token"]
            headers |= {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": CLIENT}
        yield ask
    finally:
        connection.close()


def main() -> None:
    """Check the worker of this container; exit with 1 if it is ill."""
    login = ""
    if os.environ["STACK_AUTH"] == "on":
        password = os.environ.get("STACK_PASSWORD") or secrets.read(
            DOCKER.secrets / secrets.API_PASSWORD
        )
        login = f"{os.environ['STACK_USER']}:{password}"
    name = worker_name(os.environ["STACK_NAME"])
    if problem := check(DOCKER, login, name, _container_started()):
        sys.exit(problem)


def _container_started() -> float:
    """When process 1 started, in seconds of the epoch, rounded down."""
    ticks = int(Path("/proc/1/stat").read_text().rsplit(")", 1)[1].split()[19])
    lines = Path("/proc/stat").read_text().splitlines()
    booted = next(int(line.split()[1]) for line in lines if line.startswith("btime"))
    return booted + ticks // os.sysconf("SC_CLK_TCK") - 1.0


if __name__ == "__main__":
    main()
