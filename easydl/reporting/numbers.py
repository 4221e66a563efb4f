"""The numbers of a run as its page shows them: those of the test, and of the baselines. It computes none."""

from __future__ import annotations

from typing import Any

from easydl.evaluation import Metrics
from easydl.evaluation.formatting import interval_text, number
from easydl.evaluation.overfitting import BETTER
from easydl.reporting import figures, text
from easydl.reporting.names import shown
from easydl.reporting.record import RunRecord

_WORST_CASES = 12
_TILES = (
    "sensitivity", "specificity", "accuracy", "balanced accuracy", "HD95", "volume error", "area error",
    "average precision, mean over labels", "mean absolute error", "accuracy within one class", "RMSE", "R²", "ICC(2,1)",
    "bias",
)  # fmt: skip
_FIGURES = {
    "classification": "ROC curve and confusion matrix",
    "multilabel": "AUC and average precision of every label",
    "ordinal": "Confusion matrix, and errors in classes",
    "regression": "Prediction against reference, and Bland-Altman plot",
    "segmentation": "Dice of every test image",
    "multitask": "The figures of every task",
}


def result(metrics: Metrics | None) -> dict[str, Any] | None:
    """The numbers of a test with its figures; None where there are none."""
    if metrics is None or metrics.table.empty:
        return None
    rows = _rows(metrics)
    # With several tasks the first number of each stands at the top.
    first = {f"{name}: {one.table['name'].iloc[0]}" for name, one in metrics.heads.items() if len(one.table)}
    tiles = [
        row for row in rows[1:] if row["name"] in first or row["name"] in _TILES or row["name"].startswith("Dice, ")
    ]  # fmt: skip
    return {
        "rows": rows,
        "headline": rows[0],
        "sentence": metrics.headline,
        "tiles": tiles[:4],
        # How much better the training is stands above the numbers.
        "summary": [one for one in metrics.summary if BETTER not in one],
        "notes": [note for note in metrics.notes if BETTER not in note],
        "matrices": _matrices(metrics),
        "figure": figures.svg(metrics.show()),
        "figures": _FIGURES[metrics.task],
        "small": metrics.task == "segmentation",
        "cases": _worst_cases(metrics),
        "how": f"{metrics.resamples:,} bootstrap resamples of patients, seed {metrics.seed}",
        "look": text.looks(metrics),
    }


def _rows(metrics: Metrics) -> list[dict[str, Any]]:
    return [
        {
            "name": row["name"],
            "value": number(row["value"], row["unit"]),
            "interval": interval_text(row),
            "n": text.many(int(row["n"]), str(row["unit_of_n"]).removesuffix("s")),
            "images": row["images"],
            "images_text": text.many(int(row["images"]), "image"),
            "note": row["note"],
            "more": bool(row["more"]),
        }
        for row in metrics.table.to_dict("records")
    ]


def _matrices(metrics: Metrics) -> list[dict[str, Any]]:
    """The confusion matrix, or with several tasks that of each, with its title."""
    found = []
    for name, one in (metrics.heads or {"": metrics}).items():
        if one.confusion is None:
            continue
        cells = one.confusion.to_numpy(int).tolist()
        rows = [
            {"name": label, "cells": row, "total": sum(row)} for label, row in zip(one.classes, cells, strict=True)
        ]  # fmt: skip
        title = f"Confusion matrix{f' of {name}' if name else ''} (images)"
        found.append({"title": title, "classes": one.classes, "rows": rows})
    return found


def _worst_cases(metrics: Metrics) -> list[dict[str, Any]]:
    if metrics.cases is None or "dice" not in metrics.cases.columns:
        return []
    worst = metrics.cases.sort_values("dice", kind="stable", na_position="last").head(_WORST_CASES)

    def cell(row: Any, name: str, unit: str) -> str:
        value = row.get(name)
        return number(float(value), str(row.get(unit) or "")) if isinstance(value, (int, float)) else "n/a"

    return [
        {
            "image": shown(row.get("image"), "an image"),
            "patient": shown(row.get("patient"), ""),
            "class": row.get("class"),
            "dice": cell(row, "dice", ""),
            "hd95": cell(row, "hd95", "hd95_unit"),
            "predicted": cell(row, "predicted_volume", "volume_unit"),
            "reference": cell(row, "reference_volume", "volume_unit"),
        }
        for row in worst.to_dict("records")
    ]


def baselines(record: RunRecord) -> list[dict[str, Any]]:
    """The network beside its baselines, a table for each part (and task)."""
    return [
        {
            "title": f"{one.measure} of {one.where}{f': {one.head}' if one.head else ''}",
            "sentence": one.sentence,
            "on_test": one.part == "test",
            "rows": [
                {
                    "name": row.name,
                    "text": row.about,
                    "value": number(row.value, one.unit),
                    "interval": interval_text({**vars(row), "unit": one.unit}),
                    "gap": one.gap_text(row),
                    "n": text.many(row.n, one.unit_of_n.removesuffix("s")),
                }
                for row in one.rows
            ],
            "notes": [*(f"{name} left out: {why}." for name, why in one.left_out.items()), *one.notes],
        }
        for one in record.baselines.comparisons
    ]
