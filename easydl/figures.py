"""Figures: the one way to make a figure and to draw a scan with its mask and heatmap. Nothing changes on import."""

from __future__ import annotations

import sys
import textwrap
from base64 import b64encode
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.errors import RESEARCH_USE
from easydl.images.resampling import stretch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from easydl.images import Scan

CT_WINDOW_HU = (-1000.0, 400.0)
"""Black and white of CT in figures: wide enough for lung and soft tissue."""
# Okabe and Ito's colours can be distinguished with any common colour blindness, and in grey print by their lightness.
BLUE, ORANGE, GREEN, PURPLE, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#5B6570"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, GREY)
MASK_COLOURS = ("#ffb000", SKY, GREEN, PURPLE)
STRONGEST = 0.72
"""Opacity of the strongest evidence of a heatmap: the image shows through."""


def new_figure(width: float, height: float, *, layout: Any = "constrained") -> Figure:
    """A figure of this size in inches that is not pyplot's: safe in threads, never shown twice in a notebook."""
    from matplotlib.figure import Figure

    _show_in_notebooks(Figure)
    return Figure(figsize=(width, height), dpi=110, layout=layout)


def figure_of(ax: Axes) -> Figure:
    """The figure that axes belong to."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("`ax` must belong to a figure. Received: axes that were removed from theirs.")
    return figure


def sign(figure: Figure, text: str = RESEARCH_USE) -> None:
    """Write the research-use sentence under a figure, in as many lines as its width asks for."""
    figure.supxlabel(signed(figure, text), fontsize=8, color=GREY)


def signed(figure: Figure, text: str = RESEARCH_USE) -> str:
    """The sentence as `sign` writes it."""
    letters_per_inch = 15  # at 8 points
    return "\n".join(textwrap.wrap(text, int(figure.get_figwidth() * letters_per_inch)))


def frame(ax: Axes, along: str) -> None:
    """Draw axes without the lines above and at the right, with a faint grid for the values along ``x`` or ``y``."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis=along, color="#dfe4e8", linewidth=0.7)  # type: ignore[arg-type]
    ax.set_axisbelow(True)


def as_image(figure: Figure, alternative: str) -> str:
    """A figure as an HTML image, with the text that is read instead of it."""
    data = b64encode(png_of(figure)).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{escape(alternative, quote=True)}" style="max-width:100%">'


def literal(text: str) -> str:
    """Text that is shown as it is."""
    return text.replace("$", r"\$")  # a class name with two dollar signs must not become a formula


def key_slice(scan: Scan, mask: np.ndarray | None = None, heat: np.ndarray | None = None) -> int:
    """The slice of a volume to show: the one with most evidence, else with the largest mask, else the middle one."""
    for array in (heat, None if mask is None else mask > 0):
        if array is not None and array.any():
            return int(array.sum(axis=(1, 2)).argmax())
    return scan.shape[0] // 2


def panel(
    ax: Axes,
    scan: Scan,
    mask: np.ndarray | None = None,
    heat: np.ndarray | None = None,
    *,
    index: int | None = None,
    window: tuple[float, float] | None = None,
    classes: tuple[str, ...] = (),
) -> None:
    """Draw a scan upright, with the contours of its mask and its heatmap over it.

    Args:
        ax: Matplotlib axes; their frame is removed.
        scan: An image, or a volume of which one slice is shown; the first channel, or all three of a colour image.
        mask: Class indices of the scan's spatial shape.
        heat: 0..1, of the scan's spatial shape.
        index: Which slice of a volume; `key_slice` when None.
        window: (low, high) that are black and white; `CT_WINDOW_HU` or 0-255 when None.
        classes: Names of the mask's values, background first, for a legend; without them one contour is drawn for all.
    """
    grey = grey_values(scan, window)
    if scan.dimension == 3:
        index = key_slice(scan, mask, heat) if index is None else index
        grey, mask, heat = grey[index], None if mask is None else mask[index], None if heat is None else heat[index]
    rows, columns = scan.upright
    ax.imshow(grey[::rows, ::columns], cmap="gray", vmin=0, vmax=1, aspect=scan.aspect)
    if mask is not None:
        _contours(ax, mask[::rows, ::columns], classes)
    if heat is not None:
        heat = np.clip(heat, 0, 1)[::rows, ::columns]
        ax.imshow(
            heat, cmap="inferno", vmin=0, vmax=1, alpha=STRONGEST * heat, aspect=scan.aspect, interpolation="bilinear"
        )
    ax.axis("off")


def grey_values(scan: Scan, window: tuple[float, float] | None = None) -> np.ndarray:
    """A scan's values from black (0) to white (1): its first channel, or all three of a colour image."""
    pixels = scan.pixels if scan.pixels.shape[-1] == 3 else scan.pixels[..., :1]
    if scan.units == "relative":
        pixels = stretch(pixels)
    low, high = window or (CT_WINDOW_HU if scan.units == "HU" else (0.0, 255.0))
    grey = np.clip((pixels - low) / (high - low), 0, 1)
    return grey if grey.shape[-1] == 3 else grey[..., 0]


def _contours(ax: Axes, mask: np.ndarray, classes: tuple[str, ...]) -> None:
    parts = {name: mask == value for value, name in enumerate(classes) if value} if classes else {"": mask > 0}
    for number, (name, part) in enumerate(parts.items()):
        if part.any():
            colour = MASK_COLOURS[number % len(MASK_COLOURS)]
            ax.contour(part, levels=[0.5], colors=colour, linewidths=1.2)
            if name:
                ax.plot([], [], color=colour, label=literal(name))
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=8.5, loc="lower right")


def _show_in_notebooks(kind: type) -> None:
    """Tell a notebook's kernel how to show a figure, as pyplot would, which is not imported here."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return
    formatter = shell.display_formatter.formatters["image/png"]
    try:
        formatter.lookup_by_type(kind)
    except KeyError:
        formatter.for_type(kind, png_of)


def png_of(figure: Any) -> bytes:
    """A figure as a PNG file."""
    stream = BytesIO()
    figure.savefig(stream, format="png", bbox_inches="tight")
    return stream.getvalue()
