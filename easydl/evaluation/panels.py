"""The plots of a test as data: which kind, its title, what it shows. It draws nothing; `plots` draws any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from easydl.evaluation.formatting import interval_text, number, unit_of
from easydl.tasks import Task

MOST_POINTS = 3000
"""More dots could not be distinguished."""


@dataclass(frozen=True)
class Panel:
    """One plot. ``data`` are the keyword arguments of the drawing function that ``kind`` names."""

    kind: str
    title: str
    data: dict[str, Any]
    size: tuple[float, float] = (4.8, 4.6)
    """Inches."""


def panels_of(metrics: Any) -> list[Panel]:
    """The panels of the `Metrics` of one task, the main one first."""
    return [make(metrics) for make in _PANELS[metrics.task]]


def _rows(metrics: Any) -> dict[str, dict[str, Any]]:
    rows: list[dict[str, Any]] = metrics.table.to_dict("records")
    return {row["name"]: row for row in rows}


def _counted(metrics: Any, what: str) -> str:
    """A title with the number of patients, or of images when patients are unknown."""
    return f"{what}, {metrics.patients} {'patients' if metrics.patients_known else 'images'}"


def _roc(metrics: Any) -> Panel:
    rows, curves = _rows(metrics), {}
    for name, curve in metrics.curves.items():
        row = rows.get("AUC" if metrics.positive == name else f"AUC, {name}")
        label = name if row is None else f"{name}: AUC {number(row['value'])} (95% CI {interval_text(row)})"
        curves[label] = curve if metrics.positive == name else {"fpr": curve["fpr"], "tpr": curve["tpr"]}
    return Panel("roc", _counted(metrics, "ROC curve"), {"curves": curves})


def _confusion(metrics: Any) -> Panel:
    counts = None if metrics.confusion is None else metrics.confusion.to_numpy(int)
    title = f"Confusion matrix, {metrics.images} images"
    return Panel("confusion", title, {"counts": counts, "classes": metrics.classes})


def _misses(metrics: Any) -> Panel:
    counts = np.zeros((1, 1), int) if metrics.confusion is None else metrics.confusion.to_numpy(int)
    classes = np.arange(len(counts))
    distance = (classes[None, :] - classes[:, None]).ravel()
    steps = np.arange(-(len(counts) - 1), len(counts))
    fractions = np.array([counts.ravel()[distance == step].sum() for step in steps]) / max(1, counts.sum())
    return Panel("misses", "Distance of the prediction, in classes", {"steps": steps, "fractions": fractions})


def _forest(metrics: Any, what: str, title: str, guessing: dict[str, float] | None = None) -> Panel:
    rows = {name: row for name, row in _rows(metrics).items() if name.startswith(f"{what}, ")}
    estimates = {name: rows.get(f"{what}, {name}") for name in metrics.classes}
    size = (4.8, max(4.6, 1.6 + 0.32 * len(metrics.classes)))
    return Panel("forest", title, {"estimates": estimates, "guessing": guessing}, size)


def _auc_forest(metrics: Any) -> Panel:
    return _forest(metrics, "AUC", _counted(metrics, "AUC"))


def _precision_forest(metrics: Any) -> Panel:
    images = max(metrics.images, 1)
    guessing = {name: metrics.per_class.get(name, {}).get("images", 0) / images for name in metrics.classes}
    return _forest(metrics, "average precision", "average precision", guessing)


def group_panels(metrics: Any) -> list[Panel]:
    """A forest for each column of groups: the headline of every group below that of all images."""
    if metrics.groups is None:
        return []
    everyone = metrics.table.iloc[0].to_dict()
    panels = []
    for by, rows in metrics.groups.groupby("by", sort=False):
        named = rows[rows["name"] == everyone["name"]].to_dict("records")
        estimates = {f"all ({everyone['n']})": everyone} | {f"{row['group']} ({row['n']})": row for row in named}
        size = (5.6, max(2.2, 1.3 + 0.34 * len(estimates)))
        data = {"estimates": estimates, "guessing": None, "line": everyone["value"]}
        panels.append(Panel("forest", f"{everyone['name']} by {by} ({everyone['unit_of_n']})", data, size))
    return panels


def _calibration(metrics: Any) -> Panel:
    reference, prediction = _thinned(metrics)
    data = {"reference": reference, "prediction": prediction, "name": metrics.classes[0]}
    return Panel("calibration", _counted(metrics, "Calibration"), data)


def _bland_altman(metrics: Any) -> Panel:
    reference, prediction = _thinned(metrics)
    rows = _rows(metrics)
    names = {"bias": "bias", "lower limit": "lower limit of agreement", "upper limit": "upper limit of agreement"}
    lines = {short: rows[name] for short, name in names.items() if name in rows}
    data = {"reference": reference, "prediction": prediction, "lines": lines, "unit": unit_of(metrics.classes[0])}
    return Panel("bland_altman", "Bland-Altman, bands: 95% CI", data)


def _dice_dots(metrics: Any) -> Panel:
    structures, rows, cases = metrics.classes[1:], _rows(metrics), metrics.cases
    values = {name: np.zeros(0) for name in structures}
    if cases is not None and len(cases):
        values |= {
            name: cases.loc[cases["class"] == name, "dice"].astype(float).dropna().to_numpy() for name in structures
        }
    means = {name: rows.get(f"Dice, {name}", rows.get("Dice")) for name in structures}
    return Panel("dice", _counted(metrics, "Dice per image"), {"values": values, "means": means}, _by_classes(metrics))


def _psnr_lines(metrics: Any) -> Panel:
    columns: dict[str, np.ndarray] = {}
    if metrics.cases is not None:
        names = {"PSNR corrupted": "corrupted", "PSNR": "reconstructed"}
        columns = {
            label: metrics.cases[column].to_numpy(float)[:MOST_POINTS]
            for column, label in names.items()
            if column in metrics.cases
        }
    return Panel("psnr", _counted(metrics, "PSNR per image"), {"columns": columns}, _by_classes(metrics))


def _by_classes(metrics: Any) -> tuple[float, float]:
    return max(5.0, 2.2 + 1.6 * len(metrics.classes)), 4.6


def _thinned(metrics: Any) -> tuple[np.ndarray, np.ndarray]:
    """Reference and prediction, thinned evenly where they are too many."""
    reference, prediction = (np.asarray(metrics.points.get(side, [0.0]), float) for side in ("reference", "prediction"))
    step = -(-len(reference) // MOST_POINTS)
    return reference[::step], prediction[::step]


_PANELS: dict[Task, tuple[Callable[[Any], Panel], ...]] = {
    Task.CLASSIFICATION: (_roc, _confusion),
    Task.MULTILABEL: (_auc_forest, _precision_forest),
    Task.ORDINAL: (_confusion, _misses),
    Task.REGRESSION: (_calibration, _bland_altman),
    Task.SEGMENTATION: (_dice_dots,),
    Task.RECONSTRUCTION: (_psnr_lines,),
}
