"""The one-page sheet of an acceptance, and the chart over all calls. It computes no number and names no case."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.errors import RESEARCH_USE
from easydl.figures import COLOURS, GREY, literal, new_figure, sign

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from easydl.acceptance.result import Acceptance

FIELDS_DRAWN, FIELDS_LISTED = 5, 10
USUAL = 0.1
"""What lies outside the middle 90% of the training's values where nothing differs."""


def sheet(found: Acceptance, history: list[dict[str, Any]]) -> str:
    """The page of all calls, the last one in full."""
    from easydl.acceptance.result import DO_NOT, LOOK, NOTHING
    from easydl.evaluation.formatting import interval_text, number
    from easydl.reporting import figures
    from easydl.reporting.page import environment

    metrics = found.metrics
    rows = [] if metrics is None else metrics.table.head(8).to_dict("records")
    return (
        environment()
        .get_template("acceptance.html.j2")
        .render(
            research_use=RESEARCH_USE,
            found=found,
            date=when(found.date).strftime("%d %b %Y"),
            tag={DO_NOT: "FAIL", LOOK: "WARN", NOTHING: "OK"}.get(found.verdict, "UNTESTED"),
            rows=[
                {"name": row["name"], "value": number(row["value"], row["unit"]), "interval": interval_text(row),
                 "n": f"{row['n']} {row['unit_of_n']}"} for row in rows
            ],
            fields=[
                {"name": one.field, "here": one.here, "training": one.training, "n": one.n, "verdict": one.verdict,
                 "outside": f"{number(one.outside)} ({number(one.low)}-{number(one.high)})", "differs": one.differs}
                for one in found.shifts[:FIELDS_LISTED]
            ],
            left_out=max(0, len(found.shifts) - FIELDS_LISTED),
            cases=[
                {"name": row["case"], "why": row["why"], "answer": row["answer"], "reference": row["reference"],
                 "score": number(float(row["score"]))} for row in found.cases.to_dict("records")
            ],
            chart=figures.svg(drift_chart(history)),
            calls=len(history),
            trained=sum(found.labels.values()),
            called=[
                {"name": name, "here": number(fraction), "training": number(found.labels[name] / sum(found.labels.values()))}
                for name, fraction in found.called.items()
                if found.labels.get(name)
            ],
        )
    )  # fmt: skip


def drift_chart(history: list[dict[str, Any]]) -> Figure:
    """The headline, sensitivity and specificity with their intervals, and the fields that differ most, over the dates."""
    dates = [when(one["date"]) for one in history]
    figure = new_figure(9.6, 3.6)
    left, right = figure.subplots(1, 2)
    names = _names(history)
    for place, name in enumerate(names):
        found = [next((row for row in one["table"] if row["name"] == name), None) for one in history]
        _line(left, dates, found, name, place, len(names))
    left.set_title("The numbers, with 95% intervals" if names else "No call had labels", fontsize=11, loc="left")
    fields = _fields(history)
    for place, name in enumerate(fields):
        found = [next((row for row in one["shifts"] if row["field"] == name), None) for one in history]
        values = [None if row is None else {**row, "value": row["outside"]} for row in found]
        _line(right, dates, values, name, place, len(fields))
    right.axhline(USUAL, color=GREY, linewidth=0.8, linestyle=(0, (2, 3)))
    right.set_title("Cases outside what was usual in training", fontsize=11, loc="left")
    for ax, shown in ((left, names), (right, fields)):
        _axes(ax, dates, bool(shown))
    sign(figure)
    return figure


def when(text: str) -> datetime:
    """A date as it is kept, without its offset: days are compared, not hours."""
    return datetime.fromisoformat(text).replace(tzinfo=None)


def _names(history: list[dict[str, Any]]) -> list[str]:
    first = next((one["table"][0]["name"] for one in reversed(history) if one["table"]), None)
    every = {row["name"] for one in history for row in one["table"] if not row.get("unit")}
    return [name for name in dict.fromkeys((first or "", "sensitivity", "specificity")) if name in every]


def _fields(history: list[dict[str, Any]]) -> list[str]:
    most: dict[str, float] = {}
    for row in (row for one in history for row in one["shifts"]):
        most[row["field"]] = max(most.get(row["field"], 0.0), row["outside"])
    return sorted(most, key=lambda name: -most[name])[:FIELDS_DRAWN]


def _line(ax: Any, dates: list[datetime], rows: list[Any], name: str, place: int, lines: int) -> None:
    known = [(day, row) for day, row in zip(dates, rows, strict=True) if row is not None and row["value"] is not None]
    if not known:
        return
    span = max((dates[-1] - dates[0]).total_seconds() / 86400, 1.0)
    # Side by side, so that intervals of one date do not overlap.
    offset = (place - (lines - 1) / 2) * 0.012 * span
    x = np.array([(day - dates[0]).total_seconds() / 86400 + offset for day, _ in known])
    y = np.array([row["value"] for _, row in known], float)
    ends = np.array([[row["low"], row["high"]] for _, row in known], dtype=float)
    colour = COLOURS[place % len(COLOURS)]
    ax.plot(x, y, "o-", color=colour, linewidth=1.6, markersize=5, label=literal(name))
    ax.vlines(x, ends[:, 0], ends[:, 1], color=colour, linewidth=1.2, alpha=0.55)


def _axes(ax: Any, dates: list[datetime], legend: bool) -> None:
    days = [(day - dates[0]).total_seconds() / 86400 for day in dates]
    span = max(days[-1], 1.0)
    shown = np.unique(np.linspace(0, len(days) - 1, min(len(days), 5)).astype(int))
    ax.set(ylim=(-0.03, 1.03), xlim=(-0.08 * span, days[-1] + 0.08 * span))
    ax.set_xticks([days[k] for k in shown], [f"{dates[k]:%d %b %y}" for k in shown], fontsize=7.5)
    ax.grid(axis="y", color="#e3e8ec", linewidth=0.7)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    if legend:
        ax.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3)
