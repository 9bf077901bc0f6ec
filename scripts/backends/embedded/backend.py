"""The embedded backend: what the commands do with a stack that runs without Docker."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil

from scripts import ports, report
from scripts.backends import children
from scripts.backends.base import BOOTSTRAP
from scripts.backends.embedded import (
    accounts,
    condition,
    following,
    outcome,
    processes,
    services,
    state,
)
from scripts.backends.embedded import cluster as clusters
from scripts.backends.embedded import layout as layouts
from scripts.status import Outcome
from server import environment, secrets
from server import services as descriptions
from server.api import remote
from server.errors import MistakeError, StackError
from server.place import VARIABLE
from server.services import worker
from server.settings import ROOT

if TYPE_CHECKING:
    from scripts.backends.embedded.state import StackState
    from scripts.status import StackStatus
    from server.settings import Settings

READY_SECONDS = 90
BOOTSTRAP_RETRIES = 2
BOOTSTRAP_PAUSE = 2.0  # seconds


class Embedded:
    """The stack that `settings` name, without Docker."""

    name = "embedded"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.layout = layouts.of(settings)
        self.cluster = clusters.of(self.layout)
        self.following = following.Following(self.layout, self.cluster)
        self.place = layouts.place(self.layout, settings, self.cluster.socket)

    @property
    def alive(self) -> bool:
        """Whether a supervisor runs this stack."""
        return state.alive(self.layout)

    @property
    def exists(self) -> bool:
        """Whether there is anything of this stack, running or not."""
        return self.layout.base.exists()

    def up(self) -> Outcome:
        """Start the stack and wait until it is healthy, whether it was running already or not.

        Raises:
            MistakeError: see the checks; nothing was started.
            StackError: a remote server does not answer, or a service did not start; all were
                stopped again.
        """
        if self.alive and (joined := self._join()):
            return joined
        if self.settings.remote:
            remote.check(self.settings.remote)
        self.layout.make()
        self._end_leftovers()
        if not self.settings.remote:
            ports.check(self.settings.stack_bind, self.settings.stack_port)
            secrets.ensure(
                self.settings, self.layout.secrets, data_exist=self.cluster.data.exists()
            )
        steps = report.Steps()
        started = self.following.follow(steps, self._start_supervisor())
        report.out.print(f"ready after {steps.seconds:.0f} s")
        if warning := accounts.warning(self.layout):
            report.out.print(f"warning: {warning}")
        return Outcome(was_running=False, problem=_incomplete(started))

    def down(self, *, volumes: bool) -> bool:
        """Stop the stack, and with `volumes` delete its data; False if there was nothing to do."""
        was = self.alive
        if was and (supervisor := self.following.supervisor()):
            self._stop_supervisor(supervisor)
        if self.exists:
            was = self._end_leftovers() or was
            self.layout.state.unlink(missing_ok=True)
        if volumes and self.exists:
            was = True
            shutil.rmtree(self.cluster.socket, ignore_errors=True)
            if self.cluster.home.exists():
                shutil.rmtree(self.cluster.home)
            shutil.rmtree(self.layout.base, ignore_errors=self.cluster.home == self.layout.base)
        return was

    def status(self) -> StackStatus:
        """How each process is doing, as the supervisor last saw it."""
        return condition.of(self.layout, self.settings)

    def logs(self, service: str | None, *, follow: bool) -> None:
        """Print the logs of all processes, or of one.

        Raises:
            MistakeError: no process of that name has a log.
        """
        files = sorted(self.layout.logs.glob("*.log"))
        if service:
            files = [file for file in files if file.stem == service]
        if not files:
            names = ", ".join(sorted(file.stem for file in self.layout.logs.glob("*.log")))
            raise MistakeError(
                f"there is no log of {service or 'the stack'}",
                expected=f"one of {names}" if names else "a stack that has been started",
                found=service,
            )
        argv = ["tail", "-n", "+1" if service else "100", *(["-F"] if follow else [])]
        sys.stdout.flush()
        subprocess.run([*argv, *(str(file) for file in files)], check=False)

    def client_environment(self) -> dict[str, str]:
        """The environment for a client of the API on this machine.

        Raises:
            MistakeError: the stack has never been started.
        """
        return environment.client(self.settings, self.place)

    def bootstrap_environment(self) -> dict[str, str]:
        """The environment for `python -m server.bootstrap` on this machine."""
        own = descriptions.named(BOOTSTRAP).environment(self.settings, self.place)
        return {**own, VARIABLE: self.place.dump()}

    def _join(self) -> Outcome | None:
        """Wait until the stack that runs or starts is healthy; None when it has ended instead.

        Bootstrap comes before the worker's health: it makes the pool that the worker asks for.
        """
        found = self.following.told()
        if found is None:
            return None
        self._refuse_changed_settings(found)
        if found.phase == "starting" and (supervisor := self.following.supervisor()):
            self.following.follow(report.Steps(), supervisor)
        waiting = {each.name for each in descriptions.every() if BOOTSTRAP in each.waits_for}
        self._await_health({BOOTSTRAP, *waiting})
        problem = self._bootstrap()
        if problem is None:
            self._await_health({BOOTSTRAP})
        return Outcome(was_running=True, problem=problem)

    def _await_health(self, besides: set[str]) -> None:
        """Wait until all services are steadily healthy, except those named in `besides`."""
        began = time.monotonic()
        while True:
            status = self.status()
            ill = [each for each in status.services if not (each.healthy or each.name in besides)]
            if status.services and not ill and status.problem is None:
                return
            if not self.alive:
                raise StackError(
                    "the supervisor ended while it was waited for",
                    expected="a running stack",
                    found=status.problem,
                    do="scripts/stack up",
                )
            if time.monotonic() - began > READY_SECONDS:
                if ill:
                    log = self.layout.logs / f"{ill[0].name}.log"
                    raise children.not_healthy(ill[0].name, ill[0].detail, services.tail(log))
                raise StackError(
                    "the stack is not healthy",
                    expected=f"a healthy stack within {READY_SECONDS:.0f} s",
                    found=status.problem,
                    do="scripts/stack status",
                )
            time.sleep(following.POLL_SECONDS)

    def _stop_supervisor(self, supervisor: psutil.Process) -> None:
        try:
            supervisor.terminate()
            supervisor.wait(following.STOP_SECONDS)
        except psutil.TimeoutExpired:
            supervisor.kill()
        except psutil.NoSuchProcess:
            return

    def _bootstrap(self) -> StackError | None:
        """Run bootstrap, with retries unless a person's mistake makes it fail; return the error."""
        began = time.monotonic()
        problem = self._bootstrap_once()
        for _ in range(BOOTSTRAP_RETRIES):
            if problem is None or isinstance(problem, MistakeError):
                break
            time.sleep(BOOTSTRAP_PAUSE)
            problem = self._bootstrap_once()
        with contextlib.suppress(OSError):  # then `status` shows the one before
            outcome.keep(self.layout, problem, time.monotonic() - began)
        return problem

    def _bootstrap_once(self) -> StackError | None:
        service = descriptions.named(BOOTSTRAP)
        account = accounts.of_flows(self.layout)
        result = subprocess.run(
            service.command(self.settings, self.place),
            check=False,
            env=services.environment_of(service, self.layout, self.settings, self.place, account),
            cwd=self.place.root,
            user=account,
            group=account,
            extra_groups=[] if account else None,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        if result.returncode == 0:
            sys.stderr.write(result.stderr)
            return None
        with contextlib.suppress(OSError), (self.layout.logs / "bootstrap.log").open("a") as log:
            log.write(result.stderr)
        return children.failure(BOOTSTRAP, result.returncode, result.stderr)

    def _refuse_changed_settings(self, found: StackState) -> None:
        if found.fingerprint != services.fingerprint(self.settings):
            raise MistakeError(
                "the settings have changed since the stack was started",
                expected="the settings that it runs with",
                found="others in .env or in the environment",
                do="scripts/stack down, then scripts/stack up",
            )

    def _end_leftovers(self) -> bool:
        if found := processes.find(self.layout, self.cluster):
            report.out.print(
                f"ending {len(found)} processes that a killed supervisor has left; "
                f"runs have up to {worker.SERVICE.grace_seconds} s to finish"
            )
        return processes.end_all(self.layout, self.cluster) > 0

    def _start_supervisor(self) -> psutil.Process:
        self.layout.state.unlink(missing_ok=True)
        outcome.forget(self.layout)
        settings = services.settings_environment(self.place.root)
        env = {**services.base_environment(self.layout), **settings, "PYTHONPATH": str(ROOT)}
        with (self.layout.logs / "supervisor.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "scripts.backends.embedded.supervisor"],
                env=env,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return psutil.Process(process.pid)


def _incomplete(started: StackState) -> StackError | None:
    """The error of a bootstrap that failed in a stack that is up all the same."""
    failed = next((each for each in started.services if each.status == "failed"), None)
    return (
        following.error(failed.exit_code, failed.problem or "bootstrap failed") if failed else None
    )
