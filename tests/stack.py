"""A real stack in its own clone of this repository, driven by the commands that a user types."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import ssl
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pytest

SOURCE = Path(__file__).resolve().parents[1]
# Every character that has ever broken somebody's connection string, shell or YAML.
NASTY = """p@:/ #%$'" w"""
# By default a client loads every CA certificate, even for plain HTTP, which takes 26 ms of CPU.
NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TERMINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def free_port() -> int:
    """Return a loopback port that nothing listens on.

    It is below the kernel's ephemeral range, so no connection takes it while its stack is down.
    """
    while True:
        port = random.randrange(15_000, 32_000)  # noqa: S311 - no secret
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def single_quoted(value: str) -> str:
    """Quote `value` for a line of `.env`."""
    return "'" + value.replace("'", "\\'") + "'"


def clone(folder: Path) -> Path:
    """Copy this checkout to `folder`, uncommitted changes included; `.venv` is a link to ours."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        check=True,
        cwd=SOURCE,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (SOURCE / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(SOURCE / name, folder / name)
    (folder / ".venv").symlink_to(SOURCE / ".venv")
    return folder


@dataclass
class Stack:
    """One stack under test."""

    root: Path
    name: str
    port: int
    backend: str  # "embedded" or "docker"
    user: str | None = None  # who runs the commands; None: whoever runs the tests
    variables: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    _login: tuple[object, str] | None = None  # cache: the settings it depends on, the login

    @property
    def url(self) -> str:
        """The base address of the UI and the API."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """Return an environment that names this stack and inherits nothing but PATH."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "STACK_NAME": self.name,
            "STACK_PORT": str(self.port),
            **self.variables,
        }

    def run(
        self, *argv: str, timeout: float = 300, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone; `said` keeps its output for the report of a failed test."""
        if argv[1:2] in {("up",), ("down",)}:
            self._login = None
        result = subprocess.run(
            argv,
            check=False,
            cwd=self.root,
            env={**self.environment(), **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            user=self.user,
            group=self.user and "nogroup",
            extra_groups=[] if self.user else None,
        )
        self.said.append(
            f"$ {' '.join(argv)} -> {result.returncode}\n{result.stdout}{result.stderr}"
        )
        return result

    def command(self, verb: str, *arguments: str, timeout: float = 300) -> str:
        """Run `scripts/stack VERB`, which has to exit with 0; return its standard output."""
        result = self.run("scripts/stack", verb, *arguments, timeout=timeout)
        assert result.returncode == 0, self.said[-1]
        return result.stdout

    def up(self) -> str:
        """Start the stack on its backend."""
        return self.command("up", f"--{self.backend}")

    def down(self, *arguments: str) -> str:
        """Stop the stack."""
        return self.command("down", *arguments)

    def status(self) -> dict[str, Any]:
        """Return what `scripts/stack status --json` prints, whatever its exit code."""
        result = self.run("scripts/stack", "status", "--json")
        return dict(json.loads(result.stdout))

    def client(self) -> httpx.Client:
        """Return an API client with the login that `scripts/stack env` prints."""
        login = self._read_login()
        user, _, password = login.partition(":")
        return httpx.Client(
            base_url=f"{self.url}/api",
            auth=httpx.BasicAuth(user, password) if login else None,
            timeout=30,
            verify=NO_AUTHORITIES,
        )

    def _read_login(self) -> str:
        """Return the login; cached until `up`, `down`, `.env` or `variables` may change it."""
        dotenv = self.root / ".env"
        key = (dotenv.read_text() if dotenv.exists() else "", dict(self.variables))
        if self._login is None or self._login[0] != key:
            script = 'eval "$(scripts/stack env)"; printf "%s" "$PREFECT_API_AUTH_STRING"'
            self._login = (key, self.run("sh", "-c", script).stdout)
        return self._login[1]

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        """Rewrite a file of the clone; `change` gets its text and has to return a different one."""
        path = self.root / name
        text = path.read_text()
        changed = change(text)
        assert changed != text, f"the change to {name} changes nothing"
        path.write_text(changed)

    def report(self) -> str:
        """Return the stack's status and logs, and its last commands, to explain a failed test."""
        self.run("scripts/stack", "status")
        self.run("scripts/stack", "logs")
        return "\n".join(part[-6000:] for part in self.said[-6:])


def wait_for(what: str, probe: Callable[[], Any], seconds: float = 90) -> Any:
    """Return the first true answer of `probe`; fail, naming `what`, if there is none in time."""
    deadline = time.monotonic() + seconds
    pause, last = 0.2, None
    while time.monotonic() < deadline:
        try:
            last = probe()
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            last = error
        else:
            if last:
                return last
        time.sleep(pause)
        # Ask less often the longer it takes: each answer costs CPU that the stack could use.
        pause = min(pause * 1.2, 1)
    raise AssertionError(f"no {what} within {seconds:.0f} s; last: {last!r}")


def post(client: httpx.Client, path: str, body: object) -> Any:
    """POST `body`; return the JSON of a successful answer, raise `HTTPStatusError` otherwise."""
    answer = client.post(path, json=body)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def get(client: httpx.Client, path: str) -> Any:
    """GET `path`; return the JSON of a successful answer, raise `HTTPStatusError` otherwise."""
    answer = client.get(path)
    answer.raise_for_status()
    return answer.json()


def deployment(client: httpx.Client, name: str = "hello/hello") -> dict[str, Any]:
    """Return a deployment by its full name, `flow/deployment`."""
    return dict(get(client, f"/deployments/name/{name}"))


def start_run(client: httpx.Client, name: str, parameters: dict[str, Any] | None = None) -> str:
    """Create a flow run of a deployment; return its id."""
    deployment_id = deployment(client, name)["id"]
    body = {"parameters": parameters or {}, "state": {"type": "SCHEDULED"}}
    return str(post(client, f"/deployments/{deployment_id}/create_flow_run", body)["id"])


def finished(client: httpx.Client, run_id: str, seconds: float = 240) -> dict[str, Any]:
    """Wait until a run is in a terminal state; return the run."""

    def probe() -> dict[str, Any] | None:
        run: dict[str, Any] = get(client, f"/flow_runs/{run_id}")
        return run if run["state_type"] in TERMINAL else None

    return dict(wait_for(f"end of run {run_id}", probe, seconds))


def complete(
    client: httpx.Client, name: str, parameters: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Run a deployment until it is Completed, and nothing else; return the run."""
    run = finished(client, start_run(client, name, parameters))
    assert run["state_type"] == "COMPLETED", run["state"]
    return run


def log(client: httpx.Client, run_id: str) -> list[dict[str, Any]]:
    """Return the first 200 entries of a run's log, the oldest first."""
    body = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC"}
    return list(post(client, "/logs/filter", body))


def has_logged(client: httpx.Client, run_id: str, text: str) -> bool:
    """Tell whether any of the first 200 entries of a run's log contains `text` by now."""
    return any(text in entry["message"] for entry in log(client, run_id))


def make(factory: pytest.TempPathFactory, name: str) -> Stack:
    """Return an embedded stack in its own clone; it is not started."""
    return Stack(clone(factory.mktemp(name)), f"test-{name}-{os.getpid()}", free_port(), "embedded")


@contextmanager
def stack(tested: Stack) -> Iterator[Stack]:
    """Yield `tested`; afterwards stop it and delete its data."""
    try:
        yield tested
    finally:
        (tested.root / ".env").unlink(missing_ok=True)  # it may hold the mistake that was tested
        result = tested.run("scripts/stack", "down", "--volumes")
    assert result.returncode == 0, tested.said[-1]
