"""A service is a module and its lines in compose.yaml, as docs/architecture.md shows.

The tests add the service of that page, and check that both backends would run it.
"""

from __future__ import annotations

import importlib
import re
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from scripts.backends.docker.backend import Docker
from scripts.backends.embedded import accounts
from scripts.backends.embedded import services as embedded
from scripts.backends.embedded.accounts import Accounts
from scripts.backends.embedded.layout import Layout
from scripts.backends.embedded.service import Service as Supervised
from server import secrets, services
from server.api.client import Api
from server.place import DOCKER
from server.settings import ROOT, Settings
from tests.unit import compose_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = Settings.model_construct()
REMOTE = SETTINGS.using(Api("https://other.example/api", login="ada:x"))


class Example(NamedTuple):
    """The service that docs/architecture.md adds."""

    name: str
    module: str
    lines: str


def example() -> Example:
    """Return the module and the lines on the page."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("## Adding a service\n")[2].partition("\n## ")[0]
    file = re.search(r"`server/services/(\w+)\.py`", section)
    module = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    lines = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert file
    assert module
    assert lines
    return Example(file[1], module[1], lines[1])


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Example]:
    """Make the example one more module of `server/services/`."""
    service = example()
    folder = tmp_path / "services"
    folder.mkdir()
    (folder / f"{service.name}.py").write_text(service.module)
    monkeypatch.setattr(services, "__path__", [*services.__path__, str(folder)])
    importlib.invalidate_caches()
    yield service
    sys.modules.pop(f"{services.__name__}.{service.name}", None)


def names(settings: Settings = SETTINGS) -> list[str]:
    return [each.name for each in services.chosen(settings)]


class TestOrder:
    def test_each_starts_after_those_that_it_waits_for(self) -> None:
        assert names() == ["init", "postgres", "migrate", "server", "bootstrap", "worker"]

    def test_with_a_remote_server_only_its_clients_start(self) -> None:
        assert names(REMOTE) == ["init", "bootstrap", "worker"]

    def test_one_client_tells_whether_a_remote_server_lets_the_stack_in(self) -> None:
        first = next(each.name for each in services.chosen(REMOTE) if not each.before_secrets)
        assert [each.name for each in services.every() if each.checks_remote_server] == [first]


class TestExample:
    def test_compose_runs_it_as_its_module_says(self, added: Example, tmp_path: Path) -> None:
        file = tmp_path / "compose.yaml"
        text = compose_config.COMPOSE_FILE.read_text()
        file.write_text(text.replace("\nservices:\n", f"\nservices:\n{added.lines}", 1))
        read = compose_config.config(tmp_path, file=file)["services"]
        assert compose_config.facts(read[added.name]) == compose_config.described(
            services.named(added.name)
        )

    def test_docker_waits_for_it_and_its_container_finds_it(self, added: Example) -> None:
        assert added.name in [each.name for each in Docker(SETTINGS).services]
        service = services.named(added.name)
        assert service.has_entrypoint
        assert service.command(SETTINGS, DOCKER)

    def test_the_supervisor_runs_it_after_what_it_waits_for(
        self, added: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(accounts, "choose", lambda *_: Accounts())
        monkeypatch.setattr(accounts, "settle", lambda *_: None)
        layout = Layout("unit", tmp_path)
        for folder in layout.folders:
            folder.mkdir()
        secrets.ensure(SETTINGS, layout.secrets)
        steps = {each.name: each for each in embedded.of(layout, SETTINGS)}
        step = steps[added.name]
        order = list(steps)
        for name in services.named(added.name).waits_for:
            assert order.index(name) < order.index(added.name)
        assert isinstance(step, Supervised)
        start = step.prepare()
        assert start.argv == services.named(added.name).command(SETTINGS, DOCKER)
        assert "PREFECT_API_URL" in start.env
        assert "PREFECT_SERVER_DATABASE_CONNECTION_URL" not in start.env
