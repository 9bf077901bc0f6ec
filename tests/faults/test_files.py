"""A damaged file of the stack is named and refused, or repaired, and nothing hangs."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from server import secrets
from tests.faults import inject, trial, watch
from tests.faults.claims import ends_well, works
from tests.stack import wait_for

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from tests.faults.conftest import Measured
    from tests.faults.ground import Ground

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
UP_SECONDS = 90
MISTAKE = 2


def up(ground: Ground, measured: Measured) -> tuple[int, str]:
    """Run `up`, which must not hang; return its exit code and what it printed."""
    began = time.monotonic()
    try:
        result = ground.stack.run("scripts/stack", "up", "--embedded", timeout=UP_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.fail(f"`up` did not end within {UP_SECONDS} s")
    measured |= {"exit": result.returncode, "up, s": round(time.monotonic() - began, 1)}
    return result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize("damage", ["truncated", "garbage"])
@pytest.mark.fault(
    "state.json is damaged while the stack runs",
    promises=[9],
    bound="status does not deny the stack; `up` ends in 90 s, repaired or naming the file",
)
def test_a_damaged_state_is_repaired_or_named(
    expendable: Ground, measured: Measured, damage: str
) -> None:
    state = expendable.base / "state.json"
    text = state.read_text()
    state.write_text(text[: len(text) // 2] if damage == "truncated" else "\0garbage\0")
    assert expendable.stack.status()["backend"] == "embedded", "status says that nothing runs"
    code, said = up(expendable, measured)
    if code:
        assert "state.json" in said, said
        expendable.stack.down()
        expendable.stack.up()
    assert watch.ask(expendable.stack).well
    works(expendable)


@pytest.mark.parametrize("damage", ["emptied", "removed"])
@pytest.mark.parametrize(
    "name", [secrets.DATABASE_PASSWORD, secrets.ENCRYPTION_KEY, secrets.API_PASSWORD]
)
@pytest.mark.fault(
    "the file of a secret is emptied or removed",
    promises=[9],
    bound="`up` names it and exits with 2, or makes a login anew; put back, all is as before",
)
def test_a_damaged_secret_is_named_and_refused(
    expendable: Ground, measured: Measured, name: str, damage: str
) -> None:
    expendable.stack.down()
    path = expendable.base / "secrets" / name
    kept, owner = path.read_text(), path.stat()
    path.unlink()
    if damage == "emptied":
        path.touch(mode=0o400)
        os.chown(path, owner.st_uid, owner.st_gid)
    measured["secret"] = f"{name} {damage}"
    code, said = up(expendable, measured)
    if (name, damage) == (secrets.API_PASSWORD, "removed") and code == 0:
        assert path.read_text(), "the login has an empty password"
        return
    assert code == MISTAKE, said
    assert name in said, said
    path.unlink(missing_ok=True)
    path.write_text(kept)
    path.chmod(0o400)
    os.chown(path, owner.st_uid, owner.st_gid)
    expendable.stack.up()
    works(expendable)


@pytest.mark.parametrize(
    "name", [secrets.DATABASE_PASSWORD, secrets.ENCRYPTION_KEY, secrets.API_PASSWORD]
)
@pytest.mark.fault(
    "others may read the file of a secret",
    promises=[9],
    bound="`up` names it and exits with 2, or closes it again",
)
def test_a_secret_that_others_may_read_is_refused_or_closed(
    expendable: Ground, measured: Measured, name: str
) -> None:
    expendable.stack.down()
    path = expendable.base / "secrets" / name
    path.chmod(0o644)
    code, said = up(expendable, measured)
    measured["mode"] = oct(path.stat().st_mode & 0o777)
    assert (code == MISTAKE and name in said) or path.stat().st_mode & 0o077 == 0, said


@pytest.mark.fault(
    "a stray file in a folder of the worker's journal",
    promises=[6, 9],
    bound="ignored: `up` exits with 0, a run is Completed, the worker is not started again",
)
def test_a_stray_file_in_the_journal_is_ignored(expendable: Ground, measured: Measured) -> None:
    journal = inject.journals(expendable)[0].parent
    expendable.stack.down()
    folder = journal / str(uuid4())
    folder.mkdir(parents=True, mode=0o700)
    (folder / "lock").touch(mode=0o600)
    (folder / "notes.txt").write_text("by hand\n")
    owner = journal.parent.stat()
    for path in (journal, folder, *folder.iterdir()):
        os.chown(path, owner.st_uid, owner.st_gid)
    code, said = up(expendable, measured)
    assert code == 0, said
    works(expendable)
    details = {each["name"]: each["detail"] for each in expendable.stack.status()["services"]}
    assert "restarts" not in details["worker"], details


@pytest.mark.fault(
    "the journal's entries are truncated when all was killed",
    promises=[1, 3, 9],
    bound="all ended after 120 s, Crashed only what was at work",
)
def test_runs_are_found_without_their_journal(expendable: Ground, measured: Measured) -> None:
    def killed() -> Collection[int]:
        ended = inject.kill_all(expendable)
        folders = inject.journals(expendable)
        entries = [each for folder in folders for each in folder.iterdir() if each.name != "lock"]
        assert entries, "no journal was found"
        for entry in entries:
            os.truncate(entry, 0)
        measured["entries"] = len(entries)
        expendable.stack.up()
        return ended

    result = trial.run(expendable, killed, runs=40, spread_seconds=10)
    measured |= result.measured()
    ends_well(expendable, result)


@pytest.mark.parametrize("name", ["postmaster.pid", "socket lock"])
@pytest.mark.fault(
    "a lock file of a dead PostgreSQL names a process that lives",
    promises=[9],
    bound="`up` exits with 0",
)
def test_a_stale_lock_of_postgresql_is_seen_through(
    expendable: Ground, measured: Measured, name: str
) -> None:
    data, socket = inject.postgres_data(expendable), inject.socket_folder(expendable)
    files = {"postmaster.pid": data / "postmaster.pid", "socket lock": _lock(socket)}
    path = files[name]
    text, owner = path.read_text(), path.stat()
    expendable.stack.down()
    with _stranger() as pid:
        _write(path, f"{pid}\n" + text.split("\n", 1)[1], owner)
        measured["file"] = name
        code, said = up(expendable, measured)
        assert code == 0, said
        works(expendable)


@pytest.mark.fault(
    "the work pool is deleted by hand",
    promises=[6, 9],
    bound="`up` on the running stack makes it again and exits with 0; a run is Completed",
)
def test_up_makes_a_deleted_pool_again(expendable: Ground, measured: Measured) -> None:
    with expendable.stack.client() as client:
        client.delete("/work_pools/default").raise_for_status()
    code, said = up(expendable, measured)
    assert code == 0, said
    works(expendable)
    wait_for("stack that is well", lambda: watch.ask(expendable.stack).well, 60)


def _lock(socket: Path) -> Path:
    [lock] = socket.glob(".s.PGSQL.*.lock")
    return lock


def _write(path: Path, text: str, owner: os.stat_result) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    os.chown(path, owner.st_uid, owner.st_gid)


@contextmanager
def _stranger() -> Iterator[int]:
    """Yield the pid of a process that has nothing to do with any stack."""
    process = subprocess.Popen(["sleep", "600"])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()
