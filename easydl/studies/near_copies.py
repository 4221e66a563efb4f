"""Images that are nearly the same: saved again, resized, cropped, mirrored, turned, brighter or inverted."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import fft, ndimage

from easydl.images.glance import SIDE
from easydl.studies.thumbnails import Thumbnails, local_means

COARSE = 16
CANDIDATES = 3
"""For each image, how many others that look most like it are compared in detail: a copy, and what no copy looks like."""
LEAST, CERTAIN = 0.75, 0.98
"""No pair below the first correlation of fine structure is a copy, however different the other images are; all above
the second are, however alike."""
SPREADS = 3.5
"""How far above the correlations of different patients' most similar images a copy lies, in their robust spreads."""
FINE = 2.0
ZOOMS = (1.0, 1.02, 1.04, 1.08, 1.12)
"""How much of a border may have been cropped away: 1.12 is five of a hundred pixels on each side."""
MARGIN = 6
PLACES, PLAIN = 4, 0.1
"""The correlation is that of most of 4 x 4 places; those with less than a tenth of the strongest structure do not count."""
SHIFTS = 3
AT_HAND = 3_000_000
"""Likenesses in memory at a time, however many images there are: 12 MB, and as much twice again while they are compared."""
AT_ONCE = 512
ENOUGH = 8


@dataclass(frozen=True)
class NearCopy:
    """Two images of which one seems to have been made from the other.

    Attributes:
        first: Position of one.
        second: Position of the other; larger.
        correlation: Of their fine structure, 0 to 1, after the change was undone.
        change: ``""``, ``"mirrored"``, ``"turned"``, ``"inverted"``, ...
    """

    first: int
    second: int
    correlation: float
    change: str


_TURNS: tuple[tuple[str, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("", lambda a: a),
    ("mirrored", lambda a: a[:, :, ::-1]),
    ("upside down", lambda a: a[:, ::-1]),
    ("turned by 180 degrees", lambda a: a[:, ::-1, ::-1]),
    ("turned", lambda a: np.rot90(a, 1, (1, 2))),
    ("turned", lambda a: np.rot90(a, 3, (1, 2))),
    ("mirrored and turned", lambda a: np.swapaxes(a, 1, 2)),
    ("mirrored and turned", lambda a: np.rot90(np.swapaxes(a, 1, 2), 2, (1, 2))),
)


def near_copies(thumbnails: np.ndarray | Thumbnails, group: np.ndarray) -> list[NearCopy]:
    """Pairs of images of different groups (patients; identical images) that are nearly the same.

    Coarse patterns, less what all images share, name candidates; the correlation of their fine structure decides, with a
    threshold from these very images: the most similar images of different patients, which in anatomy are all alike.

    Args:
        thumbnails: uint8 ``(images, 64, 64)``, or `Thumbnails`, of which some at a time are in memory.
        group: int per image; pairs within a group are not looked for.
    """
    if len(thumbnails) < 2:
        return []
    pairs = _candidates(thumbnails, group)
    if not len(pairs):
        return []
    values = np.concatenate(
        [_correlations(thumbnails, part) for part in np.array_split(pairs, len(pairs) // AT_ONCE + 1)]
    )
    threshold = _threshold(np.abs(values))
    found: dict[tuple[int, int], NearCopy] = {}
    for (first, second, turn), value in zip(pairs.tolist(), values.tolist(), strict=True):
        if abs(value) < threshold:
            continue
        change = " and ".join(word for word in (_TURNS[turn][0], "inverted" if value < 0 else "") if word)
        key = (min(first, second), max(first, second))
        if key not in found or abs(value) > found[key].correlation:
            found[key] = NearCopy(*key, round(abs(value), 3), change)
    return [found[key] for key in sorted(found)]


def together(*codes: Iterable[Hashable]) -> np.ndarray:
    """int per row: rows that share any of several codes (a person, a digest, ...), directly or through others, are one."""
    numbered = [pd.factorize(np.array([*code, None], dtype=object)[:-1])[0] for code in codes]
    rows = len(numbered[0])
    offsets = np.cumsum([rows, *(int(code.max(initial=-1)) + 1 for code in numbered)])
    row = np.tile(np.arange(rows), len(numbered))
    node = np.concatenate([code + offset for code, offset in zip(numbered, offsets, strict=False)])
    return linked(int(offsets[-1]), row, node)[:rows]


def linked(count: int, first: Sequence[int] | np.ndarray, second: Sequence[int] | np.ndarray) -> np.ndarray:
    """int for each of ``count`` things: those that pairs join, directly or through others, have one number."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    links = coo_matrix((np.ones(len(first)), (first, second)), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1])


def _threshold(values: np.ndarray) -> float:
    """Between what surely is and what surely is no copy, from the most similar images that are not copies."""
    others = values[values < CERTAIN]
    if len(others) < ENOUGH:
        return LEAST
    low, middle = np.quantile(others, [0.16, 0.5])
    return float(np.clip(middle + SPREADS * (middle - low), LEAST, CERTAIN))


def _candidates(thumbnails: np.ndarray | Thumbnails, group: np.ndarray) -> np.ndarray:
    """For every image the few that look most like it under any turn: rows of (position, other, turn)."""
    small = np.concatenate(
        [
            local_means(thumbnails[begin : begin + AT_ONCE], COARSE).reshape(-1, COARSE, COARSE)
            for begin in range(0, len(thumbnails), AT_ONCE)
        ]
    )
    small -= small.mean(axis=(1, 2), keepdims=True)
    small /= np.maximum(small.std(axis=(1, 2), keepdims=True), 1e-6)
    shared = small.mean(axis=0) if len(small) >= ENOUGH else np.zeros(small.shape[1:], np.float32)

    # Of every turn of every image only its length is kept: a turned image times another is that image turned back, of
    # which some are at hand at a time.
    size, count = shared.size, min(CANDIDATES, len(small) - 1)
    flat, square = small.reshape(len(small), size), (small**2).sum(axis=(1, 2))
    turns = []
    for back in _backwards():
        along = flat @ shared.ravel()[back]
        lengths = [
            np.sqrt(np.maximum(square - 2 * sign * along + (shared**2).sum(), 1e-12)).astype(np.float32)
            for sign in (1, -1)
        ]
        turns.append((back, lengths))
    found = []
    step = max(64, AT_HAND // len(small))
    for start in range(0, len(small), step):
        part = np.arange(start, min(start + step, len(small)))
        known = flat[part] - shared.ravel()
        known /= np.maximum(np.linalg.norm(known, axis=1, keepdims=True), 1e-6)
        offset = (known @ shared.ravel())[:, None]
        like = np.full((len(part), len(small)), -1, np.float32)
        for back, lengths in turns:  # the best of all turns first: one search for the largest, not sixteen
            raw = known[:, back] @ flat.T
            for sign, length in zip((1, -1), lengths, strict=True):
                one = sign * raw
                one -= offset
                one /= length
                np.maximum(like, one, out=like)
        like[group[part, None] == group[None]] = -1
        best = np.argpartition(-like, count - 1, axis=1)[:, :count]
        chosen = np.take_along_axis(like, best, axis=1) > -1  # not of the same group
        row, other = np.broadcast_to(np.arange(len(part))[:, None], best.shape)[chosen], best[chosen]
        likes = [
            (sign * np.einsum("rp,rp->r", known[row][:, back], flat[other]) - offset[row, 0]) / length[other]
            for back, lengths in turns
            for sign, length in zip((1, -1), lengths, strict=True)
        ]
        found.append(np.stack([part[row], other, np.argmax(likes, axis=0) // 2], axis=-1))
    return np.unique(np.concatenate(found), axis=0)


def _backwards() -> list[np.ndarray]:
    """For each turn the pixel that comes to each place when a coarse image, as a row of numbers, is turned back."""
    places = np.arange(COARSE**2).reshape(1, COARSE, COARSE)
    return [np.argsort(change(places).ravel()) for _, change in _TURNS]


def _correlations(thumbnails: np.ndarray | Thumbnails, pairs: np.ndarray) -> np.ndarray:
    """Normalised cross-correlation (Lewis 1995) of each first image with the turned second one.

    The value of largest size over small shifts and over how far the first is zoomed in; negative for an inverted one.
    """
    turn, (named, place) = pairs[:, 2], np.unique(pairs[:, :2], return_inverse=True)
    thumbnails, (first, second) = thumbnails[named], place.reshape(-1, 2).T  # each is read once
    inner = np.zeros((len(pairs), SIDE, SIDE), np.float32)
    for one in np.unique(turn):
        rows = np.flatnonzero(turn == one)
        inner[rows] = _TURNS[one][1](_fine(thumbnails[second[rows]]))
    inner = inner[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    inner -= inner.mean(axis=(1, 2), keepdims=True)
    inner /= np.maximum(inner.std(axis=(1, 2), keepdims=True), 1e-6)
    size = inner[0].size
    template = np.zeros((len(pairs), SIDE, SIDE), np.float32)
    template[:, MARGIN:-MARGIN, MARGIN:-MARGIN] = inner
    window = np.zeros((SIDE, SIDE), np.float32)
    window[MARGIN:-MARGIN, MARGIN:-MARGIN] = 1
    template, window = np.conj(fft.rfft2(template)), np.conj(fft.rfft2(window))
    best, aligned = np.zeros(len(pairs), np.float32), np.zeros_like(inner)
    images, of = np.unique(first, return_inverse=True)  # each image is in several pairs
    for zoom in ZOOMS:
        fine = _fine(thumbnails[images], zoom)
        changed = fft.rfft2(fine)
        mean, square = (_shifted(power * window) / size for power in (changed, fft.rfft2(fine**2)))
        spread = np.sqrt(np.maximum(square - mean**2, 1e-6))[of]
        value = (_shifted(changed[of] * template) / size / spread).reshape(len(pairs), -1)
        place = np.abs(value).argmax(axis=1)
        largest = np.take_along_axis(value, place[:, None], axis=1)[:, 0]
        for row in np.flatnonzero(np.abs(largest) > np.abs(best)):
            down, right = divmod(int(place[row]), 2 * SHIFTS + 1)
            top, left = MARGIN + down - SHIFTS, MARGIN + right - SHIFTS
            aligned[row] = fine[of[row], top : top + inner.shape[1], left : left + inner.shape[2]]
            best[row] = largest[row]
    return np.sign(best) * _in_most_places(aligned * np.sign(best)[:, None, None], inner)


def _in_most_places(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The median of the correlations of places: what two machines print on every image agrees in few of them."""
    places = [np.stack([_blocks(image) for image in images]) for images in (one, other)]
    centred = [place - place.mean(axis=2, keepdims=True) for place in places]
    spreads = [place.std(axis=2) for place in centred]
    plain = [spread > PLAIN * np.maximum(spread.max(axis=1, keepdims=True), 1e-6) for spread in spreads]
    values = (centred[0] * centred[1]).mean(axis=2) / np.maximum(spreads[0] * spreads[1], 1e-9)
    held = plain[0] | plain[1]  # a place with structure in one image only speaks against a copy
    held |= ~held.any(axis=1, keepdims=True)  # two images without any structure are no evidence
    return np.nan_to_num(np.nanmedian(np.where(held, values, np.nan), axis=1)).clip(0, 1)


def _blocks(image: np.ndarray) -> np.ndarray:
    """``(16, pixels)``: four by four places."""
    side = image.shape[0] // PLACES
    return image.reshape(PLACES, side, PLACES, side).swapaxes(1, 2).reshape(PLACES**2, -1)


def _shifted(transformed: np.ndarray) -> np.ndarray:
    """The part of a cross-correlation that belongs to small shifts: ``(images, 7, 7)``."""
    places = np.arange(-SHIFTS, SHIFTS + 1)
    return fft.irfft2(transformed, s=(SIDE, SIDE))[:, places[:, None], places]


def _fine(thumbnails: np.ndarray, zoom: float = 1.0) -> np.ndarray:
    """Edges and spots without the slow changes of brightness, which all films of a body part share."""
    images = thumbnails.astype(np.float32)
    if zoom != 1:
        offset = (SIDE - 1) / 2 * (1 - 1 / zoom)
        images = ndimage.affine_transform(images, [1, 1 / zoom, 1 / zoom], [0, offset, offset], order=1, mode="nearest")
    return images - ndimage.gaussian_filter(images, (0, FINE, FINE))
