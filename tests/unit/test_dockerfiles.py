"""Both images are made of what is locked, hold no build tools and run as nobody in particular."""

import re
from pathlib import Path

import pytest

from server.settings import ROOT, Settings

SERVER = ROOT / "server/Dockerfile"
WORKER = ROOT / "worker/Dockerfile"
EACH = pytest.mark.parametrize("path", [SERVER, WORKER], ids=["server", "worker"])
BUILD_TOOLS = re.compile(r"\b(apt|apt-get|apk|gcc|g\+\+|clang|make|cmake|cargo|build-essential)\b")


def instructions(path: Path) -> list[str]:
    """One line for each instruction, without comments."""
    text = re.sub(r"(?m)^\s*#.*\n", "", path.read_text())
    return [line for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines() if line]


def final_stage(path: Path) -> list[str]:
    lines = instructions(path)
    last = max(number for number, line in enumerate(lines) if line.startswith("FROM "))
    return lines[last:]


def stage(path: Path, name: str) -> str:
    """The lines of a stage as they are, comments included, up to the empty one after it."""
    found = re.search(rf"(?m)^FROM .+ AS {name}\n(?:.+\n)+", path.read_text())
    assert found, f"{path} has no stage {name}"
    return found[0]


def copied(path: Path) -> set[str]:
    """What comes from the clone, and from the project, which is the clone unless set otherwise."""
    copies = [line.split()[1:-1] for line in instructions(path) if line.startswith("COPY ")]
    own = ([] if names[0].startswith("--from") else names for names in copies)
    theirs = (names[1:] for names in copies if names[0] == "--from=project")
    found = {name.replace("[t]", "t") for names in (*own, *theirs) for name in names}
    return {name.removesuffix("/*.py") for name in found}


def test_both_share_the_layers_of_their_packages() -> None:
    assert stage(SERVER, "environment") == stage(WORKER, "environment")


def test_packages_are_those_of_the_lock_and_no_others() -> None:
    text = stage(SERVER, "environment")
    assert re.findall(r"pip .* install (.*?) \\", text) == [
        "--require-hashes -r /build/requirements.lock"
    ]


@EACH
def test_it_runs_as_the_user_of_the_stack(path: Path) -> None:
    lines = final_stage(path)
    assert [line for line in lines if line.startswith("USER ")] == ["USER 999:999"]
    after = lines[lines.index("USER 999:999") + 1 :]
    assert [line for line in after if line.startswith(("RUN", "COPY", "ADD"))] == []


@EACH
def test_it_builds_on_the_image_of_the_settings(path: Path) -> None:
    default = Settings.model_fields["python_image"].default
    assert instructions(path)[0] == f"ARG PYTHON_IMAGE={default}"
    stages = re.findall(r"(?m)^FROM \S+ AS (\S+)$", path.read_text())
    bases = re.findall(r"(?m)^FROM (\S+)", path.read_text())
    assert set(bases) <= {"${PYTHON_IMAGE}", *stages}
    assert final_stage(path)[0] == "FROM ${PYTHON_IMAGE}"


@EACH
def test_no_image_is_the_latest(path: Path) -> None:
    assert "latest" not in path.read_text()


@EACH
def test_the_shipped_image_has_no_build_tools(path: Path) -> None:
    assert [line for line in final_stage(path) if BUILD_TOOLS.search(line)] == []


@EACH
def test_the_shipped_image_installs_nothing_from_the_network(path: Path) -> None:
    installs = [line for line in final_stage(path) if re.search(r"pip\b.*\binstall\b", line)]
    assert [line for line in installs if "--no-index" not in line] == []


def test_the_worker_type_is_a_package_of_the_worker_image_not_a_folder_beside_it() -> None:
    lines = final_stage(WORKER)
    [install] = [line for line in lines if line.endswith(" prefect-prefork")]
    assert "from=prefork" in install
    assert "COPY worker/*.py /stack/worker/" in lines  # without its folders


@EACH
def test_signals_reach_the_process(path: Path) -> None:
    entrypoints = [line for line in final_stage(path) if line.startswith("ENTRYPOINT")]
    assert entrypoints == ['ENTRYPOINT ["python", "-m", "server.entrypoint"]']


@EACH
def test_what_is_mounted_there_belongs_to_its_user(path: Path) -> None:
    made = next(line for line in final_stage(path) if "install -d" in line)
    assert "install -d -o 999 -g 999 " in made
    for folder in (
        "/data",
        "/journal",
        "/stack",
        "/run/stack/secrets/database",
        "/run/stack/secrets/api",
    ):
        assert f" {folder}" in made


def test_the_server_holds_no_flows_and_no_worker() -> None:
    assert copied(SERVER) == {"requirements.lock", "server"}


def test_only_what_is_copied_goes_to_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    let_through = {line.removeprefix("!") for line in patterns if line.startswith("!")}
    assert patterns[0] == "*"
    assert let_through == copied(SERVER) | copied(WORKER)
    optional = {"requirements.txt"}  # of a project apart from the clone
    assert [name for name in let_through - optional if not (ROOT / name).exists()] == []
    assert "**/__pycache__" in patterns[patterns.index("!server") :]
