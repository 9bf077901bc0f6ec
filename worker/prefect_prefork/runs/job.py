"""The job variables of the worker type, and what the process of a run is told of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect.utilities.processutils import sanitize_subprocess_env
from prefect.workers.process import ProcessJobConfiguration, ProcessVariables
from pydantic import Field

from prefect_prefork.common import prefect_settings
from prefect_prefork.common.messages import Request
from prefect_prefork.runs.template_process import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import DeploymentResponse

PRELOAD = "Installed packages to have imported before a run starts, besides those learnt from runs."
# An interpreter reads these variables when it starts, so a fork cannot apply them.
INTERPRETER_PREFIXES = ("PYTHON", "LD_", "MALLOC_", "GLIBC_")


@dataclass(frozen=True)
class Job:
    """What the process of a run is told."""

    deployment: DeploymentResponse | None  # None if only a template is wanted
    env: Mapping[str, str | None]
    working_dir: Path
    temporary: bool  # whether the working directory is removed when the run has ended
    preload: Sequence[str]
    stream_output: bool
    result_storage: Mapping[str, str | None] | None = None  # the default storage, if known

    def environment(self) -> dict[str, str]:
        """Return the environment of the worker, with its settings and then the run's own values."""
        return sanitize_subprocess_env({**os.environ, **prefect_settings.environment(), **self.env})

    def kind(self) -> Kind:
        """Return the kind of template that the run needs."""
        directory = "/" if self.temporary else str(self.working_dir)
        return Kind(self.environment(), self.preload, directory)

    def request(self, flow_run: FlowRun, env: Mapping[str, str]) -> Request:
        """Return the message that asks a template for the process of the run."""
        return Request(
            env=dict(env),
            cwd=os.path.realpath(self.working_dir),
            stream_output=self.stream_output,
            flow_run=flow_run.model_dump(mode="json"),
            deployment=self.deployment.model_dump(mode="json") if self.deployment else None,
            result_storage=self.result_storage,
        )


class PreforkJobConfiguration(ProcessJobConfiguration):
    """The settings of one run, merged from those of its pool, its deployment and its own."""

    preload: list[str] = Field(default_factory=list)

    @classmethod
    def _base_environment(cls) -> dict[str, str]:
        return prefect_settings.environment()

    @property
    def own_command(self) -> str | None:
        """The command that a user has set; None for Prefect's default."""
        return self.command if self._command_configured else None

    @property
    def deployment(self) -> Any:
        """The deployment of the run for which this was prepared."""
        return self._related_objects["deployment"]

    def why_no_fork(self) -> str | None:
        """Return why a fork cannot provide these settings; None if it can."""
        if self._command_configured:
            return "its job has a command"
        for name, value in self.env.items():
            if name.startswith(INTERPRETER_PREFIXES) and os.environ.get(name) != value:
                return f"its environment sets {name}, which an interpreter reads when it starts"
        return None

    def job(self, deployment: DeploymentResponse | None, directory: Path) -> Job:
        """Return the job for a process of `deployment` in `directory`."""
        return Job(
            temporary=self.working_dir is None,
            deployment=deployment,
            env=self.env,
            working_dir=directory,
            preload=self.preload,
            stream_output=self.stream_output,
        )


class PreforkVariables(ProcessVariables):
    """The job variables that a work pool, a deployment and a run may set."""

    preload: list[str] = Field(default_factory=list, title="Preload", description=PRELOAD)
