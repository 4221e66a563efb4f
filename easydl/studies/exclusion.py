"""Rows that the user leaves out, by their number or their image: counted and named on the record."""

from __future__ import annotations

import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import pandas as pd

from easydl.errors import InputError
from easydl.studies.names import composed
from easydl.studies.row_errors import many

NAMED = 20


def without(
    frame: pd.DataFrame, images: Sequence[str], base: Path, exclude: Sequence[str | int], notes: list[str]
) -> tuple[pd.DataFrame, set[str]]:
    """The rows that stay, and the paths of those that do not.

    Args:
        frame: As it was opened; its index is the row's number.
        images: Its columns of images.
        base: What their paths are relative to.
        exclude: Row numbers and image names (the path as in the table, the whole path, or the file name).
        notes: What is left out is noted here.

    Raises:
        InputError: A name that is no row and no image, or of several; or nothing would stay.
    """
    cells = pd.concat([frame[column] for column in images]) if len(images) > 1 else frame[images[0]]
    rows_of: dict[str, set[int]] = {}
    for row, cell in zip(cells.index, cells.str.strip(), strict=True):
        for name in {cell, os.path.normpath(base / cell), cell.replace("\\", "/").rsplit("/", 1)[-1]} if cell else ():
            rows_of.setdefault(composed(name), set()).add(int(row))
    out: set[int] = set()
    for entry in exclude:
        name = composed(str(entry).strip())
        rows = rows_of.get(name, set())
        if not rows and name.isdigit() and int(name) in frame.index:
            rows = {int(name)}
        if not rows or len(set(map(tuple, frame.loc[sorted(rows), list(images)].to_numpy().tolist()))) > 1:
            alike = get_close_matches(name, [one for one in rows_of if not os.path.isabs(one)], 1)
            raise InputError(
                f"exclude= names {name!r}, which is {f'the name of {len(rows)} images' if rows else 'no row and no image'}.",
                f"row numbers (the first below the header is {frame.index[0] if len(frame) else 2}) or names of images.",
                "Write the folder in front of it."
                if rows
                else f"Did you mean {alike[0]!r}?"
                if alike
                else "Correct it.",
            )
        out |= rows
    if out and len(out) == len(frame):
        raise InputError("exclude= leaves no image.", "at least one image that stays.", "Exclude fewer.")
    if out:
        listed = ", ".join(f"row {row}" for row in sorted(out)[:NAMED])
        more = f" and {len(out) - NAMED} more" if len(out) > NAMED else ""
        notes.append(f"{many(len(out), 'row')} left out by hand (exclude): {listed}{more}")
    gone = frame.loc[sorted(out), list(images)].to_numpy().ravel()
    return frame.drop(index=sorted(out)), {composed(os.path.normpath(base / cell.strip())) for cell in gone}
