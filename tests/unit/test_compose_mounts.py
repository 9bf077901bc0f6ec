"""compose.yaml shows each secret and each folder only to the services that need it."""

import re
from pathlib import Path
from typing import Any

import pytest

from server import init, secrets
from server.place import DOCKER
from server.settings import SECRETS, declared_values, env_file, placeholders, shell_secrets
from tests.unit import compose_config

Service = dict[str, Any]
Services = dict[str, Service]

shipped = compose_config.shipped
services = compose_config.services
SECRET_FOLDERS = {
    f"secret-{name.split('/')[0]}": str((DOCKER.secrets / name).parent)
    for name in (
        *(secrets.DATABASE_PASSWORD, secrets.ENCRYPTION_KEY, secrets.API_PASSWORD),
        declared_values.FILE,
    )
}


def mounts(service: Service) -> dict[str, str]:
    """Return the mount points by their source: a volume's name, or the name of a project's file."""
    return {
        mount["source"] if mount["type"] == "volume" else Path(mount["source"]).name: mount[
            "target"
        ]
        for mount in service["volumes"]
    }


class TestSecrets:
    def test_each_has_a_folder_where_the_code_looks(self, services: Services) -> None:
        for service in services.values():
            folders = {n: t for n, t in mounts(service).items() if n.startswith("secret-")}
            assert folders.items() <= SECRET_FOLDERS.items()

    @pytest.mark.parametrize(
        ("volume", "names"),
        [
            ("secret-database", {"init", "postgres", "migrate", "server"}),
            ("secret-encryption", {"init", "server"}),
            ("secret-api", {"init", "server", "bootstrap", "worker"}),
            ("secret-bootstrap", {"init", "bootstrap"}),
        ],
    )
    def test_each_is_mounted_where_it_is_needed_only(
        self, volume: str, names: set[str], services: Services
    ) -> None:
        assert {name for name, service in services.items() if volume in mounts(service)} == names

    def test_none_has_a_default(self, services: Services) -> None:
        given = {
            (name, value)
            for service in services.values()
            for name, value in service["environment"].items()
            if re.search("PASSWORD|KEY|SECRET|TOKEN|WEBHOOK|AUTH_STRING", name)
        }
        file = str(DOCKER.secrets / secrets.DATABASE_PASSWORD)
        given = {each for each in given if each[1].strip()}
        assert given == {("POSTGRES_PASSWORD_FILE", file)}

    @pytest.mark.parametrize("source", ["file", "shell"])
    def test_one_that_is_set_is_in_the_configuration_of_no_container(
        self, source: str, tmp_path: Path
    ) -> None:
        lines = {name: f"hidden-{name.lower()}" for name in SECRETS} | {"MY_TOKEN": "hidden-mine"}
        if source == "file":
            text = "".join(f"{name}={value}\n" for name, value in lines.items())
            (tmp_path / ".env").write_text(text)
        services = compose_config.config(tmp_path, lines if source == "shell" else None)["services"]
        for service in services.values():
            # Labels for Swarm: Docker puts them on no container, as a test of tests/docker shows.
            labels = service.pop("deploy", {"labels": {}})["labels"]
            assert labels in ({}, {"stack.login": "hidden-stack_password"})
            assert "hidden" not in str(service)

    def test_server_and_worker_are_made_anew_when_the_login_changes(self, tmp_path: Path) -> None:
        first, second = (
            compose_config.hashes(tmp_path, {"STACK_PASSWORD": value}) for value in ("one", "two")
        )
        changed = {name for name in first if first[name] != second[name]}
        assert changed == {"server", "worker"}

    def test_init_is_told_which_are_set_and_nothing_more(self, tmp_path: Path) -> None:
        given = {"STACK_PASSWORD": "hidden", "ENCRYPTION_KEY": "hidden"}
        environment = compose_config.config(tmp_path, given)["services"]["init"]["environment"]
        assert environment[shell_secrets.VARIABLE].split() == ["STACK_PASSWORD", "ENCRYPTION_KEY"]

    def test_init_alone_sees_the_folder_with_the_file(
        self, services: Services, tmp_path: Path
    ) -> None:
        seeing = {
            name
            for name, service in compose_config.config(tmp_path)["services"].items()
            for mount in service["volumes"]
            if mount["source"] == str(tmp_path)
        }
        assert seeing == {"init"}
        targets = {mount["target"]: mount for mount in services["init"]["volumes"]}
        assert targets[str(env_file.PROJECT)]["read_only"]

    def test_init_sees_whether_there_is_a_database_and_leaves_its_volume_alone(
        self, services: Services
    ) -> None:
        mount = next(m for m in services["init"]["volumes"] if m["source"] == "postgres")
        assert mount["target"] == str(init.DATABASE)
        assert mount["read_only"]
        assert mount["volume"]["nocopy"]


class TestMounts:
    def test_only_data_is_written_and_secrets_by_who_makes_them(self, services: Services) -> None:
        written = {
            (name, mount["target"])
            for name, service in services.items()
            for mount in service["volumes"]
            if not mount.get("read_only")
        }
        assert written == {
            ("postgres", "/var/lib/postgresql"),
            ("worker", str(DOCKER.data)),
            ("worker", str(DOCKER.journal)),
            *(("init", folder) for folder in SECRET_FOLDERS.values()),
        }

    def test_the_project_is_where_the_code_looks(self, services: Services) -> None:
        flows = ("flows", str(DOCKER.root / "flows"))
        declared = {(name, str(DOCKER.root / name)) for name in placeholders.DECLARATIONS}
        assert {flows, *declared} <= mounts(services["bootstrap"]).items()
        assert declared <= mounts(services["init"]).items()
        assert flows in mounts(services["worker"]).items()

    @pytest.mark.parametrize("name", ["migrate", "server", "bootstrap", "worker"])
    def test_scratch_is_in_memory(self, name: str, services: Services) -> None:
        assert DOCKER.scratch.is_relative_to("/tmp")  # noqa: S108
        assert any(each.startswith("/tmp:") for each in services[name]["tmpfs"])  # noqa: S108
