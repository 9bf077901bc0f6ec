"""Forks runs from a real template, without a server, and keeps what they tell the worker."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse

from prefect_prefork.common import framing, linux
from prefect_prefork.common.messages import FromRun, Loaded, Request
from prefect_prefork.runs.listener import Listener
from prefect_prefork.runs.process import ForkedProcess, SessionScope
from prefect_prefork.runs.template_process import Kind
from prefect_prefork.runs.templates import Templates

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
NOBODY = "http://127.0.0.1:1/api"  # no server listens there


@dataclass
class Ended:
    """The exit code of a fork, and the messages that it sent."""

    code: int
    said: list[FromRun] = field(default_factory=list)


class Forks:
    """Forks runs from one template."""

    def __init__(self, home: Path, logger: logging.Logger) -> None:
        self.env = {
            "PATH": os.defpath,
            "HOME": str(home),
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": NOBODY,
            "PREFECT_CLIENT_MAX_RETRIES": "0",
            # Nobody takes the logs, and a process that sends some spends seconds on it at its end.
            "PREFECT_LOGGING_TO_API_ENABLED": "false",
        }
        self._runner = asyncio.Runner()
        self._templates = Templates(logger)

    def close(self) -> None:
        self._runner.run(self._templates.close())
        self._runner.close()

    def run(self, directory: Path, entrypoint: str, **more: Any) -> Ended:
        """Fork a run of `entrypoint`, with `more` in its request; end it before its flow begins."""
        request = self.request(directory, entrypoint)
        env = {**request.env, **more.pop("env", {})}
        return self._runner.run(self._run(replace(request, env=env, **more)))

    def request(self, directory: Path, entrypoint: str) -> Request:
        deployment = DeploymentResponse(
            id=uuid4(),
            name="a",
            flow_id=uuid4(),
            entrypoint=entrypoint,
            path=str(directory),
            labels={},
        )
        flow_run = FlowRun(id=uuid4(), flow_id=deployment.flow_id, deployment_id=deployment.id)
        return Request(
            env=self.env,
            cwd=str(directory),
            stream_output=True,
            flow_run=flow_run.model_dump(mode="json"),
            deployment=deployment.model_dump(mode="json"),
            result_storage={"id": None},
        )

    async def _run(self, request: Request) -> Ended:
        kind = Kind(request.env, [], str(ROOT))
        ours, theirs = framing.pair()
        with ours:
            with theirs:
                pid = await self._templates.fork(kind, request, [theirs.fileno()])
            ended = Ended(0)

            def hear(said: FromRun) -> None:
                ended.said.append(said)
                if isinstance(said, Loaded) and not request.hooks:
                    SessionScope().hard_kill(pid)  # it would look for the server

            listener = Listener(ours, hear, self._templates._logger)  # noqa: SLF001
            process = ForkedProcess(pid)
            try:
                async with asyncio.timeout(60):
                    ended.code = await process.wait()
            finally:
                listener.close()
                SessionScope().hard_kill(pid)
        return ended


@contextlib.contextmanager
def forks(home: Path, logger: logging.Logger) -> Iterator[Forks]:
    """Yield a `Forks` whose template is ended afterwards."""
    from_template = Forks(home, logger)
    with _adopting_orphans():
        yield from_template
        from_template.close()


_adopting = 0


@contextlib.contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Adopt orphans as the worker does, until the last of the forks here has ended."""
    global _adopting  # noqa: PLW0603
    linux.adopt_orphans()
    _adopting += 1
    try:
        yield
    finally:
        _adopting -= 1
        if not _adopting:
            linux._prctl(linux.PR_SET_CHILD_SUBREAPER, 0)  # noqa: SLF001
