"""A health check over HTTP that imports little, because it runs every few seconds."""

from __future__ import annotations

import http.client

HTTP_TIMEOUT = 5  # seconds


def check_http(host: str, port: int, path: str) -> str | None:
    """None if a GET of `path` is answered with 200, otherwise what went wrong."""
    connection = http.client.HTTPConnection(host, port, timeout=HTTP_TIMEOUT)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"no answer from {path}: {error}"
    finally:
        connection.close()
    return None if status == http.client.OK else f"{path} answers {status}"
