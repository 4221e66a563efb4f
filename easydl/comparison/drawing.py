"""The figures of a comparison: every number with its interval, alone or against what an answer costs. It computes no number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from easydl.errors import InputError, unknown_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from easydl.comparison.results import ComparedModel, Comparison

COSTS = {"ms": "milliseconds per image on this machine", "mb": "megabytes of parameters (float32)"}
"""What numbers can be drawn against, by the name of the field of a `ComparedModel`."""


def check_against(against: str | None) -> None:
    """Refuse a cost that there is not.

    Raises:
        InputError: Such a name.
    """
    if against is not None and against not in COSTS:
        raise unknown_name(f"against={against!r} is not known.", against, COSTS)


def forest_plot(found: Comparison, ax: Axes | None = None) -> Figure:
    """Every number with its interval, the best at the top; baselines are hollow."""
    from easydl.figures import BLUE, GREY, ORANGE, figure_of, frame, literal, new_figure, sign

    own = new_figure(7.5, 1.4 + 0.42 * len(found.rows)) if ax is None else None
    ax = own.subplots() if own is not None else ax
    assert ax is not None
    for place, row in enumerate(found.rows):
        colour = GREY if row.baseline else BLUE
        if math.isfinite(row.low):
            ax.plot([row.low, row.high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
        if row.by_seed:
            ax.plot(row.by_seed, [place + 0.22] * len(row.by_seed), "|", color=ORANGE, markersize=8)
        face = "white" if row.baseline else colour
        ax.plot([row.value], [place], "o", markersize=7, color=colour, markerfacecolor=face)
    ax.set_yticks(range(len(found.rows)), [literal(row.name) for row in found.rows])
    ax.set_ylim(len(found.rows) - 0.5, -0.5)
    if found.measure.startswith("AUC"):
        ax.axvline(0.5, color=GREY, linewidth=0.8, linestyle=(0, (2, 3)))
    ax.set_xlabel(_measured(found), fontsize=9)
    seeds = "; orange: each seed" if any(row.by_seed for row in found.rows) else ""
    ax.set_title(f"Filled: networks; hollow: baselines{seeds}", fontsize=10, loc="left")
    frame(ax, "x")
    if own is not None:
        sign(own)
    return figure_of(ax)


def against_cost(found: Comparison, against: str, ax: Axes | None = None) -> Figure:
    """Every number with its interval over the cost of an answer; what has no cost stands as a line with its name.

    Raises:
        InputError: No line has this cost.

    References:
        Canziani et al. 2016, An analysis of deep neural network models for practical applications, arXiv:1605.07678.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    from easydl.figures import BLUE, GREY, figure_of, frame, literal, new_figure, sign

    costs = {row.name: float(getattr(row, against)) for row in found.rows}
    drawn = [row for row in found.rows if math.isfinite(costs[row.name]) and math.isfinite(row.value)]
    if not drawn:
        raise InputError(
            f"None of the {len(found.rows)} lines of this comparison has its {COSTS[against].split(' (')[0]}.",
            "a comparison with a network in it, made by easydl.compare.",
            "Compare again with a network, or use .show() alone.",
        )
    own = new_figure(7.5, 4.6) if ax is None else None
    ax = own.subplots() if own is not None else ax
    assert ax is not None
    for row in drawn:
        if math.isfinite(row.low):
            ax.plot([costs[row.name]] * 2, [row.low, row.high], color=BLUE, linewidth=2, solid_capstyle="butt")
        ax.plot([costs[row.name]], [row.value], "o", markersize=7, color=BLUE)
        ax.annotate(
            literal(row.name), (costs[row.name], row.value), xytext=(7, 4), textcoords="offset points", fontsize=9
        )
    for row in found.rows:
        if row not in drawn and math.isfinite(row.value):
            ax.axhline(row.value, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
            ax.annotate(
                literal(row.name), (0.01, row.value), xytext=(0, 2), xycoords=("axes fraction", "data"),
                textcoords="offset points", fontsize=8, color=GREY,
            )  # fmt: skip
    ax.set_xscale("log")
    low, high = min(costs[row.name] for row in drawn), max(costs[row.name] for row in drawn)
    ax.set_xlim(low / 2, high * 3)  # names stand to the right of their points
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel(COSTS[against], fontsize=9)
    ax.set_ylabel(_measured(found), fontsize=9)
    lines = "; dashed: what has no such cost" if len(drawn) < len(found.rows) else ""
    better = "lower" if found.lower_is_better else "upper"
    ax.set_title(f"Best: {better} left. Bars: 95% CI{lines}", fontsize=10, loc="left")
    frame(ax, "both")
    if own is not None:
        sign(own)
    return figure_of(ax)


def _measured(found: Comparison) -> str:
    return f"{found.measure}{f' ({found.unit})' if found.unit else ''}, 95% CI, {found.where}"


def cost_text(row: ComparedModel) -> str:
    """The cost of an answer, as in "4.2 ms per image, 13.5 MB"; empty where it was not measured."""
    parts = [f"{row.ms:.3g} ms per image"] if math.isfinite(row.ms) else []
    return ", ".join([*parts, *([f"{row.mb:.3g} MB"] if math.isfinite(row.mb) else [])])
