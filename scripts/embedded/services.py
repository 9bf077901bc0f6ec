"""The processes of an embedded stack, in the order of their start."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from scripts.embedded import accounts
from scripts.embedded import cluster as clusters
from scripts.embedded import layout as layouts
from scripts.embedded.processes import MARKER
from scripts.embedded.service import Service, Start
from scripts.embedded.state import ServiceState
from server import dotenv, environment, health, references, secrets
from server.errors import MistakeError, StackError
from server.place import VARIABLE, Place, worker_name
from server.remote import Api
from server.settings import ENV_FILE, FILE_ONLY, ROOT, Settings
from worker import health as worker_health

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.embedded.layout import Layout
    from server.environment import Role

TAIL_LINES = 15
# What a process gets of the environment of whoever typed `up`, besides LC_... and proxies.
INHERITED = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR"}
INHERITED |= {"LD_LIBRARY_PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUTF8", "PYTHONWARNINGS"}
INHERITED |= {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}
PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"}
# LOCAL_SERVER goes with the address of a remote server, which bootstrap gets as every client does.
NOT_HANDED = {"POSTGRES_PASSWORD", "ENCRYPTION_KEY", "STACK_PASSWORD", "LOCAL_SERVER", *FILE_ONLY}
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
    chosen = accounts.choose(layout, values)
    accounts.settle(layout, chosen, values.project)
    place = layouts.place(layout, values, cluster.socket)
    # Prefect's home of the server is not that of flows, which may be another user's.
    # Prefect reads the `.env` of the folder that it is started in, which the stack's user may not.
    server_cwd = layout.server_scratch
    server_place = dataclasses.replace(place, scratch=layout.server_scratch)

    def postgres() -> Start:
        def check(_pid: int) -> str | None:
            return clusters.check(place)

        clusters.make(layout, cluster, secrets.database_password(place.secrets))
        return Start(cluster.command(), base_environment(layout), check, cluster.account)

    def one_shot(role: Role, here: Place, account: str | None) -> OneShot:
        return OneShot(
            role,
            lambda: Start(
                environment.command(role, values, here),
                _environment(role, layout, values, here, account),
                NEVER_ILL,
                account,
            ),
            server_cwd if role == "migrate" else place.root,
            layout.logs / f"{role}.log",
        )

    def server() -> Start:
        argv = environment.command("server", values, server_place)
        env = _environment("server", layout, values, server_place, chosen.stack)
        return Start(argv, env, lambda _pid: health.check_server(place), chosen.stack)

    def worker() -> Start:
        here = dataclasses.replace(place, worker_health_port=free_port())
        argv = environment.command("worker", values, here)
        env = _environment("worker", layout, values, here, chosen.flows)
        api = values.remote or _own_api(values, here)
        name, port = worker_name(values.stack_name), here.worker_health_port

        def check(pid: int) -> str | None:
            # Asked for anew each time: it moves with the clock, as the server's answer does.
            since = psutil.Process(pid).create_time() - 1
            problem = worker_health.check(api, port, name, since)
            return problem or worker_health.check_reports(place.journal)

        return Start(argv, env, check, chosen.flows)

    log = layout.logs
    own_server: list[Service | OneShot] = [
        # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients to leave.
        Service("postgres", postgres, cluster.home, log / "postgres.log", signal.SIGINT, 60),
        one_shot("migrate", server_place, chosen.stack),
        Service("server", server, server_cwd, log / "server.log"),
    ]
    return [
        *([] if values.remote else own_server),
        one_shot("bootstrap", place, chosen.flows),
        Service("worker", worker, place.root, log / "worker.log", grace_seconds=60),
    ]


def _own_api(values: Settings, place: Place) -> Api:
    return Api(place.api_url, environment.login(values, place), csrf=not values.auth)


def base_environment(layout: Layout) -> dict[str, str]:
    """What every process gets of the caller's environment, and the mark of the stack.

    A shell holds what is none of the stack's business: keys of clouds, tokens, a PREFECT_API_KEY
    that would override the stack's login. What a flow wants of it is named in `prefect.yaml`.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in INHERITED or name.upper() in PROXIES or name.startswith("LC_")
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**inherited, MARKER: str(layout.base), "PATH": path, "PYTHONUNBUFFERED": "1"}


def settings_environment(project: Path) -> dict[str, str]:
    """What the caller's environment says of settings, and what declarations in `project` ask for.

    For what reads them itself: the supervisor, and bootstrap.
    """
    names = (set(Settings.names()) | references.names(project)) - FILE_ONLY
    return {name: os.environ[name] for name in names if name in os.environ}


def bootstrap_environment(project: Path) -> dict[str, str]:
    """What bootstrap needs of the environment and of `.env`, which its user may not read.

    Not the secrets of the server side. In the environment they would be ignored, but there they
    could be read.
    """
    lines = {name: entry.value for name, entry in dotenv.read(ENV_FILE).items() if entry.value}
    found = {**lines, **settings_environment(project), dotenv.HANDED: "1"}
    return {name: value for name, value in found.items() if name not in NOT_HANDED}


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


def _environment(
    role: Role, layout: Layout, values: Settings, place: Place, account: str | None
) -> dict[str, str]:
    own = environment.environment(role, values, place)
    # Prefect makes folders of one name in the temporary folder, whoever runs it: another user's
    # stack on this machine would own them.
    temporary = place.scratch / "tmp"
    temporary.mkdir(exist_ok=True)
    if account:
        shutil.chown(temporary, account, account)
    place_of_own = {VARIABLE: place.dump(), "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    settings = bootstrap_environment(values.project) if role == "bootstrap" else {}
    who = accounts.environment(account, place.scratch)
    return {**base_environment(layout), **settings, **own, **place_of_own, **who}


def _plain(value: object) -> object:
    reveal = getattr(value, "get_secret_value", None)
    return reveal() if reveal else value
