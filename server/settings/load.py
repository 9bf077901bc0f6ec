"""Reads the settings from the environment and from `.env`, and refuses invalid ones."""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from server.api.client import CLOUD, redacted
from server.errors import MistakeError
from server.settings import dotenv, placeholders
from server.settings.model import (
    ENV_FILE,
    FILE_ONLY,
    ROOT,
    SECRETS,
    Settings,
    folder,
    project_folder,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ENVIRONMENT = "the environment"
# Docker and Compose read these variables from the same file, so they are not checked here.
FOREIGN_PREFIXES = ("COMPOSE_", "DOCKER_", "BUILDKIT_")
# The exception: with this variable, Compose would work on another stack than STACK_NAME says.
PROJECT_NAME = "COMPOSE_PROJECT_NAME"


def load(env_file: Path = ENV_FILE, project: Path | None = None) -> Settings:
    """The settings in effect: a value in the environment overrides one in `env_file`.

    An empty value counts as not set; in the environment it also hides the value in the file, as it
    does in Compose. The environment has no effect on the settings in `FILE_ONLY`. The file may also
    hold values that are not settings, if a declaration of the project refers to them.

    Args:
        env_file: the `.env` file to read; it may be missing.
        project: in a container, the path at which the project is mounted.

    Raises:
        MistakeError: a setting is invalid; the message names it and where it was set.
    """
    entries = dotenv.read(env_file)
    line = entries["STACK_PROJECT"].value if "STACK_PROJECT" in entries else ""
    try:
        configured = project_folder(folder(os.environ.get("STACK_PROJECT", line)))
    except ValueError:
        configured = ROOT  # the invalid setting is reported below
    _check_names(entries, env_file.name, project or configured)
    from_file = {
        name: entry.value
        for name, entry in entries.items()
        if entry.value and (name in FILE_ONLY or name not in os.environ)
    }
    origins = dict.fromkeys(FILE_ONLY, env_file.name)
    origins |= {name: f"{env_file.name} line {entry.line}" for name, entry in entries.items()}
    origins |= {
        name: ENVIRONMENT
        for name in Settings.names()
        if os.environ.get(name) and name not in FILE_ONLY and not of_file(name, entries)
    }
    if from_file.get("PREFECT_API_URL") and "LOCAL_SERVER" not in {*from_file, *os.environ}:
        from_file["LOCAL_SERVER"] = "0"  # Compose cannot derive it from the address, but we can
    values: dict[str, Any] = {name.lower(): value for name, value in from_file.items()}
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise _mistake(error.errors()[0], origins) from None
    _check_remote(settings, origins)
    return settings.model_copy(update={"stack_project": str(project)}) if project else settings


def of_file(name: str, entries: Mapping[str, dotenv.Entry]) -> bool:
    """Whether the environment only repeats the value in the file, as it does under Compose."""
    return name in entries and entries[name].value == os.environ[name]


def _check_names(names: Mapping[str, dotenv.Entry], source: str, project: Path) -> None:
    """Refuse a name that is neither a setting nor referred to by a declaration in `project`.

    If a file of declarations is missing, only names that resemble a setting are refused, because
    the missing file may refer to the others. (`up` refuses such a folder.)

    Raises:
        MistakeError: a name is unknown; the message suggests the one that was probably meant.
    """
    known = [*Settings.names(), *sorted(placeholders.names(project))]
    complete = placeholders.complete(project)
    for name, entry in names.items():
        if name in known or (name.startswith(FOREIGN_PREFIXES) and name != PROJECT_NAME):
            continue
        close = difflib.get_close_matches(name.upper(), known, n=1)
        close = ["STACK_NAME"] if name == PROJECT_NAME else close
        if not (close or complete):
            continue
        raise MistakeError(
            f"{source} line {entry.line}: {name} is not a setting of this stack",
            expected=close[0]
            if close
            else "a name of .env.example, or one that stack.yaml or prefect.yaml asks for",
            found=name,
            do=f"rename or remove {name}",
        )


def _check_remote(settings: Settings, origins: Mapping[str, str]) -> None:
    """Refuse settings of a remote server that contradict each other.

    Args:
        settings: the settings to check.
        origins: where each setting was set, by its name.

    Raises:
        MistakeError: two settings contradict each other, or one that is needed is missing.
    """
    url, key = settings.prefect_api_url, settings.prefect_api_key
    login = settings.prefect_api_auth_string
    cloud = url is not None and url.startswith(CLOUD)
    if key and login:
        raise MistakeError(
            f"PREFECT_API_KEY in {origins['PREFECT_API_KEY']} does not go with "
            "PREFECT_API_AUTH_STRING",
            expected="a key for Prefect Cloud, or a login for a self-hosted server",
            found="both: the key would win, and a self-hosted server would answer 401",
            do="take one of them out of .env",
        )
    if (key or login) and url is None:
        name = "PREFECT_API_KEY" if key else "PREFECT_API_AUTH_STRING"
        raise MistakeError(
            f"{name} in {origins[name]} is of no use without PREFECT_API_URL",
            expected="the address of the remote server beside it",
            found="none",
            do=f"add PREFECT_API_URL to .env, or take {name} out",
        )
    if cloud and not key:
        raise MistakeError(
            f"PREFECT_API_URL in {origins['PREFECT_API_URL']} needs a key",
            expected="PREFECT_API_KEY beside the address of Prefect Cloud",
            found="none",
            do="add PREFECT_API_KEY to .env (create one in Prefect Cloud, under API Keys)",
        )
    if url and settings.local_server:
        raise MistakeError(
            f"PREFECT_API_URL in {origins['PREFECT_API_URL']} names a remote server, and "
            "LOCAL_SERVER does not say so",
            expected="LOCAL_SERVER=0 in .env: Docker Compose cannot derive it from the address",
            found="LOCAL_SERVER=1, which is its default there",
            do="add the line LOCAL_SERVER=0 to .env",
        )
    if url is None and not settings.local_server:
        raise MistakeError(
            f"LOCAL_SERVER in {origins.get('LOCAL_SERVER', 'the environment')} leaves the stack "
            "without a server",
            expected="PREFECT_API_URL in .env, with the address of a remote server",
            found="none",
            do="add PREFECT_API_URL to .env, or take LOCAL_SERVER out",
        )


def _mistake(error: Any, origins: Mapping[str, str]) -> MistakeError:
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("expected ")
    if not error["loc"]:  # no single setting is wrong, but the combination of two
        return MistakeError(
            f"STACK_AUTH in {origins.get('STACK_AUTH', ENVIRONMENT)} does not go with STACK_BIND",
            expected=message,
            found="off",
            do="correct STACK_AUTH or STACK_BIND (see .env.example)",
        )
    name = str(error["loc"][0]).upper()
    value = error["input"]
    return MistakeError(
        f"{name} in {origins.get(name, ENVIRONMENT)} is not valid",
        expected=Settings.expectations.get(name, message),
        found="a value that is not shown" if name in SECRETS else repr(_shown(name, str(value))),
        do=f"correct {name} (see .env.example)",
    )


def _shown(name: str, value: str) -> str:
    """`value` for a message, without a password that was written into the wrong setting."""
    if name == "STACK_USER" and ":" in value:
        return value.partition(":")[0] + ":..."
    return redacted(value)
