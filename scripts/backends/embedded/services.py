"""Turns the services of a stack into the processes that a supervisor starts."""

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

# The variables that processes get from the environment of the user who typed `up`, besides LC_* and
# those of proxies.
INHERITED = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR"}
INHERITED |= {"LD_LIBRARY_PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUTF8", "PYTHONWARNINGS"}
INHERITED |= {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}
PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"}
# Bootstrap does not get these from `.env`. LOCAL_SERVER belongs to the address of a remote server,
# which bootstrap gets in the same way as every client.
NOT_HANDED = {"POSTGRES_PASSWORD", "ENCRYPTION_KEY", "STACK_PASSWORD", "LOCAL_SERVER", *FILE_ONLY}


@dataclass
class OneShot:
    """A process that has to end before the next one starts: with 0, if it is `required`."""

    name: str
    prepare: Callable[[], Start]
    cwd: Path
    log: Path
    required: bool = True
    state: ServiceState = field(init=False)

    def __post_init__(self) -> None:
        self.state = ServiceState(name=self.name)


def of(layout: Layout, values: Settings) -> list[Service | OneShot]:
    """Return what the supervisor starts for the stack that `values` describe, in order."""
    chosen = accounts.choose(layout, values)
    accounts.settle(layout, chosen, values.project)
    cluster = clusters.of(layout)
    place = layouts.place(layout, values, cluster.socket)
    stack = _Stack(layout, values, cluster, place, chosen)
    chosen_services = descriptions.chosen(values)
    return [stack.step(service) for service in chosen_services if not service.before_secrets]


@dataclass(frozen=True)
class _Stack:
    """One stack: everything that the start of its services depends on."""

    layout: Layout
    values: Settings
    cluster: Cluster
    place: Place
    accounts: Accounts

    def step(self, service: Description) -> Service | OneShot:
        log = self.layout.logs / f"{service.name}.log"
        # Prefect reads `.env` in its working folder. The server side must not start where the
        # project is: its user may not be allowed to read that file.
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
        """Return how to start `service` now. For PostgreSQL, create what its cluster lacks."""
        place = dataclasses.replace(self.place, worker_health_port=free_port())
        if service.image == "postgres":
            clusters.make(self.layout, self.cluster, secrets.database_password(place.secrets))
            argv, env = self.cluster.command(), base_environment(self.layout)
            account = self.cluster.account
        else:
            account = self.accounts.flows
            if service.image == "server":
                account = self.accounts.stack
                # The server needs a home of Prefect that its own user can write.
                place = dataclasses.replace(place, scratch=self.layout.server_scratch)
            argv = service.command(self.values, place)
            env = environment_of(service, self.layout, self.values, place, account)

        def check(pid: int) -> str | None:
            # Read again for each check, because it changes when somebody sets the clock.
            started = psutil.Process(pid).create_time()
            return service.health.check(self.values, place, started) if service.health else None

        return Start(argv, env, check, account)


def base_environment(layout: Layout) -> dict[str, str]:
    """The variables that every process gets: some of the caller's, and `MARKER`.

    A shell holds much that the stack should not have: cloud credentials, tokens, a PREFECT_API_KEY
    that would override the stack's login. Variables that a flow needs are named in `prefect.yaml`.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in INHERITED or name.upper() in PROXIES or name.startswith("LC_")
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**inherited, MARKER: str(layout.base), "PATH": path, "PYTHONUNBUFFERED": "1"}


def settings_environment(project: Path) -> dict[str, str]:
    """The caller's variables that are settings, or that the declarations in `project` refer to.

    Only the supervisor and bootstrap, which read them, get these.
    """
    names = (set(Settings.names()) | placeholders.names(project)) - FILE_ONLY
    return {name: os.environ[name] for name in names if name in os.environ}


def bootstrap_environment(project: Path) -> dict[str, str]:
    """The variables that bootstrap needs of the environment and of `.env`.

    Its user may not be allowed to read `.env`. The secrets of the server side are left out:
    bootstrap would ignore them, but the flows that it imports could read them.
    """
    lines = {name: entry.value for name, entry in dotenv.read(ENV_FILE).items() if entry.value}
    variables = {**lines, **settings_environment(project), dotenv.HANDED: "1"}
    return {name: value for name, value in variables.items() if name not in NOT_HANDED}


def fingerprint(values: Settings) -> str:
    """A hash of the settings, which tells whether running processes have read other ones."""
    counted = [
        (name, _plain(value))
        for name, value in values
        # So that a stack which was started before this setting existed has the same hash.
        if name != "stack_project" or name in values.model_fields_set
    ]
    return hashlib.sha256(repr(counted).encode()).hexdigest()


def free_port() -> int:
    """Return a port on loopback that nothing listens on at the moment."""
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
    """Return the whole environment of `service`, which runs as the user `account`."""
    # Prefect creates folders of fixed names in the temporary folder. In /tmp, those of another
    # user's stack would be in the way.
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
