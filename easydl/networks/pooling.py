"""How a U-Net downsamples: pooling strides for each level and axis, by a study's sizes and spacing. It builds nothing."""

from __future__ import annotations

import math
from typing import Any

from easydl.errors import InputError
from easydl.networks.arguments import is_integer, is_list
from easydl.networks.registry import Entry
from easydl.studies.summary import StudySummary

MOST_LEVELS, MOST_CHOSEN, COARSEST = 5, 4, 4
DEFAULT_LEVELS = {2: 4, 3: 3}
# Axes whose spacing differs by more than this are not downsampled together.
UNEQUAL = 2.0

Strides = tuple[tuple[int, ...], ...]
"""For every level the pooling stride of each axis: 2, or 1 for an axis that is left as it is."""


def strides_of(levels: Any, dimension: int) -> Strides:
    """The strides of a number of levels that downsample all axes, or those that are listed."""
    return ((2,) * dimension,) * levels if isinstance(levels, int) else tuple(tuple(stride) for stride in levels)


def multiples_of(strides: Strides) -> tuple[int, ...]:
    """What every side must be a multiple of, axis by axis, so that each downsampling is exact."""
    return tuple(math.prod(axis) for axis in zip(*strides, strict=True))


def pooling_strides(levels: Any, summary: StudySummary | None, entry: Entry, *, least: int = 2) -> Strides:
    """How a U-Net downsamples, level by level: as given, else as the study's images allow, else the default.

    Where the axes differ in spacing by more than 2, the fine ones are downsampled first, until all are about equal:
    downsampling thick slices as well would join what lies centimetres apart before the network has seen its
    surroundings in the plane. For a study at least ``least`` levels, so that the coarsest map is 4 to 8 pixels at its
    narrowest.

    Raises:
        InputError: Neither 2 to 5 nor a list of strides.

    References:
        Isensee et al. 2021, nnU-Net, 10.1038/s41592-020-01008-z (supplementary note 2: pooling by spacing and size).
    """
    if levels is None:
        return _chosen(summary, entry, least)
    if is_integer(levels) and 2 <= levels <= MOST_LEVELS:
        return strides_of(int(levels), entry.dimension)
    listed = is_list(levels) and 2 <= len(levels) <= MOST_LEVELS
    if not listed or not all(_is_stride(stride, entry.dimension) for stride in levels):
        raise InputError(
            f"`levels` is {levels!r:.100}.",
            f"an integer from 2 to {MOST_LEVELS}, or a list of that many strides such as "
            f"{(1, 2, 2)[-entry.dimension :]}: 1 or 2 for each of {entry.dimension} axes, one of them 2.",
            "Leave it out to have it chosen.",
        )
    return tuple(tuple(int(number) for number in stride) for stride in levels)


def _chosen(summary: StudySummary | None, entry: Entry, least: int) -> Strides:
    size, spacing = (summary.image_size, summary.spacing_mm) if summary else (None, None)
    if not size or len(size) != entry.dimension:
        return strides_of(max(least, DEFAULT_LEVELS[entry.dimension]), entry.dimension)
    if entry.dimension == 2 or not spacing or max(spacing) <= UNEQUAL * min(spacing):
        levels = min(MOST_CHOSEN, int(math.log2(max(min(size), 16) / COARSEST)))
        return strides_of(max(least, levels), entry.dimension)
    sides, mm = [float(side) for side in size], [float(one) for one in spacing]
    strides: list[tuple[int, ...]] = []
    while len(strides) < MOST_CHOSEN:
        stride = tuple(
            2 if one <= UNEQUAL * min(mm) and side / 2 >= COARSEST else 1 for side, one in zip(sides, mm, strict=True)
        )
        if max(stride) == 1:
            break
        sides = [side / by for side, by in zip(sides, stride, strict=True)]
        mm = [one * by for one, by in zip(mm, stride, strict=True)]
        strides.append(stride)
    fine = tuple(2 if one <= UNEQUAL * min(spacing) else 1 for one in spacing)
    return (*strides, *[fine] * (least - len(strides)))


def _is_stride(stride: Any, dimension: int) -> bool:
    good = is_list(stride) and len(stride) == dimension
    return good and all(is_integer(number) and number in (1, 2) for number in stride) and max(stride) == 2
