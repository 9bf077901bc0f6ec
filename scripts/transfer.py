"""Copies what is on the stack's server to the server of a Prefect profile, or from it.

`prefect transfer` copies between two profiles. The stack has none, so one is written for it, with a
copy of the other, into a temporary folder that other users cannot read.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prefect.settings import load_profiles

from scripts import inventory, report
from server.api import remote
from server.api.client import Api
from server.errors import MistakeError, StackError
from server.settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scripts.inventory import Inventory

READ_SECONDS = 60.0  # a busy server may take that long for a page of 200 objects
Direction = Literal["to", "from"]
Variables = dict[str, str]


def run(stack_name: str, own: Mapping[str, str], profile: str, direction: Direction) -> None:
    """Copy in one direction, and print what was not copied.

    Args:
        stack_name: the stack's name in the output.
        own: the environment variables for a client of the stack's server.
        profile: a name in the user's file of Prefect profiles.
        direction: "to" the profile's server or "from" it.

    Raises:
        MistakeError: there is no such profile, or its server refuses its login; nothing was copied.
        StackError: a server does not answer, or something could not be copied.
    """
    here = f"stack {stack_name}"
    sides = {here: dict(own), profile: _variables(profile)}
    apis = {name: _api(variables) for name, variables in sides.items()}
    if apis[here].url == apis[profile].url:
        raise MistakeError(
            f"the profile {profile} is of the stack's own server",
            expected="the profile of another server",
            found=apis[here].url,
            do="choose another (`prefect profile ls`)",
        )
    remote.check(apis[profile], f"the profile {profile}")
    source, target = (here, profile) if direction == "to" else (profile, here)
    code = _prefect_transfer(sides, source, target)
    try:
        _report(source, target, inventory.read(apis[source]), inventory.read(apis[target]))
    except (OSError, ValueError) as error:
        raise StackError("what was not copied is not known", found=str(error)) from error
    if code:
        raise StackError(
            "not everything could be copied",
            expected="`prefect transfer` to end with 0",
            found=str(code),
            do="correct what failed above, then type the command again: what exists is skipped",
        )


def _variables(name: str) -> Variables:
    try:
        profiles = load_profiles(include_defaults=False)
    except ValueError as error:
        raise MistakeError(
            "the file of your Prefect profiles cannot be read",
            expected="a file that `prefect profile ls` reads",
            found=str(error).splitlines()[0],
        ) from error
    if name not in profiles:
        raise MistakeError(
            f"there is no Prefect profile {name}",
            expected=f"one of {', '.join(profiles.names) or '(there are none)'}",
            found=name,
            do=f"prefect profile create {name}; prefect -p {name} config set PREFECT_API_URL=...",
        )
    variables = profiles[name].to_environment_variables()
    if not variables.get("PREFECT_API_URL"):
        raise MistakeError(
            f"the Prefect profile {name} names no server",
            expected="a profile with PREFECT_API_URL",
            found="none",
            do=f"prefect -p {name} config set PREFECT_API_URL=...",
        )
    return variables


def _api(variables: Variables) -> Api:
    return Api(
        variables["PREFECT_API_URL"],
        login=variables.get("PREFECT_API_AUTH_STRING", ""),
        key=variables.get("PREFECT_API_KEY", ""),
        timeout=READ_SECONDS,
    )


def _prefect_transfer(sides: Mapping[str, Variables], source: str, target: str) -> int:
    with tempfile.TemporaryDirectory(prefix="stack-transfer-") as folder:  # of mode 0700
        path = Path(folder) / "profiles.toml"
        path.touch(mode=0o600)
        path.write_text("".join(_toml(name, sides[name]) for name in sides), encoding="utf-8")
        # It runs in this folder: a .env in the working folder would override the profiles.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        own = {"PREFECT_HOME": folder, "PREFECT_PROFILES_PATH": str(path), "PYTHONPATH": str(ROOT)}
        argv = [sys.executable, "-m", "scripts.prefect_transfer", "--no-prompt", "transfer"]
        sys.stdout.flush()
        return subprocess.run(
            [*argv, "--from", source, "--to", target],
            check=False,
            cwd=folder,
            env={**inherited, **own},
        ).returncode


def _toml(name: str, variables: Variables) -> str:
    # Every string of JSON is a valid string of TOML.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in variables.items()]
    return "\n".join([f"[profiles.{json.dumps(name, ensure_ascii=False)}]", *lines, "", ""])


def _report(source: str, target: str, before: Inventory, after: Inventory) -> None:
    """Print what is missing on the other server, and what differs there."""
    say = report.out.print
    for kind, names in before.names.items():
        if missing := sorted(names - after.names[kind]):
            say(f"not on {target}: {kind} {', '.join(missing)}")
    counts = ", ".join(f"{count} {kind}" for kind, count in before.history.items())
    say(f"stays on {source}: {counts}; logs, events, results, files, and who made what when")
    if lost := sorted(before.limited - after.limited):
        say(f"without its concurrency limit on {target}: deployment {', '.join(lost)}")
    if both := sorted(before.scheduled & after.scheduled):
        say(f"runs on both by schedule: deployment {', '.join(both)}; pause one of the two")
    if by_id := sorted(before.by_id & after.names["automation"]):
        say(f"watches by an id of {source}: automation {', '.join(by_id)}; correct its trigger")
    say("What existed on the other side was left as it was.")
