"""Projects with their own declarations, bootstrapped onto the server of a running stack."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from server import environment, place
from tests import forked_bootstrap
from tests.stack import SOURCE, Stack

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping
    from pathlib import Path

FLOW = '''\
from prefect import flow

@flow(name="{name}")
def {name}(who: str = "world", times: int = 1) -> None:
    """Greet.

    Args:
        who: Whom to greet.
        times: How often.
    """
'''


@dataclass
class Project:
    """A folder with `prefect.yaml`, `stack.yaml` and `flows/`, and a stack name of its own.

    Bootstrap marks what it creates with that name, so tests can share a server.
    """

    folder: Path
    stack: Stack
    name: str
    login: str
    variables: dict[str, str] = field(default_factory=dict)

    def write(
        self, *, stack: str = "", prefect: str = "", flows: Mapping[str, str] | None = None
    ) -> None:
        """Replace `stack.yaml` and `prefect.yaml`, and write `flows` by name into `flows/`."""
        (self.folder / "stack.yaml").write_text(stack)
        (self.folder / "prefect.yaml").write_text(prefect)
        (self.folder / "flows").mkdir(exist_ok=True)
        for name, text in (flows or {}).items():
            (self.folder / "flows" / name).write_text(text)

    def environment(self, api: str | None = None) -> dict[str, str]:
        """Return the environment of bootstrap, for the API at `api` or that of the stack."""
        here = dataclasses.replace(place.DOCKER, root=self.folder)
        return {
            **environment.COMMON,
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_API_URL": api or f"{self.stack.url}/api",
            "PREFECT_API_AUTH_STRING": self.login,
            "PYTHONPATH": str(SOURCE),
            "STACK_NAME": self.name,
            place.VARIABLE: here.dump(),
            **self.variables,
        }

    def bootstrap(
        self, *arguments: str, api: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run bootstrap and keep its output for the report of a failed test."""
        result = forked_bootstrap.run(arguments, self.folder, self.environment(api), 300)
        said = f"$ bootstrap {' '.join(arguments)} -> {result.returncode}\n"
        self.stack.said.append(f"{said}{result.stdout}{result.stderr}")
        return result

    def apply(self, *arguments: str) -> str:
        """Run bootstrap, which has to exit with 0; return its standard output."""
        result = self.bootstrap(*arguments)
        assert result.returncode == 0, self.stack.said[-1]
        return result.stdout

    def changes(self, *arguments: str) -> dict[str, dict[str, Any]]:
        """Return the entry of `--plan --json` for each resource, by "KIND NAME"."""
        plan = json.loads(self.apply("--plan", "--json", *arguments))
        return {f"{change['kind']} {change['name']}": change for change in plan["changes"]}

    def ours(self, *arguments: str) -> dict[str, str]:
        """Return the planned action for each resource, but for those that others own."""
        return {
            name: change["action"]
            for name, change in self.changes(*arguments).items()
            if change["action"] != "not-ours"
        }


def make(folder: Path, stack: Stack, name: str) -> Project:
    """Return a project in `folder` that declares nothing yet, for the server of `stack`."""
    script = 'eval "$(scripts/stack env)"; printf "%s" "$PREFECT_API_AUTH_STRING"'
    project = Project(folder, stack, name, stack.run("sh", "-c", script).stdout)
    project.write()
    return project
