"""The pictures of the documents: taken by the tests, kept when asked for, small."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

KEPT = ROOT / "docs" / "images"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
BYTES_PER_PIXEL = 3
COLOURS = 256


@dataclass(frozen=True)
class Pictures:
    """Where pictures go."""

    folder: Path
    keep: bool
    """Whether they are also kept for the documents."""

    def take(self, page: Page, name: str) -> None:
        """Take a picture of what is on the screen."""
        taken = page.screenshot(path=self.folder / f"{name}.png", animations="disabled")
        if self.keep:
            KEPT.mkdir(exist_ok=True)
            (KEPT / f"{name}.png").write_bytes(smaller(taken))


def smaller(png: bytes) -> bytes:
    """`png`, 8 bits RGB as Chromium writes it, with its 256 most frequent colours: a third."""
    chunks = list(_chunks(png))
    width, height, *kind = struct.unpack(">IIBBBBB", chunks[0][1])
    if kind != [8, 2, 0, 0, 0]:
        raise ValueError(f"expected 8 bits RGB, not interlaced; found {kind}")
    data = zlib.decompress(b"".join(body for name, body in chunks if name == b"IDAT"))
    rows = [
        [bytes(line[at : at + BYTES_PER_PIXEL]) for at in range(0, len(line), BYTES_PER_PIXEL)]
        for line in _lines(data, width, height)
    ]
    seen = Counter(pixel for row in rows for pixel in row)
    palette = [colour for colour, _ in seen.most_common(COLOURS)]
    nearest = {colour: _nearest(colour, palette) for colour in seen}
    indexed = b"".join(b"\0" + bytes(nearest[pixel] for pixel in row) for row in rows)
    return (
        SIGNATURE
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + _chunk(b"PLTE", b"".join(palette))
        + _chunk(b"IDAT", zlib.compress(indexed, 9))
        + _chunk(b"IEND", b"")
    )


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += length + 12  # length, name and checksum


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _lines(data: bytes, width: int, height: int) -> Iterator[bytearray]:
    """The lines of the picture, each as it was before PNG's filter."""
    size = width * BYTES_PER_PIXEL
    above = bytearray(size)
    for number in range(height):
        start = number * (size + 1)
        line = bytearray(data[start + 1 : start + 1 + size])
        unfilter = data[start]
        for at in range(size):
            left = line[at - BYTES_PER_PIXEL] if at >= BYTES_PER_PIXEL else 0
            corner = above[at - BYTES_PER_PIXEL] if at >= BYTES_PER_PIXEL else 0
            guesses = (0, left, above[at], (left + above[at]) // 2)
            guess = guesses[unfilter] if unfilter < 4 else _paeth(left, above[at], corner)
            line[at] = (line[at] + guess) & 255
        yield line
        above = line


def _paeth(left: int, above: int, corner: int) -> int:
    guess = left + above - corner
    return min((left, above, corner), key=lambda value: abs(guess - value))


def _nearest(colour: bytes, palette: list[bytes]) -> int:
    def distance(index: int) -> int:
        return sum((a - b) ** 2 for a, b in zip(colour, palette[index], strict=True))

    return min(range(len(palette)), key=distance)
