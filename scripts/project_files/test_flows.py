"""Tests of the flows that need no server. Type `pytest` in the folder of the project."""

from pathlib import Path
from typing import Any

import pytest
from prefect.flows import load_flow_from_entrypoint
from prefect.logging import disable_run_logger
from ruamel.yaml import YAML

from flows.hello import greet

PROJECT = Path(__file__).resolve().parents[1]
DEPLOYMENTS = YAML(typ="safe").load(PROJECT / "prefect.yaml")["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=[each["name"] for each in DEPLOYMENTS])
def test_the_flow_of_every_deployment_takes_its_parameters(
    deployment: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    flow: Any = load_flow_from_entrypoint(deployment["entrypoint"])
    flow.validate_parameters(deployment.get("parameters", {}))


def test_hello_greets_by_name() -> None:
    with disable_run_logger():
        assert greet.fn("Ada") == "Hello, Ada!"
