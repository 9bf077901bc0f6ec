"""A project in a folder of its own: how it is made, found and refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scripts import projects
from scripts.backends.embedded import layout as layouts
from server import settings
from server.errors import MistakeError
from server.settings import ROOT, Settings, model, placeholders
from tests.unit import compose_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOBODY = 65534


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project made by `scripts/stack init`."""
    return projects.make(tmp_path / "project")


def refusal(folder: Path | str) -> MistakeError:
    with pytest.raises(MistakeError) as error:
        projects.check(Settings(stack_project=str(folder)))
    assert error.value.exit_code == 2
    return error.value


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Give up the rights of root for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def replaced_by_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.touch()


class TestFolder:
    def test_it_is_the_clone_unless_set_otherwise(self) -> None:
        assert Settings().project == ROOT
        projects.check(Settings())

    def test_a_relative_path_starts_at_the_clone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir("/")
        assert Settings(stack_project="../mine").project == ROOT.parent / "mine"

    def test_a_tilde_is_the_home(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        assert Settings(stack_project="~/mine").project == tmp_path / "mine"

    def test_the_flows_run_in_it(self, project: Path) -> None:
        values = Settings(stack_project=str(project))
        layout = layouts.of(values)
        assert layouts.place(layout, values, Path("/socket")).root == project
        assert layout.base.is_relative_to(ROOT), "what the stack keeps stays with the clone"

    def test_names_of_its_declarations_may_stand_in_env(
        self, project: Path, tmp_path: Path
    ) -> None:
        file = tmp_path / ".env"
        file.write_text(f"STACK_PROJECT={project}\nWAREHOUSE_TOKEN=x\n")
        with pytest.raises(MistakeError, match="WAREHOUSE_TOKEN is not a setting"):
            settings.load(file)
        (project / "stack.yaml").write_text("value: '{{ $WAREHOUSE_TOKEN }}'\n")
        assert settings.load(file).project == project

    def test_without_a_project_the_settings_load_so_that_a_stack_can_be_stopped(
        self, tmp_path: Path
    ) -> None:
        file = tmp_path / ".env"
        file.write_text(f"STACK_PROJECT={tmp_path}/gone\nWAREHOUSE_TOKEN=x\n")
        assert settings.load(file).project == tmp_path / "gone"

    def test_in_a_container_it_is_where_it_is_mounted(self, project: Path, tmp_path: Path) -> None:
        file = tmp_path / ".env"
        file.write_text("STACK_PROJECT=/of/the/host\nWAREHOUSE_TOKEN=x\n")
        (project / "stack.yaml").write_text("value: '{{ $WAREHOUSE_TOKEN }}'\n")
        assert settings.load(file, project).project == project


MISSING: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "no folder {}"),
    "a file": (replaced_by_a_file, "{}, which is not a folder"),
    "no prefect.yaml": (lambda it: (it / "prefect.yaml").unlink(), "no prefect.yaml in {}"),
    "no stack.yaml": (lambda it: (it / "stack.yaml").unlink(), "no stack.yaml in {}"),
    "no flows": (lambda it: shutil.rmtree(it / "flows"), "no flows in {}"),
    "no requirements": (lambda it: (it / "requirements.txt").unlink(), "no requirements.txt in {}"),
}


class TestRefusal:
    @pytest.mark.parametrize(("spoil", "missing"), MISSING.values(), ids=MISSING)
    def test_it_says_what_is_missing_and_what_to_type(
        self, spoil: Callable[[Path], object], missing: str, project: Path
    ) -> None:
        spoil(project)
        assert str(refusal(project)) == (
            f"STACK_PROJECT={project} is not a project\n"
            "  expected: a folder with flows/, prefect.yaml, stack.yaml and requirements.txt\n"
            f"  found:    {missing.format(project)}\n"
            "  do:       correct STACK_PROJECT, or make one: scripts/stack init DIR"
        )

    def test_a_link_to_itself_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "loop").symlink_to("loop")
        assert refusal(tmp_path / "loop").found == f"no folder {tmp_path}/loop"
        with pytest.raises(MistakeError):
            projects.make(tmp_path / "loop")

    def test_a_folder_of_the_stacks_is_none(self) -> None:
        assert "inside .stack" in str(refusal(".stack/prefect-stack/data"))

    def test_a_folder_in_place_of_a_file_is_none(self, project: Path) -> None:
        (project / "prefect.yaml").unlink()
        (project / "prefect.yaml").mkdir()
        assert refusal(project).found == f"{project}/prefect.yaml: Is a directory"

    @pytest.mark.parametrize("name", [".", "flows", "prefect.yaml"])
    def test_one_that_cannot_be_read_is_none(self, name: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)  # pytest's own folders are closed to the other user
            project = projects.make(Path(folder, "project"))
            (project / "stack.yaml").write_text("value: '{{ $WAREHOUSE_TOKEN }}'\n")
            (project / name).chmod(0)
            Path(folder, ".env").write_text(f"STACK_PROJECT={project}\nWAREHOUSE_TOKEN=x\n")
            with as_ordinary_user():
                reason = refusal(project).found
                settings.load(Path(folder, ".env"))  # so that a stack can be stopped
            (project / name).chmod(0o755)
        assert reason == f"{project / name}: Permission denied"


class TestMake:
    def test_it_can_be_used_as_it_is(self, project: Path) -> None:
        projects.check(Settings(stack_project=str(project)))
        for name in placeholders.DECLARATIONS:
            assert (project / name).read_text() == (ROOT / name).read_text()
        assert (project / "flows/helpers/tags.py").is_file()
        assert not (project / "flows/requirements.txt").exists()
        assert ".env" in (project / ".gitignore").read_text()

    def test_its_tests_pass_there(self, project: Path) -> None:
        result = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
            check=False,
            cwd=project,
            env={"PATH": os.environ["PATH"], "HOME": str(project), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout
        assert "5 passed" in result.stdout

    def test_nothing_else_is_left_beside_it(self, project: Path) -> None:
        assert [each.name for each in project.parent.iterdir()] == [project.name]

    def test_an_empty_folder_is_filled(self, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        assert projects.make(tmp_path / "mine") == tmp_path / "mine"

    def test_what_is_there_is_never_overwritten(self, project: Path) -> None:
        (project / "prefect.yaml").write_text("mine")
        with pytest.raises(MistakeError, match="a folder that is not empty"):
            projects.make(project)
        assert (project / "prefect.yaml").read_text() == "mine"

    @pytest.mark.parametrize(
        ("folder", "reason"),
        [
            (ROOT, "not empty"),
            (ROOT / ".stack/mine", "inside .stack"),
            (ROOT / "LICENSE", "a file"),
        ],
        ids=["clone", "stack", "file"],
    )
    def test_a_place_of_the_product_is_refused(self, folder: Path, reason: str) -> None:
        with pytest.raises(MistakeError, match=reason):
            projects.make(folder)

    def test_a_place_that_cannot_be_written_is_refused_with_the_reason(self) -> None:
        with pytest.raises(MistakeError, match="a folder that you may write"):
            projects.make(Path("/proc/mine"))


class TestCompose:
    def test_the_project_is_mounted_and_built_from(self, project: Path, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("STACK_PROJECT=project\n")
        services = compose_config.config(tmp_path)["services"]
        mounted = {
            (name, mount["source"], mount["target"], mount["read_only"])
            for name, service in services.items()
            for mount in service["volumes"]
            if mount["source"].startswith(f"{project}/")
        }
        declared = {*placeholders.DECLARATIONS}
        names = {"init": declared, "bootstrap": {*declared, "flows"}, "worker": {"flows"}}
        assert mounted == {
            (service, str(project / name), f"/stack/{name}", True)
            for service, mounts in names.items()
            for name in mounts
        }
        assert services["worker"]["build"]["additional_contexts"] == {"project": str(project)}

    @pytest.mark.parametrize("value", ["mine", "../mine", "~/mine", "/opt/with a space"])
    def test_compose_reads_the_setting_as_the_stack_does(
        self, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(model, "ROOT", tmp_path)
        services = compose_config.config(tmp_path, {"STACK_PROJECT": value})["services"]
        build = services["worker"]["build"]
        project = Settings(stack_project=value).project
        assert Path(build["additional_contexts"]["project"]).resolve() == project

    def test_a_folder_that_is_missing_is_not_made_by_docker(self, tmp_path: Path) -> None:
        services = compose_config.config(tmp_path, {"STACK_PROJECT": "gone"})["services"]
        binds = [
            mount
            for service in services.values()
            for mount in service["volumes"]
            if mount["source"].startswith(f"{tmp_path}/gone")
        ]
        assert binds
        assert [each for each in binds if each["bind"].get("create_host_path")] == []


class TestEnvironment:
    """`scripts/python` reads the setting itself: there may be no Python yet that could."""

    @pytest.mark.parametrize(
        ("line", "given"),
        [
            ("STACK_PROJECT=mine", {}),
            ("export STACK_PROJECT = 'mine'  # of my own", {}),
            ('STACK_PROJECT="mine"', {}),
            ("STACK_PROJECT=other\nSTACK_PROJECT=mine # the last one counts", {}),
            ("STACK_PROJECT=other", {"STACK_PROJECT": "mine"}),
            ("STACK_PROJECT={}/mine", {}),
            ("STACK_PROJECT=~/mine", {}),
        ],
        ids=["plain", "single", "double", "last", "environment", "absolute", "home"],
    )
    def test_it_installs_the_packages_of_the_project(
        self, line: str, given: dict[str, str], tmp_path: Path
    ) -> None:
        (tmp_path / "mine").mkdir()
        wanted = tmp_path / "mine/requirements.txt"
        wanted.touch()
        assert self.answer(tmp_path, line.format(tmp_path), given) == str(wanted)

    @pytest.mark.parametrize(
        ("line", "given"), [("", {}), ("STACK_PROJECT=mine", {"STACK_PROJECT": ""})]
    )
    def test_of_the_clone_it_installs_those_in_flows(
        self, line: str, given: dict[str, str], tmp_path: Path
    ) -> None:
        (tmp_path / "flows").mkdir()
        (tmp_path / "flows/requirements.txt").touch()
        path = Path(self.answer(tmp_path, line, given))
        assert path.resolve() == tmp_path / "flows/requirements.txt"

    def test_a_project_that_is_not_there_does_not_change_the_environment(
        self, tmp_path: Path
    ) -> None:
        venv = tmp_path / ".venv"
        (venv / "bin").mkdir(parents=True)
        (venv / "bin/python").symlink_to("/bin/true")
        (venv / "stamp-requirements.lock").write_text("of the project that was there before")
        kept = self.answer(tmp_path, "STACK_PROJECT=gone", {}, "has_packages && echo kept")
        assert kept == "kept"

    @staticmethod
    def answer(
        clone: Path, line: str, given: dict[str, str], then: str = 'echo "$requirements"'
    ) -> str:
        """Return what `then` prints where the script would go on to look for a Python."""
        (clone / ".env").write_text(f"{line}\n")
        (clone / "scripts").mkdir()
        text, cut, _ = (ROOT / "scripts/python").read_text().partition("\nfits=")
        assert cut
        script = clone / "scripts/python"
        script.write_text(f"{text}\n{then}\n")
        result = subprocess.run(
            ["sh", str(script)],
            check=True,
            env={"PATH": os.environ["PATH"], "HOME": str(clone), **given},
            capture_output=True,
            text=True,
        )
        return result.stdout.strip()
