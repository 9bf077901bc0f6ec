"""Bootstrap when a declaration is wrong, or when somebody has changed the server by hand."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from tests.embedded.all_kinds import TOKEN, automation, names, write_everything
from tests.project import FLOW
from tests.stack import deployment, get

if TYPE_CHECKING:
    from tests.project import Project


class TestWrong:
    """What is wrong is not touched, and everything else is applied."""

    def test_what_is_right_is_applied_and_what_names_what_is_wrong_is_left_out(
        self, project: Project
    ) -> None:
        write_everything(project)
        project.apply()
        name = project.name
        broken = "import nothing_of_that_name\n"
        self._change(project, "prefect.yaml", "times: 2}", "times: 3}")
        self._change(project, "stack.yaml", "value: eu", "value: us")
        self._change(project, "stack.yaml", "limit: 3}", "limit: many}")
        self._change(project, "flows/first.py", "from prefect", f"{broken}from prefect")
        with project.stack.client() as client:
            before = names(client)
            for flags in (["--plan"], [], ["--prune"]):
                result = project.bootstrap(*flags)
                assert result.returncode == 2, project.stack.said[-1]
                assert result.stderr.startswith("error: 2 declarations are wrong\n")
                assert "'limit' is not valid" in result.stderr
                assert "names flows/first.py, which fails to import" in result.stderr
                lines = {tuple(line.split()[:3]) for line in result.stdout.splitlines()}
                assert ("wrong", "deployment", f"{name}_first/main") in lines
                assert ("wrong", "concurrency", "limit") in lines
                assert ("left", "out", "automation") in lines
            assert before == names(client)
            assert get(client, f"/variables/name/{name}_region")["value"] == "us"
            assert get(client, f"/v2/concurrency_limits/{name}-database")["limit"] == 3
            self._change(project, "flows/first.py", broken, "")
            self._change(project, "stack.yaml", "limit: many}", "limit: 4}")
            assert project.apply().splitlines()[-1] == "2 updated"
        assert set(project.ours().values()) == {"unchanged"}

    def test_on_a_new_server_all_else_is_made(self, project: Project) -> None:
        write_everything(project)
        self._change(project, "stack.yaml", "priority: 3}", "priority: 0}")
        self._change(project, "stack.yaml", "type: process", "type: proces")
        result = project.bootstrap("--json")
        assert result.returncode == 2, project.stack.said[-1]
        said = json.loads(result.stdout)
        actions = {
            f"{change['kind']} {change['name']}": change["action"] for change in said["changes"]
        }
        name = project.name
        assert actions[f"work pool {name}-pool"] == "wrong"
        assert actions[f"work queue {name}-pool/low"] == "wrong"
        assert actions[f"work queue {name}-pool/urgent"] == "left-out"
        assert actions[f"deployment {name}_first/main"] == "left-out"
        assert actions[f"automation {name}-follow"] == "left-out"
        assert actions[f"automation {name}-alert"] == "create"
        assert actions[f"deployment {name}-silent/silent"] == "create"
        assert len(said["problems"]) == 2
        self._change(project, "stack.yaml", "priority: 0}", "priority: 3}")
        self._change(project, "stack.yaml", "type: proces\n", "type: process\n")
        project.apply()
        assert set(project.ours().values()) == {"unchanged"}

    def _change(self, project: Project, file: str, old: str, new: str) -> None:
        path = project.folder / file
        text = path.read_text()
        assert text.count(old) == 1, old
        path.write_text(text.replace(old, new))


class TestSecrets:
    def test_a_secret_may_hold_whatever_json_knows(self, project: Project) -> None:
        values = {"map": '{a: [1, "{{ $TOKEN }}"]}', "int": "5", "flag": "true", "list": "[1, b]"}
        blocks = "".join(
            f"  - {{type: secret, name: {project.name}-{name}, data: {{value: {value}}}}}\n"
            for name, value in values.items()
        )
        project.write(stack=f"blocks:\n{blocks}")
        assert project.apply().splitlines()[-1] == "4 created"
        assert set(project.ours().values()) == {"unchanged"}
        path = f"/block_types/slug/secret/block_documents/name/{project.name}-"
        with project.stack.client() as client:
            held = {
                name: get(client, f"{path}{name}?include_secrets=true")["data"]["value"]
                for name in values
            }
        assert held == {"map": {"a": [1, TOKEN]}, "int": 5, "flag": True, "list": [1, "b"]}


class TestByHand:
    def test_a_pool_deleted_by_hand_is_made_again_with_all_that_hangs_on_it(
        self, project: Project
    ) -> None:
        write_everything(project)
        project.apply()
        name = project.name
        with project.stack.client() as client:
            client.delete(f"/work_pools/{name}-pool").raise_for_status()
            project.apply()
            assert set(project.ours().values()) == {"unchanged"}
            first = deployment(client, f"{name}_first/main")
            assert (first["work_pool_name"], first["work_queue_name"]) == (f"{name}-pool", "urgent")
            pool = get(client, f"/work_pools/{name}-pool")
            follow = automation(client, f"{name}-follow")
            assert follow["actions"][1]["work_pool_id"] == pool["id"]

    def test_a_renamed_deployment_leaves_one_that_is_named_until_it_is_pruned(
        self, project: Project
    ) -> None:
        name = f"{project.name}_flow"
        text = (
            "deployments:\n  - name: old\n    entrypoint: flows/a.py:NAME\n"
            "    schedules: [{slug: s, cron: '0 2 1 1 *'}]\n    work_pool: {name: default}\n"
        ).replace("NAME", name)
        project.write(prefect=text, flows={"a.py": FLOW.format(name=name)})
        project.apply()
        renamed = text.replace("name: old", "name: new")
        project.write(prefect=renamed)
        said = project.apply()
        assert re.search(rf"no longer declared +deployment +{name}/old +1 schedule still", said)
        assert "`scripts/bootstrap.py --prune` removes" in said.splitlines()[-1]
        empty = text.replace("name: old", "name: new").replace(
            "[{slug: s, cron: '0 2 1 1 *'}]", "[]"
        )
        project.write(prefect=empty)
        project.apply("--prune")
        with project.stack.client() as client:
            assert client.get(f"/deployments/name/{name}/old").status_code == 404
            assert deployment(client, f"{name}/new")["schedules"] == []
