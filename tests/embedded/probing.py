"""Runs the flows of `probes.py` beside a stack."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.stack import Stack

RUN = """\
set -e
env=$(scripts/stack env)
eval "$env"
exec .venv/bin/python -m tests.embedded.probes "$@"
"""


def probe(stack: Stack, *arguments: str, code: int = 0) -> Any:
    """Run one of tests/embedded/probes.py; what it answered."""
    result = stack.run("sh", "-c", RUN, "sh", *arguments)
    assert result.returncode == code, stack.said[-1]
    return json.loads(result.stdout.splitlines()[-1])
