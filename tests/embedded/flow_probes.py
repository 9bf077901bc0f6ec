"""Runs the probes of `probed_flows.py` against a running stack."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.stack import Stack

RUN = """\
set -e
env=$(scripts/stack env)
eval "$env"
exec .venv/bin/python -m tests.embedded.probed_flows "$@"
"""


def probe(stack: Stack, *arguments: str, code: int = 0) -> Any:
    """Run a probe of `probed_flows.py`, which has to exit with `code`; return its answer."""
    result = stack.run("sh", "-c", RUN, "sh", *arguments)
    assert result.returncode == code, stack.said[-1]
    return json.loads(result.stdout.splitlines()[-1])
