"""What the stand-in for Slack has received, for the tests to read."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.slack import authority, receiver
from tests.stack import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http import HTTPStatus
    from pathlib import Path

URL = f"https://{receiver.HOST}{receiver.PATH}"


@dataclass(frozen=True)
class Inbox:
    """The messages of one receiver, which works in `folder`."""

    folder: Path

    @property
    def ca(self) -> Path:
        """The file with the certificate that clients have to trust."""
        return self.folder / "ca.pem"

    def requests(self) -> list[dict[str, Any]]:
        """Return all requests in order: `path`, `body`, and the `status` of the answer."""
        path = self.folder / "requests.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def messages(self) -> list[str]:
        """Return what a reader of the channel sees of the accepted messages, in order."""
        return [_shown(each["body"]) for each in self.requests() if each.get("status") == 200]

    def about(self, text: str) -> list[str]:
        """Return the messages that contain `text`."""
        return [message for message in self.messages() if text in message]

    @contextmanager
    def answering(self, status: HTTPStatus) -> Iterator[None]:
        """Answer every message with `status` until the block ends."""
        order = self.folder / "answer"
        order.write_text(str(int(status)))
        try:
            yield
        finally:
            order.unlink()


def make(folder: Path) -> Inbox:
    """Make an inbox in `folder`, with the certificates of its receiver."""
    authority.write(folder)
    return Inbox(folder)


@contextmanager
def proxy(inbox: Inbox) -> Iterator[str]:
    """Yield the address of an HTTPS proxy that answers for Slack and reaches nothing else."""
    with subprocess.Popen([sys.executable, receiver.__file__, str(inbox.folder)]) as process:
        try:
            port = inbox.folder / "port"
            wait_for("port of the receiver", port.exists, 30)
            yield f"http://127.0.0.1:{port.read_text()}"
        finally:
            process.terminate()


def _shown(body: str) -> str:
    message = json.loads(body)
    parts = [message.get("text", "")]
    for attachment in message.get("attachments", []):
        parts += [attachment.get("title", ""), attachment.get("text", "")]
    return "\n".join(filter(None, parts))
