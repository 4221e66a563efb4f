"""Draws any panel of a test: curves, matrices, dots, forests. It knows no task and computes no metric."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.evaluation.formatting import interval_text, number
from easydl.evaluation.panels import Panel
from easydl.figures import BLUE, COLOURS, GREEN, GREY, ORANGE, figure_of, literal, new_figure, sign

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = ("-", "--", "-.", ":")
DOTTED = (0, (2, 3))
GRID: dict[str, Any] = {"color": "#dfe4e8", "linewidth": 0.7}


def draw(parts: Mapping[str, Sequence[Panel]], ax: Axes | None = None) -> Figure:
    """Draw panels side by side, each part in its row under its name; or the first panel alone on ``ax``."""
    if ax is not None:
        draw_panel(next(iter(parts.values()))[0], ax)
        return figure_of(ax)
    named = len(parts) > 1 or "" not in parts
    heights = [max(panel.size[1] for panel in panels) + 0.3 * named for panels in parts.values()]
    width = max(sum(panel.size[0] for panel in panels) for panels in parts.values())
    figure = new_figure(width, sum(heights))
    rows: Any = figure.subfigures(len(parts), 1, height_ratios=heights, squeeze=False)[:, 0] if named else [figure]
    for row, (name, panels) in zip(rows, parts.items(), strict=True):
        if name:
            row.suptitle(literal(name), fontsize=12, x=0.01, ha="left", fontweight="bold")
        for panel, axes in zip(panels, np.atleast_1d(row.subplots(1, len(panels))), strict=True):
            draw_panel(panel, axes)
    sign(figure)
    return figure


def draw_panel(panel: Panel, ax: Axes) -> None:
    """Draw one panel on axes."""
    ax.set_title(panel.title, fontsize=11, loc="left")
    _KINDS[panel.kind](ax, **panel.data)


def _roc(ax: Axes, curves: dict[str, dict[str, list[float]]]) -> None:
    """The ROC curve of a two-class test with its 95% band, or one curve per class."""
    for position, (label, curve) in enumerate(curves.items()):
        colour = COLOURS[position % len(COLOURS)]
        style: dict[str, Any] = {"color": colour, "linestyle": LINES[position % len(LINES)], "label": _short(label, 60)}
        ax.plot(curve["fpr"], curve["tpr"], linewidth=2, **style)
        if curve.get("grid"):
            band: dict[str, Any] = {"color": colour, "alpha": 0.16, "linewidth": 0, "label": "95% band"}
            ax.fill_between(curve["grid"], curve["low"], curve["high"], **band)
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=DOTTED)
    ax.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.set_aspect("equal")
    if curves:
        ax.legend(loc="lower right", frameon=False, fontsize=9.5)
    else:
        ax.text(0.5, 0.5, "no curve: one class only", ha="center", color=GREY)
    _bare(ax)


def _readers(ax: Axes, curve: dict[str, list[float]], points: Sequence[Mapping[str, Any]]) -> None:
    """The ROC curve of a model, and readers as crosses whose arms are the 95% intervals."""
    _roc(ax, {"model": curve} if curve else {})
    for position, row in enumerate(points, 1):
        own = row["reader"] == "model"
        colour = COLOURS[0] if own else COLOURS[position % (len(COLOURS) - 1) + 1]
        x, y = 1 - row["specificity"], row["sensitivity"]
        arms: dict[str, Any] = {"color": colour, "linewidth": 1.2, "alpha": 0.7}
        ax.plot([1 - row["specificity high"], 1 - row["specificity low"]], [y, y], **arms)
        ax.plot([x, x], [row["sensitivity low"], row["sensitivity high"]], **arms)
        label = "model's decision" if own else _short(str(row["reader"]), 24)
        ax.plot(x, y, "s" if own else "o", color=colour, markersize=7, label=label)
    ax.legend(loc="lower right", frameon=False, fontsize=9.5)


def _confusion(ax: Axes, counts: np.ndarray | None, classes: Sequence[str]) -> None:
    """The confusion matrix: counts, shaded by the fraction of each reference class."""
    if counts is None:
        ax.set_axis_off()
        return
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(fractions, cmap="Blues", vmin=0, vmax=1.25)
    size = 11 if len(counts) < 5 else 8
    for i, j in np.ndindex(*counts.shape):
        text, colour = f"{counts[i, j]}\n{100 * fractions[i, j]:.0f}%", "white" if fractions[i, j] > 0.7 else "#1d2730"
        ax.text(j, i, text, ha="center", va="center", fontsize=size, color=colour)
    names = [_short(name, 18) for name in classes]
    ax.set_xticks(range(len(names)), names, rotation=0 if len(names) < 4 else 40, fontsize=9.5)
    ax.set_yticks(range(len(names)), names, fontsize=9.5)
    ax.set(xlabel="prediction", ylabel="reference")
    ax.tick_params(length=0)
    _bare(ax, ("top", "right", "bottom", "left"))


def _misses(ax: Axes, steps: np.ndarray, fractions: np.ndarray) -> None:
    """By how many classes the predictions miss: below zero too low, above zero too high."""
    colours = [GREEN if step == 0 else BLUE if abs(step) == 1 else ORANGE for step in steps]
    ax.bar(steps, 100 * fractions, color=colours, width=0.8)
    for step, fraction in zip(steps.tolist(), fractions.tolist(), strict=True):
        if fraction:
            ax.text(step, 100 * fraction + 1, f"{100 * fraction:.0f}%", ha="center", fontsize=9.5)
    ax.set(xlabel="classes too low (-) or too high (+)", ylabel="images, %", ylim=(0, max(10.0, 112 * fractions.max())))
    ax.set_xticks(steps, [f"{step:+d}" if step else "exact" for step in steps])
    _bare(ax)


def _forest(
    ax: Axes,
    estimates: dict[str, dict[str, Any] | None],
    guessing: dict[str, float] | None,
    line: float | None = None,
) -> None:
    """A number of every label with its 95% interval; and what guessing would give, where that differs by label.

    ``line`` is the number of all, for groups; the axis then follows the numbers where they have a unit.
    """
    ends = _ends(estimates) if line is not None else (-0.02, 1.02)
    for place, row in enumerate(estimates.values()):
        if row is None or not np.isfinite(row["value"]):
            why = "not computable" if line is None else "not testable"
            ax.text(sum(ends) / 2, place, why, ha="center", va="center", fontsize=9.5, color=GREY)
            continue
        if np.isfinite(row["low"]):
            ax.plot([row["low"], row["high"]], [place] * 2, color=BLUE, linewidth=2)
        ax.plot(row["value"], place, "o", color=BLUE, markersize=6)
        text = f"{number(row['value'], row['unit'])} ({interval_text(row)})"
        ax.annotate(text, (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=9.5)
    ax.set_yticks(range(len(estimates)), [_short(name, 24) for name in estimates], fontsize=9.5)
    ax.set(xlim=ends, ylim=(len(estimates) - 0.4, -0.6))
    if line is not None:
        ax.axvline(line, color=GREY, linewidth=0.8, linestyle=DOTTED)
    elif guessing is None:
        ax.axvline(0.5, color=GREY, linewidth=0.8, linestyle=DOTTED)
    else:
        for place, fraction in enumerate(guessing.values()):
            label = "_" if place else "guessing"
            ax.plot([fraction] * 2, [place - 0.3, place + 0.3], color=GREY, linewidth=1.4, label=label)
        ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), frameon=False, fontsize=9.5, borderpad=0.1)
        ax.set_title(ax.get_title(loc="left"), fontsize=11, loc="right")
        ax.set_title("", loc="left")
        ax.set_yticklabels([])
    ax.grid(axis="x", **GRID)
    ax.set_axisbelow(True)
    _bare(ax)


def _ends(estimates: dict[str, dict[str, Any] | None]) -> tuple[float, float]:
    """The ends of the axis: a little beyond the intervals, and within 0 and 1 for fractions."""
    rows = [row for row in estimates.values() if row is not None]
    values = np.array([row[side] for row in rows for side in ("value", "low", "high") if row[side] is not None], float)
    values = values[np.isfinite(values)]
    if not len(values):
        return -0.02, 1.02
    room = 0.08 * (float(np.ptp(values)) or 1.0)
    low, high = float(values.min()) - room, float(values.max()) + room
    fraction = not rows[0]["unit"] and values.min() >= 0 and values.max() <= 1
    return (max(-0.02, low), min(1.02, high)) if fraction else (low, high)


def _calibration(ax: Axes, reference: np.ndarray, prediction: np.ndarray, name: str) -> None:
    """Predictions against references; on the dotted line they are equal."""
    low, high = float(min(reference.min(), prediction.min())), float(max(reference.max(), prediction.max()))
    room = 0.04 * (high - low or 1.0)
    ends = (low - room, high + room)
    ax.plot(ends, ends, color=GREY, linewidth=0.9, linestyle=DOTTED, label="equal")
    ax.plot(reference, prediction, "o", color=BLUE, alpha=0.5, markersize=4, markeredgewidth=0, label="one image")
    if np.ptp(reference) > 0 and len(reference) > 2:
        slope, start = np.polyfit(reference, prediction, 1)
        across = np.array([reference.min(), reference.max()])
        ax.plot(across, start + slope * across, color=ORANGE, linewidth=1.8, label=f"fitted, slope {slope:.2f}")
    name = _short(name, 30)
    ax.set(xlabel=f"reference, {name}", ylabel=f"prediction, {name}", xlim=ends, ylim=ends)
    ax.set_aspect("equal")
    ax.legend(loc="upper left", frameon=False, fontsize=9.5)
    _bare(ax)


def _bland_altman(
    ax: Axes, reference: np.ndarray, prediction: np.ndarray, lines: dict[str, dict[str, Any]], unit: str
) -> None:
    """Differences over means, with bias and limits of agreement and their intervals (Bland, Altman, Lancet 1986)."""
    means, differences = (reference + prediction) / 2, prediction - reference
    ax.plot(means, differences, "o", color=BLUE, alpha=0.5, markersize=4, markeredgewidth=0)
    for name, row in lines.items():
        if not np.isfinite(row["value"]):
            continue
        colour, style = (GREEN, "-") if name == "bias" else (ORANGE, "--")
        ax.axhline(row["value"], color=colour, linestyle=style, linewidth=1.6)
        if np.isfinite(row["low"]):
            ax.axhspan(row["low"], row["high"], color=colour, alpha=0.13, linewidth=0)
        ax.annotate(
            literal(f"{name} {number(row['value'])}"),
            (1.0, row["value"]),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 3),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=9.5,
            color=colour,
        )
    ax.axhline(0.0, color=GREY, linewidth=0.8, linestyle=DOTTED)
    unit = _short(unit, 30)
    ax.set(xlabel=f"mean of both, {unit}", ylabel=f"prediction less reference, {unit}")
    _bare(ax)


def _dice(ax: Axes, values: dict[str, np.ndarray], means: dict[str, dict[str, Any] | None]) -> None:
    """One dot per case and class at its Dice, and the mean with its 95% interval."""
    for position, (name, dice) in enumerate(values.items()):
        shift = np.linspace(-0.16, 0.16, len(dice)) if len(dice) > 1 else np.zeros(len(dice))
        places = position + np.random.default_rng(0).permutation(shift)
        ax.plot(places, dice, "o", color=BLUE, alpha=0.55, markersize=5, markeredgewidth=0)
        row = means[name]
        if row is not None and np.isfinite([row["value"], row["low"], row["high"]]).all():
            ax.plot([position + 0.3] * 2, [row["low"], row["high"]], color=ORANGE, linewidth=2)
            ax.plot(position + 0.3, row["value"], "D", color=ORANGE, markersize=6)
    ax.plot([], [], "o", color=BLUE, alpha=0.55, markersize=5, label="one image")
    ax.plot([], [], "D-", color=ORANGE, markersize=6, label="mean, 95% CI")
    ax.set_xticks(range(len(values)), [_short(name, 24) for name in values])
    ax.set(xlim=(-0.6, len(values) - 0.3), ylim=(-0.03, 1.03), ylabel="Dice")
    ax.legend(loc="lower right", frameon=False, fontsize=9.5)
    ax.grid(axis="y", **GRID)
    ax.set_axisbelow(True)
    _bare(ax)


def _psnr(ax: Axes, columns: dict[str, np.ndarray]) -> None:
    """The PSNR of every reconstructed image, joined to that of the corrupted image the model was given."""
    for values in np.stack(list(columns.values()), axis=1) if columns else ():
        ax.plot(range(len(values)), values, "o-", color=BLUE, alpha=0.5, markersize=4, linewidth=0.8)
    ax.set_xticks(range(len(columns)), list(columns))
    ax.set_xlim(-0.5, max(len(columns), 1) - 0.5)
    ax.set_ylabel("PSNR (dB)")
    _bare(ax)


_KINDS: dict[str, Callable[..., None]] = {
    "roc": _roc,
    "readers": _readers,
    "confusion": _confusion,
    "misses": _misses,
    "forest": _forest,
    "calibration": _calibration,
    "bland_altman": _bland_altman,
    "dice": _dice,
    "psnr": _psnr,
}


def _short(text: str, most: int) -> str:
    return literal(textwrap.shorten(text, most, placeholder="…"))


def _bare(ax: Axes, sides: Sequence[str] = ("top", "right")) -> None:
    for side in sides:
        ax.spines[side].set_visible(False)
