"""Which columns of a training's history are drawn, in which order, and what a figure calls them. It draws nothing."""

from __future__ import annotations

import pandas as pd

_METRICS = ("auc", "dice", "ordinal_error", "mean_absolute_error", "accuracy")


def followed(history: pd.DataFrame) -> list[str]:
    """What was followed in training and validation: the loss, then the metrics, the main one first."""
    names = [str(name) for name in history.columns if f"val_{name}" in history.columns]
    return sorted((name for name in names if history[f"val_{name}"].notna().any()), key=_rank)


def curve_title(name: str) -> str:
    """What a figure calls a column of the history."""
    return {"auc": "AUC"}.get(name, name.replace("_", " ").capitalize())


def _rank(name: str) -> int:
    if name == "loss":
        return -1
    # With several tasks each has its own metrics, with its name before theirs.
    return next((rank for rank, end in enumerate(_METRICS) if name == end or name.endswith(f"_{end}")), len(_METRICS))
