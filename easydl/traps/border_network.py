"""A5 by a network: what the first layers of one that was never trained here see in the border alone.

A letter, a scale or a logo of one class is found wherever in the border it lies, which no regression on its places finds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from easydl.images.glance import RING, SIDE, segments
from easydl.traps.association import Association, Features, Labels

if TYPE_CHECKING:
    from easydl.images import Scan
    from easydl.studies import Study

LAYER = "block3_expand_conv_relu"
"""Of EfficientNet-Lite0: strokes and corners. Deeper layers tell letters apart worse, as they look at larger places."""
STRIDE = 4
"""Of that layer: a strip as wide as the border of the small look has as many rows of numbers as that has pixels."""
BATCH = 64
STRONGEST = 5
"""The features that differ most between the classes say where in the border they are largest."""
MOST = 0.5
"""Of the images of the class must have them in one segment, or they lie at no one place."""


@dataclass(frozen=True)
class BorderSeen:
    """What the network sees in the border of every image.

    Attributes:
        values: float32 ``(images, features)``: the largest value of each feature.
        where: int8 ``(images, features)``: the segment (`easydl.images.glance.segments`) in which it is.
    """

    values: np.ndarray
    where: np.ndarray

    def rows(self, chosen: np.ndarray) -> BorderSeen:
        """That of some images."""
        return BorderSeen(self.values[chosen], self.where[chosen])

    @property
    def evidence(self) -> Features:
        """To be tested as everything else is."""
        return Features(self.values)

    def place(self, labels: Labels, found: Association) -> tuple[str, tuple[float, float, float, float] | None]:
        """The segment in which most images of the class have what tells it: as text, and its box; empty where it varies."""
        positive = labels.truth[:, labels.classes.index(found.label)]
        spread = np.maximum(self.values.std(axis=0), 1e-6)
        more = (self.values[positive].mean(axis=0) - self.values[~positive].mean(axis=0)) / spread
        telling = np.argsort(-more, kind="stable")[:STRONGEST]
        shares = np.bincount(self.where[positive][:, telling].ravel(), minlength=len(segments())) / (
            positive.sum() * len(telling)
        )
        if shares.max() < MOST:
            return "", None
        words, (down, right) = segments()[int(shares.argmax())]
        return words, (down.start / SIDE, right.start / SIDE, down.stop / SIDE, right.stop / SIDE)


def border_seen(study: Study) -> BorderSeen:
    """Show the border of every image (of a volume: of its middle slice) to EfficientNet-Lite0, some images at a time.

    The border is cut into its four sides, which lie below each other in the network's input: the middle is not seen.
    """
    from easydl._tf import load_tensorflow

    load_tensorflow()
    from easydl.networks import classifier
    from easydl.networks.pretrained.sources import SHIPPED
    from easydl.prediction.calling import compiled

    sides = (4 * RING * STRIDE, SIDE * STRIDE)
    call = compiled(classifier(SHIPPED, classes=2, channels=1, size=sides, pretrained=True), LAYER)
    table, values, where = _segment_of(), [], []
    for rows in _batches(len(study)):
        strips = np.stack(study.each(lambda row: _strips(study.scan(row)), rows))
        maps = call(strips).numpy()
        flat = maps.reshape(len(rows), -1, maps.shape[-1])
        place = flat.argmax(axis=1)
        values.append(np.take_along_axis(flat, place[:, None], axis=1)[:, 0])
        where.append(table.ravel()[place])
    return BorderSeen(np.concatenate(values), np.concatenate(where))


def _batches(count: int) -> Iterator[list[int]]:
    for begin in range(0, count, BATCH):
        yield list(range(begin, min(begin + BATCH, count)))


def _strips(scan: Scan) -> np.ndarray:
    """float32 ``(96, 256, 1)``: upper, lower, left and right side of the border, from 0 to 255."""
    from easydl.images.resampling import match_channels, resize, stretch

    pixels = scan.pixels if scan.dimension == 2 else scan.pixels[len(scan.pixels) // 2]
    grey = match_channels(pixels, 1, scan.source) if pixels.shape[-1] in (1, 3) else pixels[..., :1]
    image = resize(grey if scan.units == "0-255" else stretch(grey), (SIDE * STRIDE, SIDE * STRIDE))
    width = RING * STRIDE
    turned = image.swapaxes(0, 1)
    return np.concatenate([image[:width], image[-width:], turned[:width], turned[-width:]]).astype(np.float32)


def _segment_of() -> np.ndarray:
    """int8 ``(24, 64)``: the segment of each place of the four strips; of corners that of the upper and lower side."""
    whole = np.zeros((SIDE, SIDE), np.int8)
    for number, (_, where) in enumerate(segments()):
        whole[where] = number
    turned = whole.swapaxes(0, 1)
    return np.concatenate([whole[:RING], whole[-RING:], turned[:RING], turned[-RING:]])
