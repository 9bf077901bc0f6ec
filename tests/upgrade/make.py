"""Makes the dump of a stack's database that tests/embedded/test_upgrade.py goes on with.

Typed as `scripts/python -m tests.upgrade.make`, in a checkout whose lock has the Prefect to make
one of: README.md beside this file.
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
# Of nobody: what it encrypts is in STACK_FILE below.
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
    """Run a stack until its database holds some of everything, then dump that."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        made = Stack(
            stacks.clone(Path(folder)), f"make-{os.getpid()}", stacks.free_port(), "embedded"
        )
        made.variables["ENCRYPTION_KEY"] = ENCRYPTION_KEY
        (made.root / "prefect.yaml").write_text(DEPLOYMENTS)
        (made.root / "stack.yaml").write_text(STACK_FILE)
        with stacks.stack(made):
            made.up()
            with made.client() as client:
                make_runs(client)
            path = FOLDER / f"prefect-{__version__}.sql.xz"
            dump(made, path)
    sys.stdout.write(f"{path}: {path.stat().st_size} bytes\n")


def make_runs(client: httpx.Client) -> None:
    """A run that has happened, and one in each state that an upgrade can find one in."""
    complete(client, DEPLOYMENT)
    found = deployment(client, DEPLOYMENT)
    for state in STATES:
        body = {
            "name": state.lower(),
            "flow_id": found["flow_id"],
            "parameters": {"name": "past"},
            "state": {"type": state, "message": "before the upgrade"},
        }
        post(client, "/flow_runs/", body)


def dump(made: Stack, path: Path) -> None:
    """Write the database of a running stack to `path`, as compressed SQL."""
    layout = layouts.Layout(made.name, made.root / ".stack" / made.name)
    cluster = clusters.of(layout)
    argv = [str(cluster.install / "bin" / "pg_dump"), "--no-owner", f"--host={cluster.socket}"]
    argv += [f"--username={DATABASE_USER}", DATABASE_NAME]
    password = secrets.database_password(layout.secrets)
    text = subprocess.run(argv, check=True, env={"PGPASSWORD": password}, stdout=subprocess.PIPE)
    path.write_bytes(lzma.compress(text.stdout))


if __name__ == "__main__":
    main()
