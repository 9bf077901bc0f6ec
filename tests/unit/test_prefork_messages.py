"""The worker receives what its runs send, and none of them can hold it up, whatever it sends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from prefect_prefork.common import framing, messages
from prefect_prefork.common.messages import FromRun, Learnt, Problem
from prefect_prefork.runs import listener
from prefect_prefork.runs.listener import Listener
from prefect_prefork.runs.template_process import Kind, Template, TemplateError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ROOT = Path(__file__).resolve().parents[2]
LOGGER = logging.getLogger(__name__)
LEARNT = Learnt(names=["wave", "mailbox"])
# A process that begins a message and then sends one byte after another for ever.
TRICKLES = """
import socket, sys, time
line = socket.socket(fileno=int(sys.argv[1]))
line.sendall(bytes([1]) + (100_000).to_bytes(4, "big"))
while True:
    line.sendall(b"x")
    time.sleep(0.01)
"""


class Heard:
    """A run, and the messages of it that its listener has received."""

    def __init__(self) -> None:
        self.ours, self.theirs = framing.pair()
        self.messages: list[FromRun] = []
        self.came = asyncio.Event()
        self.listener = Listener(self.ours, self._told, LOGGER)

    def _told(self, message: FromRun) -> None:
        self.messages.append(message)
        self.came.set()

    async def next(self) -> FromRun:
        """Wait for a message and return it."""
        await self.came.wait()
        self.came.clear()
        return self.messages[-1]


@contextlib.asynccontextmanager
async def a_run() -> AsyncIterator[Heard]:
    async with asyncio.timeout(10):
        heard = Heard()
        with heard.ours, heard.theirs:
            yield heard
            heard.listener.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - of what has no event
            await asyncio.sleep(0.01)


def test_each_message_of_a_run_is_heard_not_only_the_first() -> None:
    async def scenario() -> None:
        async with a_run() as run:
            for _ in range(3):
                framing.send(run.theirs, LEARNT.encode())
                assert await run.next() == LEARNT
            problem = Problem(message="no flow", traceback="")
            framing.send(run.theirs, problem.encode())
            assert await run.next() == problem
            assert len(run.messages) == 4

    asyncio.run(scenario())


def test_what_a_run_says_right_before_its_end_is_heard_also_while_its_children_live() -> None:
    async def scenario() -> None:
        async with a_run() as run:
            child = run.theirs.dup()  # as a process has that the run has forked
            framing.send(run.theirs, LEARNT.encode())
            run.theirs.close()
            run.listener.close()  # without a turn of the loop in between
            assert run.messages == [LEARNT]
            child.close()

    asyncio.run(scenario())


def test_a_process_that_trickles_bytes_holds_up_no_other_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener, "MESSAGE_SECONDS", 0.3)

    async def scenario() -> None:
        async with a_run() as slow, a_run() as other:
            command = [sys.executable, "-c", TRICKLES, str(slow.theirs.fileno())]
            with subprocess.Popen(  # noqa: ASYNC220 - it takes a millisecond
                command, pass_fds=[slow.theirs.fileno()], stderr=subprocess.DEVNULL
            ) as process:
                try:
                    slow.theirs.close()
                    turns = 0
                    while process.poll() is None:  # until its line is closed under it
                        framing.send(other.theirs, LEARNT.encode())
                        assert await other.next() == LEARNT
                        turns += 1
                        await asyncio.sleep(0.01)
                    assert turns > 3
                finally:
                    process.kill()
            assert slow.messages == []

    asyncio.run(scenario())
    [record] = caplog.records
    assert "a message was not complete after 0.3 s" in record.getMessage()


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (framing.frame(b"no json"), "is not a message: Invalid JSON: "),
        (framing.frame(b'{"type": "unknown"}'), "is not a message: Input tag 'unknown' found"),
        (framing.frame(b'{"names": ["wave"]}'), "is not a message: Unable to extract tag"),
        (framing.frame(b'{"type": "learnt", "names": 5}'), "is not a message: learnt: names: "),
        (framing.HEADER.pack(2, 2), "the other process speaks version 2 of prefect-prefork's pr"),
        (framing.HEADER.pack(1, 2**32 - 1), "4294967300 bytes are announced where 4194255 are "),
    ],
)
def test_a_run_that_sends_what_is_no_message_is_not_listened_to_any_more(
    caplog: pytest.LogCaptureFixture, sent: bytes, why: str
) -> None:
    async def scenario() -> None:
        async with a_run() as run:
            framing.send(run.theirs, LEARNT.encode())
            run.theirs.sendall(sent)
            await until(lambda: bool(caplog.records))
            with pytest.raises(BrokenPipeError):
                framing.send(run.theirs, LEARNT.encode())
            assert run.messages == [LEARNT]

    asyncio.run(scenario())
    [record] = caplog.records
    assert why in record.getMessage()


def test_a_run_that_says_more_than_any_has_to_say_is_not_listened_to_any_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        async with a_run() as run:
            long = Learnt(names=["x" * 100_000])
            for _ in range(41):  # of 4 MiB in all
                framing.send(run.theirs, long.encode())
                assert await run.next() == long
            framing.send(run.theirs, long.encode())
            await until(lambda: bool(caplog.records))
            with pytest.raises(BrokenPipeError):
                framing.send(run.theirs, LEARNT.encode())
            assert len(run.messages) == 41

    asyncio.run(scenario())
    assert "bytes are announced" in caplog.text


def test_a_template_is_asked_and_answers_without_the_loop_standing_still(tmp_path: Path) -> None:
    env = {"PATH": os.defpath, "PREFECT_HOME": str(tmp_path)}

    async def scenario() -> None:
        template = await Template.start(Kind(env, [], str(ROOT)), ["colorsys", "missing"])
        try:
            assert template.kept == {"colorsys"}
            assert template.left_out == {"missing": "ModuleNotFoundError when it is imported"}
        finally:
            await template.close()

    asyncio.run(scenario())


def test_a_template_of_another_version_is_refused_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env = {"PATH": os.defpath, "PREFECT_HOME": "/nowhere"}
    monkeypatch.setattr(framing, "PROTOCOL", 2)  # of the worker, which this process is

    async def scenario() -> None:
        why = "speaks version 1 of prefect-prefork's protocol, this one speaks version 2"
        with pytest.raises(TemplateError, match=why):
            await Template.start(Kind(env, [], str(ROOT)), [])

    asyncio.run(scenario())


def test_a_message_of_another_type_is_refused_by_name() -> None:
    expected = "a message of type 'go' where 'suspended' is expected"
    with pytest.raises(messages.UnknownMessageError, match=expected):
        messages.Suspended.decode(messages.Go().encode())


def test_a_long_request_is_sent_whole_with_its_files(tmp_path: Path) -> None:
    content = os.urandom(3 * 2**20)
    file = os.open(tmp_path, os.O_RDONLY)

    async def scenario() -> None:
        ours, theirs = framing.pair()
        with ours, theirs:
            reading = asyncio.create_task(asyncio.to_thread(framing.receive, theirs))
            await framing.send_in_loop(ours, content, [file])
            received, [copy] = await reading
            assert received == content
            assert os.path.samestat(os.fstat(copy), os.fstat(file))
            os.close(copy)
            framing.send(theirs, messages.Forked(pid=7).encode())
            assert messages.answer(await framing.receive_in_loop(ours)) == messages.Forked(pid=7)

    asyncio.run(scenario())
    os.close(file)


def test_who_never_answers_is_waited_for_until_the_deadline_whatever_it_trickles() -> None:
    async def scenario() -> None:
        ours, theirs = framing.pair()
        with ours, theirs:

            async def trickle() -> None:
                theirs.sendall(framing.HEADER.pack(framing.PROTOCOL, 1000))
                while True:
                    theirs.sendall(b"x")
                    await asyncio.sleep(0.01)

            sending = asyncio.create_task(trickle())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await framing.receive_in_loop(ours)
            sending.cancel()

    asyncio.run(scenario())


def test_a_run_that_does_not_listen_does_not_hold_up_the_worker() -> None:
    ours, theirs = framing.pair()

    def send_on() -> None:
        while True:
            framing.send(ours, b"x" * 10_000)

    with ours, theirs, pytest.raises(BlockingIOError):
        send_on()
