"""Draws the page's figures as pictures inside the page. It reads no file."""

from __future__ import annotations

import base64
import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from easydl.figures import BLUE, GREY, ORANGE, new_figure, sign

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TITLES = {"auc": "AUC", "dice": "Dice", "loss": "loss"}


def png(content: bytes) -> str:
    """A PNG file as the address of a picture that carries itself.

    Args:
        content: The file.

    Returns:
        A ``data:`` address.
    """
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def svg(figure: Figure) -> str:
    """A figure as the address of a picture that carries itself, sharp at any size, letters drawn as shapes.

    Args:
        figure: A matplotlib Figure.

    Returns:
        A ``data:`` address; the same figure always gives the same one.
    """
    import matplotlib

    drawn = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "easydl"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in another script; the tables hold it as text
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(drawn.getvalue()).decode("ascii")


def followed(history: pd.DataFrame) -> list[str]:
    """What was followed during training and validation: the loss first, then one metric.

    Args:
        history: One row per epoch.

    Returns:
        At most two column names that have numbers in them.
    """
    names = [str(name) for name in history.columns if f"val_{name}" in history.columns]
    names = [name for name in names if history[f"val_{name}"].notna().any()]
    metrics = sorted((name for name in names if name != "loss"), key=_preference)
    return [name for name in names if name == "loss"] + metrics[:1]


def training_curve(history: pd.DataFrame) -> Figure | None:
    """Loss and metric over the epochs, training against validation, the phases marked.

    Args:
        history: One row per epoch with ``loss``, ``val_loss``, a metric and its ``val_`` twin, and ``phase``.

    Returns:
        The Figure, or None when there is nothing to draw.
    """
    names = followed(history)
    if not names:
        return None
    figure = new_figure(4.9 * len(names), 3.4)
    for ax, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        _panel(ax, history, name)
    sign(figure)
    return figure


def best_epoch(history: pd.DataFrame) -> tuple[int, float] | None:
    """The epoch with the lowest validation loss.

    Args:
        history: One row per epoch.

    Returns:
        The epoch, counted from 1 through all phases, and its loss; None when none was measured.
    """
    if "val_loss" not in history.columns or not history["val_loss"].notna().any():
        return None
    row = int(np.nanargmin(history["val_loss"].to_numpy(float)))
    return row + 1, float(history["val_loss"].iloc[row])


def _panel(ax: Axes, history: pd.DataFrame, name: str) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = np.arange(1, len(history) + 1)
    marker = "o" if len(history) < 3 else None
    ax.plot(epochs, history[name], color=BLUE, linewidth=2, marker=marker, label="training")
    ax.plot(
        epochs,
        history[f"val_{name}"],
        color=ORANGE,
        linewidth=2,
        linestyle="--",
        marker=marker,
        label="validation",
    )
    best = best_epoch(history)
    if best is not None and name == "loss":
        ax.plot(*best, "o", color=ORANGE, markersize=7, label=f"lowest, epoch {best[0]}")
    if "stage" in history.columns:
        _stages(ax, history["stage"].tolist())
    ax.set_title(_TITLES.get(name, name.replace("_", " ")).replace("$", r"\$"), fontsize=11, loc="left")
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
        middle, words = (start + end) / 2 + 0.5, stages[start][:24].replace("$", r"\$")
        above: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "bottom"}
        ax.text(middle, 1.0, words, fontsize=7.5, color=GREY, **above)


def _preference(name: str) -> int:
    known = ["auc", "dice", "ordinal_error", "mean_absolute_error", "accuracy"]
    # Of several questions each has its own metrics, with its name before theirs.
    return next((place for place, one in enumerate(known) if name == one or name.endswith(f"_{one}")), len(known))
