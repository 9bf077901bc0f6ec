"""Every flow is loaded, as a run would load it, before anything is done."""

import os
import sys
from pathlib import Path

import pytest

from server.settings import ROOT
from tests.unit.writing import MARK, check, deployments, mistake, read, with_line

ENTRYPOINT = "    entrypoint: flows/greet.py:greet"
VALID = f"""\
deployments:
  - name: main
{ENTRYPOINT}
    work_pool:
      name: default
"""
FLOW = '''\
from prefect import flow, task

@flow(name="greeting", version="7")
def greet(name: str, times: int = 1) -> None:
    """Greet somebody."""

@flow
async def part() -> None:
    """Say goodbye."""

@task
def step() -> None:
    """Do something."""

def plain() -> None:
    """Not a flow."""
'''


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading leaves the folder of the flow in front: other tests must not import from there."""
    monkeypatch.setattr(sys, "path", sys.path.copy())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/greet.py").write_text(FLOW)
    return tmp_path


def named(entrypoint: str) -> str:
    return with_line(VALID, ENTRYPOINT, f"    entrypoint: {entrypoint}{MARK}")


def broken(project: Path, code: str) -> str:
    """The message about a file that starts with `code`."""
    (project / "flows/greet.py").write_text(f"{code}\n{FLOW}")
    return mistake(project, named("flows/greet.py:greet"))


class TestLoaded:
    def test_the_flows_of_the_project_load(self) -> None:
        names = {item.name for item in read(ROOT)["deployment"].items}
        assert names >= {"hello/hello", "export/export"}

    def test_the_deployment_is_named_after_the_flow_not_the_function(self, project: Path) -> None:
        assert list(deployments(project, VALID)) == ["greeting/main"]

    def test_the_form_is_made_from_the_function(self, project: Path) -> None:
        [fields] = deployments(project, VALID).values()
        schema = fields["parameter_openapi_schema"]
        assert (sorted(schema["properties"]), schema["required"]) == (["name", "times"], ["name"])

    def test_what_is_not_declared_comes_from_the_flow(self, project: Path) -> None:
        [fields] = deployments(project, VALID).values()
        assert fields["description"] == "Greet somebody."
        assert fields["version"] == "7"

    def test_whether_it_is_paused_is_left_to_people(self, project: Path) -> None:
        [fields] = deployments(project, VALID).values()
        assert "paused" not in fields

    def test_a_module_beside_it_can_be_imported(self, project: Path) -> None:
        (project / "flows/beside.py").write_text("NAME = 'greeting'\n")
        (project / "flows/greet.py").write_text(f"import beside\n{FLOW}")
        assert check(project, VALID)
        del sys.modules["beside"]

    @pytest.mark.parametrize("code", ["", "1 / 0"], ids=["loaded", "failed"])
    def test_the_working_folder_is_the_root_meanwhile_only(self, code: str, project: Path) -> None:
        before = Path.cwd()
        look = "import os, pathlib; pathlib.Path('seen').write_text(os.getcwd())"
        (project / "flows/greet.py").write_text(f"{look}\n{code}\n{FLOW}")
        if code:
            mistake(project, named("flows/greet.py:greet"))
        else:
            check(project, VALID)
        assert (project / "seen").read_text() == os.fspath(project)
        assert Path.cwd() == before


class TestNotThere:
    def test_a_file_that_does_not_exist_is_named(self, project: Path) -> None:
        assert mistake(project, named("flows/great.py:greet")) == (
            "deployment 'main' names a file that does not exist\n"
            "  expected: a Python file under flows/\n"
            "  found:    flows/great.py\n"
            "  do:       correct prefect.yaml"
        )

    @pytest.mark.parametrize("function", ["great", "plain", "step"])
    def test_what_is_no_flow_is_named_with_the_flows_there_are(
        self, function: str, project: Path
    ) -> None:
        assert mistake(project, named(f"flows/greet.py:{function}")) == (
            "deployment 'main' names a flow that does not exist in flows/greet.py\n"
            "  expected: one of greet, part\n"
            f"  found:    {function}\n"
            "  do:       correct prefect.yaml"
        )

    def test_a_file_without_flows_is_told_as_such(self, project: Path) -> None:
        (project / "flows/greet.py").write_text("def greet(): pass\n")
        message = mistake(project, named("flows/greet.py:greet"))
        assert "  expected: one of its flows (it has none)\n" in message


class TestImports:
    def test_a_missing_package_is_named_with_where_packages_go(self, project: Path) -> None:
        assert broken(project, "# first\nimport nosuchpackage") == (
            "flows/greet.py of deployment 'main' fails to import\n"
            "  expected: a file that imports; packages of your own go into "
            "flows/requirements.txt\n"
            "  found:    ModuleNotFoundError: No module named 'nosuchpackage' "
            "(line 2 of <module>)\n"
            "  do:       correct flows/greet.py, or add the package and run "
            "`scripts/stack up` again"
        )

    @pytest.mark.parametrize(
        ("code", "found"),
        [
            ("\ndef broken(:", "SyntaxError: invalid syntax (line 2)"),
            ("\n\n1 / 0", "ZeroDivisionError: division by zero (line 3 of <module>)"),
            ("import sys\nsys.exit(0)", "SystemExit: 0 (line 2 of <module>)"),
        ],
        ids=["syntax", "exception", "exit"],
    )
    def test_code_that_fails_is_named_with_its_line(
        self, code: str, found: str, project: Path
    ) -> None:
        assert f"  found:    {found}\n" in broken(project, code)


class TestParameters:
    def test_one_that_the_flow_does_not_take_is_named_with_those_it_does(
        self, project: Path
    ) -> None:
        text = f"{VALID}    parameters:\n      name: Ada\n      tmies: 2{MARK}\n"
        assert mistake(project, text) == (
            "the flow of deployment 'main' takes no parameter 'tmies'\n"
            "  expected: one of name, times\n"
            "  found:    tmies\n"
            "  do:       correct prefect.yaml"
        )

    def test_one_of_a_schedule_is_checked_too(self, project: Path) -> None:
        schedule = "    schedules:\n      - slug: often\n        interval: 60\n"
        text = f"{VALID}{schedule}        parameters:\n          nmae: Ada{MARK}\n"
        assert "takes no parameter 'nmae'" in mistake(project, text)

    def test_a_flow_without_any_is_told_as_such(self, project: Path) -> None:
        text = with_line(VALID, ENTRYPOINT, "    entrypoint: flows/greet.py:part")
        message = mistake(project, f"{text}    parameters:\n      name: Ada{MARK}\n")
        assert "  expected: no parameters\n" in message

    def test_those_that_it_takes_are_kept(self, project: Path) -> None:
        [fields] = deployments(project, f"{VALID}    parameters:\n      name: Ada\n").values()
        assert fields["parameters"] == {"name": "Ada"}
