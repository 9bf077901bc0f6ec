"""Takes the pictures of the documents in the tests, and keeps small ones when asked to."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from server.settings import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

KEPT = ROOT / "docs" / "images"
COLOURS = 256


@dataclass(frozen=True)
class Pictures:
    """Takes pictures into `folder`, and with `keep` also into the documents."""

    folder: Path
    keep: bool

    def take(self, page: Page, name: str) -> None:
        """Take a picture of what is on the screen."""
        taken = page.screenshot(path=self.folder / f"{name}.png", animations="disabled")
        if self.keep:
            KEPT.mkdir(exist_ok=True)
            (KEPT / f"{name}.png").write_bytes(smaller(taken))


def smaller(png: bytes) -> bytes:
    """Return the picture with a palette of 256 colours, which takes a third of the bytes."""
    to = io.BytesIO()
    with Image.open(io.BytesIO(png)) as taken:
        taken.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
            to, "PNG", optimize=True
        )
    return to.getvalue()
