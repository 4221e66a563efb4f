"""The images an issue is about, side by side and small: from the small look that the audit takes anyway. No names."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from easydl.studies.thumbnails import thumbnails

if TYPE_CHECKING:
    from easydl.studies import Study
    from easydl.traps.issues import Issue

MOST = 8
SIDE = 96
SPACE = 4
NEAR = 4
"""How far around its place an issue is framed, in pixels of the small look: markers are seldom cut at a border of ours."""
MARK = (217, 95, 2)
"""Orange: seen on black and on white, and by colour-blind readers."""


def strip(study: Study, issue: Issue) -> bytes:
    """A PNG of an issue's first images, ``(96, up to 796)`` pixels; empty for an issue without images, or none at fault.

    Of a volume its middle slice. The place of the issue is framed. 64 x 64 local means show no readable text.
    """
    if not issue.rows or issue.severity not in ("BLOCK", "WARN", "NOTE"):
        return b""
    from PIL import Image, ImageDraw

    facts = study.facts(list(issue.rows[:MOST]))
    small = thumbnails(facts).copy()
    if issue.place is not None:  # a thin letter is gone in local means, and seen in local extremes
        top, bottom, left, right = (round(small.shape[1] * end) for end in issue.place)
        around = (slice(None), slice(max(0, top - NEAR), bottom + NEAR), slice(max(0, left - NEAR), right + NEAR))
        small[around] = thumbnails(facts, peaks=True)[around]
    canvas = Image.new("RGB", (len(small) * (SIDE + SPACE) - SPACE, SIDE), "white")
    for number, values in enumerate(small):
        wide, high = _shape(study, issue.rows[number])
        image = Image.fromarray(np.asarray(values)).resize((wide, high), Image.Resampling.BICUBIC).convert("RGB")
        if issue.place is not None:
            top, bottom, left, right = issue.place
            near = NEAR / small.shape[1]  # a little outside, so that the frame does not hide what it shows
            box = (
                round(max(0, left - near) * (wide - 1)),
                round(max(0, top - near) * (high - 1)),
                round(min(1, right + near) * (wide - 1)),
                round(min(1, bottom + near) * (high - 1)),
            )
            ImageDraw.Draw(image).rectangle(box, None, MARK)  # no fill; a line of one pixel
        canvas.paste(image, (number * (SIDE + SPACE) + (SIDE - wide) // 2, (SIDE - high) // 2))
    file = io.BytesIO()
    canvas.save(file, "PNG", compress_level=3)
    return file.getvalue()


def _shape(study: Study, row: int) -> tuple[int, int]:
    """Width and height in the thumbnails: of a 2D image in proportion to its own, as far as they are known."""
    frame = study.frame
    if study.dimension == 3 or not {"width", "height"} <= set(frame.columns):
        return SIDE, SIDE
    wide, high = (int(cell) if str(cell).isdigit() else 1 for cell in frame[["width", "height"]].iloc[row])
    longest = max(wide, high)
    return max(1, SIDE * wide // longest), max(1, SIDE * high // longest)
