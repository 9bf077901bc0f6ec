"""Bootstrap creates, compares, updates and removes resources of every kind on a real server."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks.relay import relaying
from tests import project as projects
from tests.embedded.all_kinds import BLOCKS, TOKEN, automation, names, write_everything
from tests.project import FLOW, Project
from tests.stack import deployment, get, post


class TestEverything:
    def test_it_is_made_and_a_second_time_nothing_is_written(self, project: Project) -> None:
        write_everything(project)
        said = project.apply()
        assert said.splitlines()[-1] == "17 created"
        with relaying(project.stack.port) as seen:
            second = project.bootstrap(api=f"{seen.address}/api")
        assert second.returncode == 0, project.stack.said[-1]
        assert second.stdout.splitlines()[-1] == "nothing changed"
        assert set(project.ours().values()) == {"unchanged"}
        assert len(seen.requests) > 10
        assert seen.writes == []

    def test_the_server_holds_what_is_declared(self, project: Project) -> None:
        write_everything(project)
        project.apply()
        name = project.name
        with project.stack.client() as client:
            assert get(client, f"/variables/name/{name}_nested")["value"] == {
                "list": [1, "two", None],
                "flag": True,
            }
            assert sorted(get(client, f"/variables/name/{name}_region")["tags"]) == ["a", "b"]
            limit = get(client, f"/v2/concurrency_limits/{name}-calls")
            assert (limit["limit"], limit["slot_decay_per_second"], limit["active"]) == (
                *(10, 0.5),
                False,
            )
            assert get(client, f"/concurrency_limits/tag/{name}:heavy")["concurrency_limit"] == 2
            secret = get(
                client,
                f"/block_types/slug/secret/block_documents/name/{name}-token?include_secrets=true",
            )
            assert secret["data"] == {"value": TOKEN}
            queues = post(client, f"/work_pools/{name}-pool/queues/filter", {})
            assert {queue["name"]: queue["priority"] for queue in queues} == {
                "urgent": 1,
                "default": 2,
                "low": 3,
            }
            first = deployment(client, f"{name}_first/main")
            assert first["parameters"] == {"who": TOKEN}
            follow = automation(client, f"{name}-follow")
            assert follow["actions"][0]["deployment_id"] == first["id"]
            pool = get(client, f"/work_pools/{name}-pool")
            assert follow["actions"][1]["work_pool_id"] == pool["id"]

    def test_no_secret_is_ever_printed(self, project: Project) -> None:
        write_everything(project)
        results = [project.bootstrap(*flags) for flags in ([], ["--plan"], ["--json"])]
        project.variables["TOKEN"] = "AnotherOne"
        results += [
            project.bootstrap(*flags) for flags in (["--plan"], ["--check"], ["--json"], [])
        ]
        assert "update" in results[3].stdout
        for result in results:
            for secret in (TOKEN, "AnotherOne"):
                assert secret not in result.stdout + result.stderr


class TestPlan:
    def test_a_plan_writes_nothing(self, project: Project) -> None:
        write_everything(project)
        with relaying(project.stack.port) as seen:
            result = project.bootstrap("--plan", "--prune", api=f"{seen.address}/api")
        assert result.returncode == 0
        assert result.stdout.splitlines()[-1] == "17 to create"
        assert seen.writes == []
        assert set(project.ours().values()) == {"create"}

    def test_a_difference_is_named_by_its_fields_and_goes_away(self, project: Project) -> None:
        write_everything(project)
        project.apply()
        text = (project.folder / "stack.yaml").read_text()
        for old, new in (
            ("limit: 3}", "limit: 4}"),
            ("value: eu, tags: [b, a]", "value: us, tags: [b]"),
            ("subject: s", "subject: t"),
            ("concurrency_limit: 5", "concurrency_limit: 6"),
            ("{name: low, priority: 3}", "{name: low, priority: 1}"),
            ("urgent, priority: 1", "urgent, priority: 3"),
        ):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (project.folder / "stack.yaml").write_text(text)
        updates = {
            name.replace(project.name, ""): change["fields"]
            for name, change in project.changes().items()
            if change["action"] == "update"
        }
        assert updates == {
            "concurrency limit -database": ["limit"],
            "variable _region": ["value", "tags"],
            "automation -alert": ["actions"],
            "work pool -pool": ["concurrency_limit"],
            "work queue -pool/low": ["priority"],
            "work queue -pool/urgent": ["priority"],
        }
        assert project.apply().splitlines()[-1] == "6 updated"
        assert set(project.ours().values()) == {"unchanged"}

    def test_what_people_switch_in_the_ui_stays_as_they_left_it(self, project: Project) -> None:
        write_everything(project)
        project.apply()
        name = project.name
        with project.stack.client() as client:
            alert = automation(client, f"{name}-alert")
            client.patch(f"/automations/{alert['id']}", json={"enabled": False}).raise_for_status()
            client.patch(f"/work_pools/{name}-pool", json={"is_paused": True}).raise_for_status()
            limit = f"/v2/concurrency_limits/{name}-calls"
            client.patch(limit, json={"active": True}).raise_for_status()
            assert set(project.ours().values()) == {"unchanged"}
            text = (project.folder / "stack.yaml").read_text()
            text = text.replace("subject: s", "subject: t").replace("limit: 10", "limit: 11")
            (project.folder / "stack.yaml").write_text(text.replace("limit: 5", "limit: 6"))
            assert project.apply().splitlines()[-1] == "3 updated"
            assert not automation(client, f"{name}-alert")["enabled"]
            assert get(client, f"/work_pools/{name}-pool")["is_paused"]
            assert get(client, limit)["active"]


class TestCheck:
    def test_it_ends_with_2_exactly_when_something_differs(self, project: Project) -> None:
        write_everything(project)
        assert project.bootstrap("--check").returncode == 2
        project.apply()
        assert project.bootstrap("--check").returncode == 0
        with project.stack.client() as client:
            path = f"/v2/concurrency_limits/{project.name}-database"
            client.patch(path, json={"limit": 30}).raise_for_status()
            drifted = project.bootstrap("--check")
            assert drifted.returncode == 2
            assert re.search(
                rf"^update .*{project.name}-database +limit$", drifted.stdout, re.MULTILINE
            )
            assert get(client, path)["limit"] == 30

    def test_as_json_it_says_the_same(self, project: Project) -> None:
        write_everything(project)
        result = project.bootstrap("--check", "--json")
        plan = json.loads(result.stdout)
        assert (result.returncode, plan["applied"], plan["drift"]) == (2, False, 17)
        assert json.loads(project.apply("--json"))["applied"]
        plan = json.loads(project.apply("--check", "--json"))
        assert (plan["drift"], {change["action"] for change in plan["changes"]}) == (
            0,
            {"unchanged", "not-ours"},
        )


class TestPrune:
    def test_it_removes_what_bootstrap_made_and_nothing_else(self, project: Project) -> None:
        write_everything(project)
        project.apply()
        with project.stack.client() as client:
            by_hand = {"name": f"{project.name}_by_hand", "value": 1}
            post(client, "/variables/", by_hand)
            project.write()
            assert set(project.ours().values()) == {"no-longer-declared"}
            assert project.bootstrap("--check").returncode == 2
            assert "16 no longer declared" in project.apply().splitlines()[-1]
            before = names(client)
            assert project.apply("--prune").splitlines()[-1] == "16 removed"
            gone = before - names(client)
            # A pool takes its default queue with it, and a deployment its concurrency limit.
            [limit] = [each for each in gone if "/deployment:" in each]
            name = project.name
            assert gone - {limit} == {
                *(f"/variables/None/{name}_{each}" for each in ("region", "nested")),
                *(f"/v2/concurrency_limits/None/{name}-{each}" for each in ("database", "calls")),
                f"/v2/concurrency_limits/None/tag:{name}:heavy",
                *(f"/block_documents/None/{name}-{each}" for each in BLOCKS),
                f"/work_pools/None/{name}-pool",
                *(f"/work_queues/{name}-pool/{each}" for each in ("default", "low", "urgent")),
                *("/deployments/default/silent", f"/deployments/{name}-pool/main"),
                *(f"/automations/None/{name}-{each}" for each in ("alert", "follow")),
            }
            assert get(client, f"/variables/name/{project.name}_by_hand")["value"] == 1
        assert project.ours() == {}

    def test_ownership_holds_from_another_machine(
        self, project: Project, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        write_everything(project)
        project.apply()
        elsewhere = projects.make(tmp_path_factory.mktemp("elsewhere"), project.stack, project.name)
        assert elsewhere.apply("--prune").splitlines()[-1] == "16 removed"

    def test_what_was_there_before_is_brought_in_line_and_never_removed(
        self, project: Project
    ) -> None:
        with project.stack.client() as client:
            name = f"{project.name}_old"
            post(client, "/variables/", {"name": name, "value": "old"})
            project.write(stack=f"variables: [{{name: {name}, value: new}}]\n")
            assert project.apply().splitlines()[-1] == "1 updated"
            assert get(client, f"/variables/name/{name}")["value"] == "new"
            project.write()
            project.apply("--prune")
            assert get(client, f"/variables/name/{name}")["value"] == "new"

    def test_what_was_made_again_by_hand_is_not_ours(self, project: Project) -> None:
        name = f"{project.name}_again"
        project.write(stack=f"variables: [{{name: {name}, value: 1}}]\n")
        project.apply()
        with project.stack.client() as client:
            client.delete(f"/variables/name/{name}").raise_for_status()
            post(client, "/variables/", {"name": name, "value": 1})
            project.write()
            project.apply("--prune")
            assert get(client, f"/variables/name/{name}")["value"] == 1

    def test_another_stack_on_the_server_keeps_its_own(
        self, project: Project, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        write_everything(project)
        project.apply()
        other = projects.make(tmp_path_factory.mktemp("other"), project.stack, f"{project.name}-2")
        other.apply("--prune")
        assert set(project.ours().values()) == {"unchanged"}


class TestHalfWay:
    @pytest.mark.parametrize("writes", [4, 15])
    def test_the_next_run_finishes_what_a_dying_server_left(
        self, writes: int, project: Project
    ) -> None:
        write_everything(project)
        # By default a client retries for a minute, which bridges a restart; this server stays down.
        project.variables["PREFECT_CLIENT_MAX_RETRIES"] = "0"
        with relaying(project.stack.port, last_write=writes) as seen:
            broken = project.bootstrap(api=f"{seen.address}/api")
            assert seen.broken_off
        assert broken.returncode == 1
        assert "Traceback" not in broken.stderr
        assert "it goes on where it stopped" in broken.stderr
        unchanged = [action for action in project.ours().values() if action == "unchanged"]
        assert len(unchanged) < 17
        project.apply()
        assert set(project.ours().values()) == {"unchanged"}
        project.write()
        assert project.apply("--prune").splitlines()[-1] == "16 removed"


class TestMany:
    @pytest.mark.slow
    def test_more_deployments_than_a_page_are_planned_and_made_once(self, project: Project) -> None:
        names = [f"{project.name}_{number:03}" for number in range(210)]
        declared = "".join(
            f"  - name: main\n    entrypoint: flows/{name}.py:{name}\n"
            f"    schedules: [{{slug: s, cron: '0 2 * * *', active: false}}]\n"
            f"    work_pool: {{name: default}}\n"
            for name in names
        )
        project.write(
            prefect=f"deployments:\n{declared}",
            flows={f"{name}.py": FLOW.format(name=name) for name in names},
        )
        assert project.apply().splitlines()[-1] == "210 created"
        assert list(project.ours().values()) == ["unchanged"] * 210
        project.write()
        assert project.apply("--prune").splitlines()[-1] == "210 removed"
