"""What a work pool, a deployment and a run may set, and what of it no fork can give."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from prefect.workers.process import ProcessJobConfiguration, ProcessVariables
from pydantic import Field

from worker.prefork import settled
from worker.prefork.starter import Job

if TYPE_CHECKING:
    from pathlib import Path

    from prefect.client.schemas.responses import DeploymentResponse

PRELOAD = "Installed packages to have imported before a run starts, besides those learnt from runs."
# What an interpreter reads when it starts, and a fork comes too late for.
OF_INTERPRETERS = ("PYTHON", "LD_", "MALLOC_", "GLIBC_")


class PreforkJobConfiguration(ProcessJobConfiguration):
    """What a run gets."""

    preload: list[str] = Field(default_factory=list)

    @classmethod
    def _base_environment(cls) -> dict[str, str]:
        return settled.environment()

    @property
    def own_command(self) -> str | None:
        """The command that was given, not the one that Prefect makes up."""
        return self.command if self._command_configured else None

    @property
    def deployment(self) -> Any:
        """The deployment of the run that this was prepared for."""
        return self._related_objects["deployment"]

    def why_no_fork(self) -> str | None:
        """What of it asks for a process of its own from the first line; None for a fork."""
        if self._command_configured:
            return "its job has a command"
        for name, value in self.env.items():
            if name.startswith(OF_INTERPRETERS) and os.environ.get(name) != value:
                return f"its environment sets {name}, which an interpreter reads when it starts"
        return None

    def job(self, deployment: DeploymentResponse | None, directory: Path) -> Job:
        """What a process of `deployment` in `directory` is told."""
        return Job(
            temporary=self.working_dir is None,
            deployment=deployment,
            env=self.env,
            working_dir=directory,
            preload=self.preload,
            stream_output=self.stream_output,
        )


class PreforkVariables(ProcessVariables):
    """What a work pool, a deployment and a run may set."""

    preload: list[str] = Field(default_factory=list, title="Preload", description=PRELOAD)
