"""`python -m tests.images PYTHON_IMAGE POSTGRES_IMAGE` makes sure that this machine has both."""

from __future__ import annotations

import sys

from tests.images import standins


def main(python_image: str, postgres_image: str) -> int:
    """Build the images that are neither here nor can be pulled; return 2 if that is impossible."""
    try:
        built = standins.ensure(python_image, postgres_image, print)
    except standins.StandInError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"built: {', '.join(built) or 'nothing, the images are there'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
