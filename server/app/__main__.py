"""Run the server: `python -m server.app`; see `server.services.server` for what it is given."""

from __future__ import annotations

import argparse
import os

import uvicorn

from server.app import upstream
from server.app.access import HOSTS_VARIABLE, hosts_from
from server.app.build import build


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m server.app")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    given = parser.parse_args()
    app = build(hosts_from(os.environ.get(HOSTS_VARIABLE)))
    uvicorn.run(app, host=given.host, port=given.port, **upstream.uvicorn_options())


if __name__ == "__main__":
    main()
