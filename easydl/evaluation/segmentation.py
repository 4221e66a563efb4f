"""The metrics of a segmentation model, case by case and in summary: overlap, distance, volume, lesions. It runs no model."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.evaluation.case_sample import UNIT, CaseSample
from easydl.evaluation.lesions import lesion_counts
from easydl.evaluation.metric import PATIENTS_UNKNOWN, Metric, Resampling, run, size_notes
from easydl.evaluation.results import Metrics
from easydl.evaluation.surfaces import dice, distances_summary, iou, surface_distances
from easydl.prediction.results import Case
from easydl.tasks import Task

TINY = 10
TOLERANCE = 2.0
"""How far a surface may lie off in the surface Dice, in mm (pixels or voxels without a spacing)."""
MANY = 3
"""Objects in a case, on the average, from which on they are also matched and counted."""
BOUNDED = ("dice", "iou", "surface_dice")
"""Columns of cases with numbers between 0 and 1."""
POSITIVE = ("hd95", "assd", "size", "distance", "false_positive_volume")
"""Columns of cases with numbers of 0 or more and a long tail."""


def segmentation_metrics(
    cases: Iterable[Case], *, patients_known: bool = True, seed: int = 0, resamples: int = 2000
) -> Metrics:
    """Test a segmentation model: Dice, HD95 and volume error, case by case, and their means with intervals.

    Args:
        cases: What ``easydl.prediction.segmented_cases`` yields; taken one at a time, so only one is in memory.
        patients_known: False when nobody knows which images belong to one patient.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.

    Returns:
        Metrics whose first row is the mean Dice, with HD95 and volume error; then IoU, average surface distance, surface
        Dice at 2 mm, sensitivity for single lesions and false finds, and with three or more objects in a case their F1
        and count. ``cases`` holds one row per case and class. Where the
        reference is empty Dice has no meaning: such cases are left out of the means and counted, with the
        volume wrongly marked. Volumes are in mL (areas in mm² for 2D); in voxels or pixels when the spacing
        is unknown.

    Raises:
        InputError: No case, masks of different shapes, or a value that is not one of the classes.

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
    by = ["image", "patient", "case", "class"]
    frame = pd.DataFrame(rows).sort_values(by, kind="stable").reset_index(drop=True)
    sample = CaseSample(frame, Resampling(patients_known, seed, resamples))
    return _summary(sample, classes)


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
    volumetric = predicted.ndim == 3
    if spacing is None:
        size, unit, length = 1.0, "voxels" if volumetric else "pixels", "voxels" if volumetric else "pixels"
    else:
        size, unit, length = float(np.prod(spacing)), "mm²", "mm"
        if volumetric:
            size, unit = size / 1000, "mL"  # 1 mL is 1000 mm³
    volumes = size * int(predicted.sum()), size * int(reference.sum())
    empty = not reference.any()
    return {
        "image": str(case.image),
        "patient": str(case.patient),
        "case": position,
        "class": name,
        "dice": dice(predicted, reference),
        "iou": iou(predicted, reference),
        **distances_summary(surface_distances(predicted, reference, spacing), TOLERANCE),
        "hd95_unit": length,
        "predicted_volume": volumes[0],
        "reference_volume": volumes[1],
        "volume_error": np.nan if empty else volumes[0] - volumes[1],
        "false_positive_volume": volumes[0] if empty else np.nan,
        "volume_unit": unit,
        "reference_voxels": int(reference.sum()),
        "predicted_voxels": int(predicted.sum()),
        **lesion_counts(predicted, reference),
    }


def _summary(sample: CaseSample, classes: tuple[str, ...]) -> Metrics:
    frame, structures = sample.frame, classes[1:]
    several = len(structures) > 1
    metrics, notes = [_mean("Dice, mean over classes", frame, "dice")] if several else [], []
    for structure in structures:
        rows = frame[frame["class"] == structure]
        metrics += _metrics_of(structure, rows, f", {structure}" if several else "")
        notes += _case_notes(structure, rows)
    with_it = {s: frame.loc[(frame["class"] == s) & (frame["reference_voxels"] > 0), UNIT] for s in structures}
    resampling = sample.resampling
    notes += size_notes({name: units.nunique() for name, units in with_it.items()}, resampling.unit_of_n)
    return run(
        Task.SEGMENTATION,
        classes,
        metrics,
        sample,
        notes=notes if resampling.patients_known else [*notes, PATIENTS_UNKNOWN],
        per_class={name: {"images": len(units), "patients": units.nunique()} for name, units in with_it.items()},
        cases=frame.drop(columns=[UNIT, "case"]),
    )


def _mean(
    name: str, rows: pd.DataFrame, column: str, unit: str = "", note: str = "", *, more: bool = False
) -> Metric[CaseSample]:
    measure = partial(
        CaseSample.mean, rows=rows, column=column, note=note, bounded=column in BOUNDED, positive=column in POSITIVE
    )
    return Metric(name, measure, unit, more)


def _metrics_of(structure: str, rows: pd.DataFrame, ending: str) -> list[Metric[CaseSample]]:
    """The metrics of one structure; lengths and volumes once for each unit that its cases are measured in."""
    missed = _missed(rows)
    metrics = [_mean(f"Dice{ending}", rows, "dice", note=structure)]
    for unit, part in rows.groupby("hd95_unit"):
        note = f"{missed} missed wholly, no distance" if missed else ""
        metrics.append(_mean(f"HD95{ending}", part, "hd95", str(unit), note))
    for unit, part in rows.groupby("volume_unit"):
        part, unit = part.assign(size=part["volume_error"].abs()), str(unit)
        what = "area" if unit in ("mm²", "pixels") else "volume"
        metrics.append(_mean(f"{what} error{ending}", part, "volume_error", unit, "predicted minus reference"))
        metrics.append(_mean(f"absolute {what} error{ending}", part, "size", unit))
        empty = part[part["reference_voxels"] == 0]
        if len(empty):
            note = "marked where the reference is empty"
            metrics.append(_mean(f"false-positive {what}{ending}", empty, "false_positive_volume", unit, note))
    return [*metrics, *_further(rows, ending)]


def _further(rows: pd.DataFrame, ending: str) -> list[Metric[CaseSample]]:
    """Numbers to be read after the first: other overlaps and distances, single lesions, and objects where they are many."""
    metrics = [_mean(f"IoU{ending}", rows, "iou", more=True)]
    for unit, part in rows.groupby("hd95_unit"):
        unit = str(unit)
        metrics.append(_mean(f"ASSD{ending}", part, "assd", unit, "average distance of both surfaces", more=True))
        note = f"fraction of both surfaces within {TOLERANCE:g} {unit} of the other"
        metrics.append(_mean(f"surface Dice{ending}", part, "surface_dice", note=note, more=True))
    touched = "fraction of the reference's connected pieces that the prediction touches"
    found = partial(CaseSample.pooled, rows=rows, hits="lesions_found", among="lesions", note=touched)
    metrics.append(Metric(f"lesion sensitivity{ending}", found, more=True))
    note = "connected pieces that touch no lesion"
    false = partial(CaseSample.rate, rows=rows, column="false_finds", note=note)
    metrics.append(Metric(f"false finds per image{ending}", false, "pieces", more=True))
    if rows["lesions"].mean() < MANY:
        return metrics
    objects = rows.assign(
        twice=2 * rows["objects_matched"],
        both=rows["objects_predicted"] + rows["lesions"],
        excess=rows["objects_predicted"] - rows["lesions"],
    )
    objects["distance"] = objects["excess"].abs()
    note = "objects matched where overlap over union is above a half"
    matched = partial(CaseSample.pooled, rows=objects, hits="twice", among="both", note=note)
    return [
        *metrics,
        Metric(f"object F1{ending}", matched, more=True),
        _mean(f"object count error{ending}", objects, "excess", "objects", "predicted minus reference", more=True),
        _mean(f"absolute object count error{ending}", objects, "distance", "objects", more=True),
    ]


def _missed(rows: pd.DataFrame) -> int:
    return int(((rows["reference_voxels"] > 0) & (rows["predicted_voxels"] == 0)).sum())


def _case_notes(structure: str, rows: pd.DataFrame) -> list[str]:
    notes = []
    present = rows[rows["reference_voxels"] > 0]
    empty, missed, tiny = len(rows) - len(present), _missed(rows), int((present["reference_voxels"] < TINY).sum())
    if empty:
        marked = int((rows["false_positive_volume"] > 0).sum())
        notes.append(
            f"{structure}: the reference is empty in {empty} of {len(rows)} images, where Dice has no "
            f"meaning. They are left out of the means; something was marked in {marked}."
        )
    if missed:
        notes.append(f"{structure}: missed wholly in {missed} of {len(present)} images (Dice 0, no HD95).")
    if tiny:
        notes.append(
            f"{structure}: the reference has fewer than {TINY} voxels in {tiny} of {len(present)} images; "
            "one voxel changes Dice a lot."
        )
    if rows["hd95_unit"].nunique() > 1:
        notes.append(
            f"{structure}: some images have no known pixel spacing; they are summarised separately, in pixels."
        )
    return notes
