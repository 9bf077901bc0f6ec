"""A wrong declaration is one message with file and line, and exit code 2; it is not applied.

That everything else is applied is claimed in test_bootstrap_wrong.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.relay import relaying
from tests import project as projects
from tests.project import FLOW
from tests.stack import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.project import Project
    from tests.stack import Stack

MARK = "  # here"
TOKEN = "OfNobodyElsesBusiness"
# A correct declaration before each mistake.
FINE = "variables: [{name: bad_fine, value: 1}]\n"
FLOWS = {
    "fine.py": FLOW.format(name="fine"),
    "broken.py": "import nothing_of_that_name\n" + FLOW.format(name="broken"),
}
FINE_DEPLOYMENT = (
    "deployments:\n  - {name: a, entrypoint: flows/fine.py:fine, work_pool: {name: default}}\n"
)


def deployed(rest: str) -> str:
    """Return a correct deployment, and one with a name, followed by the lines of `rest`."""
    return f"{FINE_DEPLOYMENT}  - name: b\n{rest}"


# `stack.yaml`, `prefect.yaml`, one with the wrong line marked, and the message after its place.
MISTAKES = {
    "an unknown kind": (f"variable: []{MARK}\n", "", "unknown key 'variable'"),
    "an unknown type of block": (
        f"{FINE}blocks:\n  - type: slack-webhok{MARK}\n    name: bad\n",
        "",
        (
            "the block 'slack-webhok/bad' has a type that the server does not know\n"
            "  expected: slack-webhook"
        ),
    ),
    "an unknown field of a block": (
        f"{FINE}blocks:\n  - type: secret\n    name: bad\n    data:\n      vale: a{MARK}\n",
        "",
        "the block 'secret/bad' has no field 'vale'\n  expected: one of value",
    ),
    "a block without a field that it needs": (
        (
            f"{FINE}blocks:\n  - type: slack-webhook\n    name: bad\n    data:{MARK}\n"
            "      notify_type: info\n"
        ),
        "",
        "the block 'slack-webhook/bad' lacks the field 'url'",
    ),
    "a field of the wrong type": (
        (
            f"{FINE}blocks:\n  - type: webhook\n    name: bad\n    data:\n      url: https://example.com\n"
            f"      method: [{TOKEN}]{MARK}\n"
        ),
        "",
        "the block 'webhook/bad' does not take this 'method'",
    ),
    "a webhook that Apprise does not take": (
        (
            f"{FINE}blocks:\n  - type: slack-webhook\n    name: bad\n    data:\n"
            f'      url: "https://example.com/{TOKEN}"{MARK}\n'
        ),
        "",
        "the block 'slack-webhook/bad' does not take this 'url'",
    ),
    "a block that refers to none": (
        (
            f"{FINE}blocks:\n  - type: webhook\n    name: bad\n    data:\n"
            f'      url: "{{{{ prefect.blocks.secret.missing }}}}"{MARK}\n'
        ),
        "",
        "the block 'webhook/bad' names a block that is not there",
    ),
    "a pool of a type that nobody knows": (
        f"{FINE}work_pools:\n  - name: bad\n    type: proces{MARK}\n",
        "",
        "the work pool 'bad' has a type that is not known here",
    ),
    "a pool that already exists with another type": (
        (
            f"{FINE}work_pools:\n  - name: default\n    type: docker{MARK}\n"
            "    base_job_template: {job_configuration: {}, variables: {}}\n"
        ),
        "",
        "the work pool 'default' already exists with another type",
    ),
    "an automation that names no block": (
        (
            f"{FINE}automations:\n  - name: bad\n    trigger: {{type: event, posture: Reactive}}\n"
            f"    actions:\n      - type: send-notification\n        body: b\n"
            f"        block: slack-webhook/missing{MARK}\n"
        ),
        "",
        "the automation 'bad' names a block that is not there",
    ),
    "a deployment in a pool that is not there": (
        FINE,
        deployed(
            f"    entrypoint: flows/fine.py:fine\n    work_pool:\n      name: missing{MARK}\n"
        ),
        "the deployment 'fine/b' names a work pool that is not there",
    ),
    "a deployment that is declared twice": (
        FINE,
        FINE_DEPLOYMENT + f"  - name: a{MARK}\n    entrypoint: flows/fine.py:fine\n"
        "    work_pool: {name: default}\n",
        "the deployment 'flows/fine.py:fine/a' is declared twice",
    ),
    "a schedule without slug": (
        FINE,
        deployed(
            "    entrypoint: flows/fine.py:fine\n    work_pool: {name: default}\n"
            f"    schedules:\n      - interval: 60{MARK}\n"
        ),
        "'slug' is missing",
    ),
    "a flow that fails to import": (
        FINE,
        deployed(
            f"    entrypoint: flows/broken.py:broken{MARK}\n    work_pool: {{name: default}}\n"
        ),
        "deployment 'b' names flows/broken.py, which fails to import",
    ),
    "a variable of the environment that is a number": (
        FINE,
        deployed(
            "    entrypoint: flows/fine.py:fine\n    work_pool:\n      name: default\n"
            f"      job_variables: {{env: {{A: 5}}}}{MARK}\n"
        ),
        (
            "the work pool 'default' does not take this 'env.A' of deployment 'b'\n"
            "  expected: type string or null\n"
            "  found:    5"
        ),
    ),
    "a job variable of the wrong type": (
        FINE,
        deployed(
            "    entrypoint: flows/fine.py:fine\n    work_pool:\n      name: default\n"
            f"      job_variables:\n        stream_output: maybe{MARK}\n"
        ),
        (
            "the work pool 'default' does not take this 'stream_output' of deployment 'b'\n"
            "  expected: type boolean or null\n"
            "  found:    'maybe'"
        ),
    ),
    "a pool with a default that its own template does not take": (
        (
            f"{FINE}work_pools:\n  - name: bad\n    type: process\n"
            f"    base_job_template:{MARK}\n"
            "      variables: {properties: {stream_output: {default: maybe}}}\n"
        ),
        "",
        "the base_job_template of the work pool 'bad' is not valid",
    ),
    "a parameter that the flow does not take": (
        FINE,
        deployed(
            "    entrypoint: flows/fine.py:fine\n    work_pool: {name: default}\n"
            f"    parameters:\n      whom: a{MARK}\n"
        ),
        "the flow of deployment 'b' takes no parameter 'whom'\n  expected: one of times, who",
    ),
    "a parameter of the wrong type": (
        FINE,
        deployed(
            "    entrypoint: flows/fine.py:fine\n    work_pool: {name: default}\n"
            f'    parameters:\n      times: "{{{{ $TOKEN }}}}"{MARK}\n'
        ),
        (
            "the flow of deployment 'b' does not take this 'times'\n"
            "  expected: a value of its type (type integer)\n"
            "  found:    a value that is not shown"
        ),
    ),
}


@pytest.fixture
def project(stack: Stack, tmp_path: Path) -> Project:
    """A project on the shared stack; none of the tests writes to its server."""
    project = projects.make(tmp_path, stack, "bad-declarations")
    project.variables["TOKEN"] = TOKEN
    return project


@pytest.mark.parametrize(("stack_yaml", "prefect_yaml", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_message_and_not_one_write_of_a_plan(
    stack_yaml: str, prefect_yaml: str, message: str, project: Project
) -> None:
    project.write(stack=stack_yaml, prefect=prefect_yaml, flows=FLOWS)
    file, text = (
        ("stack.yaml", stack_yaml) if MARK in stack_yaml else ("prefect.yaml", prefect_yaml)
    )
    line = text[: text.index(MARK)].count("\n") + 1
    with relaying(project.stack.port) as seen:
        result = project.bootstrap("--plan", api=f"{seen.address}/api")
    assert result.returncode == 2, project.stack.said[-1]
    assert result.stderr.startswith(f"error: {file} line {line}: {message}"), result.stderr
    assert result.stderr.rstrip().splitlines()[-1].startswith("  do: ")
    assert "Traceback" not in result.stderr
    assert TOKEN not in result.stderr + result.stdout
    assert seen.writes == []


def test_a_mistake_of_a_whole_file_keeps_all_from_being_written(project: Project) -> None:
    project.write(stack=f"{FINE}variabels: []\n")
    with relaying(project.stack.port) as seen:
        result = project.bootstrap(api=f"{seen.address}/api")
    assert result.returncode == 2
    assert seen.writes == []


def test_a_server_that_cannot_be_reached_is_one_message(project: Project) -> None:
    project.write(stack=FINE)
    address = f"http://127.0.0.1:{free_port()}/api"
    result = project.bootstrap(api=address)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: the server at {address} cannot be reached\n")
    assert "Traceback" not in result.stderr


def test_a_wrong_login_is_one_message_that_does_not_show_it(project: Project) -> None:
    project.write(stack=FINE)
    project.login = f"admin:{TOKEN}"
    result = project.bootstrap()
    assert result.returncode == 2
    assert "refuses the login\n" in result.stderr.splitlines(keepends=True)[0]
    assert "found:    401 Unauthorized" in result.stderr
    assert TOKEN not in result.stderr
