"""compose.yaml keeps a policy: what holds for every service, and which service reaches what.

`TestModules` compares it with the modules of `server/services/`, service by service.
"""

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from server import services as descriptions
from server.place import DOCKER
from tests.unit import compose_config
from tests.unit.compose_config import COMPLETED

Service = dict[str, Any]
Services = dict[str, Service]

shipped = compose_config.shipped
services = compose_config.services

NAMES = [each.name for each in descriptions.every()]
ONE_SHOTS = {each.name for each in descriptions.every() if each.runs_once}


def starts_as_root(service: Service) -> bool:
    """Whether `service` is the one that reads `.env` as root and then becomes the stack's user."""
    return bool(
        service["entrypoint"] == ["python", "-m", "server.init"]
        and service["user"] == "0:0"
        and set(service["cap_add"]) == {"DAC_OVERRIDE", "SETGID", "SETUID"}
        and service["network_mode"] == "none"
    )


EVERY_SERVICE: dict[str, Callable[[Service], bool]] = {
    "runs as the user of the stack": lambda it: it["user"] == "999:999" or starts_as_root(it),
    "cannot write to its image": lambda it: it["read_only"] is True,
    "has no capability": lambda it: (
        it["cap_drop"] == ["ALL"] and (not it.get("cap_add") or starts_as_root(it))
    ),
    "gains no privilege": lambda it: it["security_opt"] == ["no-new-privileges:true"],
    "is not privileged": lambda it: not it.get("privileged") and not it.get("devices"),
    "shares no namespace of the host": lambda it: (
        "host" not in {it.get("network_mode"), it.get("pid"), it.get("ipc"), it.get("userns_mode")}
    ),
    "does not see Docker": lambda it: "docker.sock" not in str(it.get("volumes")),
    "has an init that reaps": lambda it: it["init"] is True,
    "rotates its log": lambda it: (
        it["logging"]["driver"] == "json-file"
        and {"max-size", "max-file"} <= it["logging"]["options"].keys()
    ),
    "has a limit of memory": lambda it: int(it["mem_limit"]) > 0,
    "has a limit of processes": lambda it: 0 < int(it["pids_limit"]) <= 2000,
    "is given time to stop": lambda it: bool(it.get("stop_grace_period")),
    "has an image with a tag or of our own": lambda it: (
        it["image"].startswith("prefect-stack/") or not re.search(r"(^[^:]+|:latest)$", it["image"])
    ),
}
LONG_RUNNING: dict[str, Callable[[Service], bool]] = {
    "comes back": lambda it: it["restart"] == "unless-stopped",
    "has a health check": lambda it: (
        {*("test", "interval", "timeout", "retries", "start_period", "start_interval")}
        <= it.get("healthcheck", {}).keys()
    ),
}


def breaking(services: Services, rule: Callable[[Service], bool]) -> list[str]:
    return [name for name, service in services.items() if not rule(service)]


class TestEveryService:
    @pytest.mark.parametrize("rule", EVERY_SERVICE.values(), ids=EVERY_SERVICE)
    def test_it(self, rule: Callable[[Service], bool], services: Services) -> None:
        assert breaking(services, rule) == []

    @pytest.mark.parametrize("rule", LONG_RUNNING.values(), ids=LONG_RUNNING)
    def test_it_if_long_running(self, rule: Callable[[Service], bool], services: Services) -> None:
        lasting = {name: it for name, it in services.items() if name not in ONE_SHOTS}
        assert lasting
        assert breaking(lasting, rule) == []

    def test_compose_has_nothing_to_complain_about(self, tmp_path: Path) -> None:
        result = compose_config.run(tmp_path)
        assert (result.returncode, result.stderr) == (0, "")


class TestModules:
    def test_there_is_a_module_for_each_service_and_no_other(self, services: Services) -> None:
        assert set(services) == set(NAMES)

    @pytest.mark.parametrize("name", NAMES)
    def test_compose_runs_a_service_as_its_module_says(self, name: str, services: Services) -> None:
        assert compose_config.facts(services[name]) == compose_config.described(
            descriptions.named(name)
        )

    @pytest.mark.parametrize("name", NAMES)
    def test_a_module_that_tells_health_does_so_on_both_backends(self, name: str) -> None:
        health = descriptions.named(name).health
        if health and health.command[:2] == ("python", "-m"):
            module = import_module(health.command[2])
            assert callable(module.main)  # in a container
            assert callable(module.check_service)  # without Docker


class TestOrder:
    def test_nothing_comes_before_init(self, services: Services) -> None:
        assert [name for name, it in services.items() if not it.get("depends_on")] == ["init"]

    def test_one_shots_run_once_and_have_somebody_waiting(self, services: Services) -> None:
        waited_for = {
            name
            for service in services.values()
            for name, link in service.get("depends_on", {}).items()
            if link["condition"] == COMPLETED
        }
        once = {name for name, service in services.items() if service["restart"] == "no"}
        assert waited_for == once == ONE_SHOTS


class TestRemoteServer:
    @pytest.mark.parametrize(("lines", "scale"), [("", 1), ("LOCAL_SERVER=0\n", 0)])
    def test_one_line_leaves_out_what_only_a_server_needs(
        self, lines: str, scale: int, tmp_path: Path
    ) -> None:
        (tmp_path / ".env").write_text(lines)
        services = compose_config.config(tmp_path)["services"]
        scales = {name: it.get("scale", 1) for name, it in services.items()}
        assert scales == {
            each.name: scale if each.local_server_only else 1 for each in descriptions.every()
        }

    def test_without_a_server_bootstrap_still_waits_for_init(self, services: Services) -> None:
        assert services["bootstrap"]["depends_on"]["init"]["condition"] == COMPLETED


class TestNetworks:
    def test_the_server_alone_is_published_and_on_loopback_only(self, services: Services) -> None:
        published = {
            name: [(port["host_ip"], port["published"], port["target"]) for port in it["ports"]]
            for name, it in services.items()
            if it.get("ports")
        }
        assert published == {"server": [("127.0.0.1", "4200", DOCKER.listen_port)]}

    def test_only_those_that_use_the_database_are_on_its_network(
        self, shipped: dict[str, Any], services: Services
    ) -> None:
        reaching = {
            name for name, it in services.items() if "database" in (it.get("networks") or {})
        }
        assert reaching == {DOCKER.database_host, "migrate", "server"}
        assert shipped["networks"]["database"]["internal"] is True

    def test_the_database_is_on_no_other(self, services: Services) -> None:
        assert list(services["postgres"]["networks"]) == ["database"]

    def test_clients_find_the_server_by_its_name(self, services: Services) -> None:
        assert DOCKER.api_url == f"http://server:{DOCKER.listen_port}/api"
        for name in ("server", "bootstrap", "worker"):
            assert "default" in services[name]["networks"]


class TestSettings:
    def test_the_name_is_that_of_the_project_and_of_all_it_makes(self, tmp_path: Path) -> None:
        config = compose_config.config(tmp_path, {"STACK_NAME": "mine"})
        resources = [*config["networks"].values(), *config["volumes"].values()]
        assert config["name"] == "mine"
        assert [each["name"] for each in resources if not each["name"].startswith("mine_")] == []

    @pytest.mark.parametrize(
        "bind",
        [
            "127.0.0.2",
            "0.0.0.0",  # noqa: S104
            "::1",
        ],
    )
    def test_address_and_port_are_published(self, bind: str, tmp_path: Path) -> None:
        config = compose_config.config(tmp_path, {"STACK_BIND": bind, "STACK_PORT": "4300"})
        [port] = config["services"]["server"]["ports"]
        assert (port["host_ip"], port["published"], port["target"]) == (bind, "4300", 4200)

    def test_the_file_sets_the_same_as_the_environment(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("STACK_NAME=mine\nSTACK_PORT=4300\n")
        config = compose_config.config(tmp_path, {"STACK_PORT": "4400"})
        assert (config["name"], config["services"]["server"]["ports"][0]["published"]) == (
            "mine",
            "4400",
        )

    def test_each_image_is_built_by_one_service_and_pulled_by_none(
        self, services: Services
    ) -> None:
        built = {it["image"]: name for name, it in services.items() if "build" in it}
        assert built == {"prefect-stack/server": "server", "prefect-stack/worker": "worker"}
        for name, service in services.items():
            if service["image"] in built and "build" not in service:
                assert service["pull_policy"] == "never", name
