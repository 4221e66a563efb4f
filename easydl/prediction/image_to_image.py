"""A scan through an image-to-image model, and the corrupted scans that such a model learns from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from easydl.images import Scan
from easydl.images.resampling import resize
from easydl.networks.metadata import ModelMetadata
from easydl.prediction.grid import window_size, working_grid
from easydl.prediction.image_results import INVENTED, Reconstruction
from easydl.prediction.likeness import unlike, unlike_note
from easydl.prediction.sliding_window import slide

NOISE = 0.1
"""Standard deviation of the noise as a fraction of the range from black to white: 25.5 of 255 grey values."""
REDUCED = 2
FEWEST = 5
"""With fewer validation images there is no usual error."""
_CORRUPTIONS = {"denoising_autoencoder": "noise", "denoising_unet": "noise", "super_resolution": "reduced"}


def reconstruct(
    call: Callable[[Any], Any], fixed: tuple[int | None, ...], metadata: ModelMetadata, scan: Scan
) -> Reconstruction:
    """Make an image of a scan, window by window when it is large; ``fixed`` is the model's spatial input size."""
    given, scan = scan, scan.oriented()
    pixels = working_grid(metadata, scan)
    array = reconstruct_pixels(call, fixed, metadata, pixels)
    strange = [*unlike(metadata.training, scan), *_not_reconstructed(metadata, reconstruction_error(pixels, array))]
    low, high = metadata.window
    notes = [*unlike_note([strange]), INVENTED, f"Values beyond {low:g} to {high:g} ({metadata.units}) are cut off."]
    if scan.units == "relative":
        notes.append(
            "The scan's values have no unit: they were brought to 0-255 by "
            + (
                "its 0.5th and 99.5th percentile."
                if metadata.normalise == "percentile"
                else "its mean and standard deviation."
            )
        )
    if array.shape[:-1] != scan.shape:
        array = resize(array, scan.shape)
    return Reconstruction(scan.as_in(given, array), given, metadata.units, metadata.window, notes, strange)


def reconstruct_pixels(
    call: Callable[[Any], Any], fixed: tuple[int | None, ...], metadata: ModelMetadata, pixels: np.ndarray
) -> np.ndarray:
    """What the model makes of prepared pixels of any size: float32 of their shape, within the window."""
    patch = window_size(metadata, fixed, pixels.shape[:-1])
    return np.clip(slide(lambda batch: np.asarray(call(batch)), pixels, patch), *metadata.window).astype(np.float32)


def reconstruction_error(pixels: np.ndarray, made: np.ndarray) -> float:
    """The root mean square difference as a fraction of the image's own standard deviation; 1 is a grey image of its mean."""
    return float(np.sqrt(np.mean((pixels - made) ** 2)) / (np.std(pixels) + 1e-6))


def error_limit(errors: Sequence[float]) -> float | None:
    """The error that hardly any image like those of the validation part has; None where these are too few.

    The 97th percentile of their errors, or a tenth above the largest of fewer than 33.
    """
    if len(errors) < FEWEST:
        return None
    return float(1.1 * max(errors) if len(errors) < 33 else np.quantile(errors, 0.97))


def _not_reconstructed(metadata: ModelMetadata, error: float) -> list[str]:
    limit, n = metadata.training.get("error_limit"), metadata.training.get("validation_images")
    if not isinstance(limit, float) or error <= limit:
        return []
    return [
        f"The network cannot reconstruct it: the error is {error:.2f} of the image's standard deviation; hardly any of the "
        f"{n} validation images has more than {limit:.2f}."
    ]


def corruption_of(metadata: ModelMetadata) -> str:
    """How the scans are corrupted that a model learns from: ``noise``, ``reduced``, or nothing (autoencoders)."""
    return _CORRUPTIONS.get(str(metadata.arguments["name"]).removesuffix("3d"), "")


def corrupted(metadata: ModelMetadata, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A clean image corrupted in the way that the model is to undo, float32 within the window.

    With Gaussian noise (`NOISE` of the window's range); downsampled by 2 and upsampled again; or as it is. ``pixels``
    are ``(*spatial, channels)`` in the model's units.
    """
    low, high = metadata.window
    corruption = corruption_of(metadata)
    if corruption == "noise":
        pixels = pixels + rng.normal(0.0, NOISE * (high - low), pixels.shape)
    elif corruption == "reduced":
        shape = pixels.shape[:-1]
        pixels = resize(resize(pixels, tuple(max(1, side // REDUCED) for side in shape)), shape)
    return np.clip(pixels, low, high).astype(np.float32)
