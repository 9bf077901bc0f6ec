"""Every setting of a stack, read from the environment and from `.env`, in that order.

The names are the upper-case forms of the fields. `.env.example` documents each one and
`compose.yaml` uses each one; tests/unit/test_settings.py keeps the three equal. Those of a remote
server are read from `.env` alone, and in Docker so are all secrets: see server/shell_secrets.py.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from server import dotenv, passwords, references, remote_lines
from server.errors import MistakeError
from server.remote import Api, redacted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parents[1]
ENV_FILE = ROOT / ".env"
ENVIRONMENT = "the environment"

# Not taken from the environment: `eval "$(scripts/stack env)"` leaves them in a shell, and the next
# `up` there is not meant to be one of a remote server.
FILE_ONLY = frozenset({"PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"})
SECRETS = frozenset(
    {
        *("STACK_PASSWORD", "POSTGRES_PASSWORD", "ENCRYPTION_KEY", "SLACK_WEBHOOK_URL"),
        *("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"),
    }
)

# Docker Compose and scripts/python read the setting too, and have to read the same.
FOLDER = "a folder whose path has no quote, $, #, \\ or ~user in it"

# Compose reads these from the same file; they are not ours to judge.
FOREIGN_PREFIXES = ("COMPOSE_", "DOCKER_", "BUILDKIT_")
# Except this one: Compose would take it for the name of another stack.
PROJECT_NAME = "COMPOSE_PROJECT_NAME"


def _webhook(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith("https://"):
        raise ValueError("expected an address that starts with https://")
    return value


def _address(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError("expected an IP address of this machine, such as 127.0.0.1") from None
    return value


def _folder(value: str) -> str:
    if re.search(r"[$#'\"\\\x00-\x1f]", value) or re.match("~[^/]", value):
        raise ValueError(FOLDER)
    return value


Image = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][A-Za-z0-9._/:@-]*$")]
WorkerType = Literal["prefork", "process"]


class _Environment(EnvSettingsSource):
    """The environment, without what only `.env` may set."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        if field_name.upper() in FILE_ONLY:
            return None, field_name, False
        return super().get_field_value(field, field_name)


class Settings(BaseSettings):
    """The settings of one stack; build it with `load`."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    stack_name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")] = (
        "prefect-stack"
    )
    stack_project: Annotated[str, AfterValidator(_folder)] = "."
    stack_port: Annotated[int, Field(ge=1, le=65535)] = 4200
    stack_bind: Annotated[str, AfterValidator(_address)] = "127.0.0.1"
    stack_auth: Literal["on", "off"] = "on"
    stack_user: Annotated[str, StringConstraints(pattern=f"^{passwords.BASIC_USER.pattern}$")] = (
        "admin"
    )
    stack_password: Annotated[SecretStr, AfterValidator(passwords.basic)] | None = None
    postgres_password: Annotated[SecretStr, AfterValidator(passwords.one_line)] | None = None
    encryption_key: Annotated[SecretStr, AfterValidator(passwords.fernet_key)] | None = None
    slack_webhook_url: Annotated[SecretStr, AfterValidator(_webhook)] | None = None
    prefect_api_url: Annotated[str, AfterValidator(remote_lines.api_url)] | None = None
    prefect_api_key: Annotated[SecretStr, AfterValidator(passwords.bearer)] | None = None
    prefect_api_auth_string: Annotated[SecretStr, AfterValidator(remote_lines.login)] | None = None
    local_server: Annotated[int, Field(ge=0, le=1)] = 1
    worker_type: WorkerType = "prefork"
    worker_concurrency: Annotated[int, Field(ge=1)] = 10
    server_image: Image = "prefect-stack/server"
    worker_image: Image = "prefect-stack/worker"
    postgres_image: Image = "postgres:18-trixie"
    python_image: Image = "python:3.13-slim-trixie"

    # What a message says instead of pydantic's own words, where those teach too little.
    expectations: ClassVar[dict[str, str]] = {
        "STACK_NAME": "lower-case letters, digits, - and _, at most 41",
        "STACK_PROJECT": FOLDER,
        "STACK_PORT": "a port number from 1 to 65535",
        "STACK_AUTH": "on or off",
        "STACK_USER": "a name of ASCII characters, without a colon or a space",
        "LOCAL_SERVER": "1, or 0 where PREFECT_API_URL names a remote server",
        "WORKER_TYPE": "prefork or process",
        "WORKER_CONCURRENCY": "a whole number, 1 or more",
    }

    @model_validator(mode="after")
    def _open_only_on_loopback(self) -> Self:
        if self.stack_auth == "off" and not ipaddress.ip_address(self.stack_bind).is_loopback:
            raise ValueError(
                "expected STACK_AUTH=on, or a loopback address in STACK_BIND: "
                f"without a login, {self.stack_bind} would let in whoever can reach it"
            )
        return self

    @property
    def project(self) -> Path:
        """The folder of the flows and declarations; a relative path starts at the clone."""
        return _project(self.stack_project)

    @property
    def auth(self) -> bool:
        """Whether the API asks for a login."""
        return self.stack_auth == "on"

    @property
    def remote(self) -> Api | None:
        """The server that the stack uses instead of its own; None where it runs its own."""
        if self.prefect_api_url is None:
            return None
        login, key = self.prefect_api_auth_string, self.prefect_api_key
        return Api(
            self.prefect_api_url,
            login=login.get_secret_value() if login else "",
            key=key.get_secret_value() if key else "",
        )

    def using(self, api: Api) -> Self:
        """These settings with `api` as the remote server."""
        remote = {
            "prefect_api_url": api.url,
            "prefect_api_key": SecretStr(api.key) if api.key else None,
            "prefect_api_auth_string": SecretStr(api.login) if api.login else None,
            "local_server": 0,
        }
        return self.model_copy(update=remote)

    @property
    def ui_url(self) -> str:
        """The address of the UI that shows this stack's runs."""
        return self.remote.ui_url if self.remote else self.url

    @property
    def url(self) -> str:
        """The address of the stack's own server, for a browser on this machine."""
        address = ipaddress.ip_address(self.stack_bind)
        if address.is_unspecified:
            return f"http://{'127.0.0.1' if address.version == 4 else '[::1]'}:{self.stack_port}"  # noqa: PLR2004
        host = f"[{address}]" if address.version == 6 else str(address)  # noqa: PLR2004
        return f"http://{host}:{self.stack_port}"

    @classmethod
    def names(cls) -> list[str]:
        """The names of all settings, as they stand in `.env`."""
        return [name.upper() for name in cls.model_fields]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - see server.dotenv
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, then what `load` read from the file."""
        return (_Environment(settings_cls), init_settings)


def load(env_file: Path = ENV_FILE, project: Path | None = None) -> Settings:
    """The settings that hold: a value in the environment wins over one in `env_file`.

    An empty value counts as not set; in the environment it also hides the file's, as in Compose.
    Where only `.env` counts, see `FILE_ONLY`, the environment neither wins nor hides.

    Args:
        env_file: Read after the environment.
        project: Where the project is mounted in a container, which `.env` does not say.

    Raises:
        MistakeError: naming the setting and where it stands.
    """
    entries = dotenv.read(env_file)
    line = entries["STACK_PROJECT"].value if "STACK_PROJECT" in entries else ""
    try:
        named = _project(_folder(os.environ.get("STACK_PROJECT", line)))
    except ValueError:
        named = ROOT  # the setting itself is refused below
    check_names(entries, env_file.name, project or named)
    given = {
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
    if given.get("PREFECT_API_URL") and "LOCAL_SERVER" not in {*given, *os.environ}:
        given["LOCAL_SERVER"] = "0"  # Compose cannot tell by itself, but we can
    values: dict[str, Any] = {name.lower(): value for name, value in given.items()}
    try:
        found = Settings(**values)
    except ValidationError as error:
        raise _mistake(error.errors()[0], origins) from None
    remote_lines.check(found, origins)
    return found.model_copy(update={"stack_project": str(project)}) if project else found


def _project(value: str) -> Path:
    home, _, rest = value.partition("/")
    path = Path.home() / rest if home == "~" else ROOT / value
    return Path(os.path.realpath(path))  # unlike Path.resolve, it takes links that go in circles


def of_file(name: str, entries: Mapping[str, dotenv.Entry]) -> bool:
    """Whether the environment only repeats the file, as Compose's does in a container."""
    return name in entries and entries[name].value == os.environ[name]


def check_names(names: Mapping[str, dotenv.Entry], source: str, project: Path) -> None:
    """Refuse a name that is not a setting and that no declaration in `project` refers to.

    Where a declaration is missing, only what resembles a setting is refused: the others may be
    what it refers to, and the folder is refused by `up`.

    Raises:
        MistakeError: for the first unknown name, with the one that was probably meant.
    """
    known = [*Settings.names(), *sorted(references.names(project))]
    complete = references.complete(project)
    for name, entry in names.items():
        if name in known or (name.startswith(FOREIGN_PREFIXES) and name != PROJECT_NAME):
            continue
        close = difflib.get_close_matches(name.upper(), known, n=1)
        close = ["STACK_NAME"] if name == PROJECT_NAME else close
        if not (close or complete):
            continue
        raise MistakeError(
            f"{source} line {entry.line}: {name} is no setting of the stack",
            expected=close[0]
            if close
            else "a name of .env.example, or one that stack.yaml or prefect.yaml asks for",
            found=name,
            do=f"rename or remove {name}",
        )


def _mistake(error: Any, origins: Mapping[str, str]) -> MistakeError:
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("expected ")
    if not error["loc"]:  # no single setting is wrong, but two that do not go together
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
    """`value` without a password that was written where none belongs."""
    if name == "STACK_USER" and ":" in value:
        return value.partition(":")[0] + ":..."
    return redacted(value)
