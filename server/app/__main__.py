"""Run the server: `python -m server.app`; `server.services.server` defines its environment."""

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
    arguments = parser.parse_args()
    app = build(hosts_from(os.environ.get(HOSTS_VARIABLE)))
    uvicorn.run(app, host=arguments.host, port=arguments.port, **upstream.uvicorn_options())


if __name__ == "__main__":
    main()
