"""The embedded backend: runs a stack without Docker, as processes of a supervisor."""

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
    """The stack of these settings, without Docker; `Backend` says what the methods promise."""

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
        return self.layout.base.exists()

    def up(self) -> Outcome:
        """Start the stack and wait until it is healthy, whether it was running already or not.

        Raises:
            MistakeError: a check failed and nothing was started, or a service exited with 2.
            StackError: a remote server does not answer, or a service did not start; then all were
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
        return condition.of(self.layout, self.settings)

    def logs(self, service: str | None, *, follow: bool) -> None:
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
        return environment.client(self.settings, self.place)

    def bootstrap_environment(self) -> dict[str, str]:
        own = descriptions.named(BOOTSTRAP).environment(self.settings, self.place)
        return {**own, VARIABLE: self.place.dump()}

    def _join(self) -> Outcome | None:
        """Wait until the stack that runs or starts is healthy; None if it has ended instead.

        Bootstrap runs before the worker has to be healthy: it creates the pool that is polled.
        """
        current = self.following.current_state()
        if current is None:
            return None
        self._refuse_changed_settings(current)
        if current.phase == "starting" and (supervisor := self.following.supervisor()):
            self.following.follow(report.Steps(), supervisor)
        dependents = {each.name for each in descriptions.every() if BOOTSTRAP in each.waits_for}
        self._await_health({BOOTSTRAP, *dependents})
        problem = self._bootstrap()
        if problem is None:
            self._await_health({BOOTSTRAP})
        return Outcome(was_running=True, problem=problem)

    def _await_health(self, ignored: set[str]) -> None:
        """Wait until all services but the `ignored` ones are healthy.

        Raises:
            StackError: the supervisor ended, or `READY_SECONDS` have passed.
        """
        began = time.monotonic()
        while True:
            status = self.status()
            counted = [service for service in status.services if service.name not in ignored]
            unhealthy = [service for service in counted if not service.healthy]
            if status.services and not unhealthy and status.problem is None:
                return
            if not self.alive:
                raise StackError(
                    "the supervisor ended while it was waited for",
                    expected="a running stack",
                    found=status.problem,
                    do="scripts/stack up",
                )
            if time.monotonic() - began > READY_SECONDS:
                if unhealthy:
                    first = unhealthy[0]
                    log = self.layout.logs / f"{first.name}.log"
                    raise children.not_healthy(first.name, first.detail, services.tail(log))
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
        """Run bootstrap, again if it fails for another reason than a mistake; return its error."""
        began = time.monotonic()
        problem = self._bootstrap_once()
        for _ in range(BOOTSTRAP_RETRIES):
            if problem is None or isinstance(problem, MistakeError):
                break
            time.sleep(BOOTSTRAP_PAUSE)
            problem = self._bootstrap_once()
        with contextlib.suppress(OSError):  # `status` then shows the previous result
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

    def _refuse_changed_settings(self, current: StackState) -> None:
        if current.fingerprint != services.fingerprint(self.settings):
            raise MistakeError(
                "the settings have changed since the stack was started",
                expected="the settings that it runs with",
                found="others in .env or in the environment",
                do="scripts/stack down, then scripts/stack up",
            )

    def _end_leftovers(self) -> bool:
        if leftovers := processes.find(self.layout, self.cluster):
            report.out.print(
                f"ending {len(leftovers)} processes that a killed supervisor has left; "
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
    """The error of a bootstrap that failed, in a stack that is up nevertheless."""
    failed = next((each for each in started.services if each.status == "failed"), None)
    return (
        following.error(failed.exit_code, failed.problem or "bootstrap failed") if failed else None
    )
