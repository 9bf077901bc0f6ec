"""Each process gets the environment that it needs, and no secret that it does not need."""

import inspect
import os
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import prefect.settings
import pytest
from prefect.server.concurrency.lease_storage import ConcurrencyLeaseStorageModule
from prefect.server.utilities import encryption
from prefect.settings.legacy import _get_valid_setting_names
from pydantic import SecretStr
from sqlalchemy import make_url

from prefect_prefork.worker import JOURNAL_FOLDER
from server import environment, secrets, services
from server.api.client import Api
from server.app import leases
from server.app.upstream import LeaseStorage
from server.place import DOCKER, Place
from server.settings import Settings

ROLES = tuple(each.name for each in services.every() if each.has_entrypoint)
CLIENTS = ("bootstrap", "worker")
NASTY = "p@:/ #%$?&'\"\\ w"
OPEN = Settings.model_construct(stack_auth="off")
CLOSED = Settings.model_construct(stack_auth="on", stack_user="ada")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """The place of a container, with folders in `tmp_path` and a nasty password of the database."""
    given = Settings.model_construct(postgres_password=SecretStr(NASTY))
    secrets.ensure(given, tmp_path / "secrets")
    # Scratch is Prefect's home as well: no profile of the machine's user is read.
    return replace(DOCKER, secrets=tmp_path / "secrets", scratch=tmp_path / "scratch")


def environ(role: str, place: Place, settings: Settings = CLOSED) -> dict[str, str]:
    return services.named(role).environment(settings, place)


def holders(secret: str, place: Place) -> list[str]:
    """Return the roles whose environment holds `secret`, plain or quoted for a URL."""
    environments = {role: "\n".join(environ(role, place).values()) for role in ROLES}
    texts = environments.items()
    return [role for role, text in texts if secret in text or secret in unquote(text)]


def as_prefect_reads(
    role: str, place: Place, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> prefect.settings.Settings:
    """Return the settings that Prefect reads from the environment of `role`, and nothing else."""
    for name in list(os.environ):
        if name.startswith("PREFECT_"):
            monkeypatch.delenv(name)
    for name, value in environ(role, place, settings).items():
        monkeypatch.setenv(name, value)
    return prefect.settings.Settings()


class TestSecrets:
    def test_the_database_is_open_to_migrate_and_server_only(self, place: Place) -> None:
        assert holders(NASTY, place) == ["migrate", "server"]

    def test_the_encryption_key_goes_to_the_server_only(self, place: Place) -> None:
        assert holders(secrets.encryption_key(place.secrets), place) == ["server"]

    def test_the_login_goes_to_the_server_and_its_clients(self, place: Place) -> None:
        login = f"ada:{secrets.api_password(CLOSED, place.secrets)}"
        assert holders(login, place) == ["server", "bootstrap", "worker"]

    def test_clients_need_the_folder_of_no_other_secret(self, place: Place) -> None:
        (place.secrets / secrets.DATABASE_PASSWORD).unlink()
        (place.secrets / secrets.ENCRYPTION_KEY).unlink()
        for role in CLIENTS:
            assert environ(role, place)["PREFECT_API_URL"] == place.api_url

    def test_migrate_needs_the_database_only(self, place: Place) -> None:
        (place.secrets / secrets.API_PASSWORD).unlink()
        (place.secrets / secrets.ENCRYPTION_KEY).unlink()
        assert environ("migrate", place)


class TestNames:
    @pytest.mark.parametrize("settings", [CLOSED, OPEN], ids=["closed", "open"])
    def test_every_name_is_one_that_the_installed_prefect_reads(
        self, settings: Settings, place: Place
    ) -> None:
        given = {name for role in ROLES for name in environ(role, place, settings)}
        ours = {name for name in given if name.startswith("PREFECT_")}
        # Not among the settings: read where blocks are encrypted.
        read_there = {"PREFECT_SERVER_ENCRYPTION_KEY"}
        assert '"PREFECT_SERVER_ENCRYPTION_KEY"' in inspect.getsource(encryption)
        assert ours - read_there - _get_valid_setting_names(prefect.settings.Settings) == set()
        trusted = set() if settings.auth else {"STACK_TRUSTED_HOSTS"}
        others = {"DO_NOT_TRACK", "PYTHONTZPATH", "STACK_DATA_DIR", JOURNAL_FOLDER}
        assert given - ours == others | trusted


class TestWorker:
    @pytest.mark.parametrize(("kind", "seconds"), [("prefork", 5), ("process", 1)])
    def test_it_is_of_the_type_that_is_set_and_asks_for_work_as_often_as_that_needs(
        self, kind: str, seconds: int, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = CLOSED.model_copy(update={"worker_type": kind})
        argv = services.named("worker").command(settings, place)
        assert argv[argv.index("--type") + 1] == kind
        read = as_prefect_reads("worker", place, settings, monkeypatch).worker
        assert read.query_seconds == seconds


class TestServer:
    def test_with_a_login_csrf_protection_is_off(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = as_prefect_reads("server", place, CLOSED, monkeypatch).server
        login = read.api.auth_string
        assert login is not None
        password = secrets.api_password(CLOSED, place.secrets)
        assert login.get_secret_value() == f"ada:{password}"
        assert not read.api.csrf_protection_enabled

    def test_without_a_login_csrf_protection_is_on(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = as_prefect_reads("server", place, OPEN, monkeypatch).server
        assert read.api.auth_string is None
        assert read.api.csrf_protection_enabled

    def test_only_its_own_pages_may_call_it(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = Settings.model_construct(stack_bind="192.0.2.7", stack_port=4300)
        read = as_prefect_reads("server", place, settings, monkeypatch).server
        assert read.api.cors_allowed_origins.split(",") == [
            "http://192.0.2.7:4300",
            "http://localhost:4300",
            "http://127.0.0.1:4300",
        ]

    def test_without_a_login_it_answers_to_the_names_that_its_clients_use(
        self, place: Place
    ) -> None:
        open_v6 = OPEN.model_copy(update={"stack_bind": "::1"})
        assert environ("server", place, open_v6)["STACK_TRUSTED_HOSTS"] == "::1,server"
        assert "STACK_TRUSTED_HOSTS" not in environ("server", place, CLOSED)

    def test_it_listens_where_the_place_says(self, place: Place) -> None:
        argv = services.named("server").command(CLOSED, replace(place, listen_port=4300))
        given = ["--host", place.listen_host, "--port", "4300"]
        assert argv[1:] == ["-m", "server.app", *given]

    def test_its_leases_are_kept_by_a_store_that_prefect_takes(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = as_prefect_reads("server", place, CLOSED, monkeypatch).server
        assert read.concurrency.lease_storage == leases.__name__
        assert isinstance(leases, ConcurrencyLeaseStorageModule)
        asked = {name for name in vars(LeaseStorage) if not name.startswith("_")}
        assert asked == {n for n in vars(leases.ConcurrencyLeaseStorage) if not n.startswith("_")}

    def test_a_request_waits_seconds_for_a_connection(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = as_prefect_reads("server", place, CLOSED, monkeypatch).server.database
        assert (read.connection_timeout, read.sqlalchemy.pool_timeout) == (5, 5)

    def test_its_ui_calls_where_it_came_from(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = as_prefect_reads("server", place, CLOSED, monkeypatch).server.ui
        assert read.api_url == "/api"
        assert read.static_directory == str(place.scratch / "ui")

    def test_it_reports_to_nobody_and_advertises_nothing(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = as_prefect_reads("server", place, CLOSED, monkeypatch).server
        assert (read.analytics_enabled, read.ui.show_promotional_content) == (False, False)

    def test_it_does_not_migrate(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        read = as_prefect_reads("server", place, CLOSED, monkeypatch).server.database
        assert not read.migrate_on_start
        assert read.connection_url is not None
        assert make_url(read.connection_url.get_secret_value()).password == NASTY


class TestClients:
    @pytest.mark.parametrize("role", CLIENTS)
    def test_they_log_in_as_the_server_asks(
        self, role: str, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = as_prefect_reads("server", place, CLOSED, monkeypatch).server.api
        read = as_prefect_reads(role, place, CLOSED, monkeypatch)
        assert read.api.auth_string == server.auth_string
        assert not read.client.csrf_support_enabled
        assert read.api.url == place.api_url

    @pytest.mark.parametrize("role", CLIENTS)
    def test_without_a_login_they_send_csrf_tokens(
        self, role: str, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = as_prefect_reads(role, place, OPEN, monkeypatch)
        assert read.api.auth_string is None
        assert read.client.csrf_support_enabled

    @pytest.mark.parametrize("role", CLIENTS)
    @pytest.mark.parametrize(
        "api", [Api("https://other.example/api", login="ada:x"), Api("https://c/api", key="pnu_x")]
    )
    def test_of_a_remote_server_they_know_address_and_login_only(
        self, role: str, api: Api, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (place.secrets / secrets.API_PASSWORD).unlink()
        read = as_prefect_reads(role, place, CLOSED.using(api), monkeypatch)
        login = read.api.auth_string.get_secret_value() if read.api.auth_string else ""
        key = read.api.key.get_secret_value() if read.api.key else ""
        assert (read.api.url, login, key) == (api.url, api.login, api.key)
        # What the server is like, a client has to find out.
        assert read.client.csrf_support_enabled
        assert read.client.server_version_check_enabled
        assert read.ui_url == api.ui_url

    def test_links_in_logs_are_for_a_person(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert as_prefect_reads("worker", place, CLOSED, monkeypatch).ui_url == f"{CLOSED.url}/v2"

    def test_the_worker_keeps_results_with_the_data(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = as_prefect_reads("worker", place, CLOSED, monkeypatch)
        assert read.results.local_storage_path == place.data / "results"
        assert environ("worker", place)["STACK_DATA_DIR"] == str(place.data)

    def test_the_worker_keeps_its_journal_where_no_flow_writes(self, place: Place) -> None:
        journal = environ("worker", place)[JOURNAL_FOLDER]
        assert journal == str(place.journal)
        assert not place.journal.is_relative_to(place.data)

    def test_the_worker_is_asked_for_its_health_from_inside_only(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = as_prefect_reads("worker", place, CLOSED, monkeypatch).worker.webserver
        assert (read.host, read.port) == ("127.0.0.1", place.worker_health_port)


@pytest.mark.parametrize(
    "password", ["plain and long", NASTY, "%41%42%43%44", "pässwörd🔑 of it", "a@b/c?host=d#e"]
)
class TestDatabaseUrl:
    def test_a_host_is_read_back(self, password: str, tmp_path: Path) -> None:
        url = make_url(environment.database_url(a_place(tmp_path, password, "postgres")))
        assert url.drivername == "postgresql+asyncpg"
        assert (url.username, url.password, url.host) == ("prefect", password, "postgres")
        assert (url.database, url.query) == ("prefect", {})

    def test_the_folder_of_a_socket_is_read_back(self, password: str, tmp_path: Path) -> None:
        folder = "/tmp/a stack's/socket"  # noqa: S108 - never opened
        url = make_url(environment.database_url(a_place(tmp_path, password, folder)))
        assert (url.username, url.password, url.host) == ("prefect", password, None)
        assert (url.database, url.query) == ("prefect", {"host": folder})


def a_place(folder: Path, password: str, host: str) -> Place:
    given = Settings.model_construct(postgres_password=SecretStr(password))
    secrets.ensure(given, folder)
    return replace(DOCKER, secrets=folder, database_host=host)
