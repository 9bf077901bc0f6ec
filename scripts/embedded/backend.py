"""What the commands do with an embedded stack."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil

from scripts import ports, report
from scripts.embedded import accounts, processes, services, state
from scripts.embedded import cluster as clusters
from scripts.embedded import layout as layouts
from scripts.status import ServiceStatus, StackStatus
from server import environment, remote, secrets
from server.errors import MistakeError, StackError
from server.place import VARIABLE
from server.settings import ROOT

if TYPE_CHECKING:
    from scripts.embedded.state import StackState
    from server.settings import Settings

POLL_SECONDS = 0.1
STOP_SECONDS = 180
READY_SECONDS = 90


class Embedded:
    """The stack that `settings` name, without Docker."""

    name = "embedded"

    def __init__(self, settings: Settings) -> None:
        """Know the stack; nothing is touched."""
        self.settings = settings
        self.layout = layouts.of(settings)
        self.cluster = clusters.of(self.layout)
        self.place = layouts.place(self.layout, settings, self.cluster.socket)

    @property
    def alive(self) -> bool:
        """Whether a supervisor has this stack."""
        return state.alive(self.layout)

    @property
    def exists(self) -> bool:
        """Whether there is anything of this stack, running or not."""
        return self.layout.base.exists()

    def up(self) -> bool:
        """Start the stack and wait until it is healthy; False when it was running already.

        Raises:
            MistakeError: see the checks; nothing was started.
            StackError: a remote server does not answer, or a service did not start; all were
                stopped again.
        """
        if self.alive and self._join():
            return False
        if self.settings.remote:
            remote.check(self.settings.remote)
        self.layout.make()
        self._end_leftovers()
        if not self.settings.remote:
            ports.check(self.settings.stack_bind, self.settings.stack_port)
            secrets.ensure(self.settings, self.layout.secrets)
        steps = report.Steps()
        self._follow(steps, self._start_supervisor())
        report.out.print(f"ready after {steps.seconds:.0f} s")
        if warning := accounts.warning(self.layout):
            report.out.print(f"warning: {warning}")
        return True

    def down(self, *, volumes: bool) -> bool:
        """Stop it, and with `volumes` remove all that it kept; False if there was nothing to do."""
        was = self.alive
        found = state.read(self.layout)
        if was and found:
            self._stop_supervisor(psutil.Process(found.pid))
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
        found = state.read(self.layout)
        if found is None:
            return StackStatus(
                name=self.settings.stack_name,
                backend="none",
                running=False,
                url=self.settings.ui_url,
                services=[],
            )
        alive = self.alive
        listed = [
            ServiceStatus(
                name=each.name,
                status=each.status if alive else "unknown: the supervisor is gone",
                healthy=each.healthy and alive,
                detail=each.problem or _detail(each.pid, each.restarts),
            )
            for each in found.services
        ]
        return StackStatus(
            name=self.settings.stack_name,
            backend="embedded",
            running=alive and found.phase == "running" and all(each.healthy for each in listed),
            url=self.settings.ui_url,
            services=listed,
            warning=accounts.warning(self.layout),
        )

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
        """What a client on this machine needs.

        Raises:
            MistakeError: the stack has never been started.
        """
        return environment.client(self.settings, self.place)

    def bootstrap_environment(self) -> dict[str, str]:
        """What `server.bootstrap` needs, started by hand on this machine."""
        own = environment.environment("bootstrap", self.settings, self.place)
        return {**own, VARIABLE: self.place.dump()}

    def _join(self) -> bool:
        """Wait until the stack that runs or starts is healthy; False when it has ended instead."""
        began = time.monotonic()
        found = state.read(self.layout)
        while self.alive and (found is None or found.phase == "stopping"):
            time.sleep(POLL_SECONDS)
            found = state.read(self.layout)
        if not self.alive or found is None:
            return False
        self._refuse_changed_settings(found)
        if found.phase == "starting":
            self._follow(report.Steps(), psutil.Process(found.pid))
        while not (status := self.status()).running:
            if time.monotonic() - began > READY_SECONDS:
                ill = next(each for each in status.services if not each.healthy)
                raise StackError(
                    f"{ill.name} is not healthy",
                    expected=f"a healthy process within {READY_SECONDS:.0f} s",
                    found=ill.detail,
                    do=f"scripts/stack logs {ill.name}",
                )
            time.sleep(POLL_SECONDS)
        self._bootstrap()
        return True

    def _stop_supervisor(self, supervisor: psutil.Process) -> None:
        try:
            supervisor.terminate()
            supervisor.wait(STOP_SECONDS)
        except psutil.TimeoutExpired:
            supervisor.kill()

    def _bootstrap(self) -> None:
        argv = environment.command("bootstrap", self.settings, self.place)
        account = accounts.of_flows(self.layout)
        env = {
            **services.base_environment(self.layout),
            **services.bootstrap_environment(),
            **self.bootstrap_environment(),
            **accounts.environment(account, self.layout.scratch),
        }
        result = subprocess.run(
            argv,
            check=False,
            env=env,
            cwd=ROOT,
            user=account,
            group=account,
            extra_groups=[] if account else None,
        )
        if result.returncode:
            raise SystemExit(result.returncode)

    def _refuse_changed_settings(self, found: StackState) -> None:
        if found.fingerprint != services.fingerprint(self.settings):
            raise MistakeError(
                "the settings have changed since the stack was started",
                expected="the settings that it runs with",
                found="others in .env or in the environment",
                do="scripts/stack down, then scripts/stack up",
            )

    def _end_leftovers(self) -> bool:
        found = processes.find(self.layout, self.cluster)
        if found:
            report.out.print(f"ending {len(found)} processes that a killed supervisor has left")
            processes.end(found)
        return bool(found)

    def _start_supervisor(self) -> psutil.Process:
        self.layout.state.unlink(missing_ok=True)
        settings = services.settings_environment()
        env = {**services.base_environment(self.layout), **settings, "PYTHONPATH": str(ROOT)}
        with (self.layout.logs / "supervisor.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "scripts.embedded.supervisor"],
                env=env,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return psutil.Process(process.pid)

    def _follow(self, steps: report.Steps, supervisor: psutil.Process) -> None:
        with report.waiting("starting"):
            while True:
                found = state.read(self.layout)
                for each in found.services if found else []:
                    if each.healthy:
                        steps.done(each.name, each.seconds, self._note(each.name))
                if found and found.phase == "running":
                    return
                if found and found.phase == "failed":
                    raise _failed(found)
                if not supervisor.is_running() or supervisor.status() == psutil.STATUS_ZOMBIE:
                    raise StackError(
                        "the supervisor ended before the stack was up",
                        details=services.tail(self.layout.logs / "supervisor.log"),
                    )
                time.sleep(POLL_SECONDS)

    def _note(self, service: str) -> str:
        if service != "bootstrap":
            return ""
        return report.last_line(services.tail(self.layout.logs / "bootstrap.log"))


def _failed(found: StackState) -> StackError:
    kind = MistakeError if found.exit_code == MistakeError.exit_code else StackError
    return kind(found.error or "the stack did not start")


def _detail(pid: int | None, restarts: int) -> str:
    parts = [f"pid {pid}"] if pid else []
    parts += [f"{restarts} restarts"] if restarts else []
    return ", ".join(parts)
