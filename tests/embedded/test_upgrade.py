"""A stack takes over the database of an older Prefect, as in tests/upgrade/README.md."""

from __future__ import annotations

import lzma
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from scripts.backends.embedded import layout as layouts
from server import secrets
from server.place import DATABASE_NAME, DATABASE_USER
from tests import stack as stacks
from tests.embedded import databases
from tests.stack import complete, deployment, get, post, wait_for
from tests.upgrade import make

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from tests.stack import Stack

DUMP = make.FOLDER / "prefect-3.8.8.sql.xz"


def restore(stack: Stack, dump: Path) -> None:
    """Give a stack that was never started the encryption key and database of an older one."""
    layout = layouts.Layout(stack.name, stack.root / ".stack" / stack.name)
    layout.make()
    key = layout.secrets / secrets.ENCRYPTION_KEY
    key.parent.mkdir(mode=0o700)
    key.write_text(make.ENCRYPTION_KEY)
    key.chmod(0o400)
    with databases.started(layout) as database:
        argv = [str(database.cluster.install / "bin" / "psql"), "--quiet", "--no-psqlrc"]
        argv += ["--set=ON_ERROR_STOP=1", f"--host={database.cluster.socket}"]
        argv += [f"--username={DATABASE_USER}", DATABASE_NAME]
        env = {"PGPASSWORD": secrets.database_password(layout.secrets)}
        text = lzma.decompress(dump.read_bytes())
        done = subprocess.run(argv, check=False, input=text, env=env, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        # As if the stack had been down for longer than its schedules had runs ahead.
        database.execute("delete from flow_run where auto_scheduled")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack whose database was made by Prefect 3.8.8."""
    stack = stacks.make(tmp_path_factory, "upgrade")
    with stacks.stack(stack):
        restore(stack, DUMP)
        stack.up()
        yield stack


def runs(client: httpx.Client, **of_run: Any) -> list[dict[str, Any]]:
    """Return up to 200 runs that match the filter `of_run`."""
    return list(post(client, "/flow_runs/filter", {"flow_runs": of_run, "limit": 200}))


def test_the_database_was_upgraded(stack: Stack) -> None:
    assert (
        "migrating from "
        in (stack.root / ".stack" / stack.name / "logs" / "migrate.log").read_text()
    )


def test_each_run_is_there_in_its_state(stack: Stack) -> None:
    with stack.client() as client:
        for state in make.STATES:
            (run,) = runs(client, name={"any_": [state.lower()]})
            assert run["state_type"] == state
        done = runs(client, state={"type": {"any_": ["COMPLETED"]}}, tags={"all_": ["old"]})
        assert {"name": "past"} in [run["parameters"] for run in done]


def test_what_was_declared_is_there_and_its_secret_is_still_readable(stack: Stack) -> None:
    with stack.client() as client:
        path = "/block_types/slug/secret/block_documents/name/old-token"
        block = get(client, f"{path}?include_secrets=true")
        assert block["data"] == {"value": make.SECRET}
        variable = get(client, "/variables/name/old_region")
        assert variable["value"] == {"name": "eu", "zones": [1, "two"]}
        assert get(client, "/v2/concurrency_limits/old-database")["limit"] == 3
        assert get(client, "/concurrency_limits/tag/old:heavy")["concurrency_limit"] == 2
        automations = {automation["name"] for automation in post(client, "/automations/filter", {})}
        assert {"old-follow", "find-runs-without-heartbeat"} <= automations


def test_an_old_deployment_runs(stack: Stack) -> None:
    with stack.client() as client:
        complete(client, make.DEPLOYMENT, {"name": "future"})


def test_an_old_schedule_makes_runs(stack: Stack) -> None:
    with stack.client() as client:
        old = deployment(client, make.DEPLOYMENT)["id"]

        def ahead() -> list[dict[str, Any]]:
            runs_of_old = runs(client, deployment_id={"any_": [old]})
            return [run for run in runs_of_old if run["auto_scheduled"]]

        wait_for("run of an old schedule", ahead)
