"""Masks that were resized with interpolation: which of their values are classes, and which only edges between two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from easydl.errors import InputError

FAINT = 64
"""Masks that hold small numbers only are label maps: 1 between 0 and 2 is a class, 100 between 0 and 255 an edge."""
MANY = 10
STRAY = 0.1
"""Fraction of a value's pixels that need not lie between a lower and a higher one (tips, corners)."""
AT_ENDS = 0.8
"""Least fraction of the pixels that is black or white."""
TO_EDGES = 0.25
"""Least number of white pixels, as a multiple of those between: a smooth image has hardly any."""


class Values(NamedTuple):
    """What the values of one mask look like; empty where the mask cannot have soft edges.

    Attributes:
        whole: Values that fill an area: some pixel has eight neighbours of its value.
        edges: Values whose pixels lie between lower and higher ones, as on a ramp.
    """

    whole: tuple[int, ...] = ()
    edges: tuple[int, ...] = ()


def looked_at(labels: np.ndarray) -> tuple[Values, bool]:
    """What the values of a mask look like, and whether it is black and white with soft edges."""
    from scipy import ndimage

    values, counts = np.unique(labels, return_counts=True)
    top = int(values[-1])
    if len(values) < 3 or top < FAINT or (labels.ndim == 3 and (top != 255 or len(values) <= MANY)):
        return Values(), False
    low, high = ndimage.minimum_filter(labels, 3), ndimage.maximum_filter(labels, 3)
    whole = np.unique(labels[low == high])
    ramp = (low < labels) & (labels < high)
    strays = dict(zip(*np.unique(labels[~ramp], return_counts=True), strict=True))
    edges = [int(v) for v, count in zip(values, counts, strict=True) if strays.get(v, 0) <= max(1, STRAY * count)]
    between = (labels > 0) & (labels < top)
    soft = (
        set(whole.tolist()) <= {0, top}
        and float(ramp[between].mean()) >= 1 - STRAY
        and float((~between).mean()) >= AT_ENDS
        and int(counts[-1]) >= TO_EDGES * int(between.sum())
    )
    return Values(tuple(whole.tolist()), tuple(set(edges) - set(whole.tolist()) - {0, top})), soft


def cut(seen: Sequence[Values], found: Sequence[int], *, named: Sequence[int]) -> dict[int, int]:
    """For every value that is only a soft edge the value it becomes: 0, or the largest from its half on.

    Args:
        seen: Of every mask.
        found: All values in the masks, sorted.
        named: The values that the user has named: they are classes.

    Raises:
        InputError: The edges lie between more than two classes, or it is not clear whether there are any.
    """
    whole = set().union(*(one.whole for one in seen))
    edges = set().union(*(one.edges for one in seen)) - whole
    top = int(found[-1])
    if not edges or edges & set(named):
        return {}
    if whole <= {0, top}:
        if len(edges) >= 3:
            return {value: top if 2 * value >= top else 0 for value in found if 0 < value < top}
        if named or edges != set(found) - {0, top}:
            return {}
        listing = " and ".join(map(str, sorted(edges)))
        raise InputError(
            f"In the masks, {listing} {'occurs' if len(edges) == 1 else 'occur'} only along the edges between 0 and {top}: "
            "a class, or edges that were softened when the masks were resized?",
            "to know which.",
            f"Name the values with mask_labels (--mask-labels): {listing} with the foreground if it is an edge "
            f"(foreground={','.join(map(str, [top, *sorted(edges)]))}), with a name of its own if it is a class.",
        )
    if len(edges) >= max(MANY, 2 * len(whole)):
        raise InputError(
            f"The masks were resized with interpolation: {len(edges)} values occur only along the edges between "
            f"{', '.join(map(str, sorted(whole)[:5]))}.",
            "one value for each class: between three classes an edge can be any of them.",
            "Resize the masks by nearest neighbour, or export them in their own size (easydl resizes them).",
        )
    return {}
