"""A16 to A19 and A21: sides, geometry, the wrong metric, the order of dates, identifiers: rules that need no statistics."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from easydl.augmentation.laterality import sided_names
from easydl.traps.fields import days_of
from easydl.traps.issues import Issue, shown

if TYPE_CHECKING:
    from easydl.studies import Study

MIX = 2.0
"""By which factor the spacing of the finest and the coarsest tenth may differ."""
ANISOTROPY = 3.0
MASKS = 200
"""Masks looked at, at most, spread over the study."""
SMALL = 10
"""Pixels of a structure below which one pixel more or less changes the Dice coefficient by a tenth."""
FAR, FEWEST = 5.0, 10
"""From how many median absolute deviations on a volume is far off, and how many volumes that takes."""
_IMAGED = re.compile(r"(^|[_ -])(study|image|imaging|scan|exam|examination|acquisition|series)[_ -]?dates?$|^date$")
_OUTCOME = re.compile(
    r"(^|[_ -])(outcome|event|death|died|surgery|operation|biopsy|treatment|therapy|discharge|diagnosis|follow[_ -]?up)"
    r"[_ -]?dates?$|^date[_ -]of[_ -](death|surgery|biopsy|treatment|discharge|diagnosis)$"
)
_IDENTIFYING = re.compile(
    r"(^|[_ -])((first|last|family|given|patient|full)[_ -]?name|surname|(date[_ -]?of[_ -]?)?birth([_ -]?(date|day))?|dob|"
    r"mrn|ssn|address|street|phone|telephone|mobile|e?-?mail|insurance|passport)($|[_ -])"
)
_VALUES = {
    "e-mail addresses": re.compile(r"[^@\s]+@[^@\s]+\.\w{2,}"),
    "names as DICOM writes them": re.compile(r"[A-Za-zÀ-ÿ' -]{2,}\^[A-Za-zÀ-ÿ' -]{2,}\^*"),
    "telephone numbers": re.compile(r"\+\d{1,3}[ \d()/-]{7,}"),
}
_HEAD = re.compile(r"head|brain|skull|face|neuro|sinus|orbit", re.IGNORECASE)


def rules(study: Study) -> Iterator[Issue]:
    """What a rule tells without any test."""
    yield from _sides(study)
    yield from _geometry(study)
    yield from _metrics(study)
    yield from _order_of_dates(study)
    yield from _identifiers(study)


def _sides(study: Study) -> Iterator[Issue]:
    names = [] if study.task.has_masks or study.task.is_value else study.classes
    columns = [study.mask_column] if study.task.has_masks else []
    sided = sided_names(map(str, [*names, *columns]))
    if sided:
        listed = ", ".join(map(repr, sided[:5]))
        sentence = f"Labels name a side ({listed}): a mirrored image would be labelled wrongly."
        fix = "easydl's presets leave the left-right flip out for this study; do the same elsewhere."
        yield Issue("A16", "NOTE", sentence, fix, value=len(sided), n=len(study))
    for note in study.notes:
        if "contradicts the laterality" in note:
            sentence = f"Sides disagree: {note}."
            yield Issue("A16", "WARN", sentence, "Look at these images: one of the two is wrong.", n=len(study))


def _geometry(study: Study) -> Iterator[Issue]:
    facts, n = study.facts(), len(study)
    known = [one.spacing_mm for one in facts if one.spacing_mm]
    if 0 < len(known) < n:
        sentence = f"The spacing in mm is known for {len(known)} of {n} images only: sizes cannot be compared."
        yield Issue(
            "A17", "NOTE", sentence, "Take images of one kind of file, or those that tell it.", value=len(known), n=n
        )
    if len(known) >= SMALL:
        fine, coarse = np.quantile([min(one) for one in known], [0.1, 0.9])
        if coarse > MIX * fine:
            sentence = f"The spacing in the plane varies from {fine:.2g} to {coarse:.2g} mm (tenth and ninetieth percentile, n = {n})."
            fix = "A segmentation model is brought to one spacing; a classifier is not: crop or resample to the same scale."
            yield Issue("A17", "NOTE", sentence, fix, value=float(coarse / fine), n=n)
    volumes = [max(one) / min(one) for one in known if len(one) == 3]
    thick = sum(one > ANISOTROPY for one in volumes)
    if thick:
        sentence = f"{thick} of {len(volumes)} volumes have slices more than {ANISOTROPY:g} times as thick as their pixels are wide."
        fix = "Segmentation models downsample thick axes later; do not read fine detail across the slices."
        yield Issue("A17", "NOTE", sentence, fix, value=thick, n=len(volumes))


def _metrics(study: Study) -> Iterator[Issue]:
    """Maier-Hein 2024, Metrics reloaded, Nat Methods 21:195."""
    if not study.task.has_masks:
        return
    rows = [row for row in np.unique(np.linspace(0, len(study) - 1, MASKS).astype(int)).tolist() if study.has_mask(row)]
    sizes = np.array(
        study.each(lambda row: np.bincount(study.reference(row).ravel(), minlength=len(study.classes))[1:], rows)
    )
    if not len(sizes):
        return
    yield from _volumes(study, np.array(rows), sizes)
    for number, name in enumerate(study.classes[1:]):
        empty, small = sizes[:, number] == 0, (sizes[:, number] > 0) & (sizes[:, number] < SMALL)
        if empty.any() or small.any():
            parts = [f"{int(one.sum())} without it" for one in (empty,) if one.any()]
            parts += [f"{int(one.sum())} with fewer than {SMALL} pixels of it" for one in (small,) if one.any()]
            sentence = f"{name!r}: of {len(rows)} masks {' and '.join(parts)}. Dice is not defined there, or changes by a tenth with a pixel."
            fix = "Report volumes and detected lesions beside Dice, and Dice of the other images separately."
            chosen = np.array(rows)[empty | small]
            yield Issue("A18", "NOTE", sentence, fix, value=int((empty | small).sum()), n=len(rows), rows=shown(chosen))


def _volumes(study: Study, rows: np.ndarray, sizes: np.ndarray) -> Iterator[Issue]:
    """Structures far larger or smaller than the others, by the logarithm of their volume (in 2D: area)."""
    facts = study.facts()
    spacing = [facts[row].spacing_mm for row in rows]
    if not all(spacing):
        return
    unit, scale = ("mL", 1000.0) if study.dimension == 3 else ("cm²", 100.0)
    amounts = sizes * np.array([float(np.prod(one)) for one in spacing])[:, None] / scale
    for number, name in enumerate(study.classes[1:]):
        there = np.flatnonzero(amounts[:, number])
        if len(there) < FEWEST:
            continue
        logs = np.log(amounts[there, number])
        middle = np.median(logs)
        # 1.4826 makes the median absolute deviation a standard deviation where values are normal.
        spread = max(1.4826 * float(np.median(np.abs(logs - middle))), 0.02)
        far = there[np.abs(logs - middle) > FAR * spread]
        if len(far):
            listed = ", ".join(f"{one:.3g} {unit}" for one in np.sort(amounts[far, number])[:5])
            sentence = (
                f"{name!r}: {len(far)} of {len(there)} masks are far larger or smaller than the others ({listed}; median "
                f"{np.exp(middle):.3g} {unit})."
            )
            fix = "Look at these masks: a wrong structure, a wrong spacing or a mask that is not finished."
            yield Issue("A17", "WARN", sentence, fix, value=len(far), n=len(there), rows=shown(rows[far]))


def _order_of_dates(study: Study) -> Iterator[Issue]:
    """Images made after what is to be predicted."""
    columns = [str(column) for column in study.frame.columns]
    imaged, outcomes = ([one for one in columns if form.search(one.lower())] for form in (_IMAGED, _OUTCOME))
    for outcome in outcomes:
        for image in imaged:
            made, was = (days_of(study.frame[one].astype(str).str.strip()) for one in (image, outcome))
            known, late = np.isfinite(made) & np.isfinite(was), made > was
            if late.any():
                sentence = (
                    f"{int(late.sum())} of {int(known.sum())} images were made after the outcome ({image!r} later than "
                    f"{outcome!r}): they may show it, or its treatment."
                )
                fix = "Take images from before, or leave these out."
                rows = shown(study.frame.index[late])
                yield Issue("A19", "WARN", sentence, fix, value=int(late.sum()), n=int(known.sum()), rows=rows)


def _identifiers(study: Study) -> Iterator[Issue]:
    frame = study.frame
    own = {*study.image_columns, *study.mask_columns, "patient", "label", "split"}
    named, held = [], []
    for column in map(str, frame.columns):
        if column in own:
            continue
        cells = frame[column].astype(str).str.strip()
        if _IDENTIFYING.search(column.strip().lower()):
            named.append(column)
        else:
            held += [
                f"{what} in {column!r}" for what, form in _VALUES.items() if cells.str.fullmatch(form.pattern).any()
            ]
    if named or held:
        listed = ", ".join([*map(repr, named), *held])
        sentence = f"Columns may identify patients: {listed}."
        fix = "Take them out before the table leaves the hospital; easydl.deidentify does it for DICOM files."
        yield Issue("A21", "NOTE", sentence, fix, value=len(named) + len(held), n=len(study))
    regions = frame.get("body_part")
    if study.dimension == 3 and regions is not None:
        heads = regions.astype(str).str.contains(_HEAD).to_numpy()
        if heads.any():
            sentence = (
                f"{int(heads.sum())} of {len(study)} volumes are of the head: a face can be reconstructed from them."
            )
            yield Issue(
                "A21",
                "NOTE",
                sentence,
                "Remove the face (defacing) before they leave the hospital.",
                value=int(heads.sum()),
                n=len(study),
            )
