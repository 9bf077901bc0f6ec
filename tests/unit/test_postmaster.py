"""Lock files that PostgreSQL has left, and whether a process still stands behind them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest

from scripts.backends.embedded import postmaster
from server.errors import MistakeError, StackError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory that looks undamaged."""
    folder = tmp_path / "data"
    (folder / "global").mkdir(parents=True)
    (folder / "PG_VERSION").write_text("18\n")
    (folder / "global" / "pg_control").write_bytes(bytes(8192))
    return folder


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    folder = tmp_path / "socket"
    folder.mkdir()
    return folder


@contextmanager
def postgres(tmp_path: Path, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process called `postgres` that works in `cwd`, as PostgreSQL does in its data directory."""
    program = tmp_path / "postgres"
    if not program.exists():
        shutil.copy2(shutil.which("sleep") or "sleep", program)
    process = subprocess.Popen([program, "600"], cwd=cwd)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_lock_files_that_name_another_process_are_removed(data: Path, socket: Path) -> None:
    for lock in (data / "postmaster.pid", socket / ".s.PGSQL.5432.lock"):
        lock.write_text(f"{os.getpid()}\n{data}\n")
    (socket / ".s.PGSQL.5432").touch()
    postmaster.clear(data, socket)
    assert not (data / "postmaster.pid").exists()
    assert list(socket.iterdir()) == []


@pytest.mark.parametrize("text", ["", "nonsense\n", "99999999999999999999\n", "-1\n"])
def test_lock_files_that_are_damaged_are_removed(data: Path, socket: Path, text: str) -> None:
    for lock in (data / "postmaster.pid", socket / ".s.PGSQL.5432.lock"):
        lock.write_text(text)
    postmaster.clear(data, socket)
    assert not (data / "postmaster.pid").exists()
    assert list(socket.iterdir()) == []


def test_a_postgres_of_other_data_does_not_keep_a_stale_lock(
    tmp_path: Path, data: Path, socket: Path
) -> None:
    with postgres(tmp_path, tmp_path) as other:
        (data / "postmaster.pid").write_text(f"{other.pid}\n{data}\n")
        postmaster.clear(data, socket)
        assert not (data / "postmaster.pid").exists()
        assert other.poll() is None


def test_a_postgres_that_lives_on_the_data_is_named_and_left_alone(
    tmp_path: Path, data: Path, socket: Path
) -> None:
    with postgres(tmp_path, data) as ours:
        (data / "postmaster.pid").write_text(f"{ours.pid}\n")
        data.parent.joinpath("data").rename(tmp_path / "renamed")
        with pytest.raises(StackError, match=f"runs on the data.*(?s:.*){ours.pid}"):
            postmaster.clear(tmp_path / "renamed", socket, grace_seconds=0.1)
        assert ours.poll() is None
        assert (tmp_path / "renamed" / "postmaster.pid").exists()


def test_another_postgres_that_listens_in_the_folder_is_named_and_left_alone(
    tmp_path: Path, data: Path, socket: Path
) -> None:
    with postgres(tmp_path, tmp_path) as other:
        (socket / ".s.PGSQL.5432.lock").write_text(f"{other.pid}\n")
        with pytest.raises(StackError, match="another PostgreSQL listens"):
            postmaster.clear(data, socket)
        assert (socket / ".s.PGSQL.5432.lock").exists()


def test_the_children_of_a_killed_postgres_are_ended_before_its_lock_goes(
    tmp_path: Path, data: Path, socket: Path
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        check=True,
        capture_output=True,
        text=True,
    )
    with postgres(tmp_path, data) as child:
        (data / "postmaster.pid").write_text(killed.stdout)
        postmaster.clear(data, socket, grace_seconds=0.1)
        assert not psutil.pid_exists(child.pid) or child.wait() is not None
        assert not (data / "postmaster.pid").exists()


@pytest.mark.parametrize("content", [None, b"", bytes(100)])
def test_a_damaged_control_file_is_named(data: Path, content: bytes | None) -> None:
    postmaster.check(data, "18")
    control = data / "global" / "pg_control"
    control.unlink()
    if content is not None:
        control.write_bytes(content)
    with pytest.raises(MistakeError, match=r"damaged.*pg_control"):
        postmaster.check(data, "18")


@pytest.mark.parametrize("text", [None, "", "\0\0"])
def test_data_without_a_version_are_damaged(data: Path, text: str | None) -> None:
    (data / "PG_VERSION").unlink()
    if text is not None:
        (data / "PG_VERSION").write_text(text)
    with pytest.raises(MistakeError, match=r"damaged.*PG_VERSION"):
        postmaster.check(data, "18")


def test_data_of_another_version_are_told_from_damaged_ones(data: Path) -> None:
    (data / "PG_VERSION").write_text("17\n")
    with pytest.raises(MistakeError, match="another version"):
        postmaster.check(data, "18")
