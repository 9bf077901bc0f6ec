"""What the server refuses is named with its reason, and keeps nothing else from being applied."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_CLIENT_CSRF_SUPPORT_ENABLED, temporary_settings
from prefect.workers.process import ProcessWorker

from server.bootstrap import declarations, job_variables, value_checks
from server.bootstrap.api import PrefectClient
from server.bootstrap.change import Change
from server.bootstrap.kinds.variables import Variables
from server.bootstrap.ownership import Record
from server.bootstrap.planner import Planner
from server.bootstrap.world import World
from tests.unit.writing import GIVEN

ID = str(UUID(int=1))
PROCESS = ProcessWorker.get_default_base_job_template()
REASON = "Validation failed for field 'env.A'. Failure reason: 5 is not of type 'string'"
STACK = """\
variables:
  - {name: bad, value: 1}
  - {name: good, value: 1}
"""


class Server:
    """Answers a variable called `bad` with `refusal`, and accepts all others."""

    def __init__(self, refusal: httpx.Response) -> None:
        self.refusal = refusal
        self.created: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.endswith("/variables/"):
            if b'"bad"' in request.content:
                return self.refusal
            self.created.append(request.content.decode())
            return httpx.Response(201, json={"id": ID})
        return httpx.Response(200, json=[]) if request.method == "POST" else httpx.Response(404)


class NoRecord(Record):
    """A record that is not saved: no claim here is about that."""

    def _save(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _no_csrf() -> Iterator[None]:
    with temporary_settings({PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False}):
        yield


def apply(folder: Path, server: Server, stack: str = STACK) -> tuple[World, list[Change]]:
    """Apply `stack`; return the world, which has the problems, and what became of each change."""
    (folder / "prefect.yaml").write_text("")
    (folder / "stack.yaml").write_text(stack)
    settings: dict[str, Any] = {"transport": httpx.MockTransport(server)}
    with SyncPrefectClient("http://nowhere/api", httpx_settings=settings) as prefect:
        world, client = World(folder), PrefectClient(prefect)
        kind = Variables(world, client)
        wanted = declarations.read(world, [kind], GIVEN)
        planner = Planner(world, [kind], NoRecord(client, "test"))
        changes = planner.plan(wanted, prune=False)
        return world, planner.apply(changes, lambda _: None)


def test_the_rest_is_applied(tmp_path: Path) -> None:
    server = Server(httpx.Response(422, json={"detail": REASON}))
    world, changes = apply(tmp_path, server)
    assert [(each.action, each.name) for each in changes] == [("wrong", "bad"), ("create", "good")]
    assert len(server.created) == 1
    [problem] = world.problems
    assert problem.what == "stack.yaml line 2: the server does not take the variable 'bad'"
    assert problem.found == f"422 to POST /api/variables/: {REASON}"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(422, json={"exception_detail": [{"loc": ["body", "value"], "msg": "no"}]}),
        httpx.Response(409, text="no JSON"),
    ],
    ids=["places", "text"],
)
def test_an_answer_of_any_form_is_one_message(answer: httpx.Response, tmp_path: Path) -> None:
    world, _ = apply(tmp_path, Server(answer))
    [problem] = world.problems
    assert str(problem.found).startswith(f"{answer.status_code} to POST")


def test_a_reason_that_may_repeat_a_secret_is_not_shown(tmp_path: Path) -> None:
    stack = STACK.replace("bad, value: 1", "bad, value: '{{ $TOKEN }}'")
    answer = httpx.Response(422, json={"detail": f"{GIVEN['TOKEN']} is not valid"})
    world, _ = apply(tmp_path, Server(answer), stack)
    assert GIVEN["TOKEN"] not in str(world.problems[0])


def test_a_server_that_fails_is_no_mistake_of_the_declaration(tmp_path: Path) -> None:
    with pytest.raises(httpx.HTTPStatusError):
        apply(tmp_path, Server(httpx.Response(500)))


class TestJobVariables:
    TEMPLATE = {  # noqa: RUF012
        "job_configuration": {"env": {"A": "configured", "B": "configured"}},
        "variables": {
            "properties": {
                "env": {
                    "type": "object",
                    "default": {"B": "default", "C": "default"},
                    "additionalProperties": {"type": "string"},
                },
                "stream_output": {"type": "boolean", "default": True},
            }
        },
    }

    def test_the_environment_is_laid_as_the_worker_lays_it(self) -> None:
        own = {"env.D": "dotted", "env": {"C": "own", "A": None}}
        layers = (job_variables.of_template(self.TEMPLATE), own)
        assert job_variables.environment(*layers) == {"B": "default", "C": "own", "D": "dotted"}

    def test_what_the_pool_does_not_take_is_named(self) -> None:
        refusal = job_variables.first_error(self.TEMPLATE, {"env": {"A": "5", "B": 5}})
        assert refusal == (("env", "B"), "type string", 5)
        refusal = job_variables.first_error(PROCESS, {"env": {"A": "5", "B": 5}})
        assert refusal == (("env", "B"), "type string or null", 5)
        refusal = job_variables.first_error(PROCESS, {"stream_output": "maybe"})
        assert refusal == (("stream_output",), "type boolean or null", "maybe")
        assert job_variables.first_error(PROCESS, {"env": {"A": "5"}}) is None
        assert job_variables.first_error({}, {"env": {"A": 5}}) is None

    def test_a_default_that_the_template_does_not_take_is_named(self) -> None:
        assert job_variables.template_fault(self.TEMPLATE) is None
        properties = {"size": {"type": "integer", "default": "big"}}
        fault = job_variables.template_fault({"variables": {"properties": properties}})
        assert fault == "the default of size is not type integer or null"


def test_a_schema_that_lacks_what_it_refers_to_is_left_to_the_server() -> None:
    lacking = {"properties": {"value": {"$ref": "#/definitions/JsonValue"}}}
    assert value_checks.schema_errors({"value": {"a": 1}}, lacking) == []
    assert value_checks.schema_errors({"value": 1}, {"properties": {"value": {"type": "string"}}})
