"""A template as the worker sees it: a process that is asked to fork, one run at a time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from prefect.logging.configuration import DEFAULT_LOGGING_SETTINGS_PATH

from prefect_prefork.common import framing, messages
from prefect_prefork.forked import preload

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Hashable, Mapping, Sequence

    from prefect_prefork.common.messages import Request

# `-c` puts the working directory first on `sys.path`, where files of the user may have the names of
# packages. `-P` would prevent that, but interpreters that a run starts would inherit the flag.
BOOT = (
    "import sys; sys.flags.safe_path or sys.path.pop(0);"
    " from prefect_prefork.forked.template import main; main()"
)
START_SECONDS = 60  # importing Prefect takes 2 s, but a large package on a busy machine longer
FORK_SECONDS = 10


class TemplateError(Exception):
    """A template does not carry out a request."""


class RetiredError(TemplateError):
    """The template had been replaced, or removed to make room, before the request."""


@dataclass(frozen=True)
class Kind:
    """What runs must have in common to share a template.

    That is the environment, since any package may read it while it is imported. Prefect's own
    settings are excepted: a run whose settings differ reads them again. The template reads them in
    `directory`.
    """

    env: Mapping[str, str]
    preload: Sequence[str]
    directory: str

    @property
    def key(self) -> Hashable:
        """A key that is equal for runs that share a template."""
        own = ((k, v) for k, v in self.env.items() if not k.startswith("PREFECT_"))
        return frozenset(own), tuple(self.preload)

    def without_settings(self) -> Kind:
        """Return the same kind without the settings of its first run, which may be invalid.

        Runs whose settings differ from those of the template read them by themselves, and can then
        report what is wrong with them.
        """
        env = {name: value for name, value in self.env.items() if not name.startswith("PREFECT_")}
        plain = {
            "PREFECT_PROFILES_PATH": os.devnull,
            "PREFECT_LOGGING_CONFIG_PATH": str(DEFAULT_LOGGING_SETTINGS_PATH),
        }
        return replace(self, env={**env, **plain}, directory="/")


@dataclass
class Template:
    """One process from which runs are forked."""

    process: asyncio.subprocess.Process
    channel: socket.socket
    kept: frozenset[str]
    left_out: Mapping[str, str]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    closed: bool = False
    installed: preload.State = field(default_factory=preload.state)

    @property
    def serves(self) -> bool:
        """Whether it is alive, and no package was installed or removed since it started."""
        lives = self.process.returncode is None and not self.closed
        return lives and self.installed == preload.state()

    @classmethod
    async def start(cls, kind: Kind, modules: Sequence[str]) -> Template:
        """Start a template for runs of `kind` that imports `modules`.

        Raises:
            TemplateError: it has died, does not answer, or has more than one thread.
        """
        ours, theirs = framing.pair()
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-c", BOOT, str(theirs.fileno())),
                    pass_fds=[theirs.fileno()],
                    stdin=asyncio.subprocess.DEVNULL,
                    env=dict(kind.env),
                    cwd=kind.directory,
                )
            except OSError as error:
                ours.close()
                raise TemplateError(str(error)) from error
        template = cls(process, ours, frozenset(), {})
        try:
            ready = await template.order(modules)
        except BaseException:
            await template.close()
            raise
        if ready.threads != 1:
            await template.close()
            raise TemplateError(f"it has {ready.threads} threads, which no fork survives")
        template.kept = frozenset(ready.kept)
        template.left_out = ready.left_out
        return template

    async def fork(self, request: Request, files: Sequence[int]) -> int:
        """Fork for `request`, with copies of `files`; return the pid of the worker's new child.

        Raises:
            TemplateError: it has died, does not answer, or cannot fork.
        """
        async with self.lock, self._answering(FORK_SECONDS):
            ours, theirs = framing.pair()
            with ours:
                with theirs:
                    await self._send(request.encode(), [*files, theirs.fileno()])
                answer = messages.answer(await framing.receive_in_loop(ours))
                if isinstance(answer, messages.Refused):
                    raise TemplateError(f"it cannot fork: {answer.reason}")
                # Nothing is awaited from here on, so if a caller gives up, the run has not begun.
                framing.send(ours, messages.Go().encode())
                return answer.pid

    async def order(self, modules: Sequence[str]) -> messages.Ready:
        """Make it import `modules`; return its answer.

        Raises:
            TemplateError: it has died, does not answer, or refuses.
        """
        async with self.lock, self._answering(START_SECONDS):
            await self._send(messages.Order(list(modules)).encode())
            answer = messages.from_new_template(await framing.receive_in_loop(self.channel))
        if isinstance(answer, messages.Refused):
            raise TemplateError(answer.reason)
        return answer

    async def _send(self, content: bytes, files: Sequence[int] = ()) -> None:
        try:
            await framing.send_in_loop(self.channel, content, files)
        except BaseException:
            self.closed = True  # a part of the message may have been sent, so nothing can follow
            raise

    @contextlib.asynccontextmanager
    async def _answering(self, seconds: float) -> AsyncIterator[None]:
        """Raise `TemplateError` if it does not answer within `seconds`, or its channel breaks."""
        if self.closed:
            raise RetiredError("it has been replaced")
        try:
            async with asyncio.timeout(seconds):
                yield
        except (OSError, EOFError, ValueError) as error:
            raise TemplateError(str(error) or type(error).__name__) from error

    async def retire(self) -> None:
        """End it after the request in progress; the runs that it has forked go on."""
        async with self.lock:
            self.closed = True
            await self._end()

    async def close(self) -> None:
        """End it at once; the runs that it has forked go on."""
        self.closed = True
        self._kill()
        async with self.lock:  # the socket is in use while somebody waits for an answer
            await self._end()

    async def _end(self) -> None:
        self._kill()
        self.channel.close()
        await self.process.wait()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
