"""The faults that containers change: kills, disk, network, memory."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from benchmarks.relay import relaying
from tests import stack as stacks
from tests.docker import conftest as docker_tests
from tests.docker.test_stack import docker, inspect
from tests.faults import inject, trial
from tests.faults.claims import ends_well
from tests.faults.disk import mounted, top_up
from tests.faults.ground import Ground, declare
from tests.stack import finished, start_run, wait_for

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from benchmarks.relay import Relay
    from tests.faults.conftest import Measured
    from tests.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
base_images = docker_tests.base_images
IN_CONTAINER = "/data/ledger"
CUT_SECONDS = 120
SLOW_SECONDS = 60
FULL_SECONDS = 75
API_PORT, RELAY_PORT = 4200, 14200
DATABASE_MEGABYTES = 400
POSTGRES = (999, 999)  # user and group of the image
WORKER_MEGABYTES = 800


@pytest.fixture(scope="module")
def shared(base_images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """The stack in Docker that faults share; its database is on a small file system."""
    stack = declare(docker_tests.make(tmp_path_factory, "faults"))
    folder = tmp_path_factory.mktemp("database")
    with mounted(folder, DATABASE_MEGABYTES):
        os.chown(folder, *POSTGRES)
        folder.chmod(0o700)
        # A bind mount: Docker's own tmpfs would lose the data whenever the container stops.
        argv = ["volume", "create", "--driver=local", "--opt=type=none", "--opt=o=bind"]
        docker(*argv, f"--opt=device={folder}", f"{stack.name}_postgres")
        try:
            with stacks.stack(stack):
                stack.up()
                yield Ground(stack, ledger_of(stack), IN_CONTAINER)
        finally:
            subprocess.run(
                ["docker", "volume", "rm", "--force", f"{stack.name}_postgres"],
                check=False,
                capture_output=True,
            )


@pytest.fixture
def ground(shared: Ground) -> Ground:
    """The shared stack, well. It is not made anew, so the next fault sees traces of this one."""
    wait_for("stack that is well", lambda: shared.stack.status()["running"], 120)
    return shared


def ledger_of(stack: Stack) -> Path:
    """Make an empty ledger in the volume that flows write to; return its path on the host."""
    [volume] = json.loads(docker("volume", "inspect", f"{stack.name}_data"))
    path = Path(volume["Mountpoint"]) / "ledger"
    path.touch()
    path.chmod(0o666)
    return path


def main_process(ground: Ground, service: str) -> psutil.Process:
    """Return the first process of a container, as the host sees it."""
    return psutil.Process(int(inspect(ground.stack, service)["State"]["Pid"]))


@pytest.mark.parametrize("service", ["postgres", "server", "worker"])
@pytest.mark.fault(
    "Docker: the first process of a container is killed -9",
    promises=[1, 2, 3, 4],
    bound="all ended after 120 s, Crashed only what was at work",
)
def test_no_run_is_lost_when_a_container_dies(
    ground: Ground, measured: Measured, service: str
) -> None:
    def killed() -> Collection[int]:
        first = main_process(ground, service)
        ended = inject.freeze(first.children()[0]) if service == "worker" else ()
        inject.kill(first)
        return ended

    result = trial.run(ground, killed, runs=40, spread_seconds=10)
    measured |= {"container": service, **result.measured()}
    ends_well(ground, result)


@pytest.mark.fault(
    "Docker: the worker is cut off from the server for 2 minutes",
    promises=[1, 2, 3, 6],
    bound="all Completed 120 s after",
)
def test_no_run_is_lost_when_the_worker_is_cut_off(ground: Ground, measured: Measured) -> None:
    network = f"{ground.stack.name}_default"
    container = inspect(ground.stack, "worker")["Id"]

    def cut() -> Collection[int]:
        docker("network", "disconnect", network, container)
        time.sleep(CUT_SECONDS)
        docker("network", "connect", "--alias=worker", network, container)
        return ()

    result = trial.run(ground, cut, runs=40, spread_seconds=60)
    measured |= result.measured()
    ends_well(ground, result)
    assert result.ill_said, "status said that all was well while the worker was cut off"


@pytest.mark.fault(
    "Docker: 500 ms and 20 % loss between worker and server, for a minute",
    promises=[1, 2],
    bound="all Completed 120 s after",
)
def test_no_run_is_lost_on_a_bad_line(ground: Ground, measured: Measured) -> None:
    pid = main_process(ground, "worker").pid
    networks = inspect(ground.stack, "server")["NetworkSettings"]["Networks"]
    server = networks[f"{ground.stack.name}_default"]["IPAddress"]

    def bad() -> Collection[int]:
        with through_relay(pid, server) as line:
            line.delay_seconds, line.loss = 0.5, 0.2
            time.sleep(SLOW_SECONDS)
            assert line.requests, "nothing went through the relay"
        return ()

    result = trial.run(ground, bad, runs=40, spread_seconds=40)
    measured |= result.measured()
    ends_well(ground, result)


@pytest.mark.fault(
    "Docker: the database's disk is full for 75 s",
    promises=[1, 2, 3, 5],
    bound="all Completed 180 s after there is room",
)
def test_nothing_is_lost_when_the_databases_disk_is_full(
    ground: Ground, measured: Measured
) -> None:
    folder = Path(f"/proc/{main_process(ground, 'postgres').pid}/root/var/lib/postgresql")

    def full() -> Collection[int]:
        path = folder / "filler"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            top_up(file)
            time.sleep(FULL_SECONDS)
        finally:
            os.ftruncate(file, 0)  # not removed by its path: the container may have been replaced
            os.close(file)
        return ()

    result = trial.run(ground, full, runs=40, spread_seconds=40, bound_seconds=180)
    measured |= result.measured()
    ends_well(ground, result)


@pytest.mark.fault(
    "Docker: runs take all memory of the worker's container, three times",
    promises=[1, 2, 3, 4],
    bound="only the greedy are Crashed; all others Completed 120 s after",
)
def test_the_kernel_ends_the_greedy_and_no_other(ground: Ground, measured: Measured) -> None:
    worker = inspect(ground.stack, "worker")
    told: list[str] = []

    def eaten() -> Collection[int]:
        with ground.stack.client() as client:
            for _ in range(3):
                greedy = start_run(client, "eats/eats", {"megabytes": 2 * WORKER_MEGABYTES})
                told.append(finished(client, greedy, 120)["state_type"])
        return ()

    with memory(worker, WORKER_MEGABYTES):
        result = trial.run(ground, eaten, runs=40, spread_seconds=15)
    measured |= result.measured()
    assert told == ["CRASHED"] * 3
    ends_well(ground, result)
    assert inspect(ground.stack, "worker")["State"]["Pid"] == worker["State"]["Pid"]


@contextmanager
def through_relay(pid: int, server: str) -> Iterator[Relay]:
    """Lead new connections to the API, in the network of the container of `pid`, through a relay.

    Every run makes new ones. netem could slow the network itself, but not every kernel has it.
    """
    rule = ["OUTPUT", "-p", "tcp", "-d", server, "--dport", str(API_PORT)]
    rule += ["-m", "owner", "!", "--uid-owner", "0"]  # the relay is root's
    rule += ["-j", "REDIRECT", "--to-ports", str(RELAY_PORT)]
    iptables = ["nsenter", "--target", f"{pid}", "--net", "iptables", "-t", "nat"]

    def enter() -> None:
        with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0):
                raise OSError(ctypes.get_errno(), "the network of the container cannot be entered")

    with relaying(API_PORT, host=server, listens_on=RELAY_PORT, prepare=enter) as relay:
        subprocess.run([*iptables, "-A", *rule], check=True)
        try:
            yield relay
        finally:
            subprocess.run([*iptables, "-D", *rule], check=True)


@contextmanager
def memory(container: dict[str, Any], megabytes: int) -> Iterator[None]:
    """Give the container this much memory, and afterwards as much as it had."""
    limit, name = int(container["HostConfig"]["Memory"]), str(container["Id"])
    update(name, megabytes * 2**20)
    try:
        yield
    finally:
        update(name, limit)


def update(container: str, bytes_: int) -> None:
    """Set a container's limit of memory and of swap."""
    docker("update", f"--memory={bytes_}", f"--memory-swap={bytes_}", container)
