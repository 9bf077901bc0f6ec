"""Every setting of a stack, with its type and default.

A setting's name is the upper-case form of its field. `.env.example` documents every setting and
`compose.yaml` uses every one; tests/unit/test_settings.py checks that the three agree. The settings
of a remote server are read only from `.env`; in Docker, so are all secrets (see `shell_secrets`).
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from server import passwords
from server.api.client import CLOUD, Api

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parents[2]
ENV_FILE = ROOT / ".env"

# Settings that are not read from the environment: `eval "$(scripts/stack env)"` leaves these
# variables in a shell, where a later `up` must not take them for the settings of a remote server.
FILE_ONLY = frozenset({"PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"})
SECRETS = frozenset(
    {
        *("STACK_PASSWORD", "POSTGRES_PASSWORD", "ENCRYPTION_KEY", "SLACK_WEBHOOK_URL"),
        *("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"),
    }
)

API_PATH = re.compile(r"(/[^?#]*)?/api(/accounts/[^/?#]+/workspaces/[^/?#]+)?")


def _webhook(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith("https://"):
        raise ValueError("expected an address that starts with https://")
    return value


# Docker Compose and scripts/python read this setting too, and have to see the same path.
FOLDER = "a folder whose path has no quote, $, #, \\ or ~user in it"


def _address(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError("expected an IP address of this machine, such as 127.0.0.1") from None
    return value


def _api_url(value: str) -> str:
    parts = urlsplit(value)
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or "@" in parts.netloc
        or not API_PATH.fullmatch(value.removeprefix(f"{parts.scheme}://{parts.netloc}"))
    ):
        raise ValueError(
            "expected the address of an API: https://HOST/api, or Prefect Cloud's "
            f"{CLOUD}accounts/ID/workspaces/ID"
        )
    return value


def _login(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[^:\s]+:[^\x00-\x1f\x7f]+", value.get_secret_value()):
        raise ValueError("expected a login of the form user:password")
    return value


def folder(value: str) -> str:
    """Return `value`, a path that Docker Compose and a shell read as we do.

    Raises:
        ValueError: they would read it differently; the message says what is expected.
    """
    if re.search(r"[$#'\"\\\x00-\x1f]", value) or re.match("~[^/]", value):
        raise ValueError(FOLDER)
    return value


def project_folder(value: str) -> Path:
    """The folder that a value of STACK_PROJECT means; relative paths are relative to the clone."""
    home, _, rest = value.partition("/")
    path = Path.home() / rest if home == "~" else ROOT / value
    return Path(os.path.realpath(path))  # unlike Path.resolve, it accepts circular links


Image = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][A-Za-z0-9._/:@-]*$")]
WorkerType = Literal["prefork", "process"]


class _Environment(EnvSettingsSource):
    """The environment, without the settings that only `.env` may set."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        if field_name.upper() in FILE_ONLY:
            return None, field_name, False
        return super().get_field_value(field, field_name)


class Settings(BaseSettings):
    """The settings of one stack; use `load` to create it."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    stack_name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")] = (
        "prefect-stack"
    )
    stack_project: Annotated[str, AfterValidator(folder)] = "."
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
    prefect_api_url: Annotated[str, AfterValidator(_api_url)] | None = None
    prefect_api_key: Annotated[SecretStr, AfterValidator(passwords.bearer)] | None = None
    prefect_api_auth_string: Annotated[SecretStr, AfterValidator(_login)] | None = None
    local_server: Annotated[int, Field(ge=0, le=1)] = 1
    worker_type: WorkerType = "prefork"
    worker_concurrency: Annotated[int, Field(ge=1)] = 10
    server_image: Image = "prefect-stack/server"
    worker_image: Image = "prefect-stack/worker"
    postgres_image: Image = "postgres:18-trixie"
    python_image: Image = "python:3.13-slim-trixie"

    # Replaces pydantic's own message for settings where that is not helpful enough.
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
        """The folder with the flows and declarations."""
        return project_folder(self.stack_project)

    @property
    def auth(self) -> bool:
        """Whether the stack's own API requires a login."""
        return self.stack_auth == "on"

    @property
    def remote(self) -> Api | None:
        """The API of the remote server that the stack uses; None if it runs its own server."""
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
        """The address of the stack's own server in a browser on this machine."""
        address = ipaddress.ip_address(self.stack_bind)
        if address.is_unspecified:
            return f"http://{'127.0.0.1' if address.version == 4 else '[::1]'}:{self.stack_port}"  # noqa: PLR2004
        host = f"[{address}]" if address.version == 6 else str(address)  # noqa: PLR2004
        return f"http://{host}:{self.stack_port}"

    @classmethod
    def names(cls) -> list[str]:
        """The names of all settings, as they are written in `.env`."""
        return [name.upper() for name in cls.model_fields]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - see `load`
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then the values that `load` read from `.env`."""
        return (_Environment(settings_cls), init_settings)
