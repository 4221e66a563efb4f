"""Pictures of a test of findings, of numbers and of grades. It computes no metric but differences."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from easydl.evaluation.plots import bare, title
from easydl.evaluation.regression import unit_of
from easydl.evaluation.results import Metrics, interval_text, number
from easydl.figures import BLUE, GREEN, GREY, ORANGE, literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_DOTS = 3000


def auc_forest(metrics: Metrics, ax: Axes) -> None:
    """Draw the AUC of every finding with its 95% interval.

    Args:
        metrics: A multilabel test.
        ax: Matplotlib axes.
    """
    _forest(metrics, ax, "AUC")
    ax.axvline(0.5, color=GREY, linewidth=0.8, linestyle=(0, (2, 3)))
    ax.set_title(title(metrics, "AUC"), fontsize=11, loc="left")


def precision_forest(metrics: Metrics, ax: Axes) -> None:
    """Draw the average precision of every finding with its 95% interval, and what guessing would give.

    Args:
        metrics: A multilabel test.
        ax: Matplotlib axes.
    """
    _forest(metrics, ax, "average precision")
    for place, name in enumerate(metrics.classes):
        share = metrics.per_class.get(name, {}).get("images", 0) / max(metrics.images, 1)
        ax.plot([share] * 2, [place - 0.3, place + 0.3], color=GREY, linewidth=1.4, label="_" if place else "guessing")
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), frameon=False, fontsize=8, borderpad=0.1)
    ax.set_title("average precision", fontsize=11, loc="right")
    ax.set_yticklabels([])


def psnr_dots(metrics: Metrics, ax: Axes) -> None:
    """Draw the PSNR of every image that a network made, joined to that of the image it was given.

    Args:
        metrics: A test of a network that makes images.
        ax: Matplotlib axes.
    """
    if metrics.cases is not None:
        made = metrics.cases["PSNR"].to_numpy(float)
        places, names = [made], ["made"]
        if "PSNR spoiled" in metrics.cases:
            places, names = [metrics.cases["PSNR spoiled"].to_numpy(float), made], ["given", "made"]
        for values in np.stack(places, axis=1)[:MOST_DOTS]:
            ax.plot(range(len(values)), values, "o-", color=BLUE, alpha=0.5, markersize=4, linewidth=0.8)
        ax.set_xticks(range(len(names)), names)
        ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_ylabel("PSNR (dB)")
    ax.set_title(title(metrics, "PSNR per image"), fontsize=11, loc="left")
    bare(ax)


def measured(metrics: Metrics, ax: Axes) -> None:
    """Draw what the model measured against the reference; on the line they are equal.

    Args:
        metrics: A regression test.
        ax: Matplotlib axes.
    """
    reference, prediction = _points(metrics)
    low, high = float(min(reference.min(), prediction.min())), float(max(reference.max(), prediction.max()))
    room = 0.04 * (high - low or 1.0)
    ends = (low - room, high + room)
    ax.plot(ends, ends, color=GREY, linewidth=0.9, linestyle=(0, (2, 3)), label="equal")
    ax.plot(reference, prediction, "o", color=BLUE, alpha=0.5, markersize=4, markeredgewidth=0, label="one image")
    if np.ptp(reference) > 0 and len(reference) > 2:
        slope, start = np.polyfit(reference, prediction, 1)
        across = np.array([reference.min(), reference.max()])
        ax.plot(across, start + slope * across, color=ORANGE, linewidth=1.8, label=f"fitted, slope {slope:.2f}")
    name = literal(textwrap.shorten(metrics.classes[0], 30, placeholder="…"))
    ax.set(xlabel=f"reference, {name}", ylabel=f"prediction, {name}", xlim=ends, ylim=ends)
    ax.set_aspect("equal")
    ax.set_title(title(metrics, "Calibration"), fontsize=11, loc="left")
    ax.legend(loc="upper left", frameon=False, fontsize=8)
    bare(ax)


def bland_altman(metrics: Metrics, ax: Axes) -> None:
    """Draw the differences over the means, with bias and limits of agreement and their 95% intervals as bands.

    Args:
        metrics: A regression test.
        ax: Matplotlib axes.

    References:
        Bland JM, Altman DG. Lancet 1986;327:307-310.
    """
    reference, prediction = _points(metrics)
    ax.plot(
        (reference + prediction) / 2, prediction - reference, "o", color=BLUE, alpha=0.5, markersize=4, markeredgewidth=0
    )  # fmt: skip
    rows = {row["name"]: row for row in metrics.table.to_dict("records")}
    lines = (
        ("bias", GREEN, "-"),
        ("lower limit of agreement", ORANGE, "--"),
        ("upper limit of agreement", ORANGE, "--"),
    )
    for name, colour, style in lines:
        row = rows.get(name)
        if row is None or not np.isfinite(row["value"]):
            continue
        ax.axhline(row["value"], color=colour, linestyle=style, linewidth=1.6)
        if np.isfinite(row["low"]):
            ax.axhspan(row["low"], row["high"], color=colour, alpha=0.13, linewidth=0)
        short = {"bias": "bias"}.get(name, name.split()[0] + " limit")
        ax.annotate(
            literal(f"{short} {number(row['value'], '')}"), (1.0, row["value"]), xycoords=("axes fraction", "data"),
            xytext=(-2, 3), textcoords="offset points", ha="right", va="bottom", fontsize=8, color=colour,
        )  # fmt: skip
    ax.axhline(0.0, color=GREY, linewidth=0.8, linestyle=(0, (2, 3)))
    unit = literal(textwrap.shorten(unit_of(metrics.classes[0]), 30, placeholder="…"))
    ax.set(xlabel=f"mean of both, {unit}", ylabel=f"prediction less reference, {unit}")
    ax.set_title("Bland-Altman, bands: 95% CI", fontsize=11, loc="left")
    bare(ax)


def misses(metrics: Metrics, ax: Axes) -> None:
    """Draw by how many grades the predictions miss: below zero too low, above zero too high.

    Args:
        metrics: An ordinal test.
        ax: Matplotlib axes.
    """
    counts = np.zeros((1, 1), int) if metrics.confusion is None else metrics.confusion.to_numpy(int)
    grades = np.arange(len(counts))
    apart = (grades[None, :] - grades[:, None]).ravel()
    steps = np.arange(-(len(counts) - 1), len(counts))
    shares = np.array([counts.ravel()[apart == step].sum() for step in steps]) / max(1, counts.sum())
    colours = [GREEN if step == 0 else BLUE if abs(step) == 1 else ORANGE for step in steps]
    ax.bar(steps, 100 * shares, color=colours, width=0.8)
    for step, share in zip(steps.tolist(), shares.tolist(), strict=True):
        if share:
            ax.text(step, 100 * share + 1, f"{100 * share:.0f}%", ha="center", fontsize=9)
    ax.set(xlabel="grades too low (-) or too high (+)", ylabel="images, %", ylim=(0, max(10.0, 112 * shares.max())))
    ax.set_xticks(steps, [f"{step:+d}" if step else "exact" for step in steps])
    ax.set_title("Misses in grades", fontsize=11, loc="left")
    bare(ax)


def _forest(metrics: Metrics, ax: Axes, what: str) -> None:
    rows = {row["name"]: row for row in metrics.table.to_dict("records")}
    for place, name in enumerate(metrics.classes):
        row = rows.get(f"{what}, {name}")
        if row is None or not np.isfinite(row["value"]):
            ax.text(0.5, place, "not computable", ha="center", va="center", fontsize=8, color=GREY)
            continue
        if np.isfinite(row["low"]):
            ax.plot([row["low"], row["high"]], [place] * 2, color=BLUE, linewidth=2)
        ax.plot(row["value"], place, "o", color=BLUE, markersize=6)
        words = f"{number(row['value'])} ({interval_text(row)})"
        ax.annotate(words, (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    names = [literal(textwrap.shorten(name, 24, placeholder="…")) for name in metrics.classes]
    ax.set_yticks(range(len(names)), names, fontsize=9)
    ax.set(xlim=(-0.02, 1.02), ylim=(len(names) - 0.4, -0.6))
    ax.grid(axis="x", color="#dfe4e8", linewidth=0.7)
    ax.set_axisbelow(True)
    bare(ax)


def _points(metrics: Metrics) -> tuple[np.ndarray, np.ndarray]:
    """Reference and prediction, thinned evenly where they are too many to be told apart."""
    reference, prediction = (np.asarray(metrics.points.get(side, [0.0]), float) for side in ("reference", "prediction"))
    step = -(-len(reference) // MOST_DOTS)
    return reference[::step], prediction[::step]
