"""`python -m tests.images PYTHON_IMAGE POSTGRES_IMAGE`: makes both images exist on this machine."""

from __future__ import annotations

import sys

from tests.images import standins


def main(python_image: str, postgres_image: str) -> int:
    """Build what can be neither found nor pulled; the exit code is 2 where that is not possible."""
    try:
        built = standins.ensure(python_image, postgres_image, print)
    except standins.StandInError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"built: {', '.join(built) or 'nothing, the images are there'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
