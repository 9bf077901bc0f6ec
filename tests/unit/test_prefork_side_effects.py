"""A package that changes the whole process when it is imported is not imported for all runs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

# What a package does when it is imported, by what it changes with that.
CHANGES = {
    "how modules are found": "import sys; sys.meta_path.append(type('Finder', (), {}))",
    "loggers of others": "import logging; logging.getLogger('httpx').setLevel(50)",
    "how logs are made": "import logging; logging.disable(50)",
    "the filters of warnings": "import warnings; warnings.simplefilter('ignore')",
    "the default timeout of sockets": "import socket; socket.setdefaulttimeout(1)",
    "the limit of recursions": "import sys; sys.setrecursionlimit(5000)",
    "what is done with errors": "import sys; sys.excepthook = lambda *_: None",
    "the standard streams": "import io, sys; sys.stdout = io.StringIO()",
    "tracing": "import sys; sys.setprofile(lambda *_: None)",
    "the locale": "import locale; locale.setlocale(locale.LC_ALL, 'C.UTF-8')",
    "the context of decimals": "import decimal; decimal.getcontext().prec = 5",
    "the mask of new files": "import os; os.umask(0o077)",
    "the limits of the process": "import resource as r; r.setrlimit(r.RLIMIT_CORE, (0, 0))",
    "the collection of garbage": "import gc; gc.disable()",
    "the event loop": "import asyncio; asyncio.set_event_loop_policy("
    "type('Other', (asyncio.DefaultEventLoopPolicy,), {})())",
    "random numbers": "import random; NUMBER = random.random()",
    "values that are drawn once": "import uuid; ID = uuid.uuid4()",
    "what is done at the end": "import atexit; atexit.register(print)",
    "what others use": "import builtins; builtins.print = lambda *_: None",
}
# What a package may do, since it concerns nothing but itself.
HARMLESS = """
import logging, os, random, uuid, warnings
logging.getLogger(__name__).addHandler(logging.NullHandler())
logging.getLogger(__name__).setLevel(logging.WARNING)
logging.getLogger("of_nobody").addHandler(logging.NullHandler())
class OwnWarning(UserWarning): pass
warnings.simplefilter("ignore", OwnWarning)
warnings.filterwarnings("ignore", message="of its own")
generator = random.Random()
def draws(): return uuid.uuid4()
"""
SCRIPT = """
import json, sys
from prefect_prefork.forked import preload
preload.INSTALLED += (sys.argv[1],)
stdout = sys.stdout
kept, reasons = preload.keep_warm(sys.argv[2:])
print(json.dumps([kept, reasons]), file=stdout)
"""


def keep_warm(folder: Path, names: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("PYTHONPATH", str(folder))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), *names],
        check=True,
        capture_output=True,
        text=True,
    )
    kept, reasons = json.loads(done.stdout)
    return [*kept, *(f"{name} {reason}" for name, reason in reasons.items())]


def test_a_package_that_changes_what_all_share_is_left_to_each_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {f"package_{number}": what for number, what in enumerate(CHANGES)}
    for name, what in names.items():
        (tmp_path / f"{name}.py").write_text(CHANGES[what])
    expected = [f"{name} changes {what} when it is imported" for name, what in names.items()]
    assert keep_warm(tmp_path, list(names), monkeypatch) == expected


def test_a_package_that_sets_up_only_itself_is_kept_warm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "package.py").write_text(HARMLESS)
    names = ["package", "multiprocessing.util", "concurrent.futures.process", "requests"]
    assert keep_warm(tmp_path, names, monkeypatch) == names
