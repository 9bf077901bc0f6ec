"""The pictures in the documents are small, and look like the screen that they were taken of."""

from __future__ import annotations

import io

from PIL import Image, ImageChops, ImageStat

from tests.browser.pictures import COLOURS, KEPT, smaller


def test_a_picture_is_kept_with_a_palette_and_looks_the_same() -> None:
    with Image.open(KEPT / "dashboard.png") as kept:
        page = kept.convert("RGB")
    taken = io.BytesIO()
    page.save(taken, "PNG")  # 8 bits RGB, as Chromium takes it
    small = smaller(taken.getvalue())
    with Image.open(io.BytesIO(small)) as shown:
        assert (shown.mode, shown.size) == ("P", page.size)
        assert len(shown.getcolors() or []) <= COLOURS
        difference = ImageStat.Stat(ImageChops.difference(page, shown.convert("RGB")))
    assert max(difference.mean) < 1
    assert len(small) < len(taken.getvalue())
