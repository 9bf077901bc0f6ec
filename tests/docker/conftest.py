"""The base images, one stack in Docker that tests share, and single stacks."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from python_on_whales import docker
from python_on_whales.exceptions import DockerException

from server.settings import Settings
from tests import claims
from tests import stack as stacks
from tests.images import standins
from tests.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER_IMAGE = "prefect-stack-test/server"
WORKER_IMAGE = "prefect-stack-test/worker"


@pytest.fixture(scope="session")
def base_images() -> None:
    """Both base images; they are built as stand-ins if they cannot be pulled."""
    try:
        docker.system.info()
    except DockerException as error:
        pytest.skip(f"no Docker engine answers: {error}")
    # Several processes of the tests ask for them; the first one makes them.
    with (Path(tempfile.gettempdir()) / "prefect-stack-images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        standins.ensure(_default("python_image"), _default("postgres_image"), print)


def make(tmp_path_factory: pytest.TempPathFactory, name: str) -> Stack:
    """Return a stack in its own clone with images of the tests; it is not started."""
    root = stacks.clone(tmp_path_factory.mktemp(name))
    stack = Stack(root, f"test-{name}-{os.getpid()}", stacks.free_port(), "docker")
    stack.variables |= {"SERVER_IMAGE": SERVER_IMAGE, "WORKER_IMAGE": WORKER_IMAGE}
    return stack


@pytest.fixture(scope="module")
def stack(base_images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack with passwords of special characters."""
    with claims.running(make(tmp_path_factory, "docker")) as stack:
        yield stack


@pytest.fixture
def unstarted(base_images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack in its own clone, not started; it is stopped and deleted afterwards."""
    with stacks.stack(make(tmp_path_factory, "single")) as stack:
        yield stack


def _default(name: str) -> str:
    return str(Settings.model_fields[name].default)
