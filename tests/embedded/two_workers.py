"""A stack with a pool and a worker of each type, and the same deployments in both."""

from __future__ import annotations

import signal
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tests import stack as stacks
from tests.stack import make

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pytest

    from tests.stack import Stack

STOCK, PREFORK = "of-stock", "of-prefork"  # the pools, their workers, the deployments
TYPES = {STOCK: "process", PREFORK: "prefork"}
POOLS = """
  - name: {name}
    type: {type}
    base_job_template:
      variables:
        properties:
          working_dir: {{default: "{{{{ $STACK_ROOT }}}}"}}
"""


def declared(
    factory: pytest.TempPathFactory,
    name: str,
    source: str,
    flows: Iterable[str],
    types: Mapping[str, str] = TYPES,
) -> Stack:
    """A stack, not started, with pools of `types` and each of `flows`, from `source`, in all."""
    made = make(factory, name)
    pools = "".join(POOLS.format(name=each, type=kind) for each, kind in types.items())
    made.edit("stack.yaml", lambda text: _with_pools(text, pools))
    lines = "".join(
        f"\n  - name: {pool}\n    entrypoint: flows/behaviours.py:{flow}\n"
        f"    work_pool: {{name: {pool}}}\n"
        for pool in types
        for flow in flows
    )
    made.edit("prefect.yaml", lambda text: text.rstrip() + "\n" + lines)
    (made.root / "flows/behaviours.py").write_text(source)
    return made


def _with_pools(text: str, pools: str) -> str:
    before, blocks, after = text.partition("\nblocks:\n")
    return before.rstrip() + "\n" + pools + blocks + after


@contextmanager
def running(made: Stack, *pools: str) -> Iterator[Stack]:
    """`made`, started, with a worker of each of `pools`; nothing of them is left afterwards."""
    with stacks.stack(made):
        made.up()
        with ExitStack() as workers:
            for pool in pools:
                workers.enter_context(worker(made, pool, pool))
            yield made


def log_of_worker(stack: Stack, name: str) -> str:
    """What the worker has written by now."""
    return (stack.root / f"worker-{name}.log").read_text()


@contextmanager
def worker(
    stack: Stack, pool: str, name: str, **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of `pool` with folders of its own, which writes to `worker-NAME.log`."""
    script = (
        'eval "$(scripts/stack env)"; export TMPDIR="$PWD/tmp-$0" PREFECT_HOME="$PWD/home-$0"'
        ' PREFECT_LOCAL_STORAGE_PATH="$PWD/results" PREFECT_WORKER_QUERY_SECONDS=1'
        ' PYTHONPATH="$PWD" PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30; mkdir -p "$TMPDIR";'
        ' pool=$1; shift; exec env "$@" python -P -m prefect worker start --pool "$pool"'
        ' --name "$0"'
    )
    with (stack.root / f"worker-{name}.log").open("wb") as log:
        process = subprocess.Popen(
            ["sh", "-c", script, name, pool, *(f"{k}={v}" for k, v in variables.items())],
            cwd=stack.root,
            env=stack.environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
