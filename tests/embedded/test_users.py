"""Who may run the stack, and from where."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests import stack as stacks
from tests.embedded.processes import facts
from tests.stack import Stack, complete

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="stack-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def make(folder: Path, name: str, user: str | None) -> Stack:
    """A stack in a clone of its own in `folder`."""
    root = stacks.clone(folder)
    return Stack(root, f"test-{name}-{os.getpid()}", stacks.free_port(), "embedded", user)


@needs_root
def test_an_ordinary_user_runs_it_from_a_clean_clone(open_folder: Path) -> None:
    made = make(open_folder, "user", "nobody")
    # With an environment of its own, of the system's Python: root's is closed to others.
    (open_folder / ".venv").unlink()
    made.variables["PATH"] = "/usr/bin:/bin"
    nobody = pwd.getpwnam("nobody")
    for path in (open_folder, *open_folder.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
    with stacks.stack(made):
        said = made.run("scripts/stack", "up", "--embedded", timeout=600)
        assert said.returncode == 0, made.said[-1]
        with made.client() as client:
            complete(client, "hello/hello")
        assert {each["username"] for each in facts(made, "username")} == {"nobody"}


@needs_root
def test_root_runs_it_without_a_login_and_postgres_is_not_root(open_folder: Path) -> None:
    made = make(open_folder, "root", None)
    made.variables["STACK_AUTH"] = "off"
    with stacks.stack(made):
        assert "login" not in made.up()
        found = facts(made, "name", "username")
        owners = {each["username"] for each in found if each["name"] == "postgres"}
        assert owners == {"prefect-stack"}
        assert (open_folder / ".stack" / made.name / "postgres").is_dir()
        # As a browser sends it for another site: no token, and a body that needs no permission.
        refused = httpx.post(f"{made.url}/api/flows/filter", content="{}")
        assert refused.status_code == httpx.codes.FORBIDDEN
        assert httpx.get(f"{made.url}/api/version").status_code == httpx.codes.OK
        script = 'eval "$(scripts/stack env)" && prefect deployment run hello/hello --watch'
        result = made.run("sh", "-c", script)
        assert "finished successfully" in result.stdout, made.said[-1]
        assert f"URL: {made.url}/v2/runs/" in result.stdout
