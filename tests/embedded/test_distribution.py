"""`prefect-prefork` works without the stack: in a fresh environment with plain Prefect."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.stack import TERMINAL, free_port, post, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = Path(sysconfig.get_path("purelib"))
NOT_LINKED = ("prefect_prefork", "prefect_stack", "pip", "__pycache__")
# The module of the user, `worker.py`, has the name of a package of the stack.
FLOW = """
import os, sys
from pathlib import Path
from prefect import flow

@flow
def says():
    Path.home().joinpath("said").write_text(f"{os.getppid()} {' '.join(sys.orig_argv)}")
"""


class Machine:
    """A user's folder with a Python environment in it, and the address of a server to start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "env" / "bin" / "python"
        self.url = f"http://127.0.0.1:{free_port()}"

    def variables(self) -> dict[str, str]:
        return {
            "PATH": f"{self.python.parent}{os.pathsep}{os.defpath}",
            "HOME": str(self.folder),
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_API_URL": f"{self.url}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }

    def run(self, *argv: str) -> str:
        """Run the environment's Python, which has to exit with 0; return its standard output."""
        done = subprocess.run(
            [str(self.python), *argv],
            check=False,
            cwd=self.folder,
            env=self.variables(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{argv}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def running(self, name: str, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run `prefect ARGV` meanwhile; print its output if the test fails."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(self.python), "-m", "prefect", *argv],
                cwd=self.folder,
                env=self.variables(),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        except BaseException:
            print(log.read_text(errors="replace"))  # noqa: T201
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """An environment with Prefect and tools to build packages, but nothing of the stack.

    Its packages are links to those of this environment, so nothing is downloaded.
    """
    machine = Machine(tmp_path)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    site = Path(machine.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    for entry in PACKAGES.iterdir():
        ours = entry.name.startswith(NOT_LINKED) or entry.suffix == ".pth"
        if not ours and not (site / entry.name).exists():
            (site / entry.name).symlink_to(entry)
    (tmp_path / "worker.py").write_text(FLOW)
    return machine


def test_it_is_installed_beside_a_plain_prefect_and_forks_a_run(machine: Machine) -> None:
    machine.run("-m", "pip", "install", "--no-index", "--no-build-isolation", f"{ROOT}/worker")
    port = machine.url.rpartition(":")[2]
    client = httpx.Client(base_url=f"{machine.url}/api", timeout=30)
    with client, machine.running("server", "server", "start", "--port", port):
        wait_for("server", lambda: client.get("/health").is_success)
        with machine.running(
            "worker", "worker", "start", "--pool", "p", "--type", "prefork"
        ) as worker:
            wait_for("work pool", lambda: client.get("/work_pools/p").is_success)
            assert client.get("/work_pools/p").json()["type"] == "prefork"
            # A plain server keeps its data in SQLite, and answers 503 while the file is locked.
            flow = wait_for("flow", lambda: post(client, "/flows/", {"name": "says"}))
            deployment = {
                "name": "a",
                "flow_id": flow["id"],
                "entrypoint": "worker.py:says",
                "path": str(machine.folder),
                "work_pool_name": "p",
            }
            made = wait_for("deployment", lambda: post(client, "/deployments/", deployment))
            path = f"/deployments/{made['id']}/create_flow_run"
            run = wait_for("run", lambda: post(client, path, {}))

            def ended() -> bool:
                state = client.get(f"/flow_runs/{run['id']}").raise_for_status().json()["state"]
                return state["type"] in TERMINAL

            wait_for("end of the run", ended)
            final_state = client.get(f"/flow_runs/{run['id']}").json()["state"]
            assert final_state["type"] == "COMPLETED", final_state
            parent, *argv = (machine.folder / "said").read_text().split()
            assert parent == str(worker.pid)
            assert "prefect_prefork.forked.template" in " ".join(argv)
        assert worker.returncode == 0
