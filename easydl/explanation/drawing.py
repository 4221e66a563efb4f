"""Draws a Heatmap: the original beside the overlay, never the overlay alone, with its verdict below."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.errors import RESEARCH_USE
from easydl.images.resampling import stretch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from easydl.explanation.heatmap import Heatmap
    from easydl.images import Scan

WIDTH, GAP, BAR, MARGIN = 9.0, 0.25, 0.75, 0.2
TITLE, LINE, STRIP = 0.44, 0.175, 0.3
STRONGEST = 0.72
# Okabe and Ito's colours: told apart by readers who do not see red and green, and the word is there as well.
COLOURS = {"PASS": "#0072b2", "CAUTION": "#b37400", "FAIL": "#b03a00", "": "#555555"}
INK, FAINT = "#1a1a1a", "#555555"


def draw(heatmap: Heatmap, ax: Axes | None = None) -> Figure:
    """Draw a heatmap into axes, or into a figure of its own.

    Args:
        heatmap: What to draw.
        ax: Axes to fill, or None.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure

    picture, energy, ratio, where = _slice(heatmap)
    tall = picture.shape[0] / picture.shape[1] * ratio
    panel = (WIDTH - 2 * MARGIN - GAP - BAR) / 2
    level, words = _words(heatmap)
    if ax is None:
        lines = _wrapped(words, WIDTH)
        high = min(panel * tall, 1.4 * panel)
        figure = Figure(figsize=(WIDTH, high + TITLE + LINE * (len(lines) + 1) + STRIP + MARGIN), dpi=110)
        ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    found = ax.get_figure(root=True)
    assert found is not None
    figure = found
    box = ax.get_window_extent()
    width, height = box.width / figure.dpi, box.height / figure.dpi
    lines = _wrapped(words, width)
    below = LINE * (len(lines) + 1) + STRIP
    panel = (width - 2 * MARGIN - GAP - BAR) / 2
    ax.axis("off")

    def place(left: float, bottom: float, wide: float, high: float) -> Axes:
        return ax.inset_axes((left / width, bottom / height, wide / width, high / height))

    room = max(height - below - TITLE, 0.5)
    original, overlay = (place(MARGIN + k * (panel + GAP), below, panel, room) for k in (0, 1))
    for axes in (original, overlay):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1, aspect=ratio, interpolation="nearest")
        axes.axis("off")
        for side, letter in {"left": "R", "right": "L"}.items() if _sided(heatmap.scan) else ():
            axes.text(0.02 if side == "left" else 0.98, 0.98, letter, transform=axes.transAxes, fontsize=9,
                      color="white", ha=side, va="top", fontweight="bold")  # fmt: skip
    shown = overlay.imshow(
        energy, cmap="inferno", vmin=0, vmax=1, alpha=STRONGEST * energy, aspect=ratio, interpolation="bilinear"
    )
    kind = "simulated image" if _simulated(heatmap.scan) else "original"
    original.set_title(f"{kind}{where}\n{_grey(heatmap)}", fontsize=8.5, color=INK, loc="left")
    segmenter = heatmap.task == "segmentation"
    names = {"occlusion": "occlusion", "gradcam": "Grad-CAM"}
    method = "Seg-HiRes-Grad-CAM" if segmenter and heatmap.method == "gradcam" else names[heatmap.method]
    overlay.set_title(
        f"{heatmap.answer()}\n{method}: what {'makes it larger' if heatmap.task == 'regression' else 'speaks for it'}",
        fontsize=8.5,
        color=INK,
        loc="left",
    )
    if level == "FAIL":
        overlay.text(0.5, 0.04, "DO NOT INTERPRET", transform=overlay.transAxes, ha="center", va="bottom",
                     fontsize=11, color="white", fontweight="bold",
                     bbox={"facecolor": COLOURS["FAIL"], "edgecolor": "none", "alpha": 0.85})  # fmt: skip
    bar_at = MARGIN + 2 * panel + GAP + 0.12
    high = min(room, panel * tall)
    bar = place(bar_at, below + (room - high) / 2, 0.13, high)
    colours = figure.colorbar(_solid(shown), cax=bar, ticks=[0, 0.5, 1])
    colours.ax.tick_params(labelsize=7, colors=INK, length=2)
    colours.set_label("evidence, relative to its maximum here", fontsize=7, color=INK)
    colours.outline.set_visible(False)

    top = (below - 0.1) / height
    ax.text((MARGIN + 0.03) / width, top, level or "NOT TESTED", transform=ax.transAxes, fontsize=8.5, color="white", va="top",
            fontweight="bold", bbox={"facecolor": COLOURS[level], "edgecolor": "none", "pad": 2.5})  # fmt: skip
    ax.text((MARGIN + 1.0) / width, top, "\n".join(lines), transform=ax.transAxes, fontsize=8.5, color=INK, va="top",
            linespacing=1.3)  # fmt: skip
    ax.text(0.5, 0.08 / height, RESEARCH_USE, transform=ax.transAxes, fontsize=7, color=FAINT, ha="center", va="bottom")
    return figure


def _slice(heatmap: Heatmap) -> tuple[np.ndarray, np.ndarray, float, str]:
    """The picture in 0..1, the map, the height of a pixel over its width, and which slice it is."""
    scan = heatmap.scan
    pixels, energy, where = scan.pixels, heatmap.array, ""
    if scan.units == "relative":
        pixels = stretch(pixels) / 255
    elif scan.units == "HU":
        low, high = heatmap.window or (-1000.0, 400.0)
        pixels = (pixels - low) / (high - low)
    else:
        pixels = pixels / 255
    if scan.dimension == 3:
        per_slice = energy.sum(axis=(1, 2))
        index = int(per_slice.argmax()) if per_slice.any() else len(energy) // 2
        pixels, energy = pixels[index], energy[index]
        where = f", slice {index + 1} of {scan.shape[0]}{_height(scan, index)}"
    picture = np.clip(pixels if pixels.shape[-1] == 3 else pixels[..., 0], 0, 1)
    rows, columns = scan.upright
    return picture[::rows, ::columns], np.clip(energy, 0, 1)[::rows, ::columns], scan.aspect, where


def _height(scan: Scan, index: int) -> str:
    """Where an axial slice lies along the body, when the geometry is known."""
    if scan.affine is None:
        return ""
    along = scan.affine[:3, 0]
    if abs(along[2]) < 0.9 * float(np.linalg.norm(along)):
        return ""
    return f", z = {(scan.affine @ [index, 0, 0, 1])[2]:.0f} mm"


def _sided(scan: Scan) -> bool:
    """Whether the header says which side of the picture is the patient's right."""
    return scan.affine is not None and bool(np.abs(scan.affine[:3, 2]).argmax() == 0)


def _grey(heatmap: Heatmap) -> str:
    scan = heatmap.scan
    channels = scan.pixels.shape[-1]
    first = f"channel 1 of {channels}, " if channels not in (1, 3) else ""
    first = f"the slice with most evidence, {first}" if scan.dimension == 3 else first
    if scan.units == "HU":
        low, high = heatmap.window or (-1000.0, 400.0)
        return f"{first}grey: {low:g} to {high:g} HU"
    return first + ("grey: its own 0.5-99.5 percentiles" if scan.units == "relative" else "grey: 0 to 255")


def _simulated(scan: Scan) -> bool:
    return any("simulated" in text.casefold() for text in (*scan.header.values(), *scan.notes))


def _words(heatmap: Heatmap) -> tuple[str, str]:
    verdict = heatmap.verdict
    said = verdict.sentence if verdict else "No test was run on this map (verdict=False)."
    return verdict.level if verdict else "", " ".join([said, *heatmap.notes])


def _wrapped(words: str, width: float) -> list[str]:
    return textwrap.wrap(words, max(30, int((width - 2 * MARGIN - 1.0) * 15.2)))


def _solid(shown: Any) -> Any:
    """The colours at full strength: a bar that fades with the overlay could not be read."""
    from matplotlib.cm import ScalarMappable

    return ScalarMappable(norm=shown.norm, cmap=shown.cmap)
