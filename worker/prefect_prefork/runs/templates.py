"""Starts, keeps and replaces the templates of a worker."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Any

from prefect_prefork.runs.template_process import RetiredError, Template, TemplateError

if TYPE_CHECKING:
    import logging
    from collections.abc import Hashable, Sequence

    from prefect_prefork.common.messages import Request
    from prefect_prefork.runs.template_process import Kind

RETRY_SECONDS = 60  # before another attempt to start a template that did not start
MAX_TEMPLATES = 4  # at a time, since each takes about 80 MB


class Templates:
    """The templates of a worker, one for each kind of runs; they learn what the runs import."""

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        self._logger = logger
        self._ready: OrderedDict[Hashable, Template] = OrderedDict()
        self._locks: dict[Hashable, asyncio.Lock] = {}
        self._learnt: dict[Hashable, dict[str, None]] = {}
        self._requests: Counter[Hashable] = Counter()
        self._refused: dict[str, str] = {}
        self._failed: dict[Hashable, tuple[float, str]] = {}  # until when, and why
        self._renewals: dict[Hashable, asyncio.Task[None]] = {}

    async def fork(self, kind: Kind, request: Request, files: Sequence[int]) -> int:
        """Fork for `request` from the template of `kind`, which is started if there is none.

        A template that fails is replaced, and the request is repeated once.

        Raises:
            TemplateError: the replacement fails as well.
        """
        self._requests[kind.key] += 1
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
            TemplateError: it does not start.
        """
        await self._get(kind)

    def learn(self, kind: Kind, names: Sequence[str]) -> None:
        """Start a new template of `kind` that also imports `names`, if that is useful."""
        if self._requests[kind.key] <= 1:  # there may never be a second run of this kind
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
        self._failed = {key: failure for key, failure in self._failed.items() if failure[0] > now}
        if failure := self._failed.get(kind.key):
            raise TemplateError(failure[1])
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
        return [name for name in modules if name not in self._refused]

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
        self._requests.pop(key, None)
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
