"""The base images, pulled or built, do what the Dockerfiles and compose.yaml rely on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from python_on_whales import Container, DockerException, docker
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from tests.images import standins

PYTHON_IMAGE = "python:3.13-slim-trixie"
POSTGRES_IMAGE = "postgres:18-trixie"
PASSWORD = "p@:/ #%$'\" w"


@pytest.fixture(scope="module", autouse=True)
def images() -> None:
    try:
        standins.ensure(PYTHON_IMAGE, POSTGRES_IMAGE, print)
    except standins.NoEngineError as error:
        pytest.skip(str(error))


@dataclass(frozen=True)
class Database:
    """A PostgreSQL whose container, network and volume have the same name."""

    name: str
    password_file: Path

    def start(self) -> Container:
        """Start a container on the volume, restricted as in compose.yaml."""
        return docker.run(
            POSTGRES_IMAGE,
            detach=True,
            name=self.name,
            networks=[self.name],
            user="999:999",
            read_only=True,
            cap_drop=["ALL"],
            security_options=["no-new-privileges"],
            tmpfs=[Path("/tmp"), Path("/var/run/postgresql")],  # noqa: S108
            envs={"POSTGRES_PASSWORD_FILE": "/run/secrets/password"},
            volumes=[
                (self.name, "/var/lib/postgresql"),
                (self.password_file, "/run/secrets/password", "ro"),
            ],
        )

    def query(self, sql: str, password: str = PASSWORD) -> str:
        """Run SQL with psql over TCP, in a container of its own; return what it prints."""
        return docker.run(
            POSTGRES_IMAGE,
            ["psql", "--tuples-only", "--no-align", "-h", self.name, "-U", "postgres", "-c", sql],
            remove=True,
            networks=[self.name],
            envs={"PGPASSWORD": password},
        )

    @retry(
        retry=retry_if_exception_type(DockerException),
        stop=stop_after_delay(60),  # seconds
        wait=wait_fixed(0.5),  # seconds
        reraise=True,
    )
    def wait_until_ready(self) -> None:
        self.query("select 1")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"standins-{uuid4().hex[:8]}", tmp_path / "password")
    database.password_file.write_text(PASSWORD)
    database.password_file.chmod(0o444)
    docker.network.create(database.name)
    docker.volume.create(database.name)
    yield database
    docker.container.remove(database.name, force=True)
    docker.volume.remove(database.name)
    docker.network.remove(database.name)


def test_a_locked_down_postgres_accepts_its_password_and_no_other(
    database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    database.start()
    database.wait_until_ready()

    with pytest.raises(DockerException):
        database.query("select 1", password="another")

    assert "password authentication failed" in capfd.readouterr().err


def test_data_survive_a_new_container_and_are_not_initialised_again(database: Database) -> None:
    first = database.start()
    database.wait_until_ready()
    database.query("create table kept as select 42 as answer")
    first_log = first.logs()
    first.stop()
    first.remove()

    second = database.start()
    database.wait_until_ready()

    assert database.query("select answer from kept") == "42"
    assert "initdb" in first_log
    assert "initdb" not in second.logs()


def test_the_python_image_has_no_compiler() -> None:
    compilers = docker.run(
        PYTHON_IMAGE, ["sh", "-c", "command -v cc gcc c++ g++ clang make || true"], remove=True
    )

    assert compilers == ""


def test_the_python_image_installs_packages() -> None:
    script = "pip install --quiet --root-user-action ignore six && python -c 'import six; print(6)'"

    assert docker.run(PYTHON_IMAGE, ["sh", "-c", script], remove=True) == "6"
