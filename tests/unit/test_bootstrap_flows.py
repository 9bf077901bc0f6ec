"""Every flow is loaded, as a run would load it, before anything is done."""

import os
import sys
from pathlib import Path

import pytest

from server.bootstrap import flows
from tests.unit.writing import (
    MARK,
    check,
    deployments,
    mistake,
    read_shipped,
    tolerate,
    with_line,
)

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


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/greet.py").write_text(FLOW)
    return tmp_path


def named(entrypoint: str) -> str:
    return with_line(VALID, ENTRYPOINT, f"    entrypoint: {entrypoint}{MARK}")


def broken(project: Path, code: str) -> str:
    """Return the message about a file of flows that starts with `code`."""
    (project / "flows/greet.py").write_text(f"{code}\n{FLOW}")
    return mistake(project, named("flows/greet.py:greet"))


class TestLoaded:
    def test_the_flows_of_the_project_load(self) -> None:
        names = {item.name for item in read_shipped()["deployment"].items}
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
            "deployment 'main' names flows/greet.py, which fails to import\n"
            "  expected: a file that imports; packages of your own go into requirements.txt\n"
            "  found:    ModuleNotFoundError: No module named 'nosuchpackage' "
            "(line 2 of <module>)\n"
            "  do:       correct flows/greet.py, or add the package and run "
            "`scripts/stack up` again"
        )

    @pytest.mark.parametrize(
        ("code", "found"),
        [
            ("\ndef broken(:", "SyntaxError in flows/greet.py, line 2: invalid syntax"),
            ("\n\n1 / 0", "ZeroDivisionError: division by zero (line 3 of <module>)"),
            ("import sys\nsys.exit(0)", "SystemExit: 0 (line 2 of <module>)"),
        ],
        ids=["syntax", "exception", "exit"],
    )
    def test_code_that_fails_is_named_with_its_line(
        self, code: str, found: str, project: Path
    ) -> None:
        assert f"  found:    {found}\n" in broken(project, code)

    def test_pydantic_is_quoted_with_what_is_wrong(self, project: Path) -> None:
        code = "from pydantic import BaseModel\nclass A(BaseModel):\n    size: int\nA(size='big')"
        message = broken(project, code)
        assert "  found:    pydantic_core._pydantic_core.ValidationError: 1 validation" in message
        assert ": size: Input should be a valid integer" in message
        assert "further information" not in message

    @pytest.mark.parametrize(
        ("code", "found"),
        [
            ("import os; os._exit(7)", "its process ended with 7"),
            ("import os; os.kill(os.getpid(), 9)", "its process ended with signal 9"),
        ],
        ids=["exit", "signal"],
    )
    def test_one_that_ends_its_process_keeps_no_other_from_loading(
        self, code: str, found: str, project: Path
    ) -> None:
        (project / "flows/ends.py").write_text(f"{code}\n{FLOW}")
        other = VALID.replace("deployments:", "").replace("greet.py", "ends.py").strip("\n")
        world, right = tolerate(project, f"deployments:\n{other}\n{VALID.partition(chr(10))[2]}")
        assert [item.name for item in right["deployment"].items] == ["greeting/main"]
        assert [problem.found for problem in world.problems] == [found]

    def test_one_that_does_not_end_is_named(
        self, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(flows, "TIMEOUT_SECONDS", 0.5)
        assert "it takes longer than" in broken(project, "while True: pass")


class TestEntrypoints:
    """Every form of entrypoint that Prefect loads can be declared."""

    @pytest.mark.parametrize(
        ("entrypoint", "name"),
        [
            ("flows.greet.greet", "greeting"),
            ("flows/greet.py:Job.run", "job"),
            ("flows/greet.py:übersicht", "overview"),
        ],
    )
    def test_it_is_loaded(
        self, entrypoint: str, name: str, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in [each for each in sys.modules if each.partition(".")[0] == "flows"]:
            monkeypatch.delitem(sys.modules, module)  # bootstrap itself imports no flows
        (project / "flows/__init__.py").touch()  # without it, that of this checkout would win
        more = (
            '\nclass Job:\n    @staticmethod\n    @flow(name="job")\n    def run(): pass\n'
            '\n@flow(name="overview")\ndef übersicht(): pass\n'
        )
        (project / "flows/greet.py").write_text(FLOW + more)
        text = with_line(VALID, ENTRYPOINT, f"    entrypoint: {entrypoint}")
        assert list(deployments(project, text)) == [f"{name}/main"]

    def test_a_module_of_the_project_goes_before_one_of_the_stack(self, project: Path) -> None:
        (project / "server.py").write_text("ANSWER = 42\n")
        (project / "flows/greet.py").write_text(f"from server import ANSWER\n{FLOW}")
        assert list(deployments(project, VALID)) == ["greeting/main"]

    def test_a_module_that_is_not_there_is_named(self, project: Path) -> None:
        message = mistake(project, named("flows.great.greet"))
        assert message.startswith("deployment 'main' names a file that does not exist\n")


class TestEnvironment:
    """A flow is imported with the variables of its runs, and with none of the caller's shell."""

    READS = "import os\nassert os.environ['REGION'] == '{region}', 'another region'\n"

    def test_each_has_its_own(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REGION", "of the shell")
        text = "deployments:\n"
        for region in ("eu", "us"):
            (project / f"flows/{region}.py").write_text(self.READS.format(region=region) + FLOW)
            text += (
                f"  - name: {region}\n    entrypoint: flows/{region}.py:greet\n    work_pool:\n"
                f"      {{name: default, job_variables: {{env: {{REGION: {region}}}}}}}\n"
            )
        assert set(deployments(project, text)) == {"greeting/eu", "greeting/us"}

    def test_that_of_the_pool_lies_below(self, project: Path) -> None:
        (project / "flows/greet.py").write_text(self.READS.format(region="eu") + FLOW)
        pool = (
            "work_pools:\n  - name: default\n    type: process\n    base_job_template:\n"
            "      variables: {properties: {env: {default: {REGION: eu}}}}\n"
        )
        assert check(project, VALID, pool)["deployment"].items

    def test_one_of_the_shell_alone_is_not_there(
        self, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REGION", "eu")
        assert "KeyError: 'REGION'" in broken(project, self.READS.format(region="eu"))


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
