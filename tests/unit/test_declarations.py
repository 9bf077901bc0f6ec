"""What `prefect.yaml` may not say is refused with its line, before anything is done."""

from pathlib import Path

import pytest

from server.bootstrap.world import DeclarationError
from server.errors import MistakeError
from server.settings import ROOT
from tests.unit.writing import MARK, check, mistake, read, tolerate, with_line

VALID = """\
name: project
deployments:
  - name: first
    entrypoint: flows/hello.py:hello
    schedules:
      - slug: nightly
        cron: "0 2 * * *"
        timezone: UTC
    work_pool:
      name: default
  - name: second
    entrypoint: flows/hello.py:hello
    tags: [a]
    work_pool:
      name: default
"""
SLUG = "      - slug: nightly"
CRON = '        cron: "0 2 * * *"'
TIMEZONE = "        timezone: UTC"
TAGS = "    tags: [a]"

# A line of the file, what stands there instead, and the first lines of the message.
MISTAKES = {
    "an unknown key of the file": ("name: project", f"nme: project{MARK}", "unknown key 'nme'"),
    "an unknown key of a deployment": (TAGS, f"    schedule: []{MARK}", "unknown key 'schedule'"),
    "an unknown key of a schedule": (TIMEZONE, f"        tz: UTC{MARK}", "unknown key 'tz'"),
    "no slug": (f"{SLUG}\n{CRON}", f'      - cron: "0 2 * * *"{MARK}', "'slug' is missing"),
    "no entrypoint": (
        f"  - name: second\n    entrypoint: flows/hello.py:hello\n{TAGS}",
        f"  - name: second{MARK}",
        "'entrypoint' is missing",
    ),
    "an entrypoint that names no function": (
        f"    entrypoint: flows/hello.py:hello\n{TAGS}",
        f"    entrypoint: flows/hello.py{MARK}",
        "'entrypoint' is not valid",
    ),
    "two kinds of schedule": (
        SLUG,
        f"{SLUG}{MARK}\n        interval: 60",
        (
            "item 1 of 'schedules' is not valid\n"
            "  expected: exactly one of cron, interval, rrule; found cron, interval"
        ),
    ),
    "no kind of schedule": (
        f"{SLUG}\n{CRON}",
        f"{SLUG}{MARK}",
        (
            "item 1 of 'schedules' is not valid\n"
            "  expected: exactly one of cron, interval, rrule; found none"
        ),
    ),
    "a cron that does not parse": (
        CRON,
        f'        cron: "0 2 * *"{MARK}',
        "'cron' is not valid\n  expected: five fields, such as 0 2 * * *\n  found:    '0 2 * *'",
    ),
    "a cron that is a number": (CRON, f"        cron: 5{MARK}", "'cron' is not valid"),
    "an interval of nothing": (CRON, f"        interval: 0{MARK}", "'interval' is not valid"),
    "a rule that does not parse": (
        CRON,
        f'        rrule: "FREQ=NOW"{MARK}',
        "'rrule' is not valid",
    ),
    "a timezone that is none": (
        TIMEZONE,
        f"        timezone: Mars{MARK}",
        "'timezone' is not valid\n  expected: a name of the IANA database, such as Europe/Madrid",
    ),
    "an anchor that an interval only has": (
        TIMEZONE,
        f"        anchor_date: 2026-01-01{MARK}",
        "unknown key 'anchor_date'",
    ),
    "a limit of nothing": (TAGS, f"    concurrency_limit: 0{MARK}", "'limit' is not valid"),
    "a strategy that there is not": (
        TAGS,
        f"    concurrency_limit: {{limit: 1, collision_strategy: WAIT}}{MARK}",
        "'collision_strategy' is not valid",
    ),
    "a slug that is used twice": (
        TIMEZONE,
        f"{TIMEZONE}\n      - interval: 60\n        slug: nightly{MARK}",
        (
            "slug 'nightly' is used twice in 'first'\n"
            "  expected: a different slug for each schedule\n"
            "  found:    two schedules with the same slug"
        ),
    ),
    "a deployment that is declared twice": (
        "  - name: second",
        f"  - name: first{MARK}",
        (
            "the deployment 'flows/hello.py:hello/first' is declared twice\n"
            "  expected: one declaration with this name\n"
            "  found:    two"
        ),
    ),
}


@pytest.fixture(autouse=True)
def _flows(tmp_path: Path) -> None:
    """The flow that they name."""
    (tmp_path / "flows").mkdir()
    text = "from prefect import flow\n\n@flow\ndef hello(name: str = 'a'): pass\n"
    (tmp_path / "flows/hello.py").write_text(text)


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_line(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert mistake(tmp_path, with_line(VALID, old, new)).startswith(message)


def test_a_mistake_tells_what_to_type(tmp_path: Path) -> None:
    assert mistake(tmp_path, with_line(VALID, TAGS, f"    tag: [a]{MARK}")) == (
        "unknown key 'tag'\n"
        "  expected: a key that Prefect takes here, spelt as in its documentation\n"
        "  found:    'tag'\n"
        "  do:       correct prefect.yaml"
    )


class TestSeveral:
    """One that is wrong keeps nobody else down."""

    WRONG = with_line(
        with_line(VALID, CRON, f'        cron: "0 2"{MARK}'), TAGS, "    tags: [a]\n    tug: b"
    )

    def test_what_is_right_is_kept_and_every_mistake_named(self, tmp_path: Path) -> None:
        right = "  - {name: third, entrypoint: flows/hello.py:hello, work_pool: {name: default}}\n"
        world, found = tolerate(tmp_path, self.WRONG + right, "variables: [{name: a, value: 1}]\n")
        assert [item.name for item in found["deployment"].items] == ["hello/third"]
        assert [item.name for item in found["variable"].items] == ["a"]
        assert [problem.what for problem in world.problems] == [
            "prefect.yaml line 7: 'cron' is not valid",
            "prefect.yaml line 14: unknown key 'tug'",
        ]
        assert [(each.kind, each.may_be("deployment", "hello/first")) for each in world.wrong] == [
            ("deployment", True),
            ("deployment", False),
        ]

    def test_they_are_one_message(self, tmp_path: Path) -> None:
        world, _ = tolerate(tmp_path, self.WRONG)
        lines = str(DeclarationError(world.problems)).splitlines()
        assert lines[:3] == [
            "2 declarations are wrong",
            "",
            "  prefect.yaml line 7: 'cron' is not valid",
        ]
        assert lines[6:8] == ["", "  prefect.yaml line 14: unknown key 'tug'"]

    def test_of_two_of_one_name_neither_is_taken(self, tmp_path: Path) -> None:
        text = "variables: [{name: a, value: 1}, {name: a, value: 2}, {name: b, value: 3}]\n"
        world, found = tolerate(tmp_path, "", text)
        assert [item.name for item in found["variable"].items] == ["b"]
        assert len(world.problems) == 1

    def test_one_without_a_name_may_be_any_of_its_kind(self, tmp_path: Path) -> None:
        world, _ = tolerate(tmp_path, "", "variables: [{value: 1}, {name: b, value: 3}]\n")
        assert world.wrong_declaration("variable", "a")
        assert not world.wrong_declaration("variable", "b")
        assert not world.wrong_declaration("block", "a")


# Values that YAML knows and the server cannot store: each of them ends in an answer 500.
UNKEPT = ["92233720368547760001", "[1, {a: -9223372036854775809}]", ".inf", '"a\\0b"']


@pytest.mark.parametrize("value", UNKEPT)
def test_a_value_that_the_server_cannot_keep_is_refused(value: str, tmp_path: Path) -> None:
    text = with_line(VALID, TAGS, f"    parameters:\n      name: {value}{MARK}")
    assert "the server cannot store this " in mistake(tmp_path, text)


def test_the_largest_that_it_keeps_is_taken(tmp_path: Path) -> None:
    text = f"variables: [{{name: a-b, value: [{2**63 - 1}, {-(2**63)}]}}]\n"
    assert check(tmp_path, "", text)["variable"].items[0].value.value == [2**63 - 1, -(2**63)]


def test_a_reference_that_is_empty_in_a_run_is_said(tmp_path: Path) -> None:
    text = VALID + (
        "      job_variables:\n"
        '        env: {NAME: "{{ ctx.flow.name }}", OTHER: "{{ prefect.variables.a }}"}\n'
    )
    world, found = tolerate(tmp_path, text)
    assert len(found["deployment"].items) == 2
    [note] = world.notes
    assert note.startswith(
        "prefect.yaml line 16: {{ ctx.flow.name }} in the variable NAME is empty"
    )


def test_the_file_of_the_project_is_valid() -> None:
    names = {item.name for item in read(ROOT)["deployment"].items}
    assert names >= {"hello/hello", "export/export"}


class TestYaml:
    @pytest.mark.parametrize(
        ("text", "number"),
        [
            ("name: project\ndeployments:\n  - name: [a\n    tags: []\n", 4),
            ("name: project\ndeployments:\n\t- name: a\n", 3),
            ("name: project\nname: again\n", 2),
        ],
        ids=["an open bracket", "a tab", "a key that is given twice"],
    )
    def test_what_does_not_parse_is_named_with_its_line(
        self, text: str, number: int, tmp_path: Path
    ) -> None:
        with pytest.raises(MistakeError, match=f"^prefect.yaml line {number} is not YAML\n"):
            check(tmp_path, text)

    @pytest.mark.parametrize("text", ["- a\n", "word\n"], ids=["list", "word"])
    def test_what_is_no_mapping_is_refused(self, text: str, tmp_path: Path) -> None:
        with pytest.raises(MistakeError, match=r"^prefect\.yaml is not a mapping\n"):
            check(tmp_path, text)

    @pytest.mark.parametrize("content", [b"name: \xff\n", b"name: \0\n"], ids=["bytes", "zero"])
    def test_what_is_no_text_is_refused(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "prefect.yaml").write_bytes(content)
        with pytest.raises(MistakeError, match=r"^prefect\.yaml cannot be read\n"):
            read(tmp_path)

    def test_no_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(MistakeError, match=r"^prefect\.yaml cannot be read\n"):
            read(tmp_path)


class TestAnchors:
    """YAML's own way not to write a thing twice."""

    SHARED = "definitions:\n  shared: &shared\n    timezone: {zone}\n"
    MERGED = "        <<: *shared"

    def test_what_is_merged_counts_as_written_there(self, tmp_path: Path) -> None:
        text = self.SHARED.format(zone="Europe/Madrid") + with_line(VALID, TIMEZONE, self.MERGED)
        first = check(tmp_path, text)["deployment"].items[0].value
        assert first.schedules[0].timezone == "Europe/Madrid"

    def test_a_mistake_in_it_is_named_with_the_line_that_it_is_merged_into(
        self, tmp_path: Path
    ) -> None:
        text = with_line(with_line(VALID, TIMEZONE, self.MERGED), SLUG, f"{SLUG}{MARK}")
        message = mistake(tmp_path, self.SHARED.format(zone="Mars") + text)
        assert message.startswith("'timezone' is not valid\n")
