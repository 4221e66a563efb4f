"""Which cases a reader should look at: where the reference disagrees, then where the model is least sure. It runs no model."""

from __future__ import annotations

import numpy as np
import pandas as pd

from easydl.networks.decision import Decision
from easydl.prediction.results import Predictions
from easydl.tasks import Task

COLUMNS = ["case", "image", "patient", "answer", "reference", "score", "why"]


def table_cases(predictions: Predictions, k: int) -> pd.DataFrame:
    """The ``k`` cases of a table of answers, of several heads the ``k`` of all of them."""
    if predictions.heads:
        parts = []
        for name in predictions.heads:
            own = table_cases(predictions.head(name), k)
            parts.append(own.assign(why=f"{name}: " + own["why"]))
        return _numbered(pd.concat(parts), k)
    frame, decision = predictions.frame, Decision(Task(predictions.task), predictions.classes, predictions.thresholds)
    names = [column for column in frame.columns if column == "image" or str(column).startswith("image_")]
    rows = pd.DataFrame({"image": frame[names[0]].astype(str), "patient": frame["patient"].astype(str)})
    label = frame["label"].astype(str).where(frame["label"].notna(), "") if "label" in frame.columns else ""
    rows["reference"] = label
    known = rows["reference"] != ""
    if decision.task.is_value:
        rows["answer"], rows["score"] = frame["value"].map("{:.4g}".format), frame["value"]
        error = (frame["value"] - pd.to_numeric(rows["reference"], errors="coerce")).abs()
        rows["why"], rows["order"] = "far from the reference", -error
        return _numbered(rows[known & error.notna()], k)
    scores = frame[[f"p({name})" for name in predictions.classes]].to_numpy(float)
    rows["answer"], rows["score"] = frame["prediction"].astype(str), frame["confidence"].astype(float)
    margin = _margin(scores, decision)
    wrong = known & (rows["answer"] != rows["reference"])
    rows["why"] = np.where(wrong, "the reference says otherwise", "least sure")
    # First the errors the model was surest of, then what lies nearest to the decision.
    rows["order"] = np.where(wrong, -1.0 - margin, margin)
    return _numbered(rows, k)


def mask_cases(cases: pd.DataFrame, k: int) -> pd.DataFrame:
    """The ``k`` images whose masks agree least with the reference."""
    worst = cases.loc[cases.groupby("image")["dice"].idxmin().dropna()]
    rows = pd.DataFrame(
        {
            "image": worst["image"].astype(str),
            "patient": worst["patient"].astype(str),
            "answer": worst["class"].astype(str),
            "reference": "",
            "score": worst["dice"],
            "why": "lowest Dice",
            "order": worst["dice"],
        }
    )
    return _numbered(rows, k)


def _margin(scores: np.ndarray, decision: Decision) -> np.ndarray:
    """How far each answer is from another one, 0 to 1."""
    if decision.positive is not None or not decision.task.exclusive:
        values = decision.values[1:] if decision.positive is not None else decision.values
        own = scores[:, 1:] if decision.positive is not None else scores
        return np.asarray(np.abs(own - values).min(axis=1))
    top = np.sort(scores, axis=1)
    return np.asarray(top[:, -1] - top[:, -2])


def _numbered(rows: pd.DataFrame, k: int) -> pd.DataFrame:
    if rows.empty:
        return pd.DataFrame(columns=COLUMNS)
    if "order" not in rows.columns:
        rows = rows.assign(order=range(len(rows)))
    chosen = rows.sort_values("order", kind="stable").head(k)
    return chosen.assign(case=[f"case {place}" for place in range(1, len(chosen) + 1)])[COLUMNS].reset_index(drop=True)
