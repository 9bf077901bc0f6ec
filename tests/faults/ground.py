"""The stack that faults are tried on. Many share it; it is made anew when one has left traces."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from tests.faults import account, watch
from tests.faults.load import BY_DEPLOYMENT, BY_GLOBAL, GLOBAL_LIMIT, PLAIN
from tests.stack import wait_for

if TYPE_CHECKING:
    from tests.stack import Stack

FLOWS = Path(__file__).with_name("accounted.py")
LIMITS = f"""
concurrency_limits:
  - name: {GLOBAL_LIMIT}
    limit: 3
"""
POOL = """
  - name: {pool}
    type: prefork
    concurrency_limit: 10
    base_job_template:
      variables:
        properties:
          working_dir: {{default: "{{{{ $STACK_ROOT }}}}"}}
"""
DEPLOYMENT = """
  - name: {name}
    entrypoint: flows/accounted.py:{flow}
    work_pool: {{name: {pool}}}
{limit}"""


def declare(stack: Stack, pool: str = "default") -> Stack:
    """Give the clone the flow of the suite, with its limits and with deployments to `pool`."""
    shutil.copy(FLOWS, stack.root / "flows/accounted.py")
    added = "".join(
        DEPLOYMENT.format(name=name, flow=flow, limit=limit, pool=pool)
        for name, flow, limit in (
            (PLAIN, "accounted", ""),
            (BY_GLOBAL, "accounted", ""),
            (BY_DEPLOYMENT, "accounted", "    concurrency_limit: 5\n"),
            ("eats", "eats", ""),
        )
    )
    stack.edit("prefect.yaml", lambda text: text.rstrip() + "\n" + added)
    if pool != "default":
        pools = POOL.format(pool=pool) + "\nblocks:\n"
        stack.edit("stack.yaml", lambda text: text.replace("\nblocks:\n", pools, 1))
    stack.edit("stack.yaml", lambda text: text.rstrip() + "\n" + LIMITS)
    return stack


@dataclass
class Ground:
    """A stack, and the ledger that its flows write to."""

    stack: Stack
    ledger: Path  # where the tests read it
    written: str = field(default="")  # its path for the flows, if that is another one

    @property
    def base(self) -> Path:
        """The folder that holds everything of an embedded stack."""
        return self.stack.root / ".stack" / self.stack.name

    def ready(self) -> None:
        """Make sure that the stack runs, is well and has nothing left from the trial before."""
        if watch.ask(self.stack).well and not self._marked():
            return
        self.renew()

    def renew(self) -> None:
        """Remove the stack with all its data and start it anew."""
        self.stack.down("--volumes")
        self.stack.up()
        wait_for("stack that is well", lambda: watch.ask(self.stack).well, 60)

    def _marked(self) -> bool:
        try:
            with self.stack.client() as client:
                return bool(account.places(client))
        except httpx.HTTPError:
            return True
