"""A figure of one image beside its augmented copies, to judge a preset by eye. It trains nothing."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.errors import InputError
from easydl.figures import CT_WINDOW_HU, new_figure, panel, sign
from easydl.images import Scan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from easydl.augmentation.definition import Preset

LONGEST = 320
MOST = 24
_WORDS = {
    "bias": "bias field",
    "motion": "motion",
    "ghosting": "ghosts",
    "speckle": "speckle",
    "hue_degrees": "hue",
    "haematoxylin": "stain",
    "randaugment_first": "randaugment",
    "cutout": "cutout",
    "gridmask": "gridmask",
}


def show(preset: Preset, study: Any, n: int = 6, *, row: int = 0, seed: int = 0) -> Figure:
    """Draw the original and ``n`` augmented copies of one image, with the drawn values in words.

    Args:
        preset: What to show.
        study: A `Study`.
        n: Copies, 1 to 24.
        row: Which image.
        seed: Of the draw.

    Returns:
        A matplotlib figure; a mask is drawn as an outline that moves with its image.

    Raises:
        InputError: ``n`` or ``row`` is out of range.
    """
    if not 1 <= n <= MOST:
        raise InputError(f"`n` must be from 1 to {MOST}. Received: n={n}.", f"1 to {MOST} copies.", "Choose n=6.")
    if not 0 <= row < len(study):
        raise InputError(
            f"There is no row {row} in a study of {len(study)} images.",
            f"a row from 0 to {len(study) - 1}.",
            "Choose another row.",
        )
    scan = study.scan(row)
    mask = study.reference(row) if study.task == "segmentation" and str(study.frame["mask"].iloc[row]) else None
    pixels, mask, at = _picture(scan, mask)
    window = CT_WINDOW_HU if scan.units == "HU" else (0.0, 255.0)
    adapted = preset.adapted(dimension=2, units=scan.units, classes=study.classes, channels=pixels.shape[-1])
    drawn = adapted.draw(n, seed=seed)
    images, masks = adapted.apply(
        np.repeat(pixels[None], n, axis=0),
        None if mask is None else np.repeat(mask[None], n, axis=0),
        drawn=drawn,
        units=scan.units,
        window=window,
    )
    copies = images.numpy()
    outlines = [None] * n if masks is None else list(masks.numpy())
    values = {name: column.numpy() for name, column in drawn.items() if not name.endswith("_seed")}
    words = [_words({name: column[k] for name, column in values.items()}, adapted, scan) for k in range(n)]
    pictures = [(pixels, mask, f"original{at}"), *zip(copies, outlines, words, strict=True)]

    grey = f"grey: {window[0]:g} to {window[1]:g} HU" if scan.units == "HU" else "grey: values brought to 0-255"
    heading = [
        f"Augmentation preset {preset.name}: {preset.purpose} ({grey})",
        *preset.rules[:1],
        *adapted.notes,
        *(["MixUp and CutMix need several patients and are not shown."] if {"mixup", "cutmix"} & set(drawn) else []),
    ]

    across = min(n + 1, 4)
    heading = [line for long in heading for line in textwrap.wrap(long, 32 * across)]
    down = -(-(n + 1) // across)
    tall = pixels.shape[0] / pixels.shape[1]
    figure = new_figure(2.6 * across, (2.6 * tall + 0.42) * down + 0.2 * (len(heading) + 2))
    axes = np.atleast_1d(figure.subplots(down, across)).ravel()
    for axis in axes:
        axis.axis("off")
    for number, (axis, (picture, outline, title)) in enumerate(zip(axes, pictures, strict=False)):
        panel(axis, Scan(picture, "HU" if scan.units == "HU" else "0-255"), outline, window=window)
        axis.set_title(title, fontsize=7.5, fontweight="bold" if number == 0 else "normal", color="#222222")
    figure.suptitle("\n".join(heading), fontsize=9, color="#222222")
    sign(figure)
    return figure


def _picture(scan: Scan, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None, str]:
    """The first channel (or colour) of an image, or of the slice with most mask; at most 320 pixels wide."""
    from easydl.images.resampling import resize, resize_labels, stretch

    pixels = scan.pixels if scan.pixels.shape[-1] == 3 else scan.pixels[..., :1]
    if scan.units == "relative":
        pixels = stretch(pixels)
    at = ""
    if scan.dimension == 3:
        index = len(pixels) // 2
        if mask is not None and mask.any():
            index = int(np.argmax(np.count_nonzero(mask, axis=(1, 2))))
        at = f", slice {index + 1} of {len(pixels)}"
        pixels, mask = pixels[index], None if mask is None else mask[index]
    down, across = scan.upright
    pixels, mask = pixels[::down, ::across], None if mask is None else mask[::down, ::across]
    longest = max(pixels.shape[:2])
    if longest > LONGEST:
        size = tuple(max(1, round(side * LONGEST / longest)) for side in pixels.shape[:2])
        pixels, mask = resize(pixels, size), None if mask is None else resize_labels(mask, size)
    return np.ascontiguousarray(pixels, np.float32), mask, at


def _words(drawn: dict[str, float], preset: Preset, scan: Scan) -> str:
    """Two short lines: the movement, then the grey values."""
    from easydl.augmentation.operations import Noise

    movement, grey = [], []
    if "rotation_degrees" in drawn:
        movement.append(f"turned {drawn['rotation_degrees']:+.0f}°")
    if "scale" in drawn:
        movement.append(f"size {drawn['scale']:.0%}")
    if drawn.get("flip_left_right"):
        movement.append("left-right")
    if drawn.get("flip_up_down"):
        movement.append("up-down")
    if "contrast" in drawn:
        grey.append(f"contrast ×{drawn['contrast']:.2f}")
    if "gamma" in drawn:
        grey.append(f"gamma {drawn['gamma']:.2f}")
    if "noise" in drawn and scan.units == "HU":
        strength = next(op.hu for op in preset.operations if isinstance(op, Noise))
        grey.append(f"noise {drawn['noise'] * strength:.0f} HU")
    if "offset_hu" in drawn:
        grey.append(f"offset {drawn['offset_hu']:+.0f} HU")
    if drawn.get("elastic"):
        grey.append(f"bent {drawn['elastic']:.1%}")
    for name, word in _WORDS.items():
        if drawn.get(name):
            grey.append(word)
    return ", ".join(movement) + "\n" + ", ".join(grey)
