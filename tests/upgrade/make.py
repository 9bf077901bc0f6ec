"""Makes the dump of a stack's database that tests/embedded/test_upgrade.py starts from.

Type `scripts/python -m tests.upgrade.make` in a checkout whose lock has the Prefect that the dump
is to be of; see README.md in this folder.
"""

from __future__ import annotations

import lzma
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import __version__

from scripts.backends.embedded import cluster as clusters
from scripts.backends.embedded import layout as layouts
from server import secrets
from server.place import DATABASE_NAME, DATABASE_USER
from tests import stack as stacks
from tests.stack import Stack, complete, deployment, post

if TYPE_CHECKING:
    import httpx

FOLDER = Path(__file__).parent
# No stack of anybody has this key. The secret that it encrypts is in STACK_FILE below.
ENCRYPTION_KEY = "b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQtb2xkLW9sZC0="
SECRET = "written-before-the-upgrade"
DEPLOYMENT = "hello/old"
STATES = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "FAILED", "CRASHED", "CANCELLED")

DEPLOYMENTS = """\
name: prefect-stack
pull: []
deployments:
  - name: old
    entrypoint: flows/hello.py:hello
    tags: [old]
    parameters: {name: past}
    schedules: [{slug: every-hour, interval: 3600}]
    work_pool: {name: default}
"""

STACK_FILE = f"""\
work_pools:
  - name: default
    type: prefork
    base_job_template:
      variables: {{properties: {{working_dir: {{default: "{{{{ $STACK_ROOT }}}}"}}}}}}
blocks: [{{type: secret, name: old-token, data: {{value: {SECRET}}}}}]
variables: [{{name: old_region, value: {{name: eu, zones: [1, two]}}}}]
concurrency_limits: [{{name: old-database, limit: 3}}]
tag_limits: [{{tag: "old:heavy", limit: 2}}]
automations:
  - name: old-follow
    trigger:
      type: event
      posture: Reactive
      expect: [prefect.flow-run.Failed]
      match: {{prefect.resource.id: prefect.flow-run.*}}
      threshold: 1
      within: 0
    actions: [{{type: do-nothing}}]
"""


def main() -> None:
    """Run a stack until its database holds something of every kind, then dump the database."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        stack = Stack(
            stacks.clone(Path(folder)), f"make-{os.getpid()}", stacks.free_port(), "embedded"
        )
        stack.variables["ENCRYPTION_KEY"] = ENCRYPTION_KEY
        (stack.root / "prefect.yaml").write_text(DEPLOYMENTS)
        (stack.root / "stack.yaml").write_text(STACK_FILE)
        with stacks.stack(stack):
            stack.up()
            with stack.client() as client:
                make_runs(client)
            path = FOLDER / f"prefect-{__version__}.sql.xz"
            dump(stack, path)
    sys.stdout.write(f"{path}: {path.stat().st_size} bytes\n")


def make_runs(client: httpx.Client) -> None:
    """Make a run that has completed, and one in each state that an upgrade may meet."""
    complete(client, DEPLOYMENT)
    flow_id = deployment(client, DEPLOYMENT)["flow_id"]
    for state in STATES:
        body = {
            "name": state.lower(),
            "flow_id": flow_id,
            "parameters": {"name": "past"},
            "state": {"type": state, "message": "before the upgrade"},
        }
        post(client, "/flow_runs/", body)


def dump(stack: Stack, path: Path) -> None:
    """Write the database of a running stack to `path`, as compressed SQL."""
    layout = layouts.Layout(stack.name, stack.root / ".stack" / stack.name)
    cluster = clusters.of(layout)
    argv = [str(cluster.install / "bin" / "pg_dump"), "--no-owner", f"--host={cluster.socket}"]
    argv += [f"--username={DATABASE_USER}", DATABASE_NAME]
    password = secrets.database_password(layout.secrets)
    text = subprocess.run(argv, check=True, env={"PGPASSWORD": password}, stdout=subprocess.PIPE)
    path.write_bytes(lzma.compress(text.stdout))


if __name__ == "__main__":
    main()
