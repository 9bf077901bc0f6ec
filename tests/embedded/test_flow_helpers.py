"""The helpers in `flows/helpers` against a real server: tags, past runs, locks, Slack."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.embedded.flow_probes import probe
from tests.embedded.runs import logged, set_state
from tests.stack import get, log, post

if TYPE_CHECKING:
    from tests.stack import Stack


class TestTags:
    def test_all_are_there_whoever_added_them(self, stack: Stack) -> None:
        run, async_run = probe(stack, "tags")
        with stack.client() as client:
            run_tags = set(get(client, f"/flow_runs/{run}")["tags"])
            assert run_tags == {
                *("given:before", "from:flow", "any string"),
                *(f"from:task-{number}" for number in range(8)),
            }
            run_tags = set(get(client, f"/flow_runs/{async_run}")["tags"])
            assert run_tags == {"given:before", "from:flow", "from:thread", "from:async-task"}
            tasks = post(client, "/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
            assert {tag for task in tasks for tag in task["tags"]} == {"given:before"}


class TestPastRuns:
    def test_runs_are_found_beyond_a_page_of_the_api(self, stack: Stack) -> None:
        assert probe(stack, "past", "a.past", "205") == {
            "all": 206,
            "newest first": True,
            "odd": True,
            "running": 1,
            "either": 206,
            "since a day": 206,
            "since tomorrow": 0,
            "without zone": 206,
            "ran": True,
            "ran odd": True,
            "ran even": False,
            "failed": False,
            "ran in no time": False,
            "part of the name": False,
        }

    def test_a_run_does_not_count_itself(self, stack: Stack) -> None:
        assert probe(stack, "itself", "asks.itself") == [False, True, True]

    def test_runs_that_are_due_later_are_not_past(self, stack: Stack) -> None:
        counts = probe(stack, "ahead")
        assert counts["ahead"] > 0
        assert counts["found"] == 0


class TestLocks:
    def test_one_of_the_runs_that_ask_at_once_has_it(self, stack: Stack) -> None:
        assert probe(stack, "race", "race") == [1, 1, 1, 1]

    def test_a_run_that_died_has_it_until_the_server_knows(self, stack: Stack) -> None:
        dead = probe(stack, "die", "deadly", code=-9)
        assert probe(stack, "lock", "deadly") is False
        with stack.client() as client:
            set_state(client, dead, "CRASHED")
        assert probe(stack, "lock", "deadly") is True


class TestNotify:
    """The webhook of the stack's block is unknown to Slack, which may also be unreachable."""

    def test_a_fault_of_slack_is_a_warning_in_the_log_and_no_more(self, stack: Stack) -> None:
        run, async_run = probe(stack, "notify")
        printed = stack.said[-1]
        with stack.client() as client:
            for run_id, text in (
                (run, "Subject: from a flow"),
                (run, "from a task"),
                (async_run, "from an async flow"),
                (async_run, "from a thread"),
            ):
                assert get(client, f"/flow_runs/{run_id}")["state_type"] == "COMPLETED"
                line = logged(client, run_id, text)
                assert (line["level"], line["message"][:19]) == (30, "Not sent to Slack (")
            everything = json.dumps([log(client, run), log(client, async_run)]) + printed
        assert "T00000000" not in everything
        assert "B00000000" not in everything

    def test_without_a_block_the_log_has_the_message(self, stack: Stack) -> None:
        with stack.client() as client:
            block = get(client, "/block_types/slug/slack-webhook/block_documents/name/slack")
            client.delete(f"/block_documents/{block['id']}").raise_for_status()
            try:
                run, _ = probe(stack, "notify")
                line = logged(client, run, "Subject: from a flow")
                assert line["level"] == 20
                assert line["message"].startswith("No block slack-webhook/slack")
            finally:
                stack.run("scripts/bootstrap.py")
