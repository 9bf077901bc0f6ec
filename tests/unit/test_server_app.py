"""The server's real app, without a database."""

from __future__ import annotations

import base64
import contextlib
import inspect
import json
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from prefect.cli import _server_utils

from server.app import upstream
from server.app.access import Access
from tests import serving
from tests.stack import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx

    from server.app.asgi import ASGIApp, Message, Receive, Scope, Send

AUTH = tuple(serving.LOGIN.split(":"))
LOG = {"name": "x", "level": 20, "message": "x", "timestamp": "2026-01-01T00:00:00Z"}
MAINTENANCE = {"retry-after": "1", "prefect-maintenance": "true"}


def nowhere() -> str:
    """Return the address of a database on a port where nothing listens."""
    return f"postgresql+asyncpg://prefect:x@127.0.0.1:{free_port()}/prefect"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ASGIApp]:
    """The app of a stack with a login."""
    with serving.app(nowhere(), tmp_path_factory.mktemp("closed")) as app:
        yield app


@pytest.fixture(scope="module")
def open_to_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ASGIApp]:
    """The app of a stack without a login."""
    with serving.app(nowhere(), tmp_path_factory.mktemp("open"), login=None) as app:
        yield app


def maintenance(response: httpx.Response) -> dict[str, str]:
    return {name: response.headers.get(name) for name in MAINTENANCE}


class TestWithoutADatabase:
    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("POST", "/api/flows/filter", {}),
            ("GET", "/api/work_pools/default", None),
            ("POST", "/api/logs/", [LOG]),
            ("POST", "/api/flow_runs/", {"flow_id": "0" * 32}),
            ("POST", f"/api/deployments/{'0' * 32}/create_flow_run", {}),
            ("POST", f"/api/flow_runs/{'0' * 32}/set_state", {"state": {"type": "RUNNING"}}),
            (
                "POST",
                "/api/v2/concurrency_limits/leases/" + "0" * 32 + "/renew",
                {"lease_duration": 60},
            ),
        ],
    )
    def test_clients_are_told_to_wait(
        self, method: str, path: str, body: Any, closed: ASGIApp
    ) -> None:
        response = serving.ask(closed, method, path, json=body, auth=AUTH)
        assert (response.status_code, maintenance(response)) == (503, MAINTENANCE)

    def test_so_they_are_where_csrf_tokens_are_looked_up(self, open_to_all: ASGIApp) -> None:
        tokens = {"Prefect-Csrf-Token": "x", "Prefect-Csrf-Client": "y"}
        response = serving.ask(open_to_all, "POST", "/api/logs/", json=[], headers=tokens)
        assert (response.status_code, maintenance(response)) == (503, MAINTENANCE)

    def test_health_is_good_and_readiness_is_not(self, closed: ASGIApp) -> None:
        assert serving.ask(closed, "GET", "/api/health").status_code == 200
        ready = serving.ask(closed, "GET", "/api/ready")
        assert (ready.status_code, ready.json()) == (503, {"message": "Database is not available"})
        assert maintenance(ready) != MAINTENANCE


class TestGates:
    @pytest.mark.parametrize("prefix", ["", "/api"])
    @pytest.mark.parametrize("page", ["/docs", "/docs/oauth2-redirect", "/redoc", "/docs/"])
    def test_the_pages_that_load_scripts_from_elsewhere_are_closed(
        self, prefix: str, page: str, closed: ASGIApp
    ) -> None:
        for auth in (None, AUTH):
            assert serving.ask(closed, "GET", prefix + page, auth=auth).status_code == 404

    @pytest.mark.parametrize("text", ["ädä:pässwörd".encode(), b"\xff\xfe"])
    def test_a_login_that_is_not_ascii_is_refused(
        self, text: bytes, closed: ASGIApp, open_to_all: ASGIApp
    ) -> None:
        header = {"Authorization": f"Basic {base64.b64encode(text).decode()}"}
        raw = {b"Authorization": b"Basic \xff\xfe"}
        for app in (closed, open_to_all):
            for headers in (header, raw):
                response = serving.ask(app, "GET", "/api/admin/version", headers=headers)
                assert response.status_code == 401

    def test_the_login_lets_in(self, closed: ASGIApp) -> None:
        response = serving.ask(closed, "GET", "/api/admin/version", auth=AUTH)
        assert response.status_code == 200
        wrong = serving.ask(closed, "GET", "/api/admin/version", auth=("ada", "wrong"))
        assert wrong.status_code == 401


class TestIntegers:
    @pytest.mark.parametrize(
        ("parameters", "shown"),
        [
            ({"n": 2**63}, "9223372036854775808"),
            ({"n": -(2**63) - 1}, "-9223372036854775809"),
            ({"a": [{"b": 92233720368547760001}]}, "92233720368547760001"),
            ({"n": 10**5000}, f"1{'0' * 39}..."),
        ],
    )
    def test_a_number_that_could_never_be_shown_is_refused(
        self, parameters: dict[str, Any], shown: str, closed: ASGIApp
    ) -> None:
        path = f"/api/deployments/{'0' * 32}/create_flow_run"
        with whole_numbers_of_any_length():
            body = json.dumps({"parameters": parameters})
        response = serving.ask(closed, "POST", path, content=body, auth=AUTH)
        assert response.status_code == 422
        message = f"expected whole numbers of 64 bits, or texts; found {shown}"
        assert response.json()["exception_message"] == message

    @pytest.mark.parametrize("value", [2**63 - 1, -(2**63), str(2**63), 1e300, "1" * 40])
    def test_all_others_go_on_to_prefect(self, value: object, closed: ASGIApp) -> None:
        body = json.dumps({"parameters": {"n": value}}).encode()

        async def in_parts() -> AsyncIterator[bytes]:
            for part in (body[:20], body[20:]):
                yield part

        path = f"/api/deployments/{'0' * 32}/create_flow_run"
        headers = {"Content-Type": "application/json"}
        response = serving.ask(closed, "POST", path, content=in_parts(), headers=headers, auth=AUTH)
        assert response.status_code == 503  # it wanted the database

    def test_what_is_no_json_is_left_to_prefect(self, closed: ASGIApp) -> None:
        response = serving.ask(closed, "POST", "/api/logs/", content=b"1" * 40 + b"]", auth=AUTH)
        assert response.status_code == 422
        assert "expected whole numbers" not in response.text


@contextlib.contextmanager
def whole_numbers_of_any_length() -> Iterator[None]:
    """Lift Python's limit of 4,300 digits."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)


class TestAccess:
    @pytest.mark.parametrize(
        "host",
        ["localhost", "localhost:9999", "127.0.0.1:4200", "127.8.8.8", "[::1]:4200", "Server:4200"],
    )
    def test_this_machine_and_the_stack_itself_are_let_in(
        self, host: str, open_to_all: ASGIApp
    ) -> None:
        for origin in ({}, {"Origin": f"http://{host}"}):
            headers = {"Host": host, **origin}
            response = serving.ask(open_to_all, "GET", "/api/health", headers=headers)
            assert response.status_code == 200

    @pytest.mark.parametrize(
        "host",
        [
            *("evil.example", "evil.example:4200", "127.0.0.1.evil.example", "192.0.2.7:4200"),
            *("localhost@evil.example", "evil.example#localhost", "[", "", "localhost.evil"),
        ],
    )
    def test_another_host_is_refused(self, host: str, open_to_all: ASGIApp) -> None:
        response = serving.ask(open_to_all, "GET", "/api/health", headers={"Host": host})
        assert response.status_code == 403
        assert "STACK_AUTH=off" in response.json()["exception_message"]

    @pytest.mark.parametrize(
        "origin", ["http://evil.example", "null", "http://localhost:3000", "http://localhost.evil"]
    )
    def test_a_page_of_another_origin_is_refused(self, origin: str, open_to_all: ASGIApp) -> None:
        headers = {"Host": "localhost:4200", "Origin": origin}
        response = serving.ask(open_to_all, "GET", "/api/health", headers=headers)
        assert response.status_code == 403
        assert origin in response.json()["exception_message"]

    @pytest.mark.parametrize(
        ("headers", "opened"),
        [
            ({"host": "localhost:4200"}, True),
            ({"host": "localhost:4200", "origin": "http://localhost:4200"}, True),
            ({"host": "localhost:4200", "origin": "http://evil.example"}, False),
            ({"host": "evil.example"}, False),
            ({}, False),
        ],
    )
    def test_so_it_is_with_websockets(
        self,
        headers: dict[str, str],
        opened: bool,  # noqa: FBT001
    ) -> None:
        assert reaches(headers) == opened

    def test_with_a_login_every_name_and_page_is_let_in(self, closed: ASGIApp) -> None:
        headers = {"Host": "prefect.example", "Origin": "https://other.example"}
        assert serving.ask(closed, "GET", "/api/health", headers=headers).status_code == 200


def reaches(headers: dict[str, str]) -> bool:
    """Whether a websocket with `headers` reaches the app; if not, it has to be closed unopened."""
    reached = False
    sent: list[Message] = []

    async def inner(_scope: Scope, _receive: Receive, _send: Send) -> None:
        nonlocal reached
        reached = True

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    anyio.run(Access(inner, {"server"}), {"type": "websocket", "headers": pairs}, receive, send)
    assert [each["type"] for each in sent] == ([] if reached else ["websocket.close"])
    return reached


def test_uvicorn_is_given_what_prefect_gives_it() -> None:
    source = inspect.getsource(_server_utils._run_in_foreground)  # noqa: SLF001
    one_worker = source.partition("else:")[0].partition("uvicorn.run(")[2]
    given = {line.partition("=")[0].strip() for line in one_worker.splitlines() if "=" in line}
    ours = {"app", "app_dir", "host", "port"}  # `app_dir` is for an app that is given by name
    assert given - ours == set(upstream.uvicorn_options())
