"""A heatmap in words: in which third of what it lies, and how much of it at the border. It judges no map."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from easydl.errors import InputError
from easydl.explanation import places
from easydl.images import Scan, read

if TYPE_CHECKING:
    from easydl.explanation.heatmap import Heatmap

HOT = 0.5
"""The place of a map is that of its largest part at or above this fraction of its maximum."""
MUCH = 0.3
"""From this share on something beside the body is named as what to look at."""
NAMED = 0.05
THIRDS = {
    "S": ("upper third", "middle third", "lower third"),
    "A": ("front third", "middle third", "back third"),
    "rows": ("upper third", "middle third", "lower third"),
}
DEPTHS = ("towards the front", "", "towards the back")
SIDES = ("right", "", "left")


def in_words(heatmap: Heatmap, masks: Mapping[str, Any] | None = None) -> str:
    """See `Heatmap.in_words`."""
    scan = heatmap.scan.oriented()
    heat = heatmap.scan.as_in(scan, heatmap.array)
    if heat.max() <= 0:
        return "The map is empty: no part of the image speaks for the answer."
    inside = places.body(scan)
    given = {name: _mask(name, mask, heatmap.scan, scan) for name, mask in (masks or {}).items()}
    middle = np.array(ndimage.center_of_mass(heat, *_largest(heat)))
    holder = _holding(given, middle)
    where = _place(scan, middle, given.get(holder, inside), inside, holder)
    parts = [f"{places.fraction(heat, mask):.0%} inside the {name}" for name, mask in given.items()]
    aside, look = _aside(scan, heat, inside)
    return f"{where[0].upper()}{where[1:]}{''.join(f', {part}' for part in parts + aside)}{look}."


def _largest(heat: np.ndarray) -> tuple[np.ndarray, int]:
    """The part with most evidence of what is hot, as labels and its number."""
    labelled, count = ndimage.label(heat >= HOT * heat.max())
    sums = ndimage.sum_labels(heat, labelled, range(1, count + 1))
    return labelled, int(np.argmax(sums)) + 1


def _mask(name: str, mask: Any, own: Scan, scan: Scan) -> np.ndarray:
    """A mask, from a file or an array on the grid of the heatmap, in one orientation."""
    if isinstance(mask, (str, Path)):
        found = read(mask).oriented().pixels[..., 0] > 0
    else:
        array = np.asarray(mask)
        found = own.as_in(scan, array > 0) if array.shape == own.shape else array > 0
    if found.shape != scan.shape:
        sizes = [" x ".join(map(str, shape)) for shape in (found.shape, scan.shape)]
        raise InputError(f"The mask {name!r} has {sizes[0]} points.", f"{sizes[1]}, as the image has.", "Resample it.")
    if not found.any():
        raise InputError(f"The mask {name!r} is empty.", "at least one point inside.", "Leave this mask out.")
    return found


def _holding(masks: dict[str, np.ndarray], middle: np.ndarray) -> str:
    """The smallest mask that the middle of the map lies in; nothing when it lies in none."""
    point = tuple(round(float(at)) for at in middle)
    holding = [name for name, mask in masks.items() if mask[point]]
    return min(holding, key=lambda name: int(masks[name].sum()), default="")


def _place(scan: Scan, middle: np.ndarray, frame: np.ndarray, inside: np.ndarray, name: str) -> str:
    """Such as "upper third of the left lung"."""
    axes = _axes(scan)
    side = _side(middle, axes, inside)
    words = name.casefold().split()
    own_side = "left" in words or "right" in words
    if side and name and not own_side:
        frame = _half(frame, axes, inside, side) if frame.any() else frame
    level = "S" if "S" in axes else "A" if "A" in axes else "rows"
    third = THIRDS[level][_third(middle, frame, axes[level])]
    depth = DEPTHS[_third(middle, frame, axes["A"])] if level == "S" and "A" in axes else ""
    known = "R" in axes
    if name:
        sided = f"{side} {name}" if side and known and not own_side else name
        text = f"{third} of the {sided}"
        text += f" ({side} in the image)" if side and not known and not own_side else ""
    else:
        what = "body" if known or not inside.all() else "image"
        shown = f", patient's {side}" if known else f", {side} in the image"
        text = f"{third} of the {what}{shown if side else ', in the middle'}"
    return f"{text}, {depth}" if depth else text


def _axes(scan: Scan) -> dict[str, tuple[int, int]]:
    """Axis and direction of: right to left (R, or "columns"), front to back (A), head to feet (S, or "rows").

    The direction is 1 where the index grows that way. In LPS x grows to the left, y to the back and z to the head.
    """
    if scan.affine is None:
        return {"rows": (scan.dimension - 2, 1), "columns": (scan.dimension - 1, 1)}
    found: dict[str, tuple[int, int]] = {}
    for axis in range(scan.dimension):
        along = scan.affine[:3, axis + 3 - scan.dimension]
        across = int(np.abs(along).argmax())
        sign = 1 if along[across] > 0 else -1
        found["RAS"[across]] = (axis, -sign if across == 2 else sign)
    return found if found.keys() & {"A", "S"} else {"rows": (0, 1), "columns": (1, 1)}


def _third(middle: np.ndarray, frame: np.ndarray, axis: tuple[int, int]) -> int:
    """0, 1 or 2: in which third of the frame's extent."""
    along, sign = axis
    others = tuple(one for one in range(frame.ndim) if one != along)
    filled = np.flatnonzero(frame.any(axis=others))
    at = (middle[along] - filled[0] + 0.5) / (filled[-1] + 1 - filled[0])
    return int(np.clip(3 * (at if sign > 0 else 1 - at), 0, 2))


def _middle_of(inside: np.ndarray, along: int) -> float:
    filled = np.flatnonzero(inside.any(axis=tuple(one for one in range(inside.ndim) if one != along)))
    return float(filled[0] + filled[-1]) / 2


def _side(middle: np.ndarray, axes: dict[str, tuple[int, int]], inside: np.ndarray) -> str:
    """The patient's side where the position is known, otherwise that of the image; nothing near the middle line."""
    along, sign = axes.get("R") or axes.get("columns") or (-1, 1)
    if along < 0:
        return ""
    extent = np.flatnonzero(inside.any(axis=tuple(one for one in range(inside.ndim) if one != along)))
    off = (middle[along] - _middle_of(inside, along)) * sign / len(extent)
    if abs(off) < NAMED:
        return ""
    return ("left" if off > 0 else "right") if "R" in axes else ("right" if off > 0 else "left")


def _half(frame: np.ndarray, axes: dict[str, tuple[int, int]], inside: np.ndarray, side: str) -> np.ndarray:
    """The part of a mask on that side: of two lungs the one that is meant."""
    along, sign = axes.get("R") or axes["columns"]
    index = np.arange(frame.shape[along]).reshape([-1 if axis == along else 1 for axis in range(frame.ndim)])
    later = (side == "left") == (sign > 0) if "R" in axes else side == "right"
    middle = _middle_of(inside, along)
    part = frame & ((index > middle) if later else (index < middle))
    return part if part.any() else frame


def _aside(scan: Scan, heat: np.ndarray, inside: np.ndarray) -> tuple[list[str], str]:
    """How much lies where no anatomy is, and what to look at because of it."""
    shares = {
        "on text": (places.fraction(heat, places.text(scan, heat)), "look at the text"),
        "outside the body": (places.fraction(heat, ~inside), "look at what lies outside the body"),
        "at the border": (places.fraction(heat, places.border(scan.shape)), "look at the marker"),
    }
    said = [f"{share:.0%} {name}" for name, (share, _) in shares.items() if share >= NAMED]
    look = next((f": {what}" for share, what in shares.values() if share >= MUCH), "")
    return said, look
