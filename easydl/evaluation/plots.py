"""Pictures of a test: ROC curve and band, confusion matrix, a Dice dot per case; `task_plots` has those of other tasks.

It computes no metric.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.evaluation.results import Metrics, interval_text, number
from easydl.figures import BLUE, COLOURS, GREY, ORANGE, literal, new_figure, sign

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = ("-", "--", "-.", ":")


def draw(metrics: Metrics, ax: Axes | None = None) -> Figure:
    """Draw a test.

    Args:
        metrics: What to draw.
        ax: Draw only the first picture (of the first question), on these axes.

    Returns:
        The Figure: ROC curve and confusion matrix; the AUC and average precision of every finding; confusion matrix and
        misses in grades; measured against reference and their differences; one dot per case and class; or, for several
        questions, the pictures of each, one below the other.
    """
    if ax is not None:
        shown = next(iter(metrics.heads.values()), metrics)
        panels(shown)[0](shown, ax)
        figure = ax.figure.get_figure(root=True)
        if figure is None:
            raise ValueError("`ax` must belong to a figure. Received: axes that were removed from theirs.")
        return figure
    if metrics.heads:
        heights = [_size(one)[1] + 0.3 for one in metrics.heads.values()]
        figure = new_figure(max(_size(one)[0] for one in metrics.heads.values()), sum(heights))
        rows: Any = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)
        for row, (name, one) in zip(rows[:, 0], metrics.heads.items(), strict=True):
            row.suptitle(literal(name), fontsize=12, x=0.01, ha="left", fontweight="bold")
            _fill(one, row)
    else:
        figure = new_figure(*_size(metrics))
        _fill(metrics, figure)
    sign(figure)
    return figure


def panels(metrics: Metrics) -> tuple[Callable[[Metrics, Axes], None], ...]:
    """The pictures of a test, the main one first."""
    from easydl.evaluation import task_plots

    return {
        "classification": (roc, confusion),
        "multilabel": (task_plots.auc_forest, task_plots.precision_forest),
        "ordinal": (confusion, task_plots.misses),
        "regression": (task_plots.measured, task_plots.bland_altman),
        "segmentation": (dice_dots,),
        "reconstruction": (task_plots.psnr_dots,),
    }[metrics.task]


def _fill(metrics: Metrics, figure: Any) -> None:
    drawn = panels(metrics)
    for picture, ax in zip(drawn, np.atleast_1d(figure.subplots(1, len(drawn))), strict=True):
        picture(metrics, ax)


def _size(metrics: Metrics) -> tuple[float, float]:
    """Inches."""
    if metrics.task in ("segmentation", "reconstruction"):
        return max(5.0, 2.2 + 1.6 * len(metrics.classes)), 4.6
    return 9.6, max(4.6, 1.6 + 0.32 * len(metrics.classes)) if metrics.task == "multilabel" else 4.6


def roc(metrics: Metrics, ax: Axes) -> None:
    """Draw the ROC curve of a two-class test with its 95% band, or one curve per class.

    Args:
        metrics: A classification test.
        ax: Matplotlib axes.
    """
    labels = {row["name"]: row for row in metrics.table.to_dict("records")}
    for position, (name, curve) in enumerate(metrics.curves.items()):
        colour = COLOURS[position % len(COLOURS)]
        row = labels.get("AUC" if metrics.positive == name else f"AUC, {name}")
        text = name if row is None else f"{name}: AUC {number(row['value'])} (95% CI {interval_text(row)})"
        ax.plot(
            curve["fpr"],
            curve["tpr"],
            color=colour,
            linestyle=MARKS[position % len(MARKS)],
            linewidth=2,
            label=literal(textwrap.shorten(text, 60, placeholder="…")),
        )
        if metrics.positive == name and curve["grid"]:
            ax.fill_between(
                curve["grid"],
                curve["low"],
                curve["high"],
                color=colour,
                alpha=0.16,
                linewidth=0,
                label="95% band",
            )
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (2, 3)))
    ax.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.set_aspect("equal")
    ax.set_title(title(metrics, "ROC curve"), fontsize=11, loc="left")
    if metrics.curves:
        ax.legend(loc="lower right", frameon=False, fontsize=8)
    else:
        ax.text(0.5, 0.5, "no curve: one class only", ha="center", color=GREY)
    bare(ax)


def confusion(metrics: Metrics, ax: Axes) -> None:
    """Draw the confusion matrix: counts, shaded by the share of each reference class.

    Args:
        metrics: A classification test.
        ax: Matplotlib axes.
    """
    if metrics.confusion is None:
        ax.set_axis_off()
        return
    counts = metrics.confusion.to_numpy(int)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1.25)
    for i, j in np.ndindex(*counts.shape):
        ax.text(
            j,
            i,
            f"{counts[i, j]}\n{100 * shares[i, j]:.0f}%",
            ha="center",
            va="center",
            fontsize=11 if len(counts) < 5 else 8,
            color="white" if shares[i, j] > 0.7 else "#1d2730",
        )
    names = [literal(textwrap.shorten(name, 18, placeholder="…")) for name in metrics.classes]
    ax.set_xticks(range(len(names)), names, rotation=0 if len(names) < 4 else 40, fontsize=9)
    ax.set_yticks(range(len(names)), names, fontsize=9)
    ax.set(xlabel="prediction", ylabel="reference")
    ax.set_title(f"Confusion matrix, {metrics.images} images", fontsize=11, loc="left")
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


def dice_dots(metrics: Metrics, ax: Axes) -> None:
    """Draw one dot per case and class at its Dice, with the mean and its 95% interval beside them.

    Args:
        metrics: A segmentation test.
        ax: Matplotlib axes.
    """
    structures = metrics.classes[1:]
    rows = {row["name"]: row for row in metrics.table.to_dict("records")}
    for position, name in enumerate(structures):
        if metrics.cases is not None and len(metrics.cases):
            values = metrics.cases.loc[metrics.cases["class"] == name, "dice"].astype(float).dropna().to_numpy()
            shift = np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else np.zeros(len(values))
            shuffled = np.random.default_rng(0).permutation(shift)
            ax.plot(position + shuffled, values, "o", color=BLUE, alpha=0.55, markersize=5, markeredgewidth=0)
        row = rows.get(f"Dice, {name}", rows.get("Dice"))
        if row is not None and np.isfinite([row["value"], row["low"], row["high"]]).all():
            ax.plot([position + 0.3] * 2, [row["low"], row["high"]], color=ORANGE, linewidth=2)
            ax.plot(position + 0.3, row["value"], "D", color=ORANGE, markersize=6)
    ax.plot([], [], "o", color=BLUE, alpha=0.55, markersize=5, label="one image")
    ax.plot([], [], "D-", color=ORANGE, markersize=6, label="mean, 95% CI")
    names = [literal(textwrap.shorten(name, 24, placeholder="…")) for name in structures]
    ax.set_xticks(range(len(structures)), names)
    ax.set(xlim=(-0.6, len(structures) - 0.3), ylim=(-0.03, 1.03), ylabel="Dice")
    ax.set_title(title(metrics, "Dice per image"), fontsize=11, loc="left")
    ax.legend(loc="lower right", frameon=False, fontsize=8)
    ax.grid(axis="y", color="#dfe4e8", linewidth=0.7)
    ax.set_axisbelow(True)
    bare(ax)


def title(metrics: Metrics, what: str) -> str:
    """A picture's title with the number of patients, or of images when patients are unknown."""
    unit = "patients" if metrics.patients_known else "images"
    return f"{what}, {metrics.patients} {unit}"


def bare(ax: Axes) -> None:
    """Take the upper and right edge away."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
