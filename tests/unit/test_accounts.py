"""Which system users a stack runs as, and what belongs to them."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path

import pytest

from scripts.backends.embedded import accounts, services
from scripts.backends.embedded.layout import Layout
from server.errors import MistakeError
from server.settings import ROOT, Settings, dotenv

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
OTHER = "nobody"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """The folders of a stack, in a folder that is closed to others."""
    folders = Layout("own", tmp_path / ".stack" / "own")
    folders.make()
    return folders


@needs_root
def test_a_clone_in_a_closed_folder_runs_as_root_and_says_so(layout: Layout) -> None:
    chosen = accounts.choose(layout, Settings())
    assert (chosen.stack, chosen.flows) == (None, None)
    assert "move the clone" in str(accounts.warning(layout))


@needs_root
def test_what_root_has_left_is_given_to_its_user_and_back(layout: Layout) -> None:
    file = layout.data / "results" / "one"
    file.parent.mkdir()
    file.touch()
    accounts.settle(layout, accounts.Accounts(OTHER, OTHER), layout.base)
    assert {path.owner() for path in (layout.data, file.parent, file)} == {OTHER}
    assert layout.secrets.owner() == OTHER
    accounts.settle(layout, accounts.Accounts(), layout.base)
    assert {path.owner() for path in (layout.data, file.parent, file)} == {"root"}


@needs_root
def test_files_from_elsewhere_that_are_linked_into_a_folder_are_not_given_away(
    layout: Layout, tmp_path: Path
) -> None:
    for name in ("hard", "soft"):
        (tmp_path / name).touch()
    (layout.data / "hard").hardlink_to(tmp_path / "hard")
    (layout.data / "soft").symlink_to(tmp_path / "soft")
    accounts.settle(layout, accounts.Accounts(OTHER, OTHER), layout.base)
    assert layout.data.owner() == OTHER
    assert {(tmp_path / name).owner() for name in ("hard", "soft")} == {"root"}


@needs_root
def test_root_does_not_take_over_the_stack_of_another_user(tmp_path: Path) -> None:
    layout = Layout("own", tmp_path / ".stack" / "own")
    layout.make()
    os.chown(layout.base, pwd.getpwnam(OTHER).pw_uid, -1)
    with pytest.raises(MistakeError, match="belongs to another user"):
        layout.make()


def test_a_folder_is_open_only_if_all_above_it_are(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    assert accounts.open_to_all(tmp_path / "open") == bool(tmp_path.stat().st_mode & 0o001)
    (tmp_path / "open").chmod(0o700)
    assert not accounts.open_to_all(tmp_path / "open")


def test_the_environment_of_the_caller_does_not_reach_the_processes(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "PREFECT_API_KEY", "PYTHONPATH", "STACK_PASSWORD"):
        monkeypatch.setenv(name, "of the shell")
    for name in ("LC_ALL", "TZ", "https_proxy", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, "passed on")
    environment = services.base_environment(layout)
    assert "of the shell" not in environment.values()
    assert [*environment.values()].count("passed on") == 4


def test_bootstrap_gets_what_declarations_ask_for_and_no_secret_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".env"
    file.write_text("WORKER_CONCURRENCY=7\nENCRYPTION_KEY=no\nPOSTGRES_PASSWORD=no\n")
    (tmp_path / "stack.yaml").write_text("x: '{{ $TOKEN }}'\n")
    monkeypatch.setattr(services, "ENV_FILE", file)
    monkeypatch.setenv("TOKEN", "asked for")
    monkeypatch.setenv("STACK_PASSWORD", "no")
    environment = services.bootstrap_environment(tmp_path)
    assert (environment["WORKER_CONCURRENCY"], environment["TOKEN"]) == ("7", "asked for")
    assert "no" not in environment.values()
    monkeypatch.setenv(dotenv.HANDED, environment[dotenv.HANDED])
    assert dotenv.read(file) == {}


@needs_root
@pytest.mark.skipif(not accounts.open_to_all(ROOT), reason="the clone is closed to other users")
def test_a_project_in_a_closed_folder_makes_all_run_as_root_and_is_named(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        layout = Layout("own", Path(folder, ".stack/own"))
        layout.make()
        chosen = accounts.choose(layout, Settings(stack_project=str(tmp_path)))
    assert (chosen.stack, chosen.flows) == (None, None)
    assert f"{tmp_path} is closed to other users; move the project" in str(chosen.warning)
