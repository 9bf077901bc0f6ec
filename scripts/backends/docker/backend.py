"""What the commands do with a stack in Docker: `compose.yaml`, through python-on-whales."""

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
BOOTSTRAP_ATTEMPTS = 3  # where it failed for no mistake of a person's
STEADY_SECONDS = 3.0
STEADY_SECONDS_AT_MOST = 30.0
SERVICE_LABEL = "com.docker.compose.service"
FOLDER_LABEL = "com.docker.compose.project.working_dir"


class Docker:
    """The stack that `settings` name, in Docker."""

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
        except ValueError as error:  # what it prints is not what a docker prints
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
        except DockerException:  # a docker of before the plugins does not know the word
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
        """Build, start and wait until all is steadily healthy, whether it ran already or not.

        Raises:
            MistakeError: a check failed, or a service ended with 2.
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
            if not before:  # nothing ran before, so nothing is left running; the logs stay
                self.client.compose.stop()
            raise
        after = {name: c.id for name, c in self._containers().items() if c.state.running}
        if before and before == after:
            return Outcome(was_running=True, problem=problem)
        report.out.print(f"ready after {steps.seconds:.0f} s")
        return Outcome(was_running=False, problem=problem)

    def down(self, *, volumes: bool) -> bool:
        """Stop the stack, and with `volumes` delete its data; False if there was nothing to do."""
        if not (self.exists if volumes else self._containers()):
            return False
        self._refuse_another_clone()
        with report.waiting("stopping"):
            self.client.compose.down(volumes=volumes, remove_orphans=True, quiet=True)
        return True

    def status(self) -> StackStatus:
        """How each container is doing."""
        found = self._containers()
        listed = [
            containers.service_status(each, found[each.name])
            for each in self.services
            if each.name in found
        ]
        return StackStatus(
            name=self.settings.stack_name,
            backend="docker" if found else "none",
            running=len(listed) == len(self.services) and all(each.healthy for each in listed),
            url=self.settings.ui_url,
            services=listed,
        )

    def logs(self, service: str | None, *, follow: bool) -> None:
        """Print the logs of all services, or of one.

        Raises:
            MistakeError: no container of that name.
        """
        found = self._containers()
        if service not in found and (service or not found):
            raise MistakeError(
                f"there is no log of {service or 'the stack'}",
                expected=f"one of {', '.join(found)}" if found else "a started stack",
                found=service,
            )
        names = [service] if service else []
        for _, line in self.client.compose.logs(names, follow=follow, stream=True):
            os.write(1, line)

    def client_environment(self) -> dict[str, str]:
        """The environment for a client of the API on this machine.

        Raises:
            MistakeError: the login's password cannot be read, since no server runs.
        """
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
        """The environment for `python -m server.bootstrap` on this machine."""
        return {**environment.COMMON, **self.client_environment(), VARIABLE: DOCKER.dump()}

    def _start(self, steps: report.Steps) -> StackError | None:
        """Start everything; return why bootstrap failed, if the stack is up all the same.

        Raises:
            StackError: something failed that the stack cannot be without.
        """
        # What the settings derive from PREFECT_API_URL, and Compose cannot.
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
            # Without the pool that bootstrap makes, a worker cannot be well; on a remote server
            # that does not let the stack in, it is of no use either.
            if problem is None or self.settings.remote:
                raise problem or unsteady
            return problem
        self._report(steps, began)
        return problem

    def _unsteady(self) -> StackError | None:
        """Wait until all services have been healthy for a while; return what is wrong otherwise."""
        began = datetime.now().astimezone()
        deadline = time.monotonic() + STEADY_SECONDS_AT_MOST
        since, before = time.monotonic(), None
        while time.monotonic() < deadline:
            found = self._long_running()
            listed = [containers.service_status(each, container) for each, container in found]
            now = {each.name: (c.id, c.restart_count) for each, c in found}
            ill = [each for each in listed if not each.healthy]
            if ill or now != before:
                since, before = time.monotonic(), now
            elif time.monotonic() - since > STEADY_SECONDS:
                return None
            time.sleep(POLL_SECONDS)
        if not ill:
            return children.not_steady("a service", "one that starts again", "")
        container = self._containers().get(ill[0].name)
        said = containers.tail(container, began) if container else ""
        return children.not_steady(ill[0].name, ill[0].detail, said)

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
                with contextlib.suppress(NoSuchContainer):  # one is made anew at this moment
                    self._report(steps, began)
                thread.join(POLL_SECONDS)
        if failed:
            return failed[0]
        self._report(steps, began)
        return None

    def _report(self, steps: report.Steps, began: datetime) -> None:
        """Report the services that are healthy, and the one-shots that ended since `began`."""
        found = self._containers()
        for service in self.services:
            name = service.name
            if name not in found or not containers.service_status(service, found[name]).healthy:
                return
            started = found[name].state.started_at
            if service.runs_once and (started is None or started < began):
                return
            note = containers.tail(found[name], began) if name == BOOTSTRAP else ""
            steps.done(name, containers.seconds(found[name]), report.last_line(note))

    def _long_running(self) -> list[tuple[Service, Container]]:
        """The services that should always run, with their containers where there are any."""
        found = self._containers()
        return [
            (each, found[each.name])
            for each in services.every()
            if not each.runs_once and each.name in found
        ]

    def _containers(self) -> dict[str, Container]:
        label = f"com.docker.compose.project={self.settings.stack_name}"
        listed = self.client.container.list(all=True, filters=[("label", label)])
        found: dict[str, Container] = {}
        for container in listed:
            try:
                found[(container.config.labels or {})[SERVICE_LABEL]] = container
            except (NoSuchContainer, KeyError):
                continue  # gone since it was listed, or not Compose's
        return found

    def _refuse_another_clone(self) -> None:
        """A stack's name is all that Compose knows it by.

        Raises:
            MistakeError: the containers of this name were made from another folder.
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
