"""The promises of the flow `hello` that need no server."""

import pytest
from prefect.logging import disable_run_logger
from prefect.utilities.callables import parameter_schema

from flows.hello import greet, hello, say_farewell, wave


def test_it_greets_by_name() -> None:
    with disable_run_logger():
        assert greet.fn("Ada") == "Hello, Ada!"


def test_it_says_goodbye_by_name() -> None:
    with disable_run_logger():
        assert wave.fn("Ada") == "Goodbye, Ada!"


def test_it_greets_the_world_by_default() -> None:
    assert parameter_schema(hello).properties["name"]["default"] == "world"


@pytest.mark.parametrize("flow", [hello, say_farewell])
def test_the_form_of_a_run_describes_the_name(flow: object) -> None:
    assert parameter_schema(flow).properties["name"]["description"]  # type: ignore[arg-type]


def test_every_name_begins_with_that_of_the_run_above() -> None:
    assert [each.name for each in (hello, greet, say_farewell, wave)] == [
        "hello",
        "hello.greet",
        "hello.farewell",
        "hello.farewell.wave",
    ]
