"""One HTTP request with the standard library: health checks run every few seconds."""

from __future__ import annotations

import http.client

HTTP_TIMEOUT = 5  # seconds


def check_http(host: str, port: int, path: str) -> str | None:
    """None when `path` answers with 200, else what went wrong."""
    connection = http.client.HTTPConnection(host, port, timeout=HTTP_TIMEOUT)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"no answer from {path}: {error}"
    finally:
        connection.close()
    return None if status == http.client.OK else f"{path} answers {status}"
