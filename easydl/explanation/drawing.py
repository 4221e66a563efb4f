"""Draws a heatmap: the original beside the overlay, never the overlay alone, with its verdict below. It judges nothing."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.errors import RESEARCH_USE
from easydl.explanation.verdict import WORDS
from easydl.figures import CT_WINDOW_HU, figure_of, key_slice, new_figure, panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from easydl.images import Scan

WIDTH, GAP, BAR, MARGIN = 9.0, 0.25, 0.8, 0.2
TITLE, LINE, STRIP = 0.52, 0.21, 0.32
# Points; a report shows the figure at two thirds of its size.
TEXT, SMALL = 10.5, 8.5
LETTERS_PER_INCH, BADGE = 12.6, 1.55
TOP = 0.5
"""A contour surrounds what has this fraction of the largest evidence."""
# Okabe and Ito's colours, which readers who do not see red and green can tell apart; the level is there as well.
COLOURS = {"PASS": "#0072b2", "CAUTION": "#b37400", "FAIL": "#b03a00", "": "#555555"}
INK, FAINT = "#1a1a1a", "#555555"


@dataclass(frozen=True)
class Caption:
    """What stands around a heatmap: the overlay's title, the verdict's level (or empty) and the text below."""

    title: str
    level: str
    text: str


def draw(
    scan: Scan, heat: np.ndarray, caption: Caption, *, window: tuple[float, float] | None = None, ax: Axes | None = None
) -> Figure:
    """Draw a heatmap into axes, or into a new figure; ``window`` is black and white in HU."""
    given, scan = scan, scan.in_its_plane()
    heat = given.as_in(scan, heat)
    index = key_slice(scan, heat=heat) if scan.dimension == 3 else None
    rows, columns = scan.shape[-2:]
    ratio = rows / columns * scan.aspect
    if ax is None:
        below = height_below(caption.text)
        side = _panel_width(WIDTH)
        figure = new_figure(WIDTH, min(side * ratio, 1.4 * side) + TITLE + below + MARGIN, layout=None)
        ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    canvas = _Canvas(ax)
    lines = _wrapped(caption.text, canvas.width)
    below, side = height_below(caption.text, canvas.width), _panel_width(canvas.width)
    room = max(canvas.height - below - TITLE, 0.5)
    original, overlay = (canvas.axes(MARGIN + k * (side + GAP), below, side, room) for k in (0, 1))
    panel(original, scan, index=index, window=window)
    panel(overlay, scan, heat=heat, index=index, window=window)
    _contour(overlay, heat if index is None else heat[index], scan, float(heat.max()))
    for axes in (original, overlay):
        _mark_sides(axes, scan)
    style: dict[str, Any] = {"fontsize": TEXT - 1, "color": INK, "loc": "left"}
    original.set_title(_original(scan, index, window), **style)
    overlay.set_title(caption.title, **style)
    if caption.level == "FAIL":
        overlay.text(
            0.5,
            0.04,
            "DO NOT TRUST",
            transform=overlay.transAxes,
            ha="center",
            va="bottom",
            fontsize=11,
            color="white",
            fontweight="bold",
            bbox={"facecolor": COLOURS["FAIL"], "edgecolor": "none", "alpha": 0.85},
        )
    high = min(room, side * ratio)
    _colour_bar(canvas.axes(MARGIN + 2 * side + GAP + 0.12, below + (room - high) / 2, 0.13, high))
    canvas.text(
        MARGIN + 0.03,
        below - 0.1,
        WORDS.get(caption.level, "Not tested").upper(),
        color="white",
        fontweight="bold",
        bbox={"facecolor": COLOURS[caption.level], "edgecolor": "none", "pad": 2.5},
    )
    canvas.text(MARGIN + BADGE, below - 0.1, "\n".join(lines), color=INK, linespacing=1.3)
    canvas.text(canvas.width / 2, 0.08, RESEARCH_USE, fontsize=SMALL, color=FAINT, ha="center", va="bottom")
    return canvas.figure


def height_below(text: str, width: float = WIDTH) -> float:
    """Inches below the panels: the verdict's text and the research-use sentence."""
    return LINE * (len(_wrapped(text, width)) + 1) + STRIP


class _Canvas:
    """Axes in which things are placed in inches from the lower left corner."""

    def __init__(self, ax: Axes) -> None:
        self.ax, self.figure = ax, figure_of(ax)
        box = ax.get_window_extent()
        self.width, self.height = box.width / self.figure.dpi, box.height / self.figure.dpi
        ax.axis("off")

    def axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        return self.ax.inset_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))

    def text(self, left: float, bottom: float, text: str, **style: Any) -> None:
        options: dict[str, Any] = {"fontsize": TEXT, "va": "top", **style}
        self.ax.text(left / self.width, bottom / self.height, text, transform=self.ax.transAxes, **options)


def _panel_width(width: float) -> float:
    return (width - 2 * MARGIN - GAP - BAR) / 2


def _contour(ax: Axes, heat: np.ndarray, scan: Scan, most: float) -> None:
    """A thin line around the strongest part: it stays readable where the colours are faint."""
    rows, columns = scan.upright
    heat = heat[::rows, ::columns]
    if most > 0 and heat.min() < TOP * most < heat.max():
        ax.contour(heat, levels=[TOP * most], colors="white", linewidths=0.9, alpha=0.85)


def _mark_sides(ax: Axes, scan: Scan) -> None:
    """R and L where the header says which side of the image is the patient's right."""
    if scan.affine is None or np.abs(scan.affine[:3, 2]).argmax() != 0:
        return
    for left, side, letter in ((0.02, "left", "R"), (0.98, "right", "L")):
        ax.text(
            left,
            0.98,
            letter,
            transform=ax.transAxes,
            fontsize=TEXT,
            color="white",
            ha=side,
            va="top",
            fontweight="bold",
        )


def _colour_bar(ax: Axes) -> None:
    """The colours at full strength: a bar that fades with the overlay could not be read."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = figure_of(ax).colorbar(ScalarMappable(Normalize(0, 1), "inferno"), cax=ax, ticks=[0, 0.5, 1])
    bar.ax.tick_params(labelsize=SMALL, colors=INK, length=2)
    bar.set_label("evidence, relative to its maximum here", fontsize=SMALL, color=INK)
    bar.ax.spines[:].set_visible(False)


def _original(scan: Scan, index: int | None, window: tuple[float, float] | None) -> str:
    """The title of the original: what it is, which slice, and what is black and white."""
    simulated = any("simulated" in text.casefold() for text in (*scan.header.values(), *scan.notes))
    where = "" if index is None else f", {_plane(scan)}slice {index + 1} of {scan.shape[0]}{_height(scan, index)}"
    channels = scan.pixels.shape[-1]
    parts = ["the slice with most evidence"] if index is not None else []
    parts += [f"channel 1 of {channels}"] if channels not in (1, 3) else []
    low, high = window or CT_WINDOW_HU
    ranges = {"HU": f"{low:g} to {high:g} HU", "relative": "its own 0.5-99.5 percentiles"}
    grey = ", ".join([*parts, f"grey: {ranges.get(scan.units, '0 to 255')}"])
    return f"{'simulated image' if simulated else 'original'}{where}\n{grey}"


def _plane(scan: Scan) -> str:
    """The plane of the slices, when the geometry is known."""
    if scan.affine is None:
        return ""
    return ("sagittal ", "coronal ", "axial ")[int(np.abs(scan.affine[:3, 0]).argmax())]


def _height(scan: Scan, index: int) -> str:
    """Where an axial slice lies along the body, when the geometry is known."""
    if scan.affine is None:
        return ""
    along = scan.affine[:3, 0]
    if abs(along[2]) < 0.9 * float(np.linalg.norm(along)):
        return ""
    return f", z = {(scan.affine @ [index, 0, 0, 1])[2]:.0f} mm"


def _wrapped(text: str, width: float) -> list[str]:
    return textwrap.wrap(text, max(30, int((width - 2 * MARGIN - BADGE) * LETTERS_PER_INCH)))
