"""Numbers and intervals as people read them. It computes none."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

UNITS = {
    "years": "years", "months": "months", "weeks": "weeks", "days": "days", "hours": "hours", "min": "min", "mm": "mm",
    "cm": "cm", "mm2": "mm²", "cm2": "cm²", "mm3": "mm³", "cm3": "cm³", "ml": "mL", "l": "L", "hu": "HU", "g": "g",
    "kg": "kg", "percent": "%", "pct": "%", "mmhg": "mmHg", "points": "points",
}  # fmt: skip
"""Units that the end of a column's name says, as in ``age_years`` and ``volume_ml``."""


def number(value: float | None, unit: str = "") -> str:
    """A number with its unit: two decimals for a fraction between 0 and 1, never rounded up to a perfect one.

    Example:
        >>> number(0.8512), number(0.998), number(12.34, "mm"), number(float("nan"))
        ('0.85', '0.998', '12.3 mm', 'n/a')
    """
    if value is None or not math.isfinite(value):
        return "n/a"
    if unit:
        if 0 < abs(value) < 0.01:
            return f"{value:.2g} {unit}"
        decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
        return f"{value:.{decimals}f} {unit}"
    text = f"{value:.{_decimals(value)}f}"
    return {"1.000": ">0.999", "0.000": "<0.001"}.get(text, text)


def interval_text(row: Mapping[Any, Any] | pd.Series) -> str:
    """The interval of a row of ``Metrics.table`` (value, low, high, unit): "0.84-0.96", or "not computable"."""
    if not (math.isfinite(row["low"]) and math.isfinite(row["high"])):
        return "not computable"
    if row["unit"]:
        low, high = (number(row[side], row["unit"]) for side in ("low", "high"))
        return f"{low.removesuffix(' ' + row['unit'])} to {high}"
    decimals = max(_decimals(row[name]) for name in ("value", "low"))
    low, high = (f"{row[side]:.{decimals}f}" for side in ("low", "high"))
    between = " to " if low.startswith("-") else "-"
    return f"{'>0.999' if low == '1.000' else low}{between}{high}"


def unit_of(name: str) -> str:
    """The unit that the end of a name says, or text that takes its place.

    Example:
        >>> unit_of("age_years"), unit_of("Volume (mL)"), unit_of("score")
        ('years', 'mL', 'units of score')
    """
    last = re.split(r"[^A-Za-z0-9]+", name.strip().rstrip(")]"))[-1].lower()
    return UNITS[last] if last in UNITS and last != name.lower() else f"units of {name}"


def _decimals(fraction: float) -> int:
    """Two, or three where two would show an imperfect fraction as 0.00 or 1.00."""
    return 3 if f"{fraction:.2f}" in ("1.00", "0.00") and fraction not in (0.0, 1.0) else 2
