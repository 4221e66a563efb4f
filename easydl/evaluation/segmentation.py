"""The numbers of a segmenter, case by case and in summary, with n and 95% intervals. It runs no model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.evaluation.intervals import PatientBootstrap, mean_interval, not_computable
from easydl.evaluation.results import Metrics, metric_row, size_notes, width_notes
from easydl.evaluation.surfaces import dice, hd95
from easydl.prediction.results import Case

TINY = 10


def segmentation_metrics(
    cases: Iterable[Case], *, patients_known: bool = True, seed: int = 0, resamples: int = 2000
) -> Metrics:
    """Test a segmenter: Dice, HD95 and volume error, case by case, and their means with intervals.

    Args:
        cases: What ``easydl.prediction.cases`` yields; taken one at a time, so only one is in memory.
        patients_known: False when nobody knows which images belong to one patient.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.

    Returns:
        Metrics whose first row is the mean Dice. ``cases`` holds one row per case and class. Where the
        reference is empty Dice has no meaning: such cases are left out of the means and counted, with the
        volume wrongly marked. Volumes are in mL (areas in mm² for 2D); in voxels or pixels when the spacing
        is unknown.

    Raises:
        InputError: No case, masks of different shapes, or a value that is no class.

    Example:
        >>> names = ("background", "nodule")
        >>> mask = np.zeros((8, 8), int); mask[2:6, 2:6] = 1
        >>> cases = [Case(f"{p}.png", p, mask, mask, (1.0, 1.0), names) for p in "abc"]
        >>> segmentation_metrics(cases)
        Dice 1.00 (95% CI 1.00-1.00), 3 patients

    References:
        Maier-Hein L et al. Metrics reloaded. Nat Methods 2024;21:195-212.
    """
    rows: list[dict[str, Any]] = []
    classes: tuple[str, ...] = ()
    for position, case in enumerate(cases):
        names = tuple(str(name) for name in case.classes)
        _check(case, names, classes or names, position)
        classes = names
        rows += [_measured(case, position, k, name) for k, name in enumerate(names) if k > 0]
    if not rows:
        raise InputError(
            "There is no case to test.",
            "At least one image with its reference mask and one class besides the background.",
            "Check that the test set is not empty and that its rows have masks.",
        )
    frame = pd.DataFrame(rows)
    by = ["image", "patient", "case", "class"]
    frame = frame.sort_values(by, kind="stable", key=_sortable).reset_index(drop=True)
    frame["unit of n"] = frame["patient" if patients_known else "image"]
    return _summary(frame, classes, patients_known=patients_known, seed=seed, resamples=resamples)


def _sortable(column: pd.Series) -> pd.Series:
    return column if column.name == "case" else column.astype(str)


def _check(case: Case, names: tuple[str, ...], expected: tuple[str, ...], position: int) -> None:
    predicted, reference = np.asarray(case.predicted), np.asarray(case.reference)
    if predicted.shape != reference.shape or predicted.ndim not in (2, 3):
        raise InputError(
            f"Case {position + 1}: predicted mask {predicted.shape}, reference mask {reference.shape}.",
            "Two masks of one shape, (height, width) or (depth, height, width).",
            "Bring both to the grid of the source image.",
        )
    highest = max(int(mask.max(initial=0)) for mask in (predicted, reference))
    lowest = min(int(mask.min(initial=0)) for mask in (predicted, reference))
    if names != expected or highest >= len(names) or lowest < 0:
        raise InputError(
            f"Case {position + 1}: mask values from {lowest} to {highest}, classes {', '.join(names)}.",
            f"Values 0 to {len(expected) - 1}, the positions of {', '.join(expected)}.",
            "Check the mask's values and the class names; every case needs the same classes.",
        )


def _measured(case: Case, position: int, k: int, name: str) -> dict[str, Any]:
    predicted, reference = np.asarray(case.predicted) == k, np.asarray(case.reference) == k
    spacing = None if case.spacing_mm is None else tuple(float(step) for step in case.spacing_mm)
    solid = predicted.ndim == 3
    if spacing is None:
        size, unit, length = 1.0, "voxels" if solid else "pixels", "voxels" if solid else "pixels"
    else:
        size, unit, length = float(np.prod(spacing)), "mm²", "mm"
        if solid:
            size, unit = size / 1000, "mL"  # 1 mL is 1000 mm³
    volumes = size * int(predicted.sum()), size * int(reference.sum())
    empty = not reference.any()
    return {
        "image": str(case.image),
        "patient": str(case.patient),
        "case": position,
        "class": name,
        "dice": dice(predicted, reference),
        "hd95": hd95(predicted, reference, spacing),
        "hd95_unit": length,
        "predicted_volume": volumes[0],
        "reference_volume": volumes[1],
        "volume_error": np.nan if empty else volumes[0] - volumes[1],
        "false_positive_volume": volumes[0] if empty else np.nan,
        "volume_unit": unit,
        "reference_voxels": int(reference.sum()),
        "predicted_voxels": int(predicted.sum()),
    }


def _summary(
    frame: pd.DataFrame, classes: tuple[str, ...], *, patients_known: bool, seed: int, resamples: int
) -> Metrics:
    unit_of_n = "patients" if patients_known else "images"
    structures = classes[1:]
    bootstrap = PatientBootstrap(frame["unit of n"], resamples=resamples, seed=seed)

    def mean(name: str, part: pd.DataFrame, column: str, unit: str = "", note: str = "") -> dict[str, Any]:
        part = part[part[column].notna()]
        n, images = part["unit of n"].nunique(), part["case"].nunique()
        if not n:
            return metric_row(
                name,
                np.nan,
                not_computable("no case to measure"),
                0,
                unit_of_n,
                images=0,
                unit=unit,
                note=note,
            )
        index = np.searchsorted(bootstrap.names, part["unit of n"].to_numpy(str))
        sums = np.zeros((len(bootstrap.names), 2 * len(structures)))
        for j, structure in enumerate(structures):
            inside = (part["class"] == structure).to_numpy()
            sums[:, 2 * j] = np.bincount(index[inside], part[column].to_numpy(float)[inside], len(bootstrap.names))
            sums[:, 2 * j + 1] = np.bincount(index[inside], minlength=len(bootstrap.names))
        measured = np.flatnonzero(sums[:, 1::2].any(axis=0))
        totals = sums.sum(axis=0)

        def statistic(weights: np.ndarray) -> np.ndarray:
            drawn = weights @ sums
            counts = drawn[:, 1::2]
            each = np.divide(drawn[:, ::2], counts, out=np.full_like(counts, np.nan), where=counts > 0)
            return each[:, measured].mean(axis=1, keepdims=True)

        value = float((totals[::2][measured] / totals[1::2][measured]).mean())
        interval = mean_interval(bootstrap.run(statistic)[:, 0], n)
        return metric_row(name, value, interval, n, unit_of_n, images=images, unit=unit, note=note)

    several = len(structures) > 1
    rows = [mean("Dice, mean over classes", frame, "dice")] if several else []
    notes: list[str] = []
    for structure in structures:
        part = frame[frame["class"] == structure]
        ending = f", {structure}" if several else ""
        there = part[part["reference_voxels"] > 0]
        missed = int((there["predicted_voxels"] == 0).sum())
        rows.append(mean(f"Dice{ending}", part, "dice", note=structure))
        for length in _units(part, "hd95_unit"):
            note = f"{missed} missed wholly, no distance" if missed else ""
            rows.append(mean(f"HD95{ending}", part[part["hd95_unit"] == length], "hd95", length, note))
        for unit in _units(part, "volume_unit"):
            same = part[part["volume_unit"] == unit].assign(size=lambda x: x["volume_error"].abs())
            what = "area" if unit in ("mm²", "pixels") else "volume"
            rows.append(mean(f"{what} error{ending}", same, "volume_error", unit, "predicted minus reference"))
            rows.append(mean(f"absolute {what} error{ending}", same, "size", unit))
            empty = same[same["reference_voxels"] == 0]
            if len(empty):
                note = "marked where the reference is empty"
                rows.append(mean(f"false-positive {what}{ending}", empty, "false_positive_volume", unit, note))
        notes += _case_notes(structure, part, there, missed)
    people = {s: frame.loc[(frame["class"] == s) & (frame["reference_voxels"] > 0), "unit of n"] for s in structures}
    notes += size_notes({name: part.nunique() for name, part in people.items()}, unit_of_n) + width_notes(rows[0])
    if not patients_known:
        notes.append("Patients are unknown: every image counts as its own patient, so intervals may be too narrow.")
    return Metrics(
        task="segmentation",
        classes=classes,
        table=pd.DataFrame(rows),
        notes=notes,
        patients_known=patients_known,
        images=int(frame["case"].nunique()),
        patients=len(bootstrap.names),
        per_class={name: {"images": len(part), "patients": part.nunique()} for name, part in people.items()},
        cases=frame.drop(columns=["unit of n", "case"]),
        seed=seed,
        resamples=resamples,
    )


def _units(part: pd.DataFrame, column: str) -> list[str]:
    return sorted(part[column].unique())


def _case_notes(structure: str, part: pd.DataFrame, there: pd.DataFrame, missed: int) -> list[str]:
    notes = []
    empty = len(part) - len(there)
    if empty:
        marked = int((part["false_positive_volume"] > 0).sum())
        notes.append(
            f"{structure}: the reference is empty in {empty} of {len(part)} images, where Dice has no "
            f"meaning. They are left out of the means; something was marked in {marked}."
        )
    if missed:
        notes.append(f"{structure}: missed wholly in {missed} of {len(there)} images (Dice 0, no HD95).")
    tiny = int((there["reference_voxels"] < TINY).sum())
    if tiny:
        notes.append(
            f"{structure}: the reference has fewer than {TINY} voxels in {tiny} of {len(there)} images; "
            "one voxel changes Dice a lot."
        )
    if len(_units(part, "hd95_unit")) > 1:
        notes.append(f"{structure}: some images have no known pixel spacing; they are summarised apart, in pixels.")
    return notes
