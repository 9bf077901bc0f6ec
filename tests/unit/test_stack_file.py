"""A mistake in `stack.yaml` is refused with its line before a server is asked."""

import re
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from server.bootstrap import kinds, substitution
from server.bootstrap.kinds.work_pools import merge
from server.bootstrap.world import World
from server.bootstrap.yaml_file import YamlFile
from server.settings import ROOT, Settings
from tests.unit.writing import GIVEN, MARK, NoServer, check, mistake, read_shipped

POOL = """\
work_pools:
  - name: default
    type: process
"""
AUTOMATION = """\
automations:
  - name: alert
    trigger:
      type: event
      posture: Reactive
      expect: [prefect.flow-run.Failed]
"""
ACTIONS = """\
    actions:
      - type: do-nothing
"""

# The content of the file, with the wrong line marked, and the first lines of the message.
MISTAKES = {
    "an unknown kind": (f"variabels: []{MARK}\n", "unknown key 'variabels'\n  expected: variables"),
    "a kind like no other": (f"things: []{MARK}\n", "unknown key 'things'\n  expected: one of "),
    "a section that is no list": (f"variables: {{a: 1}}{MARK}\n", "'variables' is not a list"),
    "an item that is no mapping": (f"variables:\n  - a{MARK}\n", "this variable is not a mapping"),
    "an unknown key": (
        f"variables:\n  - name: a\n    value: 1\n    vale: 2{MARK}\n",
        "unknown key 'vale'",
    ),
    "no value": (f"variables:\n  - name: a{MARK}\n", "'value' is missing"),
    "a name that Prefect does not take": (
        f"variables:\n  - name: A-b{MARK}\n    value: 1\n",
        "'name' is not valid",
    ),
    "a name that is used twice": (
        f"variables:\n  - name: a\n    value: 1\n  - name: a{MARK}\n    value: 2\n",
        "the variable 'a' is declared twice",
    ),
    "a value that nobody gives": (
        f'variables:\n  - name: a\n    value: "{{{{ $NOBODY }}}}"{MARK}\n',
        "{{ $NOBODY }} has no value\n  expected: NOBODY in .env or in the environment",
    ),
    "a limit that is no number": (
        f"concurrency_limits:\n  - name: database\n    limit: many{MARK}\n",
        "'limit' is not valid",
    ),
    "a limit that is a secret": (
        f'concurrency_limits:\n  - name: database\n    limit: "{{{{ $TOKEN }}}}"{MARK}\n',
        (
            "'limit' is not valid\n"
            "  expected: Input should be a valid integer, unable to parse string as an integer\n"
            "  found:    a value that is not shown"
        ),
    ),
    "a limit by a name of the server's own": (
        f"concurrency_limits:\n  - name: tag:database{MARK}\n    limit: 1\n",
        "the concurrency limit 'tag:database' has a name that the server uses itself",
    ),
    "a tag's limit below nothing": (
        f"tag_limits:\n  - tag: database\n    limit: -1{MARK}\n",
        "'limit' is not valid",
    ),
    "two queues of one priority": (
        (
            f"{POOL}    queues:\n"
            "      - {name: a, priority: 1}\n"
            f"      - name: b\n        priority: 1{MARK}\n"
        ),
        "the work queue 'default/b' has the same priority as another one",
    ),
    "a queue without priority": (
        f"{POOL}    queues:\n      - name: a{MARK}\n",
        "'priority' is missing",
    ),
    "a block without type": (f"blocks:\n  - name: slack{MARK}\n", "'type' is missing"),
    "requires that is no list": (
        f"blocks:\n  - type: secret\n    name: a\n    requires: TOKEN{MARK}\n",
        "'requires' is not valid",
    ),
    "an automation without actions": (
        AUTOMATION.replace("name: alert", f"name: alert{MARK}"),
        "'actions' is missing",
    ),
    "an automation with an unknown key in its trigger": (
        AUTOMATION.replace("expect:", "expekt:").replace("Failed]", f"Failed]{MARK}") + ACTIONS,
        "the automation 'alert' has an unknown key 'expekt'",
    ),
    "an automation with a posture that there is not": (
        AUTOMATION.replace("Reactive", f"Lazy{MARK}") + ACTIONS,
        "the automation 'alert' is not valid: posture",
    ),
    "an automation with an action that there is not": (
        AUTOMATION + ACTIONS.replace("do-nothing", f"do-something{MARK}"),
        "the automation 'alert' is not valid: type",
    ),
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    assert mistake(tmp_path, "", text).startswith(message)


def test_the_file_of_the_project_is_valid() -> None:
    shipped = read_shipped()
    assert [item.name for item in shipped["work pool"].items] == ["default"]
    assert shipped["block"].left_out == {"slack-webhook/slack": "SLACK_WEBHOOK_URL is not set"}


def test_what_requires_a_value_that_is_not_set_is_left_out(tmp_path: Path) -> None:
    text = """\
variables:
  - {name: with, value: "{{ $TOKEN }}", requires: [TOKEN]}
  - {name: without, value: "{{ $NOBODY }}", requires: [TOKEN, NOBODY]}
"""
    variables = check(tmp_path, "", text)["variable"]
    assert [(item.name, item.value.value) for item in variables.items] == [("with", GIVEN["TOKEN"])]
    assert variables.left_out == {"without": "NOBODY is not set"}


def test_a_value_is_put_in_wherever_it_stands_and_may_be_a_number(tmp_path: Path) -> None:
    text = """\
concurrency_limits:
  - {name: database, limit: "{{ $WORKER_CONCURRENCY }}"}
variables:
  - {name: nested, value: {list: ["in {{ $STACK_ROOT }}/flows", "{{ not_ours }}"]}}
"""
    by_kind = check(tmp_path, "", text)
    assert by_kind["concurrency limit"].items[0].value.limit == 10
    assert by_kind["variable"].items[0].value.value == {
        "list": ["in /stack/flows", "{{ not_ours }}"]
    }


def test_the_queues_of_a_pool_wait_for_what_it_requires(tmp_path: Path) -> None:
    text = f"{POOL}    requires: [NOBODY]\n    queues: [{{name: a, priority: 1}}]\n"
    by_kind = check(tmp_path, "", text)
    assert by_kind["work pool"].left_out.keys() == {"default"}
    assert by_kind["work queue"].left_out.keys() == {"default/a"}


def test_a_kind_is_found_by_its_module_alone() -> None:
    names = [kind.name for kind in kinds.every(World(ROOT), NoServer())]
    assert names.index("work pool") < names.index("work queue") < names.index("deployment")
    assert names[-1] == "automation"
    assert len(names) == len({kind.name for kind in kinds.every(World(ROOT), NoServer())}) == 8


def test_what_is_laid_over_a_template_replaces_values_and_lists_only() -> None:
    below = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    assert merge(below, {"a": {"c": [3]}, "e": {"f": 4}}) == {
        "a": {"b": 1, "c": [3]},
        "d": 3,
        "e": {"f": 4},
    }
    assert below == {"a": {"b": 1, "c": [1, 2]}, "d": 3}


def test_a_value_of_the_file_itself_is_shown(tmp_path: Path) -> None:
    (tmp_path / "stack.yaml").write_text("a: 1\n")
    file = YamlFile(tmp_path / "stack.yaml")
    assert "found:    1" in str(file.mistake(("a",), "wrong", found="1"))
    file.filled.add(("a",))
    assert "found:    a value that is not shown" in str(file.mistake(("a",), "wrong", found="1"))


def test_secrets_of_the_server_are_no_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    env = tmp_path / ".env"
    env.write_text("POSTGRES_PASSWORD=a\nENCRYPTION_KEY=b\nSTACK_PASSWORD=c\nOTHER=from-file\n")
    monkeypatch.setenv("IN_BOTH", "from-environment")
    env.write_text(env.read_text() + "IN_BOTH=from-file\n")
    values = substitution.gather(Settings(), tmp_path, env)
    assert not {"POSTGRES_PASSWORD", "ENCRYPTION_KEY", "STACK_PASSWORD"} & values.keys()
    assert (values["OTHER"], values["IN_BOTH"]) == ("from-file", "from-environment")
    assert values["STACK_ROOT"] == str(tmp_path)


def test_what_the_docs_declare_can_be_declared(tmp_path: Path) -> None:
    text = (ROOT / "docs/declaring.md").read_text()
    examples = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(examples) == 3
    shutil.copytree(ROOT / "flows", tmp_path / "flows")
    for example in examples:
        deployments = example.startswith("deployments:")
        by_kind = check(tmp_path, example if deployments else "", "" if deployments else example)
        assert any(each.items or each.left_out for each in by_kind.values())
    kinds_shown = {key for each in examples for key in YAML(typ="safe").load(each)}
    assert kinds_shown == {kind.section for kind in kinds.every(World(ROOT), NoServer())}
