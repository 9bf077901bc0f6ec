"""The users who run the stack, and what each of them may read and write."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from scripts.backends.embedded import accounts
from tests import stack as stacks
from tests.embedded.processes import facts, service
from tests.stack import SOURCE, Stack, complete

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="stack-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def make(folder: Path, name: str, user: str | None) -> Stack:
    """Return an embedded stack in a clone in `folder`, whose commands `user` runs."""
    root = stacks.clone(folder)
    return Stack(root, f"test-{name}-{os.getpid()}", stacks.free_port(), "embedded", user)


@needs_root
@pytest.mark.slow  # it creates a whole environment
def test_an_ordinary_user_runs_it_from_a_clean_clone(open_folder: Path) -> None:
    stack = make(open_folder, "user", "nobody")
    # It needs its own environment, with the system's Python, since root's is closed to others.
    (open_folder / ".venv").unlink()
    stack.variables["PATH"] = "/usr/bin:/bin"
    nobody = pwd.getpwnam("nobody")
    for path in (open_folder, *open_folder.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
    with stacks.stack(stack):
        said = stack.run("scripts/stack", "up", "--embedded", timeout=600)
        assert said.returncode == 0, stack.said[-1]
        with stack.client() as client:
            complete(client, "hello/hello")
        assert {process["username"] for process in facts(stack, "username")} == {"nobody"}


@needs_root
def test_root_runs_it_as_users_of_the_stack_who_cannot_reach_its_secrets(
    open_folder: Path,
) -> None:
    stack = make(open_folder, "root", None)
    stack.variables |= {"STACK_AUTH": "off", "TOKEN_OF_THE_SHELL": "secret"}
    if not accounts.open_to_all((SOURCE / ".venv/bin/python").resolve()):
        (open_folder / ".venv").unlink()  # replaced by one with a Python that all users may run
        prepared = stack.run("scripts/python", "-c", "pass", timeout=600, env=dict(os.environ))
        assert prepared.returncode == 0, stack.said[-1]
    stack.command("init", "own")
    stack.variables["STACK_PROJECT"] = "own"
    base = open_folder / ".stack" / stack.name
    old = base / "data" / "of an older release"
    old.parent.mkdir(parents=True)
    old.touch()
    with stacks.stack(stack):
        said = stack.up()
        assert "login" not in said
        assert "warning" not in said, said
        attributes = facts(stack, "name", "username")
        owners = {each["username"] for each in attributes if each["name"] == "postgres"}
        assert owners == {accounts.STACK}
        assert (base / "postgres").is_dir()
        server, worker = service(stack, "server"), service(stack, "worker")
        assert server.username() == accounts.STACK
        assert worker.username() == accounts.FLOWS
        assert old.owner() == accounts.FLOWS
        assert "TOKEN_OF_THE_SHELL" not in {**server.environ(), **worker.environ()}
        refuses_flows(base, open_folder, open_folder / "own", server.pid)
        # What a browser sends for another site without asking first: a plain body and no token.
        refused = httpx.post(f"{stack.url}/api/flows/filter", content="{}")
        assert refused.status_code == httpx.codes.FORBIDDEN
        assert httpx.get(f"{stack.url}/api/version").status_code == httpx.codes.OK
        script = 'eval "$(scripts/stack env)" && prefect deployment run hello/hello --watch'
        result = stack.run("sh", "-c", script)
        assert "finished successfully" in result.stdout, stack.said[-1]
        assert f"URL: {stack.url}/v2/runs/" in result.stdout
        assert "was already running" in stack.up()  # and bootstrap succeeded, as that user
    assert not base.exists()


def refuses_flows(base: Path, clone: Path, project: Path, server_pid: int) -> None:
    """Check that the user of flows can read and write what it needs, and nothing else."""

    def may(script: str, *arguments: object) -> bool:
        argv = ["sh", "-c", script, "sh", *map(str, arguments)]
        silent = subprocess.DEVNULL
        return (
            subprocess.run(
                argv,
                check=False,
                user=accounts.FLOWS,
                group=accounts.FLOWS,
                extra_groups=[],
                cwd="/",
                stdout=silent,
                stderr=silent,
            ).returncode
            == 0
        )

    for name in ("database/password", "encryption/key", "api/password"):
        assert (base / "secrets" / name).is_file()
        assert not may('cat "$1"', base / "secrets" / name)
    assert not may('cat "$1"', f"/proc/{server_pid}/environ")
    code = (clone, clone / "server", clone / ".venv", project, project / "flows")
    for folder in (*code, base, base / "logs"):
        assert not may('touch "$1/planted"', folder)
    assert may('cat "$1"', project / "flows" / "hello.py")
    assert may('touch "$1/kept"', base / "data")


@needs_root
def test_a_stack_of_roots_that_cannot_protect_the_machine_says_so(stack: Stack) -> None:
    assert "closed to other users; move the clone" in str(stack.status()["warning"])
    assert (
        "warning: server, worker and flows run as root"
        in stack.run("scripts/stack", "status").stdout
    )
