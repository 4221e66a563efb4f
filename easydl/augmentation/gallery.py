"""A figure of one image beside its augmented copies, to judge a preset by eye. It trains nothing."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.errors import InputError
from easydl.figures import CT_WINDOW_HU, key_slice, new_figure, panel, sign
from easydl.images import Scan
from easydl.images.resampling import resize, resize_labels, stretch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from easydl.augmentation.definition import Preset

LONGEST = 320
MOST = 24
_MOVEMENT = {
    "rotation_degrees": "rotated {:+.0f}°",
    "scale": "scale {:.0%}",
    "flip_left_right": "left-right",
    "flip_up_down": "up-down",
}
_VALUES = {
    "contrast": "contrast ×{:.2f}",
    "gamma": "gamma {:.2f}",
    "noise_hu": "noise {:.0f} HU",
    "offset_hu": "offset {:+.0f} HU",
    "elastic": "elastic {:.1%}",
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


@dataclass(frozen=True)
class _Panel:
    title: str
    pixels: np.ndarray
    mask: np.ndarray | None


def show(preset: Preset, study: Any, n: int = 6, *, row: int = 0, seed: int = 0) -> Figure:
    """The original and ``n`` augmented copies of one image, the contour of its mask with them, and the drawn values.

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
    mask = study.reference(row) if study.task == "segmentation" and study.has_mask(row) else None
    original = _original(scan, mask)
    window = CT_WINDOW_HU if scan.units == "HU" else (0.0, 255.0)
    channels = original.pixels.shape[-1]
    adapted = preset.adapted(dimension=2, units=scan.units, classes=study.classes, channels=channels)
    drawn = adapted.draw(n, seed=seed)
    images, masks = adapted.apply(
        np.repeat(original.pixels[None], n, axis=0),
        None if original.mask is None else np.repeat(original.mask[None], n, axis=0),
        drawn=drawn,
        units=scan.units,
        window=window,
    )
    values = {name: column.numpy() for name, column in drawn.items() if not name.endswith("_seed")}
    if "noise" in values and scan.units == "HU":
        values["noise_hu"] = values["noise"] * next(op.values["hu"] for op in adapted.operations if op.name == "noise")
    titles = (_drawn_values({name: column[k] for name, column in values.items()}) for k in range(n))
    copies = zip(titles, images.numpy(), [None] * n if masks is None else masks.numpy(), strict=True)
    grey = f"grey: {window[0]:g} to {window[1]:g} HU" if scan.units == "HU" else "grey: values brought to 0-255"
    heading = [f"Augmentation preset {preset.name}: {preset.purpose} ({grey})", *preset.rules[:1], *adapted.notes]
    if {"mixup", "cutmix"} & set(drawn):
        heading.append("MixUp and CutMix need several patients and are not shown.")
    units = "HU" if scan.units == "HU" else "0-255"
    return _figure([original, *(_Panel(*copy) for copy in copies)], heading, units, window)


def _figure(panels: list[_Panel], heading: list[str], units: str, window: tuple[float, float]) -> Figure:
    across = min(len(panels), 4)
    down = -(-len(panels) // across)
    lines = [line for long in heading for line in textwrap.wrap(long, 32 * across)]
    height, width = panels[0].pixels.shape[:2]
    figure = new_figure(2.6 * across, (2.6 * height / width + 0.42) * down + 0.2 * (len(lines) + 2))
    axes = np.atleast_1d(figure.subplots(down, across)).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, one in zip(axes, panels, strict=False):
        panel(axis, Scan(one.pixels, units), one.mask, window=window)
        axis.set_title(one.title, fontsize=7.5, fontweight="bold" if one is panels[0] else "normal")
    figure.suptitle("\n".join(lines), fontsize=9, color="#222222")
    sign(figure)
    return figure


def _original(scan: Scan, mask: np.ndarray | None) -> _Panel:
    """An image, or the slice with most mask, upright and at most 320 pixels long: its colours, or its first channel."""
    title, pixels = "original", scan.pixels if scan.pixels.shape[-1] == 3 else scan.pixels[..., :1]
    if scan.units == "relative":
        pixels = stretch(pixels)
    if scan.dimension == 3:
        index = key_slice(scan, mask)
        title = f"original, slice {index + 1} of {len(pixels)}"
        pixels, mask = pixels[index], None if mask is None else mask[index]
    rows, columns = scan.upright
    pixels, mask = pixels[::rows, ::columns], None if mask is None else mask[::rows, ::columns]
    longest = max(pixels.shape[:2])
    if longest > LONGEST:
        size = tuple(max(1, round(side * LONGEST / longest)) for side in pixels.shape[:2])
        pixels, mask = resize(pixels, size), None if mask is None else resize_labels(mask, size)
    return _Panel(title, np.ascontiguousarray(pixels, np.float32), mask)


def _drawn_values(drawn: dict[str, float]) -> str:
    """Two short lines: the movement, then the values."""
    return "\n".join(
        ", ".join(text.format(drawn[name]) for name, text in table.items() if drawn.get(name))
        for table in (_MOVEMENT, _VALUES)
    )
