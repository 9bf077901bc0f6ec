"""Both images are built from the lock, hold no build tools and run as an ordinary user."""

import re

import pytest

from server.settings import ROOT, Settings

PATH = ROOT / "Dockerfile"
TEXT = PATH.read_text()
IMAGES = ["server", "worker"]
EACH = pytest.mark.parametrize("image", IMAGES)
BUILD_TOOLS = re.compile(r"\b(apt|apt-get|apk|gcc|g\+\+|clang|make|cmake|cargo|build-essential)\b")


def stages() -> dict[str, list[str]]:
    """Return the instructions of each stage, one a line, without comments."""
    text = re.sub(r"(?m)^\s*#.*\n", "", TEXT)
    lines = [line for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines() if line]
    by_stage: dict[str, list[str]] = {}
    name = ""
    for line in lines:
        if line.startswith("FROM "):
            name = line.split()[-1]
        if name:
            by_stage.setdefault(name, []).append(line)
    return by_stage


def layers(image: str) -> list[str]:
    """Return the instructions that make the layers of an image."""
    by_stage = stages()
    assert by_stage[image][0] == f"FROM common AS {image}"
    return [*by_stage["common"], *by_stage[image]]


def paths_copied(*names: str) -> set[str]:
    """Return what stages copy from the clone, and from the project, which may be the clone."""
    copies = [
        line.split()[1:-1] for name in names for line in stages()[name] if line.startswith("COPY ")
    ]
    own = ([] if names[0].startswith("--from") else names for names in copies)
    theirs = (names[1:] for names in copies if names[0] == "--from=project")
    paths = {re.sub(r"\[(.)\]", r"\1", name) for names in (*own, *theirs) for name in names}
    return {name.removesuffix("/*.py") for name in paths}


def test_packages_are_those_of_the_lock_and_no_others() -> None:
    [install] = [line for line in stages()["environment"] if " install " in line]
    assert re.findall(r"pip .*? install (.*?) &&", install) == [
        "--require-hashes -r /build/requirements.lock"
    ]


@EACH
def test_it_runs_as_the_user_of_the_stack(image: str) -> None:
    lines = layers(image)
    assert [line for line in lines if line.startswith("USER ")] == ["USER 999:999"]
    assert lines[-1] == "USER 999:999"


def test_every_stage_stands_on_the_image_of_the_settings() -> None:
    default = Settings.model_fields["python_image"].default
    assert f"\nARG PYTHON_IMAGE={default}\n" in TEXT
    bases = {lines[0].split()[1] for lines in stages().values()}
    assert bases <= {"${PYTHON_IMAGE}", *stages()}
    assert stages()["common"][0].split()[1] == "${PYTHON_IMAGE}"


def test_no_image_is_the_latest() -> None:
    assert "latest" not in TEXT


@EACH
def test_the_shipped_image_has_no_build_tools(image: str) -> None:
    assert [line for line in layers(image) if BUILD_TOOLS.search(line)] == []


@EACH
def test_the_shipped_image_installs_nothing_from_the_network(image: str) -> None:
    installs = [line for line in layers(image) if re.search(r"pip\b.*\binstall\b", line)]
    assert [line for line in installs if "--no-index" not in line] == []


def test_the_worker_type_is_a_package_of_the_worker_image_not_a_folder_beside_it() -> None:
    lines = layers("worker")
    [install] = [line for line in lines if line.endswith(" prefect-prefork")]
    assert "from=prefork" in install
    assert "COPY worker/*.py /stack/worker/" in lines  # without its folders


@EACH
def test_signals_reach_the_process(image: str) -> None:
    entrypoints = [line for line in layers(image) if line.startswith("ENTRYPOINT")]
    assert entrypoints == ['ENTRYPOINT ["python", "-m", "server.entrypoint"]']


@EACH
def test_what_is_mounted_there_belongs_to_its_user(image: str) -> None:
    install = next(line for line in layers(image) if "install -d" in line)
    assert "install -d -o 999 -g 999 " in install
    for folder in (
        "/data",
        "/journal",
        "/stack",
        "/run/stack/secrets/database",
        "/run/stack/secrets/api",
    ):
        assert f" {folder}" in install


def test_the_server_holds_no_flows_and_no_worker() -> None:
    assert paths_copied("environment", "common", "server") == {"requirements.lock", "server"}


def test_only_what_is_copied_goes_to_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    let_through = {line.removeprefix("!") for line in patterns if line.startswith("!")}
    assert patterns[0] == "*"
    assert let_through == paths_copied(*stages())
    optional = {"requirements.txt"}  # of a project apart from the clone
    assert [name for name in let_through - optional if not (ROOT / name).exists()] == []
    assert "**/__pycache__" in patterns[patterns.index("!server") :]
