"""Ten features of the largest bright and the largest dark region of an image: size, shape, brightness, texture. No decoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops

from easydl.images.glance import SIDE
from easydl.studies.thumbnails import in_parts

if TYPE_CHECKING:
    from easydl.studies.pixel_facts import PixelFacts

_OF_A_REGION = (
    "size (fraction of the image)",
    "elongation (0 round, 1 a line)",
    "solidity (1 without dents)",
    "brightness less that of the rest",
    "texture (standard deviation of the brightness)",
)
REGION_NAMES: tuple[str, ...] = tuple(
    f"largest {kind} region: {one}" for kind in ("bright", "dark") for one in _OF_A_REGION
)


def region_features(facts: Sequence[PixelFacts]) -> np.ndarray:
    """The features of images, in the order of `REGION_NAMES`.

    Bright and dark are divided by Otsu's threshold of the 64 x 64 thumbnail, whose brightness goes from 0 (the image's
    darkest) to 1; of each the largest connected region is measured. Of a volume it is the middle slice.

    Args:
        facts: What the pixels of the images tell, from `Study.facts`.

    Returns:
        float32 ``(images, 10)``; zeros for an image of one grey value.

    References:
        Otsu N. A threshold selection method from gray-level histograms. IEEE Trans Syst Man Cybern 1979;9:62-66.
    """
    seen = [_of_image(image / 255) for _, images in in_parts(facts) for image in images]
    return np.array(seen, np.float32)


def _of_image(image: np.ndarray) -> list[float]:
    if np.ptp(image) == 0:
        return [0.0] * len(REGION_NAMES)
    bright = image > threshold_otsu(image)
    return [*_largest(bright, image), *_largest(~bright, image)]


def _largest(mask: np.ndarray, image: np.ndarray) -> list[float]:
    region = max(regionprops(label(mask), intensity_image=image), key=lambda one: one.area)
    inside, rest = region.image_intensity[region.image], image.sum() - region.image_intensity[region.image].sum()
    others = image.size - region.area
    # A region a pixel wide has no convex hull of its own: it is as solid as can be.
    solidity = float(region.solidity) if min(region.image.shape) > 1 else 1.0
    return [
        float(region.area) / SIDE**2,
        float(region.eccentricity),
        solidity,
        float(inside.mean() - rest / others) if others else 0.0,
        float(inside.std()),
    ]
