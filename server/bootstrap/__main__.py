"""`python -m server.bootstrap`: the one-shot service, and what `scripts/bootstrap.py` runs."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import httpx
import typer
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.settings import get_current_settings

from server import place, settings
from server.bootstrap import api, declared, kinds, report, values
from server.bootstrap.kind import World
from server.bootstrap.ownership import Record
from server.bootstrap.planner import Planner
from server.errors import MistakeError, StackError, exit_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.orchestration import SyncPrefectClient

    from server.bootstrap.change import Change

DRIFTED = 2
PROGRAM = "scripts/bootstrap.py"  # what a person types

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    plan: Annotated[bool, typer.Option("--plan", help="Show it, change nothing.")] = False,  # noqa: FBT002
    check: Annotated[  # noqa: FBT002
        bool, typer.Option("--check", help="Change nothing; exit with 2 when something differs.")
    ] = False,
    prune: Annotated[  # noqa: FBT002
        bool, typer.Option("--prune", help="Remove what bootstrap made and is no longer declared.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,  # noqa: FBT002
) -> None:
    """Make the server match prefect.yaml and stack.yaml; run twice, it changes nothing."""
    settled = settings.load()
    here = place.current()
    world = World(Path.cwd())  # the worker may find the same files elsewhere
    all_kinds = kinds.every(world)
    wanted = declared.read(world, all_kinds, values.gather(settled, here.root))
    with _server() as client:
        planner = Planner(client, world, all_kinds, Record(client, settled.stack_name))
        changes = planner.plan(wanted, prune=prune)
        applied = not (plan or check)
        if not as_json:
            sys.stdout.write(f"{report.table(changes)}\n")
            sys.stdout.flush()
        if applied:
            made: list[Change] = []
            with _applying(made):
                planner.apply(changes, made.append)
    if as_json:
        report.write_json(changes, applied=applied)
    else:
        sys.stdout.write(f"{report.summary(changes, applied=applied)}\n")
    if check and report.drift(changes):
        raise typer.Exit(DRIFTED)


@contextmanager
def _server() -> Iterator[SyncPrefectClient]:
    """A client of the server, which answers and takes the login.

    Raises:
        MistakeError: it does not.
    """
    address = get_current_settings().api.url
    try:
        with get_client(sync_client=True) as client:
            api.call(client, "GET", "/block_types/slug/secret")  # Cloud has it too
            yield client
    except httpx.HTTPStatusError as error:
        if error.response.status_code not in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise _failed(error, "the server did not answer as expected") from error
        raise MistakeError(
            f"the server at {address} refuses the login",
            expected="a login that it takes",
            found=f"{error.response.status_code} {error.response.reason_phrase}",
            do="correct the login in .env, or: scripts/stack up",
        ) from error
    except httpx.TransportError as error:
        raise MistakeError(
            f"the server at {address} cannot be reached",
            expected="an API that answers",
            found=str(error) or repr(error),
            do="scripts/stack status",
        ) from error


@contextmanager
def _applying(made: list[Change]) -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        what = f"the server did not take everything: {len(made)} changes were made"
        raise _failed(error, what) from error


def _failed(error: Exception, what: str) -> StackError:
    return StackError(
        what,
        expected="an answer of success to each request",
        found=_say(error),
        do="scripts/stack status, then run it again: it goes on where it stopped",
    )


def _say(error: Exception) -> str:
    """What failed, without what was sent: the server repeats a request that it does not take."""
    if not isinstance(error, httpx.HTTPStatusError):
        return type(error).__name__ if isinstance(error, PrefectException) else repr(error)
    answer = error.response
    said = f"{answer.status_code} to {error.request.method} {error.request.url.path}"
    if answer.status_code != httpx.codes.UNPROCESSABLE_ENTITY:
        return said
    places = (".".join(map(str, each["loc"])) for each in answer.json()["exception_detail"])
    return f"{said}, which does not take {', '.join(places)}"


if __name__ == "__main__":
    exit_with(lambda: app(prog_name=PROGRAM))
