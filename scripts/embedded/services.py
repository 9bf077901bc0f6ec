"""The processes of an embedded stack, in the order of their start."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from scripts.embedded import cluster as clusters
from scripts.embedded import layout as layouts
from scripts.embedded.processes import MARKER
from scripts.embedded.service import Service, Start
from scripts.embedded.state import ServiceState
from server import environment, health, secrets
from server.errors import MistakeError, StackError
from server.place import VARIABLE, Place, worker_name
from server.remote import Api
from server.settings import FILE_ONLY, ROOT, Settings
from worker import health as worker_health

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.embedded.layout import Layout
    from server.environment import Role

TAIL_LINES = 15
NEVER_ILL: Callable[[int], None] = lambda _pid: None  # noqa: E731 - judged by its end


@dataclass
class OneShot:
    """A process that has to end with 0 before the next one starts."""

    name: str
    prepare: Callable[[], Start]
    cwd: Path
    log: Path
    state: ServiceState = field(init=False)

    def __post_init__(self) -> None:
        """Begin as not started."""
        self.state = ServiceState(name=self.name)


def of(layout: Layout, values: Settings) -> list[Service | OneShot]:
    """What the supervisor starts: with a remote server, only what uses it.

    The first start of `postgres` makes its data.
    """
    cluster = clusters.of(layout)
    place = layouts.place(layout, values, cluster.socket)

    def postgres() -> Start:
        def check(_pid: int) -> str | None:
            return clusters.check(place)

        clusters.make(layout, cluster, secrets.database_password(place.secrets))
        return Start(cluster.command(), base_environment(layout), check, cluster.account)

    def one_shot(role: Role) -> OneShot:
        return OneShot(
            role,
            lambda: Start(
                environment.command(role, values, place),
                _environment(role, layout, values, place),
                NEVER_ILL,
            ),
            ROOT,
            layout.logs / f"{role}.log",
        )

    def server() -> Start:
        argv = environment.command("server", values, place)
        env = _environment("server", layout, values, place)
        return Start(argv, env, lambda _pid: health.check_server(place))

    def worker() -> Start:
        here = dataclasses.replace(place, worker_health_port=free_port())
        argv = environment.command("worker", values, here)
        env = _environment("worker", layout, values, here)
        api = values.remote or _own_api(values, here)
        name, port = worker_name(values.stack_name), here.worker_health_port

        def check(pid: int) -> str | None:
            # Asked for anew each time: it moves with the clock, as the server's answer does.
            since = psutil.Process(pid).create_time() - 1
            problem = worker_health.check(api, port, name, since)
            return problem or worker_health.check_reports(place.journal)

        return Start(argv, env, check)

    log = layout.logs
    own_server: list[Service | OneShot] = [
        # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients to leave.
        Service("postgres", postgres, cluster.home, log / "postgres.log", signal.SIGINT, 60),
        one_shot("migrate"),
        Service("server", server, ROOT, log / "server.log"),
    ]
    return [
        *([] if values.remote else own_server),
        one_shot("bootstrap"),
        Service("worker", worker, ROOT, log / "worker.log", grace_seconds=60),
    ]


def _own_api(values: Settings, place: Place) -> Api:
    return Api(place.api_url, environment.login(values, place), csrf=not values.auth)


def base_environment(layout: Layout) -> dict[str, str]:
    """The caller's environment without what is Prefect's, and with the mark of the stack.

    A PREFECT_API_KEY left in a shell, for one, would override the stack's login and end in 401. Nor
    are the stack's settings passed on, some of which are secrets that flows have no use for.
    """
    own = Settings.names()
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PREFECT_") and name not in own
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**inherited, MARKER: str(layout.base), "PATH": path, "PYTHONUNBUFFERED": "1"}


def settings_environment() -> dict[str, str]:
    """The settings in the caller's environment, for what reads them itself."""
    names = set(Settings.names()) - FILE_ONLY
    return {name: os.environ[name] for name in names if name in os.environ}


def fingerprint(values: Settings) -> str:
    """Changes when a setting does that a running process has already read."""
    return hashlib.sha256(repr([(k, _plain(v)) for k, v in values]).encode()).hexdigest()


def free_port() -> int:
    """A port on loopback that nothing listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def failure(name: str, code: int, output: str) -> StackError:
    """What a one-shot that ended with `code` has said, as an error."""
    kind = MistakeError if code == MistakeError.exit_code else StackError
    said = f"\n{output}".partition("\nerror: ")[2].rstrip()
    if said and code in {MistakeError.exit_code, StackError.exit_code}:  # its own words say it all
        return kind(said)
    details = "\n".join(output.splitlines()[-TAIL_LINES:])
    return kind(f"{name} failed", expected="it to end with 0", found=f"{code}", details=details)


def tail(log: Path) -> str:
    """The last lines of a log."""
    if not log.exists():
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-TAIL_LINES:])


def _environment(role: Role, layout: Layout, values: Settings, place: Place) -> dict[str, str]:
    own = environment.environment(role, values, place)
    # Prefect makes folders of one name in the temporary folder, whoever runs it: another user's
    # stack on this machine would own them.
    temporary = layout.scratch / "tmp"
    temporary.mkdir(exist_ok=True)
    place_of_own = {VARIABLE: place.dump(), "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    settings = settings_environment() if role == "bootstrap" else {}
    return {**base_environment(layout), **settings, **own, **place_of_own}


def _plain(value: object) -> object:
    reveal = getattr(value, "get_secret_value", None)
    return reveal() if reveal else value
