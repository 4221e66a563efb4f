"""A part of an image as a mask, from whatever names it; moved elsewhere, taken from another image. It asks no model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from easydl.errors import InputError
from easydl.explanation.occlusion import blurred
from easydl.images import Scan, read
from easydl.images.resampling import resize

SOFT = 0.01
"""Width of the transition at a region's edge, as a fraction of the image: a hard edge is a structure of its own."""
TRIES = 400
MOST_COMMON = 0.25
"""How much of a region a control may share with it."""


def region_of(region: Any, scan: Scan, what: str = "hide") -> np.ndarray:
    """bool of the scan's spatial shape from a mask, the path of one, or a box ``(top, bottom, left, right)`` in pixels.

    Raises:
        InputError: It is none of these, of another shape, empty, or the whole image.
    """
    if isinstance(region, (str, Path)):
        region = read(region, labels=True).on_source().pixels[..., 0]
    if isinstance(region, (tuple, list)) and len(region) == 2 * scan.dimension:
        mask = np.zeros(scan.shape, bool)
        mask[_box(region, scan, what)] = True
        return mask
    found = np.asarray(region)
    if found.shape == scan.shape:
        mask = found > 0
    else:
        sides = "front, back, top, bottom, left, right" if scan.dimension == 3 else "top, bottom, left, right"
        raise InputError(
            f"`{what}` has the shape {' x '.join(map(str, found.shape)) or 'of one number'}.",
            f"a mask of {' x '.join(map(str, scan.shape))}, the file of one, or a box ({sides}) in pixels.",
            "Give one of these.",
        )
    if not mask.any() or mask.all():
        raise InputError(
            f"`{what}` covers {'no' if not mask.any() else 'every'} pixel of the image.", "a part of it.", "Correct it."
        )
    return mask


def _box(numbers: Any, scan: Scan, what: str) -> tuple[slice, ...]:
    """A box as it lies in the image, which it may not leave."""
    size = " x ".join(map(str, scan.shape))
    wrong = InputError(
        f"`{what}` is {tuple(numbers)}.",
        f"whole numbers from 0, each first one below its second, within {size} pixels.",
        "Correct the box.",
    )
    if not all(isinstance(one, (int, np.integer)) for one in numbers):
        raise wrong
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    if not all(0 <= a < b <= side for (a, b), side in zip(pairs, scan.shape, strict=True)):
        raise wrong
    if all(b - a == side for (a, b), side in zip(pairs, scan.shape, strict=True)):
        raise InputError(f"`{what}` covers every pixel of the image.", "a part of it.", "Correct it.")
    return tuple(slice(a, b) for a, b in pairs)


def hidden(scan: Scan, mask: np.ndarray) -> np.ndarray:
    """The pixels with a region replaced by the blurred image, softly at its edge."""
    return _mixed(scan.pixels, blurred(scan.pixels[None])[0], mask)


def moved(mask: np.ndarray, inside: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """The same shape at other places, as many as can be found of those asked for.

    Args:
        mask: bool.
        inside: bool: where it may lie with most of it, such as the body.
        count: How many.
        seed: Of the places.
    """
    rng, size, found = np.random.default_rng(seed), int(mask.sum()), []
    where = np.argwhere(mask)
    low, high = where.min(axis=0), where.max(axis=0)
    for _ in range(TRIES):
        corner = [rng.integers(0, side - (b - a)) for side, a, b in zip(mask.shape, low, high, strict=True)]
        other = np.zeros_like(mask)
        other[tuple((where - low + corner).T)] = True
        if (other & mask).sum() <= MOST_COMMON * size and (other & inside).sum() >= size / 2:
            found.append(other)
        if len(found) == count:
            break
    return found


def body(scan: Scan) -> np.ndarray:
    """bool: all that is brighter than the darkest tenth of the grey range, with its holes; where the image is not empty."""
    grey = scan.pixels.mean(axis=-1)
    low, high = np.percentile(grey, [1, 99])
    return np.asarray(ndimage.binary_fill_holes(grey > low + 0.1 * (high - low)))


def inserted(scan: Scan, other: Scan, part: np.ndarray, at: tuple[int, ...] | None) -> tuple[np.ndarray, np.ndarray]:
    """The pixels with a part of another image, as bright against its surroundings as it was there; and where it lies.

    Args:
        scan: The image.
        other: Another, in the same units.
        part: bool of the other's shape.
        at: First row and column (plane, row, column) where the part begins; None for where it was, in fractions of the sides.

    Raises:
        InputError: Other units or channels, or it does not lie within the image.
    """
    if (other.units, other.pixels.shape[-1]) != (
        scan.units,
        scan.pixels.shape[-1],
    ) or other.dimension != scan.dimension:
        raise InputError(
            f"The part is of an image in {other.units}, this one is in {scan.units}, or its channels differ.",
            "two images of one kind.",
            "Take the part from an image like this one.",
        )
    pixels = other.pixels
    if other.spacing_mm and scan.spacing_mm and not np.allclose(other.spacing_mm, scan.spacing_mm, rtol=0.01):
        # A lesion keeps its size in millimetres.
        ratio = np.array(other.spacing_mm) / np.array(scan.spacing_mm)
        shape = tuple(max(1, round(side * one)) for side, one in zip(other.shape, ratio, strict=True))
        pixels, part = resize(pixels, shape), resize(part[..., None].astype(np.float32), shape)[..., 0] > 0.5
    where = np.argwhere(part)
    low = where.min(axis=0)
    if at is None:
        at = tuple(round(a * here / there) for a, here, there in zip(low, scan.shape, part.shape, strict=True))
    if (
        not isinstance(at, (tuple, list))
        or [isinstance(one, (int, np.integer)) for one in at] != [True] * scan.dimension
    ):
        raise InputError(
            f"`at` is {at!r}.",
            f"whole numbers: {'plane, row, column' if scan.dimension == 3 else 'row, column'}.",
            "Say where the part begins.",
        )
    target = where - low + np.array(at)
    if target.min() < 0 or (target >= np.array(scan.shape)).any():
        raise InputError(
            f"The part begins at {tuple(map(int, at))} and reaches beyond the image of {' x '.join(map(str, scan.shape))}.",
            "a place within it.",
            "Give another at=.",
        )
    mask = np.zeros(scan.shape, bool)
    mask[tuple(target.T)] = True
    brighter = scan.pixels[_ring(mask)].mean(axis=0) - pixels[_ring(part)].mean(axis=0)
    made = scan.pixels.copy()
    made[tuple(target.T)] = pixels[tuple(where.T)] + brighter
    lowest, highest = (0, 255) if scan.units == "0-255" else (-np.inf, np.inf)
    return _mixed(scan.pixels, np.clip(made, lowest, highest), mask, inwards=True), mask


def _ring(mask: np.ndarray) -> np.ndarray:
    """What surrounds a region: as far again as a tenth of its extent, at least two pixels."""
    reach = max(2, round(0.1 * float(np.ptp(np.argwhere(mask), axis=0).max())))
    ring = ndimage.binary_dilation(mask, iterations=reach) & ~mask
    return ring if ring.any() else mask


def _mixed(pixels: np.ndarray, other: np.ndarray, mask: np.ndarray, *, inwards: bool = False) -> np.ndarray:
    """Other pixels in a region; beyond its edge (or inside it, where only there are other pixels) the two are mixed."""
    soft = max(1.0 if inwards else 2.0, SOFT * max(mask.shape))
    distance = ndimage.distance_transform_edt(mask if inwards else ~mask)
    share = np.clip(distance / soft, 0, 1) if inwards else np.clip(1 - distance / soft, 0, 1)
    return (pixels + (other - pixels) * share[..., None]).astype(np.float32)
