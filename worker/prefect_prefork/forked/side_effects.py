"""Detects whether importing a package changes state that all modules of a process share.

A run has to find this state as its environment sets it, not as a package has changed it that only
other runs need. A package with such a side effect is therefore left to the runs to import. What it
sets only for itself, such as its own loggers, does not count.
"""

from __future__ import annotations

import asyncio
import atexit
import builtins
import decimal
import gc
import locale
import logging
import os
import random
import resource
import secrets
import signal
import socket
import sys
import sysconfig
import threading
import time
import uuid
import warnings
from typing import TYPE_CHECKING, Any, cast

import certifi

if TYPE_CHECKING:
    from collections.abc import Callable

Snapshot = dict[str, object]
STDLIB, SITE = sysconfig.get_path("stdlib") + os.sep, sysconfig.get_path("purelib") + os.sep
LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]

# Calls since `watch` that draw random values, and that register exit functions.
_drawn: list[str] = []
_registered: list[str] = []


def watch() -> None:
    """Record the calls that leave no visible trace; only for a process that exits afterwards."""
    certifi.where()  # its first call registers an exit function, which is harmless
    for module, name in (
        *((os, "urandom"), (uuid, "uuid1"), (uuid, "uuid4")),
        *((secrets, "token_bytes"), (secrets, "token_hex"), (secrets, "token_urlsafe")),
    ):
        _record_calls(module, name, _drawn)
    _record_calls(atexit, "register", _registered)


def snapshot() -> Snapshot:
    """Return the shared state, by the name of each part."""
    return {what: read() for what, read in SHARED.items()}


def changed(before: Snapshot, loaded: set[str]) -> str | None:
    """Return a part that differs from `before`, after the modules `loaded` were loaded; or None."""
    own = {name.partition(".")[0] for name in loaded}
    for what, value in snapshot().items():
        if what == LOGGERS:
            if _loggers_differ(cast("Any", before[what]), cast("Any", value), own):
                return what
        elif value != before[what]:
            return what
    return None


def _record_calls(module: Any, name: str, calls: list[str]) -> None:
    original = getattr(module, name)

    def record(*args: Any, **kwargs: Any) -> Any:
        file = sys._getframe(1).f_code.co_filename  # noqa: SLF001
        if not file.startswith(STDLIB) or file.startswith(SITE):
            calls.append(name)
        return original(*args, **kwargs)

    setattr(module, name, record)


def _loggers() -> dict[str, object]:
    manager = logging.getLogger().manager
    loggers = {"": logging.getLogger(), **manager.loggerDict}
    return {
        name: (each.level, each.propagate, each.disabled, _handlers(each), list(each.filters))
        for name, each in loggers.items()
        if isinstance(each, logging.Logger)
    }


def _handlers(logger: logging.Logger) -> list[logging.Handler]:
    return [each for each in logger.handlers if not isinstance(each, logging.NullHandler)]


def _loggers_differ(before: dict[str, object], now: dict[str, object], own: set[str]) -> bool:
    fresh: tuple[object, ...] = (logging.NOTSET, True, False, [], [])
    return any(
        now[name] != before.get(name, fresh)
        for name in now
        if not name or name.partition(".")[0] not in own
    )


def _filters() -> list[object]:
    """Return the filters that apply to every module and text, for Python's own categories."""
    return [
        (action, category, line)
        for action, message, category, module, line in warnings.filters
        if message is None and module is None and category.__module__ == "builtins"
    ]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _finders() -> list[object]:
    # Many packages use `six`, which has a finder for its own modules only.
    known = [each for each in sys.meta_path if type(each).__name__ != "_SixMetaPathImporter"]
    return [known, list(sys.path_hooks)]


LOGGERS = "loggers of others"
SHARED: dict[str, Callable[[], object]] = {
    "the environment": lambda: dict(os.environ),
    "the working directory": os.getcwd,
    "the path of modules": lambda: list(sys.path),
    "how modules are found": _finders,
    "the handlers of signals": lambda: [signal.getsignal(each) for each in signal.valid_signals()],
    # gevent and similar packages patch these.
    "what others use": lambda: (socket.socket, threading.Thread, time.sleep, vars(builtins).copy()),
    LOGGERS: _loggers,
    "how logs are made": lambda: (
        *(logging.getLoggerClass(), logging.getLogRecordFactory()),
        *(logging.getLogger().manager.disable, logging.lastResort, logging.raiseExceptions),
    ),
    "the filters of warnings": lambda: (_filters(), warnings.showwarning),
    "the default timeout of sockets": socket.getdefaulttimeout,
    "the limit of recursions": sys.getrecursionlimit,
    "what is done with errors": lambda: (
        *(sys.excepthook, sys.unraisablehook, threading.excepthook, sys.displayhook),
    ),
    "the standard streams": lambda: (sys.stdin, sys.stdout, sys.stderr),
    "tracing": lambda: (sys.gettrace(), sys.getprofile(), threading.gettrace()),
    "the locale": lambda: locale.setlocale(locale.LC_ALL),
    "the time zone": lambda: time.tzname,
    "the context of decimals": lambda: (
        *(repr(decimal.getcontext()), repr(decimal.DefaultContext)),
    ),
    "the mask of new files": _umask,
    "the limits of the process": lambda: (
        *(resource.getrlimit(each) for each in LIMITS),
        os.getpriority(os.PRIO_PROCESS, 0),
    ),
    "the collection of garbage": lambda: (gc.isenabled(), gc.get_threshold()),
    "the event loop": lambda: type(asyncio.get_event_loop_policy()),
    "random numbers": random.getstate,
    "values that are drawn once": lambda: len(_drawn),
    "what is done at the end": lambda: len(_registered),
}
