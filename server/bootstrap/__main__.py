"""`python -m server.bootstrap`: the service `bootstrap`, which `scripts/bootstrap.py` runs too."""

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

from server import environment, place, settings
from server.bootstrap import api, declarations, kinds, refusals, report, substitution
from server.bootstrap.ownership import Record
from server.bootstrap.planner import Planner
from server.bootstrap.world import DeclarationError, World
from server.errors import MistakeError, exit_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.bootstrap.change import Change

DRIFTED = 2
PROGRAM = "scripts/bootstrap.py"  # what a person types

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    plan: Annotated[bool, typer.Option("--plan", help="Show the plan, change nothing.")] = False,  # noqa: FBT002
    check: Annotated[  # noqa: FBT002
        bool, typer.Option("--check", help="Change nothing; exit with 2 when something differs.")
    ] = False,
    prune: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--prune", help="Remove what bootstrap created and is no longer declared."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,  # noqa: FBT002
) -> None:
    """Make the server match prefect.yaml and stack.yaml. A second run changes nothing.

    A wrong declaration leaves its resource on the server as it is; all others are applied.
    """
    stack_settings = settings.load()
    here = place.current()
    # The worker's path to the project may differ from the path in this process.
    world = World(Path.cwd(), common={**environment.COMMON, "STACK_DATA_DIR": str(here.data)})
    with get_client(sync_client=True) as prefect:
        client = api.PrefectClient(prefect)
        all_kinds = kinds.every(world, client)
        values = substitution.gather(stack_settings, here.root)
        declared = declarations.read(world, all_kinds, values)
        _check_server(client)
        planner = Planner(world, all_kinds, Record(client, stack_settings.stack_name))
        changes = planner.plan(declared, prune=prune)
        applied = not (plan or check)
        if not as_json:
            sys.stdout.write(f"{report.table(changes)}\n")
            sys.stdout.flush()
        if applied:
            applied_changes: list[Change] = []
            with _server_errors(applied_changes):
                changes = planner.apply(changes, applied_changes.append)
    if as_json:
        report.write_json(changes, world, applied=applied)
    else:
        sys.stdout.write(f"{report.summary(changes, applied=applied)}\n")
    sys.stdout.flush()
    for note in world.notes:
        sys.stderr.write(f"note: {note}\n")
    if world.problems:
        raise DeclarationError(world.problems)
    if check and report.drift(changes):
        raise typer.Exit(DRIFTED)


def _check_server(client: api.Client) -> None:
    """Check that the server answers and accepts the login.

    Raises:
        MistakeError: the server cannot be reached or refuses the login.
        StackError: the answer is not one of a working Prefect server.
    """
    address = get_current_settings().api.url
    try:
        client.call("GET", "/block_types/slug/secret")  # exists on Prefect Cloud as well
    except httpx.HTTPStatusError as error:
        if error.response.status_code not in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise refusals.failure(error, "the server did not answer as expected") from error
        raise MistakeError(
            f"the server at {address} refuses the login",
            expected="a login that it accepts",
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
def _server_errors(applied: list[Change]) -> Iterator[None]:
    """Report an error of the server together with the number of changes applied before it."""
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        what = f"the server did not accept everything: {len(applied)} changes were made"
        raise refusals.failure(error, what) from error


if __name__ == "__main__":
    exit_with(lambda: app(prog_name=PROGRAM))
