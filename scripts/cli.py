"""The command `scripts/stack`: each subcommand is a few lines that call a module."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path  # noqa: TC003 - Typer reads the annotations
from typing import Annotated

import typer
from python_on_whales.exceptions import DockerException

from scripts import choose, locks, projects, report, status, testing
from server import advice, settings
from server.errors import MistakeError, StackError

app = typer.Typer(
    help="A self-hosted Prefect: server, database, worker and flows.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


CLIENT_VARIABLES = (
    *("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"),
    *("PREFECT_CLIENT_CSRF_SUPPORT_ENABLED", "PREFECT_UI_URL"),
)


@app.command()
def up(
    docker: Annotated[
        bool | None,
        typer.Option("--docker/--embedded", help="With Docker, or without.", show_default="auto"),
    ] = None,
) -> None:
    """Start the stack; return when it is healthy and the deployments are there."""
    values = settings.load()
    projects.check(values)
    with locks.hold(values.stack_name, "up"):
        backend, why = choose.to_start(values, wanted=docker)
        report.out.print(f"{values.stack_name}, {backend.name} ({why})")
        try:
            outcome = backend.up()
        except KeyboardInterrupt:
            report.err.print(
                "\ninterrupted: what has been started goes on; "
                "scripts/stack up finishes the start, scripts/stack down stops it"
            )
            raise
    if outcome.was_running:
        report.out.print(f"{values.stack_name} was already running")
    if values.remote:
        report.out.print(f"\nUI          {values.ui_url}")
        report.out.print(f"API         {values.remote.url} (the remote server of .env)")
    else:
        report.out.print(f"\nUI and API  {values.url}")
    if values.auth and not values.remote:
        login = backend.client_environment()["PREFECT_API_AUTH_STRING"]
        report.out.print(f"login       {login}")
    for line in advice.of(values):
        report.err.print(f"warning: {line}")
    report.out.print('on the host  eval "$(scripts/stack env)"; prefect deployment run hello/hello')
    if outcome.problem:
        report.err.print(
            f"\n{values.stack_name} is up, but not every declaration could be applied. "
            "Correct what follows, then type scripts/stack up"
        )
        raise outcome.problem


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or an empty folder.")],
) -> None:
    """Make a project of your own from the samples, outside of this clone."""
    project = projects.make(folder)
    report.out.print(f"made {project} from the samples of this clone")
    report.out.print(
        f"to run it: STACK_PROJECT={project} in .env, then scripts/stack up", soft_wrap=True
    )


@app.command()
def down(
    volumes: Annotated[
        bool, typer.Option("--volumes", help="Remove the data too: runs, blocks, secrets, files.")
    ] = False,
) -> None:
    """Stop the stack; keep its data unless --volumes is given."""
    values = settings.load()
    with locks.hold(values.stack_name, "down"):
        stopped = [backend.down(volumes=volumes) for backend in choose.available(values)]
    if not any(stopped) and (problem := choose.docker(values).problem()):
        report.out.print(f"whether it runs in Docker is not known: {problem.found}")
    what = "stopped, its data removed" if volumes else "stopped, its data kept"
    report.out.print(f"{values.stack_name} {what if any(stopped) else 'is not there'}")


@app.command(name="status")
def show_status(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show what runs and how healthy it is; exit with 1 when something is not as it should be."""
    values = settings.load()
    # At most one backend has the stack; the others report that they have nothing.
    reports = [backend.status() for backend in choose.available(values)]
    shown = max(reports, key=lambda each: (each.running, each.backend != "none"))
    if as_json:
        sys.stdout.write(shown.model_dump_json(indent=2) + "\n")
    else:
        status.show(shown)
    raise typer.Exit(0 if shown.running else 1)


@app.command()
def logs(
    service: Annotated[str | None, typer.Argument(help="One service; all when left out.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the logs grow.")] = False,
) -> None:
    """Print the logs."""
    values = settings.load()
    backends = choose.available(values)
    alive = (backend for backend in backends if backend.alive)
    backend = next(alive, next((each for each in backends if each.exists), backends[0]))
    backend.logs(service, follow=follow)


@app.command()
def env() -> None:
    """Print the variables that `prefect` on this machine needs, for eval "$(scripts/stack env)"."""
    values = settings.load()
    variables = choose.running(values).client_environment()
    for name in CLIENT_VARIABLES:
        if name in variables:
            sys.stdout.write(f"export {name}={shlex.quote(variables[name])}\n")
    # The command `prefect` itself is in the stack's environment.
    sys.stdout.write(f'export PATH={shlex.quote(str(settings.ROOT / ".venv/bin"))}:"$PATH"\n')


@app.command()
def transfer(
    to: Annotated[str | None, typer.Option(metavar="PROFILE", help="Copy to its server.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="PROFILE", help="Copy from its server.")
    ] = None,
) -> None:
    """Copy deployments, blocks and the like to the server of a Prefect profile, or from it."""
    from scripts import transfer as transfers  # noqa: PLC0415 - imports Prefect, which takes time

    profile = to or from_
    if profile is None or (to and from_):
        raise MistakeError(
            "transfer goes one way",
            expected="--to PROFILE or --from PROFILE",
            found="both" if to else "neither",
            do="name one profile of `prefect profile ls`",
        )
    values = settings.load()
    own = choose.running(values).client_environment()
    transfers.run(values.stack_name, own, profile, "to" if to else "from")


@app.command()
def test(
    suite: Annotated[testing.Suite, typer.Argument(help="Which tests.")] = testing.Suite.all,
) -> None:
    """Run the tests that this machine can run; print which were left out, and why."""
    raise typer.Exit(testing.run(suite))


@app.command()
def bench(  # noqa: PLR0913, PLR0917 - Typer's way to declare options
    contender: Annotated[
        list[str] | None, typer.Option(help="One contender; repeat for more. [default: all]")
    ] = None,
    measure: Annotated[
        list[str] | None, typer.Option(help="One measure; repeat for more. [default: all]")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each contender is measured.")] = 3,
    starts: Annotated[int, typer.Option(min=1, help="Single runs in a round.")] = 10,
    burst: Annotated[int, typer.Option(min=1, help="Runs at once in a round.")] = 100,
    soak: Annotated[int, typer.Option(min=1, help="Runs of the soak.")] = 2000,
    to: Annotated[Path, typer.Option(help="The file for the raw figures.")] = settings.ROOT
    / ".stack"
    / "benchmarks.json",
    report_of: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Only write docs/benchmarks.md from FILE."),
    ] = None,
) -> None:
    """Compare this stack with its alternatives; takes hours."""
    from benchmarks import command  # noqa: PLC0415 - only there in a checkout

    if report_of:
        command.report(report_of)
    else:
        command.run(contender or [], measure or [], (rounds, starts, burst, soak), to)


def main() -> None:
    """Run the command; print a `StackError` without a traceback and exit with its code."""
    try:
        app()
    except StackError as error:
        report.err.print(f"error: {error}")
        sys.exit(error.exit_code)
    except DockerException as error:
        failed = StackError(
            "Docker failed",
            expected=" ".join(error.docker_command[:4]) + " ... to end with 0",
            found=str(error.return_code),
            details=error.stderr or "",
        )
        report.err.print(f"error: {failed}")
        sys.exit(failed.exit_code)


if __name__ == "__main__":
    main()
