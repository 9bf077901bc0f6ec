"""Protects a server without a login from pages of other sites.

Without a login, the server would accept anything that a browser on this machine can be made to
send: a page of another site that rebinds its host name to 127.0.0.1 could run commands here. Such a
request names the other site in its header `Host`; a request from another page names that page's
site in `Origin`.

With a login, nothing is checked: each request and each websocket carries a password that no other
page knows, and behind a proxy or a tunnel the stack cannot know which names the headers contain.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from server.app.asgi import headers, refuse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.app.asgi import ASGIApp, Receive, Scope, Send

HOSTS_VARIABLE = "STACK_TRUSTED_HOSTS"
FORBIDDEN = 403


def hosts_from(value: str | None) -> frozenset[str] | None:
    """Parse `HOSTS_VARIABLE`, which `server.services.server` sets; None means any host."""
    return None if value is None else frozenset(filter(None, value.lower().split(",")))


class Access:
    """Refuses requests and websockets that do not come from the server's own pages."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        """Accept requests to `hosts`, `localhost` and loopback addresses."""
        self.app = app
        self.hosts = frozenset(hosts) | {"localhost"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it with 403."""
        why = None if scope["type"] == "lifespan" else self._why_not(scope)
        if why is None:
            await self.app(scope, receive, send)
            return
        await refuse(scope, receive, send, FORBIDDEN, why)

    def _why_not(self, scope: Scope) -> str | None:
        hosts = list(headers(scope, b"host"))
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            return (
                f"without a login (STACK_AUTH=off) this server answers to localhost only, "
                f"not to {', '.join(hosts) or 'a request without a host'}"
            )
        foreign = [origin for origin in headers(scope, b"origin") if not _is_from(hosts[0], origin)]
        if foreign:
            return (
                f"without a login (STACK_AUTH=off) this server answers to its own pages only, "
                f"not to those of {foreign[0]}"
            )
        return None

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if name is None or any(character in host for character in "/?#@\\"):
            return False
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return name in self.hosts


def _is_from(host: str, origin: str) -> bool:
    """Whether a page of `origin` was loaded from `host`."""
    scheme, separator, netloc = origin.partition("://")
    return bool(separator) and scheme in {"http", "https"} and netloc.lower() == host.lower()
