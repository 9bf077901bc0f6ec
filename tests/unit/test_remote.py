"""A remote server: which lines of `.env` name it, and how the stack asks it."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import prefect.settings
import pytest

from flows.tracking import server as tracking
from server import init, settings
from server.api import client, remote
from server.api.client import Api
from server.errors import MistakeError, StackError
from server.settings import FILE_ONLY, Settings
from worker import health

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HIDDEN = "hunter2"
CLOUD = "https://api.prefect.cloud/api/accounts/5ac1/workspaces/77f0"
OWN = "https://prefect.example/api"
URL, KEY, LOGIN = (f"PREFECT_API_{name}=" for name in ("URL", "KEY", "AUTH_STRING"))


def load(folder: Path, *lines: str) -> Settings:
    (folder / ".env").write_text("".join(f"{line}\n" for line in lines))
    return settings.load(folder / ".env")


class TestLines:
    @pytest.mark.parametrize(
        ("lines", "api"),
        [
            ((URL + CLOUD, KEY + "pnu_x"), Api(CLOUD, key="pnu_x")),
            ((URL + OWN, LOGIN + "ada:a:b"), Api(OWN, login="ada:a:b")),
            ((URL + "http://host:4200/sub/api", LOGIN), Api("http://host:4200/sub/api")),
        ],
    )
    def test_two_are_enough(self, lines: tuple[str, ...], api: Api, tmp_path: Path) -> None:
        loaded = load(tmp_path, *lines)
        assert (loaded.remote, loaded.local_server) == (api, 0)
        assert HIDDEN not in repr(loaded.remote)

    def test_none_is_a_stack_with_a_server_of_its_own(self, tmp_path: Path) -> None:
        loaded = load(tmp_path, URL, KEY, LOGIN)
        assert (loaded.remote, loaded.local_server) == (None, 1)

    def test_a_shell_that_was_told_of_a_stack_changes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in FILE_ONLY:
            monkeypatch.setenv(name, "http://shell/api")
        assert load(tmp_path).remote is None
        assert load(tmp_path, URL + OWN).remote == Api(OWN)

    def test_an_empty_variable_of_the_shell_does_not_hide_them(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PREFECT_API_URL", "")
        assert load(tmp_path, URL + OWN).remote == Api(OWN)

    @pytest.mark.parametrize(
        ("lines", "message"),
        [
            ((URL + "prefect.example/api",), "PREFECT_API_URL in .env line 1 is not valid"),
            ((URL + "https://prefect.example",), "PREFECT_API_URL in .env line 1 is not valid"),
            ((URL + OWN + "/",), "PREFECT_API_URL in .env line 1 is not valid"),
            ((URL + "https://ada:x@host/api",), "PREFECT_API_URL in .env line 1 is not valid"),
            ((URL + f"https://ada:{HIDDEN}@host/api",), "found:    'https://...@host/api'"),
            ((URL + f"https://a:{HIDDEN}@/{HIDDEN}@host/api",), "found:    'https://...@host/api'"),
            ((URL + f"ada:{HIDDEN}@host/api",), "found:    '...@host/api'"),
            ((URL + f"https://host/api?token={HIDDEN}",), "found:    'https://host/api?...'"),
            ((URL + OWN, KEY + HIDDEN + "ä"), "PREFECT_API_KEY in .env line 2 is not valid"),
            ((URL + CLOUD.rpartition("/")[0], KEY + HIDDEN), "PREFECT_API_URL in .env line 1"),
            ((URL + OWN, LOGIN + HIDDEN), "expected: a login of the form user:password"),
            ((URL + OWN, KEY + HIDDEN, LOGIN + "a:" + HIDDEN), "line 2 does not go with"),
            ((KEY + HIDDEN,), "PREFECT_API_KEY in .env line 1 is of no use without"),
            ((LOGIN + "a:" + HIDDEN,), "PREFECT_API_AUTH_STRING in .env line 1 is of no use"),
            ((URL + CLOUD,), "PREFECT_API_URL in .env line 1 needs a key"),
            ((URL + OWN, "LOCAL_SERVER=1"), "do:       add the line LOCAL_SERVER=0 to .env"),
            (("LOCAL_SERVER=0",), "LOCAL_SERVER in .env line 1 leaves the stack without a server"),
            (("LOCAL_SERVER=off",), "expected: 1, or 0 where PREFECT_API_URL names"),
        ],
    )
    def test_a_mistake_is_named_and_no_secret_shown(
        self, lines: tuple[str, ...], message: str, tmp_path: Path
    ) -> None:
        with pytest.raises(MistakeError) as error:
            load(tmp_path, *lines)
        assert message in str(error.value)
        assert HIDDEN not in str(error.value)

    @pytest.mark.parametrize("host", ["127.0.0.1:4200", "localhost", "[::1]:4200", "127.0.1.1"])
    def test_a_container_has_no_server_on_its_loopback(self, host: str) -> None:
        loaded = Settings().using(Api(f"http://{host}/api"))
        with pytest.raises(MistakeError, match="names this very container"):
            init.refuse_loopback(loaded)
        init.refuse_loopback(Settings().using(Api(OWN)))
        init.refuse_loopback(Settings())


@pytest.mark.parametrize("url", [CLOUD, OWN, "http://host:4200/sub/api"])
def test_the_ui_is_where_prefect_says(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_URL", url)
    monkeypatch.delenv("PREFECT_UI_URL", raising=False)
    assert Api(url).ui_url == prefect.settings.Settings().ui_url


def test_what_is_kept_for_containers_is_for_its_reader_only_and_goes(tmp_path: Path) -> None:
    (tmp_path / remote.FILE).parent.mkdir()
    for api in (Api(OWN, login="a:b"), Api(CLOUD, key="k")):
        remote.save(api, tmp_path)
        assert remote.read(tmp_path) == api
        assert (tmp_path / remote.FILE).stat().st_mode & 0o777 == 0o400
    remote.save(None, tmp_path)
    assert remote.read(tmp_path) is None


class Server(ThreadingHTTPServer):
    """Answers every request as its attributes say, and keeps the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.content: object = {}
        self.csrf = 422
        self.location: str | None = None
        self.ahead = 0.0  # seconds, of its clock
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    def api(self, login: str = "", key: str = "") -> Api:
        return Api(f"http://127.0.0.1:{self.server_port}/api", login=login, key=key)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer()

    def _answer(self) -> None:
        # `send_response_only` logs nothing, unlike `send_response`.
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        token = "csrf-token" in self.path
        status = self.server.csrf if token else self.server.status
        content = json.dumps({"token": "T"} if token else self.server.content).encode()
        self.send_response_only(status)
        self.send_header("Date", formatdate(time.time() + self.server.ahead, usegmt=True))
        self.send_header("Content-Length", str(len(content)))
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def server() -> Iterator[Server]:
    with _serving(Server()) as serving:
        yield serving


@pytest.fixture
def elsewhere() -> Iterator[Server]:
    """A server that belongs to somebody else."""
    with _serving(Server()) as serving:
        yield serving


@contextmanager
def _serving(server: Server) -> Iterator[Server]:
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class TestCheck:
    def test_a_server_that_lets_us_in_is_fine(self, server: Server) -> None:
        remote.check(server.api(login="ada:x"))
        remote.check(server.api(key="pnu_x"))
        given = [headers["Authorization"] for _, _, headers in server.asked]
        assert given == ["Basic YWRhOng=", "Bearer pnu_x"]

    @pytest.mark.parametrize(
        ("status", "api", "message"),
        [
            (401, {"login": HIDDEN}, "do:       correct PREFECT_API_AUTH_STRING in .env"),
            (403, {}, "do:       set PREFECT_API_AUTH_STRING in .env"),
            (401, {"key": HIDDEN}, "and take PREFECT_API_KEY out: it is for Prefect Cloud"),
            (404, {}, "there is no Prefect server at http://127.0.0.1:"),
        ],
    )
    def test_a_mistake_is_one_message(
        self, status: int, api: dict[str, str], message: str, server: Server
    ) -> None:
        server.status = status
        with pytest.raises(MistakeError) as error:
            remote.check(server.api(**api))
        assert message in str(error.value)
        assert HIDDEN not in str(error.value)

    def test_a_fault_of_the_server_is_no_mistake(self, server: Server) -> None:
        server.status = 503
        with pytest.raises(StackError, match="has a fault") as error:
            remote.check(server.api())
        assert error.value.exit_code == 1

    def test_no_answer_is_no_mistake(self) -> None:
        with pytest.raises(StackError, match="does not answer") as error:
            remote.check(Api("http://127.0.0.1:1/api"), "the profile x")
        assert error.value.exit_code == 1
        assert "correct PREFECT_API_URL in the profile x" in str(error.value)


class TestRedirects:
    """Neither a login nor a key is sent to where a server redirects."""

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("api", [{"login": f"a:{HIDDEN}"}, {"key": HIDDEN}], ids=str)
    def test_it_is_a_mistake_that_names_the_address(
        self, status: int, api: dict[str, str], server: Server, elsewhere: Server
    ) -> None:
        server.status, server.location = status, elsewhere.api().url + remote.PROBE
        with pytest.raises(MistakeError) as error:
            remote.check(server.api(**api))
        assert elsewhere.asked == []
        assert f"found:    {status} to {elsewhere.api().url}\n" in str(error.value)
        assert f"write {elsewhere.api().url} as PREFECT_API_URL in .env" in str(error.value)
        assert HIDDEN not in str(error.value)

    def test_an_answer_of_one_is_no_json(self, server: Server, elsewhere: Server) -> None:
        server.status, server.location = 302, elsewhere.api().url
        with pytest.raises(ValueError, match="answers 302"):
            server.api(key=HIDDEN).ask("POST", "/flows/filter", {}).json()
        assert elsewhere.asked == []

    def test_a_tracked_job_does_without(
        self, server: Server, elsewhere: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PREFECT_API_URL", server.api().url)
        monkeypatch.setenv("PREFECT_API_KEY", HIDDEN)
        server.location = elsewhere.api().url
        for server.status in (301, 302, 303, 307, 308):
            with pytest.raises(tracking.Refused, match=r"redirects to 127\.0\.0\.1 \(30"):
                tracking.Server().post("/flows/", {"name": "x"})
        assert len(server.asked) == 5
        assert elsewhere.asked == []

    @pytest.mark.parametrize(
        ("address", "shown"),
        [
            (OWN, OWN),
            (f"https://ada:{HIDDEN}@host/api", "https://...@host/api"),
            (f"https://host/api?token={HIDDEN}#x", "https://host/api?..."),
        ],
    )
    def test_an_address_is_shown_without_what_opens_it(self, address: str, shown: str) -> None:
        assert client.redacted(address) == shown


class TestAsking:
    @pytest.mark.parametrize(("csrf", "token"), [(200, "T"), (422, None), (404, None)])
    def test_a_csrf_token_is_sent_where_the_server_gives_one(
        self, csrf: int, token: str | None, server: Server
    ) -> None:
        server.csrf = csrf
        server.api().ask("POST", "/flows/filter", {})
        assert server.asked[-1][2].get("Prefect-Csrf-Token") == token

    def test_a_server_that_is_known_to_want_none_is_not_asked(self, server: Server) -> None:
        replace(server.api(login="ada:x"), csrf=False).ask("POST", "/flows/filter", {})
        assert [path for _, path, _ in server.asked] == ["/api/flows/filter"]

    @pytest.mark.parametrize("ahead", [0, -7200, 7200])
    def test_the_worker_is_healthy_whatever_the_clock_of_the_server(
        self, ahead: float, server: Server
    ) -> None:
        server.ahead = ahead
        server.content = [
            {"name": "w", "last_heartbeat_time": formatdate_iso(time.time() + ahead - 5)}
        ]
        now, port = time.time(), server.server_port  # it answers /health too
        assert health.check(server.api(), port, "w", now - 20) is None
        assert "since it started" in str(health.check(server.api(), port, "w", now + 20))
        server.content = [
            {"name": "w", "last_heartbeat_time": formatdate_iso(time.time() + ahead - 500)}
        ]
        assert "heard of the worker for" in str(health.check(server.api(), port, "w", now - 900))


def formatdate_iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(seconds))
