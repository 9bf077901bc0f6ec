"""The Docker backend: runs `compose.yaml` through python-on-whales."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr
from python_on_whales import ClientNotFoundError, Container, DockerClient
from python_on_whales.exceptions import DockerException, NoSuchContainer

from scripts import ports, report
from scripts.backends import children
from scripts.backends.base import BOOTSTRAP
from scripts.backends.docker import containers, faults
from scripts.status import Outcome, StackStatus
from server import environment, secrets, services
from server.errors import MistakeError, StackError
from server.place import DOCKER, VARIABLE
from server.settings import ROOT, shell_secrets

if TYPE_CHECKING:
    from server.service import Service
    from server.settings import Settings

POLL_SECONDS = 0.3
BOOTSTRAP_ATTEMPTS = 3  # unless it failed because of a person's mistake
STEADY_SECONDS = 3.0
STEADY_SECONDS_AT_MOST = 30.0
SERVICE_LABEL = "com.docker.compose.service"
FOLDER_LABEL = "com.docker.compose.project.working_dir"


class Docker:
    """The stack of these settings, in Docker; `Backend` says what the methods promise."""

    name = "docker"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = DockerClient(
            compose_files=[ROOT / "compose.yaml"],
            compose_project_name=settings.stack_name,
            compose_project_directory=ROOT,
        )
        self.services = services.chosen(settings)

    def problem(self) -> MistakeError | None:
        """Why this machine cannot run the stack in Docker; None when it can."""
        try:
            info = self.client.system.info()
        except ClientNotFoundError:
            return self._no_engine("no program `docker`")
        except DockerException as error:
            return self._no_engine(error.stderr or str(error))
        except ValueError as error:  # some other program is called docker
            return self._no_engine(str(error))
        if not info.server_version:
            return self._no_engine("no answer")
        if not self._has_compose():
            return MistakeError(
                "Docker has no Compose v2",
                expected="`docker compose version` to answer",
                found="no such command",
                do="install the package docker-compose-plugin (Debian: docker-compose); or run "
                "without Docker: scripts/stack up --embedded",
            )
        return None

    def _has_compose(self) -> bool:
        try:
            return self.client.compose.is_installed()
        except DockerException:  # a docker from before there were plugins does not know `compose`
            return False

    @property
    def alive(self) -> bool:
        """Whether a long-running service of the stack runs."""
        return any(container.state.running for _, container in self._long_running())

    @property
    def exists(self) -> bool:
        """Whether there is a container or a volume of the stack."""
        label = f"com.docker.compose.project={self.settings.stack_name}"
        return bool(self._containers() or self.client.volume.list(filters=[("label", label)]))

    def up(self) -> Outcome:
        """Build the images, start the stack and wait until it is healthy, running already or not.

        Raises:
            MistakeError: a check failed, or a service exited with 2.
            StackError: a service did not become healthy; its last lines are in the message.
        """
        self._refuse_another_clone()
        shell_secrets.check()
        before = {name: c.id for name, c in self._containers().items() if c.state.running}
        if not self.settings.remote and "server" not in before:
            ports.check(self.settings.stack_bind, self.settings.stack_port)
        with report.waiting("building the images (the first time takes about a minute)"):
            began = time.monotonic()
            try:
                self.client.compose.build(quiet=True)
            except DockerException as error:
                raise StackError(
                    "the images could not be built",
                    expected="docker compose build to end with 0",
                    found=f"{error.return_code}",
                    details=children.tail(error.stderr or ""),
                ) from error
        steps = report.Steps()
        steps.done("images", time.monotonic() - began)
        try:
            problem = self._start(steps)
        except StackError:
            if not before:  # nothing ran before; stopped, not removed, so that the logs stay
                self.client.compose.stop()
            raise
        after = {name: c.id for name, c in self._containers().items() if c.state.running}
        if before and before == after:
            return Outcome(was_running=True, problem=problem)
        report.out.print(f"ready after {steps.seconds:.0f} s")
        return Outcome(was_running=False, problem=problem)

    def down(self, *, volumes: bool) -> bool:
        if not (self.exists if volumes else self._containers()):
            return False
        self._refuse_another_clone()
        with report.waiting("stopping"):
            self.client.compose.down(volumes=volumes, remove_orphans=True, quiet=True)
        return True

    def status(self) -> StackStatus:
        by_service = self._containers()
        listed = [
            containers.service_status(service, by_service[service.name])
            for service in self.services
            if service.name in by_service
        ]
        return StackStatus(
            name=self.settings.stack_name,
            backend="docker" if by_service else "none",
            running=len(listed) == len(self.services) and all(each.healthy for each in listed),
            url=self.settings.ui_url,
            services=listed,
        )

    def logs(self, service: str | None, *, follow: bool) -> None:
        by_service = self._containers()
        if service not in by_service and (service or not by_service):
            raise MistakeError(
                f"there is no log of {service or 'the stack'}",
                expected=f"one of {', '.join(by_service)}" if by_service else "a started stack",
                found=service,
            )
        names = [service] if service else []
        for _, line in self.client.compose.logs(names, follow=follow, stream=True):
            os.write(1, line)

    def client_environment(self) -> dict[str, str]:
        values = self.settings
        if values.remote:
            return environment.client(values, DOCKER)
        if values.auth and values.stack_password is None:
            path = str(DOCKER.secrets / secrets.API_PASSWORD)
            try:
                password = self.client.compose.execute("server", ["cat", path], tty=False)
            except DockerException as error:
                raise MistakeError(
                    "the login of the stack cannot be read",
                    expected="a running service `server`",
                    found="none",
                    do="scripts/stack up",
                ) from error
            values = values.model_copy(update={"stack_password": SecretStr(str(password))})
        own = environment.client(values, DOCKER)
        return {**own, "PREFECT_API_URL": f"{values.url}/api"}

    def bootstrap_environment(self) -> dict[str, str]:
        return {**environment.COMMON, **self.client_environment(), VARIABLE: DOCKER.dump()}

    def _start(self, steps: report.Steps) -> StackError | None:
        """Start everything; return the error of bootstrap if the stack is up although it failed.

        Raises:
            StackError: a required service failed.
        """
        # The settings derive this from PREFECT_API_URL, which Compose cannot.
        os.environ["LOCAL_SERVER"] = str(self.settings.local_server)
        problem = None
        for _ in range(BOOTSTRAP_ATTEMPTS):
            began = datetime.now().astimezone()
            failed = self._compose_up(steps, began)
            problem = (
                faults.incomplete(self._containers(), self.services, began) if failed else None
            )
            if failed and problem is None:
                raise faults.failed(self._containers(), self.services, failed, began)
            if problem is None or isinstance(problem, MistakeError):
                break
        if unsteady := self._unsteady():
            # A worker may be unhealthy because bootstrap could not create its pool: that keeps no
            # stack down. With a remote server nothing else runs here, so the start has failed.
            if problem is None or self.settings.remote:
                raise problem or unsteady
            return problem
        self._report(steps, began)
        return problem

    def _unsteady(self) -> StackError | None:
        """Wait until all services have stayed healthy for `STEADY_SECONDS`; None when they have.

        Returns the error of a service that has not after `STEADY_SECONDS_AT_MOST`.
        """
        began = datetime.now().astimezone()
        deadline = time.monotonic() + STEADY_SECONDS_AT_MOST
        since, before = time.monotonic(), None
        while time.monotonic() < deadline:
            running = self._long_running()
            listed = [containers.service_status(service, c) for service, c in running]
            now = {service.name: (c.id, c.restart_count) for service, c in running}
            unhealthy = [status for status in listed if not status.healthy]
            if unhealthy or now != before:
                since, before = time.monotonic(), now
            elif time.monotonic() - since > STEADY_SECONDS:
                return None
            time.sleep(POLL_SECONDS)
        if not unhealthy:
            return children.not_steady("a service", "one that starts again", "")
        first = unhealthy[0]
        container = self._containers().get(first.name)
        output = containers.tail(container, began) if container else ""
        return children.not_steady(first.name, first.detail, output)

    def _compose_up(self, steps: report.Steps, began: datetime) -> DockerException | None:
        failed: list[DockerException] = []

        def compose_up() -> None:
            try:
                self.client.compose.up(detach=True, wait=True, quiet=True)
            except DockerException as error:
                failed.append(error)

        thread = threading.Thread(target=compose_up)
        thread.start()
        with report.waiting("starting"):
            while thread.is_alive():
                with contextlib.suppress(NoSuchContainer):  # Compose is recreating one
                    self._report(steps, began)
                thread.join(POLL_SECONDS)
        if failed:
            return failed[0]
        self._report(steps, began)
        return None

    def _report(self, steps: report.Steps, began: datetime) -> None:
        """Report the services that are healthy, and the one-shots that have run since `began`.

        Services are reported in the order of their start, up to the first that is not ready.
        """
        by_service = self._containers()
        for service in self.services:
            name, container = service.name, by_service.get(service.name)
            if container is None or not containers.service_status(service, container).healthy:
                return
            started = container.state.started_at
            if service.runs_once and (started is None or started < began):
                return
            note = containers.tail(container, began) if name == BOOTSTRAP else ""
            steps.done(name, containers.seconds(container), report.last_line(note))

    def _long_running(self) -> list[tuple[Service, Container]]:
        """The services that should always run and have a container, with that container."""
        by_service = self._containers()
        return [
            (service, by_service[service.name])
            for service in services.every()
            if not service.runs_once and service.name in by_service
        ]

    def _containers(self) -> dict[str, Container]:
        """The containers of the stack, running or not, by the names of their services."""
        label = f"com.docker.compose.project={self.settings.stack_name}"
        listed = self.client.container.list(all=True, filters=[("label", label)])
        by_service: dict[str, Container] = {}
        for container in listed:
            try:
                by_service[(container.config.labels or {})[SERVICE_LABEL]] = container
            except (NoSuchContainer, KeyError):
                continue  # removed since it was listed, or not created by Compose
        return by_service

    def _refuse_another_clone(self) -> None:
        """Refuse to touch another clone's containers: Compose knows a stack only by its name.

        Raises:
            MistakeError: the containers of this name were created from another folder.
        """
        for container in self._containers().values():
            folder = (container.config.labels or {}).get(FOLDER_LABEL, str(ROOT))
            if Path(folder).resolve() != ROOT:
                raise MistakeError(
                    f"{self.settings.stack_name} is the stack of another clone",
                    expected=f"containers of {ROOT}",
                    found=f"containers of {folder}",
                    do="set another STACK_NAME in .env, or type the command there",
                )

    def _no_engine(self, found: str) -> MistakeError:
        return MistakeError(
            "no Docker engine answers",
            expected="`docker info` to show a server",
            found=" ".join(found.split())[:200],
            do="start Docker; or run without it: scripts/stack up --embedded",
        )
