"""Declarations with resources of every kind, for a project of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.project import FLOW
from tests.stack import post

if TYPE_CHECKING:
    import httpx

    from tests.project import Project

TOKEN = "OfNobodyElsesBusiness"

EVERYTHING = """\
variables:
  - {name: PREFIX_region, value: eu, tags: [b, a]}
  - {name: PREFIX_nested, value: {list: [1, two, null], flag: true}}
concurrency_limits:
  - {name: PREFIX-database, limit: 3}
  - {name: PREFIX-calls, limit: 10, slot_decay_per_second: 0.5, active: false}
tag_limits:
  - {tag: "PREFIX:heavy", limit: 2}
blocks:
  - {type: secret, name: PREFIX-token, data: {value: "{{ $TOKEN }}"}}
  - type: slack-webhook
    name: PREFIX-slack
    data: {url: "https://hooks.slack.com/services/T00000000/B00000000/{{ $TOKEN }}"}
  - type: ms-teams-webhook
    name: PREFIX-teams
    data:
      url: "https://prod-1.westeurope.logic.azure.com/workflows/1a/triggers/manual/paths/invoke\\
        ?sig={{ $TOKEN }}"
  - type: webhook
    name: PREFIX-hook
    data: {method: POST, url: "https://example.com/{{ $TOKEN }}"}
work_pools:
  - name: PREFIX-pool
    type: process
    description: of the test
    concurrency_limit: 5
    base_job_template: {variables: {properties: {env: {default: {TOKEN: "{{ $TOKEN }}"}}}}}
    queues:
      - {name: low, priority: 3}
      - {name: urgent, priority: 1, concurrency_limit: 2, description: first}
      - {name: default, priority: 2}
automations:
  - name: PREFIX-alert
    description: Tell it.
    tags: [a]
    trigger:
      type: event
      posture: Reactive
      match: {prefect.resource.id: prefect.flow-run.*, prefect.state-type: [FAILED, CRASHED]}
      expect: [prefect.flow-run.*]
      threshold: 1
    actions:
      - {type: send-notification, block: slack-webhook/PREFIX-slack, subject: s, body: b}
  - name: PREFIX-follow
    trigger:
      type: compound
      require: all
      within: 60
      triggers:
        - {type: event, posture: Reactive, expect: [PREFIX.a]}
        - {type: event, posture: Proactive, expect: [PREFIX.b], after: [PREFIX.a], within: 30}
    actions:
      - {type: run-deployment, deployment: PREFIX_first/main, parameters: {who: "{{ event.id }}"}}
      - {type: pause-work-pool, source: selected, work_pool: PREFIX-pool}
      - {type: pause-work-queue, source: selected, work_queue: PREFIX-pool/urgent}
"""

BLOCKS = ("token", "slack", "teams", "hook")

DEPLOYMENTS = """\
pull: []
deployments:
  - name: silent
    entrypoint: flows/silent.py:PREFIX_silent
    work_pool: {name: default}
  - name: main
    entrypoint: flows/first.py:PREFIX_first
    tags: [b, a]
    parameters: {who: "{{ $TOKEN }}"}
    concurrency_limit: {limit: 2, collision_strategy: CANCEL_NEW}
    schedules:
      - {slug: nightly, cron: "0 2 * * *", timezone: Europe/Madrid, active: false}
      - {slug: often, interval: 3600, active: false, parameters: {times: 2}}
    work_pool: {name: PREFIX-pool, work_queue_name: urgent, job_variables: {env: {A: "1"}}}
"""


def write_everything(project: Project) -> None:
    """Write declarations with resources of every kind into the project."""
    flow = FLOW.format(name=f"{project.name}_first")
    silent = f"from prefect import flow\n\n@flow\ndef {project.name}_silent(): pass\n"
    project.write(
        stack=EVERYTHING.replace("PREFIX", project.name),
        prefect=DEPLOYMENTS.replace("PREFIX", project.name),
        flows={"first.py": flow, "silent.py": silent},
    )


def automation(client: httpx.Client, name: str) -> dict[str, Any]:
    """Return the only automation of this name."""
    automations = post(client, "/automations/filter", {"automations": {"name": {"any_": [name]}}})
    assert len(automations) == 1
    return dict(automations[0])


def names(client: httpx.Client) -> set[str]:
    """Return "PATH/POOL/NAME" of everything on the server that can be declared."""
    full_names = set()
    for path in (
        *("/variables", "/v2/concurrency_limits", "/work_pools", "/work_queues", "/deployments"),
        *("/block_documents", "/automations"),
    ):
        full_names |= {
            f"{path}/{resource.get('work_pool_name')}/{resource['name']}"
            for resource in post(client, f"{path}/filter", {})
        }
    return full_names
