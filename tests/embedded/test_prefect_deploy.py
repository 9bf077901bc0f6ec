"""`prefect deploy --all` creates the same deployments from `prefect.yaml` as bootstrap does."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from tests import project as projects
from tests.embedded.all_kinds import DEPLOYMENTS
from tests.project import FLOW
from tests.stack import SOURCE, get, post

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from tests.stack import Stack

# Fields in which a deployment differs from one that was created earlier. An interval without a
# declared anchor starts when it is created, and the limit of a deployment is named after its id.
OWN = {"id", "created", "updated", "deployment_id", "flow_id", "version_id", "branch_id"}
OWN |= {
    "anchor_date",
    "global_concurrency_limit",
    "status",
    "last_polled",
    "work_queue_id",
    "concurrency_limit_id",
}


def test_the_deployments_of_the_project_are_the_same(stack: Stack) -> None:
    compare(stack, stack.root, stack.environment())


def test_deployments_with_values_from_the_environment_are_the_same(
    stack: Stack, tmp_path: Path
) -> None:
    project = projects.make(tmp_path, stack, "deploys")
    project.write(
        stack="work_pools: [{name: deploys-pool, type: process}]\n",
        prefect=DEPLOYMENTS.replace("PREFIX", "deploys"),
        flows={
            "first.py": FLOW.format(name="deploys_first"),
            "silent.py": "from prefect import flow\n\n@flow\ndef deploys_silent(): pass\n",
        },
    )
    project.variables["TOKEN"] = "a"
    project.apply()
    compare(stack, tmp_path, project.environment())
    assert project.bootstrap("--check").returncode == 0, stack.said[-1]


def compare(stack: Stack, folder: Path, env: dict[str, str]) -> None:
    """Delete what bootstrap deployed, let Prefect deploy the same, and compare the two."""
    declared = YAML(typ="safe").load(folder / "prefect.yaml")["deployments"]
    names = {deployment["name"] for deployment in declared}
    with stack.client() as client:
        ours = _deployments(client, names)
        assert len(ours) == len(declared)
        for deployment in ours.values():
            client.delete(f"/deployments/{deployment['id']}").raise_for_status()
        script = (
            'eval "$(scripts/stack env)"; cd "$1"; shift; exec prefect --no-prompt deploy --all'
        )
        result = subprocess.run(
            ["sh", "-c", script, "sh", str(folder)],
            check=False,
            cwd=stack.root,
            env={**env, **stack.environment(), "PYTHONPATH": str(SOURCE)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        theirs = _deployments(client, names)
        assert theirs.keys() == ours.keys()
        for name, deployment in theirs.items():
            expected = _same(ours[name])
            deployed = _same(deployment)
            assert [(k, v, expected[k]) for k, v in deployed.items() if v != expected[k]] == [], (
                name
            )


def _deployments(client: httpx.Client, names: set[str]) -> dict[str, dict[str, Any]]:
    deployments = post(
        client, "/deployments/filter", {"deployments": {"name": {"any_": sorted(names)}}}
    )
    return {_full_name(client, deployment): deployment for deployment in deployments}


def _same(node: Any) -> Any:
    if node == "None":  # Prefect's client writes this for a flow without a description
        return None
    if isinstance(node, dict):
        return {key: _same(value) for key, value in node.items() if key not in OWN}
    if isinstance(node, list):
        items = [_same(each) for each in node]
        return sorted(items, key=lambda each: str(each.get("slug"))) if _schedules(items) else items
    return node


def _schedules(node: list[Any]) -> bool:
    return bool(node) and isinstance(node[0], dict) and "slug" in node[0]


def _full_name(client: httpx.Client, deployment: dict[str, Any]) -> str:
    flow = get(client, f"/flows/{deployment['flow_id']}")
    return f"{flow['name']}/{deployment['name']}"
