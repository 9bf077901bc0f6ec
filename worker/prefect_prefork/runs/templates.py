"""Starts, keeps and replaces the templates of a worker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from prefect.logging.configuration import DEFAULT_LOGGING_SETTINGS_PATH

from prefect_prefork.common import framing, messages
from prefect_prefork.forked import preload

if TYPE_CHECKING:
    import logging
    import socket
    from collections.abc import AsyncIterator, Hashable, Mapping, Sequence

    from prefect_prefork.common.messages import Request

# `-c` puts the working directory first on the path of modules, and files of the user there may have
# the names of packages. `-P` would keep it out, but Pythons that a run starts would inherit that.
BOOT = (
    "import sys; sys.flags.safe_path or sys.path.pop(0);"
    " from prefect_prefork.forked.template import main; main()"
)
START_SECONDS = 60  # Prefect is imported within 2 s, a large package on a busy machine takes longer
FORK_SECONDS = 10
RETRY_SECONDS = 60  # after this long, a kind whose template did not start is tried again
MAX_TEMPLATES = 4  # at a time: each holds about 80 MB


class TemplateError(Exception):
    """A template does not do what it was asked to."""


class RetiredError(TemplateError):
    """The template was replaced, or had to make room, before it was asked."""


@dataclass(frozen=True)
class Kind:
    """What runs need to have in common to share a template.

    That is the environment, since any package may read it while it is imported, except for
    Prefect's own settings: a run that finds others reads them again. They are read in `directory`.
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
        say what is wrong with them.
        """
        env = {name: value for name, value in self.env.items() if not name.startswith("PREFECT_")}
        plain = {
            "PREFECT_PROFILES_PATH": os.devnull,
            "PREFECT_LOGGING_CONFIG_PATH": str(DEFAULT_LOGGING_SETTINGS_PATH),
        }
        return replace(self, env={**env, **plain}, directory="/")


@dataclass
class Template:
    """One process to fork from."""

    process: asyncio.subprocess.Process
    channel: socket.socket
    kept: frozenset[str]
    left_out: Mapping[str, str]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    closed: bool = False
    installed: preload.State = field(default_factory=preload.state)

    @property
    def serves(self) -> bool:
        """Whether it lives, and no package was installed or removed since it started."""
        lives = self.process.returncode is None and not self.closed
        return lives and self.installed == preload.state()

    @classmethod
    async def start(cls, kind: Kind, modules: Sequence[str]) -> Template:
        """Start a template for runs of `kind` that imports `modules`.

        Raises:
            TemplateError: it has died, hangs, or has a thread.
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
            said = await template.order(modules)
        except BaseException:
            await template.close()
            raise
        if said.threads != 1:
            await template.close()
            raise TemplateError(f"it has {said.threads} threads, which no fork survives")
        template.kept = frozenset(said.kept)
        template.left_out = said.left_out
        return template

    async def fork(self, request: Request, files: Sequence[int]) -> int:
        """Fork for `request`, with copies of `files`; return the pid, of a child of this process.

        Raises:
            TemplateError: it has died, or hangs.
        """
        async with self.lock, self._answering(FORK_SECONDS):
            ours, theirs = framing.pair()
            with ours:
                with theirs:
                    await self._send(request.encode(), [*files, theirs.fileno()])
                said = messages.answer(await framing.receive_in_loop(ours))
                if isinstance(said, messages.Refused):
                    raise TemplateError(f"it cannot fork: {said.reason}")
                # Nothing waits from here to the return: if a caller gives up, the run has not
                # begun.
                framing.send(ours, messages.Go().encode())
                return said.pid

    async def order(self, modules: Sequence[str]) -> messages.Ready:
        """Have it import `modules`; return what it then says of itself.

        Raises:
            TemplateError: it has died, hangs, or refuses.
        """
        async with self.lock, self._answering(START_SECONDS):
            await self._send(messages.Order(list(modules)).encode())
            said = messages.from_new_template(await framing.receive_in_loop(self.channel))
        if isinstance(said, messages.Refused):
            raise TemplateError(said.reason)
        return said

    async def _send(self, content: bytes, files: Sequence[int] = ()) -> None:
        try:
            await framing.send_in_loop(self.channel, content, files)
        except BaseException:
            self.closed = True  # a part of it may be on its way: nothing can follow
            raise

    @contextlib.asynccontextmanager
    async def _answering(self, seconds: float) -> AsyncIterator[None]:
        """Raise `TemplateError` if it does not answer within `seconds`, or is broken."""
        if self.closed:
            raise RetiredError("it has been replaced")
        try:
            async with asyncio.timeout(seconds):
                yield
        except (OSError, EOFError, ValueError) as error:
            raise TemplateError(str(error) or type(error).__name__) from error

    async def retire(self) -> None:
        """End it after the request that it is answering; the runs that it has forked go on."""
        async with self.lock:
            self.closed = True
            await self._end()

    async def close(self) -> None:
        """End it at once; the runs that it has forked go on."""
        self.closed = True
        self._kill()
        async with self.lock:  # the socket is in use as long as somebody waits for an answer
            await self._end()

    async def _end(self) -> None:
        self._kill()
        self.channel.close()
        await self.process.wait()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()


class Templates:
    """The templates of a worker, one for each kind of runs; they learn what the runs import."""

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        """Start with no template. `logger` is that of the worker."""
        self._logger = logger
        self._ready: OrderedDict[Hashable, Template] = OrderedDict()
        self._locks: dict[Hashable, asyncio.Lock] = {}
        self._learnt: dict[Hashable, dict[str, None]] = {}
        self._asked: Counter[Hashable] = Counter()
        self._refused: dict[str, str] = {}
        self._failed: dict[Hashable, tuple[float, str]] = {}  # until when, and why
        self._renewals: dict[Hashable, asyncio.Task[None]] = {}

    async def fork(self, kind: Kind, request: Request, files: Sequence[int]) -> int:
        """Fork for `request` from the template of `kind`, which is started if there is none.

        A template that fails is replaced, and its replacement is asked once.

        Raises:
            TemplateError: the replacement fails, too.
        """
        self._asked[kind.key] += 1
        failed = False
        while True:
            template = await self._get(kind)
            try:
                return await template.fork(request, files)
            except RetiredError:
                continue
            except TemplateError as error:
                await self._drop(kind, template)
                if failed:
                    raise
                failed = True
                self._logger.warning("The template failed and is replaced: %s", error)

    async def warm(self, kind: Kind) -> None:
        """Make sure that there is a template of `kind`.

        Raises:
            TemplateError: none starts.
        """
        await self._get(kind)

    def learn(self, kind: Kind, names: Sequence[str]) -> None:
        """Start a new template of `kind` that imports `names`, too, if that is of any use."""
        if self._asked[kind.key] <= 1:  # as far as one can tell, a kind with a single run
            return
        template = self._ready.get(kind.key)
        kept = template.kept if template else frozenset()
        new = [name for name in names if name not in kept and name not in self._refused]
        if new and kind.key not in self._renewals:
            self._learnt.setdefault(kind.key, {}).update(dict.fromkeys(new))
            self._renewals[kind.key] = asyncio.create_task(self._renew(kind))

    async def close(self) -> None:
        """End all templates; the runs that they have forked go on."""
        for task in self._renewals.values():
            task.cancel()
        await asyncio.gather(*self._renewals.values(), return_exceptions=True)
        for template in self._ready.values():
            await template.close()
        self._ready.clear()

    async def _get(self, kind: Kind) -> Template:
        async with self._locks.setdefault(kind.key, asyncio.Lock()):
            template = self._ready.get(kind.key)
            if template is None or not template.serves:
                template = await self._start_unless_hopeless(kind)
                await self._put(kind, template)
            self._ready.move_to_end(kind.key)
            return template

    async def _start_unless_hopeless(self, kind: Kind) -> Template:
        now = time.monotonic()
        self._failed = {key: each for key, each in self._failed.items() if each[0] > now}
        if failed := self._failed.get(kind.key):
            raise TemplateError(failed[1])
        try:
            return await self._start(kind)
        except TemplateError as error:
            self._failed[kind.key] = time.monotonic() + RETRY_SECONDS, str(error)
            raise

    async def _start(self, kind: Kind) -> Template:
        try:
            template = await self._start_with(kind, self._wanted(kind))
        except TemplateError as error:
            learnt = self._learnt.pop(kind.key, None)
            if not learnt:
                raise
            self._refused |= dict.fromkeys(learnt, str(error))
            template = await self._start_with(kind, self._wanted(kind))
        for name, reason in template.left_out.items():
            self._refused[name] = reason
            say = self._logger.warning if name in kind.preload else self._logger.debug
            say("The module %s is not kept warm, each run imports it: %s", name, reason)
        return template

    async def _start_with(self, kind: Kind, modules: Sequence[str]) -> Template:
        try:
            return await Template.start(kind, modules)
        except TemplateError as error:
            template = await Template.start(kind.without_settings(), modules)
            self._logger.warning(
                "A template was started without settings, which its runs then read themselves: %s",
                error,
            )
            return template

    def _wanted(self, kind: Kind) -> list[str]:
        modules = dict.fromkeys((*kind.preload, *self._learnt.get(kind.key, ())))
        return [each for each in modules if each not in self._refused]

    async def _put(self, kind: Kind, template: Template) -> None:
        old = self._ready.pop(kind.key, None)
        self._ready[kind.key] = template
        if old is not None:
            await old.retire()
        while len(self._ready) > MAX_TEMPLATES:
            key, old = self._ready.popitem(last=False)
            self._forget(key)
            await old.retire()

    def _forget(self, key: Hashable) -> None:
        self._learnt.pop(key, None)
        self._asked.pop(key, None)
        if (lock := self._locks.get(key)) and not lock.locked():
            del self._locks[key]

    async def _drop(self, kind: Kind, template: Template) -> None:
        if self._ready.get(kind.key) is template:
            del self._ready[kind.key]
        await template.close()

    async def _renew(self, kind: Kind) -> None:
        try:
            await self._put(kind, await self._start(kind))
        except TemplateError as error:
            self._logger.warning(
                "A template that imports what the runs need did not start: %s", error
            )
        finally:
            del self._renewals[kind.key]
