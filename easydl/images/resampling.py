"""From a Scan's grid and units to those of a network, and back. No files, no TensorFlow."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from easydl.errors import ModelError
from easydl.images.scan import Scan

NORMALISE = ("percentile", "z-score")
"""From relative values to 0-255: the 0.5th and 99.5th percentile to 0 and 255, or mean +- 5 standard deviations."""
MAX_STD = 5.0


def prepare(
    scan: Scan, *, channels: int, units: str, size: tuple[int, ...] | None = None, normalise: str = "percentile"
) -> np.ndarray:
    """Convert a Scan to the units, channels and size a model was built for.

    Relative values (MR, CR, 16-bit) are scaled to 0-255 by the image's own percentiles or by its mean and standard
    deviation; Hounsfield units and 8-bit values are kept, because the window is inside the model.

    Args:
        scan: The image or volume.
        channels: Input channels of the model. Grey is repeated to three, colour reduced to one by its luminance.
        units: ``"0-255"`` or ``"HU"``, as the model was trained.
        size: Spatial size to resize to (the aspect ratio is not kept, so that it cannot give the label away), or
            None to keep the scan's own grid.
        normalise: How values that are not Hounsfield units are scaled to 0-255; see `NORMALISE`. 8-bit values are kept
            under ``"percentile"``.

    Returns:
        float32 ``(*size, channels)``.

    Raises:
        ModelError: The model expects Hounsfield units and the scan has none, or the channels cannot be matched.
    """
    if units == "HU" and scan.units != "HU":
        raise ModelError(
            f"{_name(scan)} is in {scan.units} values.",
            "Hounsfield units: this model was trained on CT.",
            'Give it CT as DICOM with its rescale values; of CT as NIfTI say units="HU" (--units HU) or, in Python, '
            'easydl.read(path, units="HU"); for other images use a model trained on them.',
        )
    pixels = scan.pixels
    if (scan.units == "relative" and units != "relative") or (scan.units == "0-255" and normalise == "z-score"):
        pixels = standardise(pixels) if normalise == "z-score" else stretch(pixels)
    elif scan.units == "HU" and units == "0-255":
        raise ModelError(
            f"{_name(scan)} is a CT in Hounsfield units.",
            "8-bit or relative values: this model was not trained on CT.",
            "Use a model trained on CT.",
        )
    pixels = match_channels(pixels, channels, _name(scan))
    return pixels if size is None or tuple(size) == pixels.shape[:-1] else resize(pixels, tuple(size))


def standardise(pixels: np.ndarray) -> np.ndarray:
    """Scale each channel's mean to 127.5 and 5 standard deviations to 127.5 above and below it, and clip.

    Mean and standard deviation are those of the voxels above the lowest value, which in MR is the air that was masked out.
    """
    out = np.empty(pixels.shape, np.float32)
    for channel in range(pixels.shape[-1]):
        values = pixels[..., channel]
        inside = values[values > values.min()]
        mean, std = (float(inside.mean()), float(inside.std())) if inside.size else (float(values.flat[0]), 0.0)
        out[..., channel] = np.clip((values - mean) / (std or 1.0), -MAX_STD, MAX_STD)
    return (out + MAX_STD) * np.float32(127.5 / MAX_STD)


def stretch(pixels: np.ndarray) -> np.ndarray:
    """Scale values to 0-255 by the 0.5th and 99.5th percentile of each channel; a constant channel becomes 0."""
    axes = tuple(range(pixels.ndim - 1))
    low, high = np.percentile(pixels, [0.5, 99.5], axis=axes, keepdims=True)
    span = np.where(high > low, high - low, 1.0)
    return np.clip((pixels - low) / span * 255.0, 0.0, 255.0).astype(np.float32)


def match_channels(pixels: np.ndarray, channels: int, name: str = "The image") -> np.ndarray:
    """Convert to a number of channels: grey to RGB by repeating, RGB to grey by luminance (ITU-R 601)."""
    have = pixels.shape[-1]
    if have == channels:
        return pixels
    if have == 1:
        return np.repeat(pixels, channels, axis=-1)
    if have == 3 and channels == 1:
        return (pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32))[..., None]
    raise ModelError(
        f"{name} has {have} channels.",
        f"{channels} channels, as the model was built.",
        f"Build the model with channels={have}, or choose as many image columns as it has channels.",
    )


def resize(pixels: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Linear resampling of ``([depth,] height, width, channel)``, with an anti-alias filter when reducing."""
    if len(size) == 2:
        planes = [Image.fromarray(np.ascontiguousarray(plane, np.float32)) for plane in np.moveaxis(pixels, -1, 0)]
        return np.stack([np.asarray(plane.resize(size[::-1], Image.Resampling.BILINEAR)) for plane in planes], axis=-1)
    in_plane = np.stack([resize(plane, size[1:]) for plane in pixels])
    factor = size[0] / in_plane.shape[0]
    if factor == 1:
        return in_plane
    if factor < 1:
        in_plane = ndimage.gaussian_filter1d(in_plane, sigma=max(1e-3, (1 / factor - 1) / 2), axis=0)
    return _zoom(in_plane, (size[0], *size[1:], in_plane.shape[-1]), order=1)


def resize_labels(labels: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Nearest-neighbour resampling of an integer mask: no new value can appear."""
    return labels if labels.shape == tuple(size) else _zoom(labels, tuple(size), order=0)


def _zoom(array: np.ndarray, shape: tuple[int, ...], order: int) -> np.ndarray:
    factors = [new / old for new, old in zip(shape, array.shape, strict=True)]
    return ndimage.zoom(array, factors, order=order, mode="nearest", grid_mode=True, prefilter=False)


def _name(scan: Scan) -> str:
    return scan.source.replace("\\", "/").rsplit("/", 1)[-1] or "The image"
