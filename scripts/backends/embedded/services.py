"""The processes of an embedded stack, in the order of their start."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from scripts.backends import children
from scripts.backends.embedded import accounts
from scripts.backends.embedded import cluster as clusters
from scripts.backends.embedded import layout as layouts
from scripts.backends.embedded.processes import MARKER
from scripts.backends.embedded.service import Service, Start
from scripts.backends.embedded.state import ServiceState
from server import secrets
from server import services as descriptions
from server.errors import REPORT_VARIABLE
from server.place import VARIABLE, Place
from server.settings import ENV_FILE, FILE_ONLY, ROOT, Settings, dotenv, placeholders

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.backends.embedded.accounts import Accounts
    from scripts.backends.embedded.cluster import Cluster
    from scripts.backends.embedded.layout import Layout
    from server.service import Service as Description

# What a process gets of the environment of whoever typed `up`, besides LC_... and proxies.
INHERITED = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR"}
INHERITED |= {"LD_LIBRARY_PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUTF8", "PYTHONWARNINGS"}
INHERITED |= {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}
PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"}
# LOCAL_SERVER goes with the address of a remote server, which bootstrap gets as every client does.
NOT_HANDED = {"POSTGRES_PASSWORD", "ENCRYPTION_KEY", "STACK_PASSWORD", "LOCAL_SERVER", *FILE_ONLY}


@dataclass
class OneShot:
    """A process that has to end before the next one starts; with 0, if it is required."""

    name: str
    prepare: Callable[[], Start]
    cwd: Path
    log: Path
    required: bool = True
    state: ServiceState = field(init=False)

    def __post_init__(self) -> None:
        self.state = ServiceState(name=self.name)


def of(layout: Layout, values: Settings) -> list[Service | OneShot]:
    """What the supervisor starts, in order, for the stack that `values` describe."""
    chosen = accounts.choose(layout, values)
    accounts.settle(layout, chosen, values.project)
    cluster = clusters.of(layout)
    place = layouts.place(layout, values, cluster.socket)
    stack = _Stack(layout, values, cluster, place, chosen)
    return [stack.step(each) for each in descriptions.chosen(values) if not each.before_secrets]


@dataclass(frozen=True)
class _Stack:
    """What the services of one stack are started with."""

    layout: Layout
    values: Settings
    cluster: Cluster
    place: Place
    accounts: Accounts

    def step(self, service: Description) -> Service | OneShot:
        log = self.layout.logs / f"{service.name}.log"
        # Prefect reads the `.env` of the folder that it is started in, which the user of the server
        # side may not.
        cwd = {
            "postgres": self.cluster.home,
            "server": self.layout.server_scratch,
            "worker": self.place.root,
        }[service.image]
        if service.runs_once:
            return OneShot(service.name, lambda: self.start(service), cwd, log, service.required)
        return Service(
            service.name,
            lambda: self.start(service),
            cwd,
            log,
            service.stop_signal,
            service.grace_seconds,
        )

    def start(self, service: Description) -> Start:
        """How to start `service` now. The first start of PostgreSQL creates its data."""
        place = dataclasses.replace(self.place, worker_health_port=free_port())
        if service.image == "postgres":
            clusters.make(self.layout, self.cluster, secrets.database_password(place.secrets))
            argv, env = self.cluster.command(), base_environment(self.layout)
            account = self.cluster.account
        else:
            account = self.accounts.flows
            if service.image == "server":
                account = self.accounts.stack
                # Prefect's home of the server is not that of flows, which may be another user's.
                place = dataclasses.replace(place, scratch=self.layout.server_scratch)
            argv = service.command(self.values, place)
            env = environment_of(service, self.layout, self.values, place, account)

        def check(pid: int) -> str | None:
            # Asked for anew each time: it moves with the clock, as the server's answer does.
            started = psutil.Process(pid).create_time()
            return service.health.check(self.values, place, started) if service.health else None

        return Start(argv, env, check, account)


def base_environment(layout: Layout) -> dict[str, str]:
    """What every process inherits of the caller's environment, and the mark of the stack.

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
    """The caller's variables that are settings, or that declarations in `project` refer to.

    For what reads them itself: the supervisor, and bootstrap.
    """
    names = (set(Settings.names()) | placeholders.names(project)) - FILE_ONLY
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
    """A hash of the settings: running processes have read others when it differs."""
    counted = [
        (name, _plain(value))
        for name, value in values
        # A stack that was started before there was this setting has the same as one without it.
        if name != "stack_project" or name in values.model_fields_set
    ]
    return hashlib.sha256(repr(counted).encode()).hexdigest()


def free_port() -> int:
    """A port on loopback that nothing listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def tail(log: Path) -> str:
    """The last lines of a log."""
    if not log.exists():
        return ""
    return children.tail(log.read_text(encoding="utf-8", errors="replace"))


def environment_of(
    service: Description, layout: Layout, values: Settings, place: Place, account: str | None
) -> dict[str, str]:
    """The whole environment that `service` is started with, by the user `account`."""
    # Prefect makes folders of one name in the temporary folder, whoever runs it: another user's
    # stack on this machine would own them.
    temporary = place.scratch / "tmp"
    temporary.mkdir(exist_ok=True)
    if account:
        shutil.chown(temporary, account, account)
    return {
        **base_environment(layout),
        **(bootstrap_environment(place.root) if service.reads_declarations else {}),
        **service.environment(values, place),
        VARIABLE: place.dump(),
        **({REPORT_VARIABLE: "1"} if service.runs_once else {}),
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(ROOT),
        **accounts.environment(account, place.scratch),
    }


def _plain(value: object) -> object:
    reveal = getattr(value, "get_secret_value", None)
    return reveal() if reveal else value
