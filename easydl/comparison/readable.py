"""Thirty-two features of an image that a person can read: grey levels, noise, gradients, texture, layout. No decoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.stats import skew
from skimage.feature import graycomatrix, graycoprops

from easydl.images.glance import PERCENTILES, SIDE
from easydl.studies.thumbnails import in_parts

if TYPE_CHECKING:
    from easydl.studies.pixel_facts import PixelFacts

LEVELS = 16
"""Grey levels of the co-occurrence matrix: enough for texture, few enough for 4,096 pixels to fill it."""
STEP = 256 // LEVELS
CENTRE = slice(SIDE // 4, SIDE - SIDE // 4)
_GREY = (
    "lowest grey value",
    *(f"grey value that {percent}% of the pixels are below" for percent in PERCENTILES[1:-1]),
    "highest grey value",
    "mean grey value",
    "standard deviation of the grey values",
    "fraction of pixels at the lowest value",
    "fraction of pixels at the highest value",
)
_NOISE = (
    "noise: structure finer than 1 pixel",
    "noise: structure of 1 to 2 pixels",
    "noise: structure of 2 to 4 pixels",
)
_GRADIENTS = (
    "gradients: mean strength",
    "gradients: standard deviation of the strength",
    "gradients: strength that 10% of the image exceeds",
    "gradients: fraction across the image (left to right)",
    "gradients: fraction along a diagonal",
    "gradients: strength in the centre less that outside",
)
_TEXTURE = {
    "contrast": "texture: contrast of neighbouring pixels",
    "homogeneity": "texture: homogeneity",
    "energy": "texture: energy (how uniform)",
    "correlation": "texture: correlation of neighbouring pixels",
    "entropy": "texture: entropy (how irregular)",
}
_LAYOUT = (
    "layout: brightness of the centre less that outside",
    "layout: difference of the left and the right half",
    "layout: brightness of the upper less that of the lower half",
    "layout: fraction of the image that is bright",
    "layout: skewness of the grey values",
)
NAMES: tuple[str, ...] = (*_GREY, *_NOISE, *_GRADIENTS, *_TEXTURE.values(), *_LAYOUT)
GROUPS: dict[str, tuple[str, ...]] = {
    "grey values": _GREY,
    "noise": _NOISE,
    "gradients": _GRADIENTS,
    "texture": tuple(_TEXTURE.values()),
    "layout": _LAYOUT,
}
"""What belongs together: of features that say nearly the same none is missed alone."""


def readable_features(facts: Sequence[PixelFacts]) -> np.ndarray:
    """The features of images, in the order of `NAMES`.

    Grey values are in the image's own units and noise is measured at full resolution; gradients, texture and layout are
    of the 64 x 64 thumbnail, brightness there from 0 (the image's darkest) to 1. Of a volume it is the middle slice, of a
    coloured image the grey one.

    Args:
        facts: What the pixels of the images tell, from `Study.facts`.

    Returns:
        float32 ``(images, 32)``.

    References:
        Haralick RM et al. Textural features for image classification. IEEE Trans Syst Man Cybern 1973;3:610-621.
    """
    own = np.array([[*one.grey, *one.noise] for one in facts], float)
    every = (image for _, images in in_parts(facts) for image in images)
    seen = np.array([[*_gradients(image / 255), *_texture(image), *_layout(image / 255)] for image in every])
    return np.concatenate([own, seen], axis=1).astype(np.float32)


def _gradients(image: np.ndarray) -> list[float]:
    across, down = ndimage.sobel(image, axis=1), ndimage.sobel(image, axis=0)
    strength = np.hypot(across, down)
    total = float(strength.sum()) or 1.0
    # 22.5 degrees on either side of a direction, whichever way the grey values rise.
    angle = np.degrees(np.arctan2(down, across)) % 180
    horizontal = (angle < 22.5) | (angle >= 157.5)
    diagonal = (np.abs(angle - 45) < 22.5) | (np.abs(angle - 135) < 22.5)
    return [
        float(strength.mean()),
        float(strength.std()),
        float(np.quantile(strength, 0.9)),
        float(strength[horizontal].sum()) / total,
        float(strength[diagonal].sum()) / total,
        _centre_less_outside(strength),
    ]


def _texture(image: np.ndarray) -> list[float]:
    around = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
    counts = graycomatrix(image // STEP, [1], around, levels=LEVELS, symmetric=True, normed=True)
    return [float(graycoprops(counts, name).mean()) for name in _TEXTURE]


def _layout(image: np.ndarray) -> list[float]:
    half = SIDE // 2
    return [
        _centre_less_outside(image),
        float(np.abs(image[:, :half] - image[:, : half - 1 : -1]).mean()),
        float(image[:half].mean() - image[half:].mean()),
        float((image > 0.5).mean()),
        float(np.nan_to_num(skew(image, axis=None))) if np.ptp(image) > 0 else 0.0,
    ]


def _centre_less_outside(image: np.ndarray) -> float:
    centre = image[CENTRE, CENTRE]
    outside = (image.sum() - centre.sum()) / (image.size - centre.size)
    return float(centre.mean() - outside)
