"""The stack that faults are tried on: one for many of them, made anew when one has left a mark."""

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
    """Give the clone the flow of the suite, its deployments and its limits, for runs in `pool`."""
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
    """A stack and a ledger. `ledger` is the path that its flows write to."""

    stack: Stack
    ledger: Path  # as the tests read it
    written: str = field(default="")  # as the flows name it, if that is another path

    @property
    def base(self) -> Path:
        """Where an embedded stack keeps its things."""
        return self.stack.root / ".stack" / self.stack.name

    def ready(self) -> None:
        """Have a stack that runs, is well and has nothing left of the trial before."""
        if watch.ask(self.stack).well and not self._marked():
            return
        self.renew()

    def renew(self) -> None:
        """Start anew, with nothing of what was."""
        self.stack.down("--volumes")
        self.stack.up()
        wait_for("stack that is well", lambda: watch.ask(self.stack).well, 60)

    def _marked(self) -> bool:
        try:
            with self.stack.client() as client:
                return bool(account.places(client))
        except httpx.HTTPError:
            return True
