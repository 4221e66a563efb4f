"""Draws the page's figures as images inside the page. It reads no file."""

from __future__ import annotations

import base64
import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from easydl.explanation.heatmap import BELOW
from easydl.figures import BLUE, GREY, ORANGE, new_figure, sign, signed
from easydl.reporting.record import curve_title, followed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def png(content: bytes) -> str:
    """A PNG file as a ``data:`` address, without the text below the image: the page has it."""
    return _address(without_text_below(content))


def without_text_below(content: bytes) -> bytes:
    """A PNG file without the rows of text at its foot, where the file says how many these are."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            below = str(image.info.get(BELOW, ""))
            if below.isdigit() and 0 < int(below) < image.height:
                cut = io.BytesIO()
                image.crop((0, 0, image.width, image.height - int(below))).save(cut, "PNG", compress_level=3)
                return cut.getvalue()
    except (UnidentifiedImageError, OSError, ValueError):  # a damaged image is shown as it is
        return content
    return content


def _address(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def svg(figure: Figure) -> str:
    """A figure as a ``data:`` address, sharp at any size, text drawn as paths; the same figure gives the same address.

    Without the research-use sentence below, which the page has at its head.
    """
    import matplotlib

    if figure.get_supxlabel() == signed(figure):
        figure.supxlabel("")
    drawn = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "easydl"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in another script; the tables hold it as text
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(drawn.getvalue()).decode("ascii")


def training_curve(history: pd.DataFrame) -> Figure | None:
    """Loss and main metric over the epochs, training against validation, the stages marked; None when there are none."""
    names = followed(history)[:2]
    if not names:
        return None
    figure = new_figure(4.9 * len(names), 3.4)
    for ax, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        _panel(ax, history, name)
    sign(figure)
    return figure


def best_epoch(history: pd.DataFrame) -> tuple[int, float] | None:
    """The epoch with the lowest validation loss, counted from 1 through all stages, and the loss; None if there is none."""
    if "val_loss" not in history.columns or not history["val_loss"].notna().any():
        return None
    row = int(np.nanargmin(history["val_loss"].to_numpy(float)))
    return row + 1, float(history["val_loss"].iloc[row])


def _panel(ax: Axes, history: pd.DataFrame, name: str) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = np.arange(1, len(history) + 1)
    marker = "o" if len(history) < 3 else None
    ax.plot(epochs, history[name], color=BLUE, linewidth=2, marker=marker, label="training")
    ax.plot(epochs, history[f"val_{name}"], "--", color=ORANGE, linewidth=2, marker=marker, label="validation")
    best = best_epoch(history)
    if best is not None and name == "loss":
        ax.plot(*best, "o", color=ORANGE, markersize=7, label=f"lowest, epoch {best[0]}")
    if "stage" in history.columns:
        _stages(ax, history["stage"].tolist())
    ax.set_title(curve_title(name).replace("$", r"\$"), fontsize=11, loc="left")
    ax.set_xlabel("epoch")
    ax.set_xlim(0.5, len(history) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(axis="y", color="#e3e8ec", linewidth=0.7)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.legend(frameon=False, fontsize=8.5)


def _stages(ax: Axes, stages: list[str]) -> None:
    starts = [row for row, stage in enumerate(stages) if row == 0 or stage != stages[row - 1]]
    if len(starts) < 2:
        return
    for position, start in enumerate(starts):
        end = starts[position + 1] if position + 1 < len(starts) else len(stages)
        if position % 2:
            ax.axvspan(start + 0.5, end + 0.5, color="#eef2f5", linewidth=0, zorder=-2)
        middle, name = (start + end) / 2 + 0.5, stages[start][:24].replace("$", r"\$")
        above: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "bottom"}
        ax.text(middle, 1.0, name, fontsize=7.5, color=GREY, **above)
