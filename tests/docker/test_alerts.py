"""Alerts reach Slack from the containers; Slack is one more container, with Slack's host name."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests import stack as stacks
from tests.alerts import AlertingStack, FailedRuns, edited_yaml
from tests.docker.conftest import make
from tests.docker.test_stack import execute, inspect
from tests.slack import inbox as inboxes
from tests.slack.receiver import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Every run of the tests checks what the automations do, with an embedded stack. What these add is
# the way of a message out of a container.
pytestmark = pytest.mark.slow
CA = "/test/ca.pem"


@pytest.fixture(scope="module")
def stack(base_images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlertingStack]:
    """A running stack with one more service, which has Slack's host name."""
    inbox = inboxes.make(tmp_path_factory.mktemp("inbox"))
    stack = AlertingStack(**vars(make(tmp_path_factory, "alerts")), inbox=inbox)
    stack.prepare()
    stack.edit(
        "compose.yaml",
        lambda text: edited_yaml(text, lambda declared: _add_slack(declared, inbox.folder)),
    )
    with stacks.stack(stack):
        stack.up()
        yield stack


class TestAlerts(FailedRuns):
    """What holds for both backends."""

    def kill_worker(self, stack: AlertingStack) -> None:
        """The worker's runs die with it, since it is the first process of its container."""
        # Killed from the host: after `docker kill`, a stop by hand, Docker restarts nothing.
        os.kill(inspect(stack, "worker")["State"]["Pid"], signal.SIGKILL)

    def signal_run(self, stack: AlertingStack, pid: int, number: signal.Signals) -> None:
        """Send it inside the container, whose pids the server knows."""
        execute(stack, "worker", "python", "-c", f"import os; os.kill({pid}, {int(number)})")


def _add_slack(declared: Any, folder: Path) -> None:
    for name in ("server", "worker"):
        service = declared["services"][name]
        service["environment"] = {**service["environment"], "REQUESTS_CA_BUNDLE": CA}
        service["volumes"].append(f"{folder / 'ca.pem'}:{CA}:ro")
    declared["services"]["slack"] = {
        "image": "${PYTHON_IMAGE:-python:3.13-slim-trixie}",
        "pull_policy": "never",
        "command": ["python", "/test/receiver.py", "/inbox", "--tls", "443"],
        "init": True,
        "networks": {"default": {"aliases": [HOST]}},
        "volumes": ["./tests/slack/receiver.py:/test/receiver.py:ro", f"{folder}:/inbox"],
    }
