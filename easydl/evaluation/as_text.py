"""A test as text for a terminal: its numbers with their intervals, then its groups. It computes no number."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any

from easydl.evaluation.formatting import interval_text, number
from easydl.evaluation.results import Metrics, named_groups

WIDTH = 110
"""Columns of a usual window; what is longer is wrapped under its own column."""


def tables_text(metrics: Metrics) -> str:
    """The table of a test, and that of its groups below it, as aligned columns.

    Example:
        >>> row = {"name": "AUC", "value": 0.91, "low": 0.84, "high": 0.96, "n": 71, "unit_of_n": "patients"}
        >>> print(tables_text(Metrics(task="classification", classes=("no", "yes"), table=[row])))
             value  95% CI     n
        AUC  0.91   0.84-0.96  71 patients
    """
    shown = [_table(metrics.table.to_dict("records"))]
    if metrics.groups is not None:
        shown.append(_table(metrics.groups.assign(name=named_groups(metrics.groups)).to_dict("records")))
    return "\n\n".join(shown)


def _table(rows: list[dict[Any, Any]]) -> str:
    cells = [["", "value", "95% CI", "n", ""], *map(_cells, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    before = sum(widths) + 2 * len(widths)
    said: set[str] = set()
    lines = []
    for *first, note in cells:
        # How a threshold was chosen is the same for sensitivity and specificity: it is said once.
        new = [part for part in re.split(r"; (?![^(]*\))", note) if part not in said]
        said.update(part for part in new if part.startswith("threshold"))
        wrapped = textwrap.wrap("; ".join(new), max(30, WIDTH - before)) or [""]
        start = "  ".join(cell.ljust(width) for cell, width in zip(first, widths, strict=True))
        lines += [f"{start}  {wrapped[0]}".rstrip(), *(" " * before + more for more in wrapped[1:])]
    return "\n".join(lines)


def _cells(row: Mapping[Any, Any]) -> list[str]:
    n = f"{row['n']} {row['unit_of_n']}"
    return [str(row["name"]), number(row["value"], row["unit"]), interval_text(row), n, str(row["note"])]
