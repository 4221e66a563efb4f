"""What the values in a study's masks stand for: class names, and the value each class is saved with. It reads no masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from easydl.errors import InputError
from easydl.studies.masks import MaskFacts
from easydl.studies.soft_edges import cut

MOST_VALUES = 255
INSTANCES_FROM = 10
"""From so many values on, masks that count 1, 2, 3, ... to another number in each image are taken to number objects."""

MaskLabels = Mapping[str, int | list[int]]


@dataclass(frozen=True)
class LabelMap:
    """What the values in a study's masks stand for.

    Attributes:
        names: Class names, the background first.
        values: The value that a saved mask has for each class.
        index: The class of every value that may occur.
        notes: What was assumed.
        each: Where every structure has a file of its own, the class of every value in each of them.
    """

    names: tuple[str, ...]
    values: tuple[int, ...]
    index: dict[int, int]
    notes: tuple[str, ...] = ()
    each: tuple[dict[int, int], ...] = ()


def label_map(
    seen: list[MaskFacts], labels: MaskLabels | None, *, images: int, collapse: bool, resample: bool
) -> LabelMap:
    """What the values stand for: the classes of ``labels``, or one for each value, 0 (background) first.

    Args:
        seen: The facts of every mask.
        labels: Names for the values, or None.
        images: How many images the study has.
        collapse: Whether every value but 0 was taken as foreground.
        resample: Whether masks on another grid are resampled.

    Raises:
        InputError: Unnamed values; masks number single objects and ``collapse`` was not asked for; segment numbers mean
            different things; or all masks are empty.
    """
    every = sorted(set().union(*(one.values for one in seen)) | {0})
    named = [value for values in (labels or {}).values() for value in ([values] if isinstance(values, int) else values)]
    softened = cut([one.look for one in seen], every, named=named)
    hard = [one._replace(values=tuple(sorted({softened.get(value, value) for value in one.values}))) for one in seen]
    found = _classes(hard, labels, collapse)
    notes = [*_counts(hard, images, collapse, resample), *found.notes]
    if softened:
        count = sum(not softened.keys().isdisjoint(one.values) for one in seen)
        notes.append(
            f"{count} of {len(seen)} masks have soft edges, as after resizing with interpolation: they were cut at half of "
            f"{every[-1]}"
        )
    return replace(
        found, notes=tuple(notes), index={**found.index, **{v: found.index[to] for v, to in softened.items()}}
    )


def _classes(seen: list[MaskFacts], labels: MaskLabels | None, collapse: bool) -> LabelMap:
    found = sorted(set().union(*(one.values for one in seen)) | {0}) if seen else [0]
    if len(found) < 2:
        raise InputError("Every mask is empty.", "a segmentation in at least one mask.", "Check the mask column.")
    if labels is not None:
        return _named(labels, seen)
    if not collapse:
        _refuse_instances(seen)
    if len(found) > MOST_VALUES:
        raise InputError(
            f"The masks hold {len(found)} values from {found[0]} to {found[-1]}.",
            f"at most {MOST_VALUES} classes.",
            "Pass collapse_instances=True (--collapse-instances: every value but 0 is foreground) if they number single "
            "objects such as nuclei.",
        )
    names = _segment_names(seen)
    if names is not None:
        values = sorted({0, *names} | set(found))
        return in_order(
            _distinct(["background", *(names.get(value, f"label {value}") for value in values[1:])]), values
        )
    if found == [0, 1, 255] and (both := _two_whites(seen)):
        return both
    return in_order(
        ["background", *(["foreground"] if len(found) == 2 else [f"label {value}" for value in found[1:]])], found
    )


def _counts(seen: list[MaskFacts], images: int, collapse: bool, resample: bool) -> list[str]:
    """Empty masks, rows without one, and what was repaired while reading, with the number of masks."""
    empty = sum(one.values == (0,) for one in seen)
    absent = images - len(seen)
    notes = [f"{empty} of {len(seen)} masks are empty: they segment nothing"] if empty else []
    notes += [f"{absent} of {images} images have no mask"] if absent else []
    if collapse:
        notes.append("every value but 0 in the masks was taken as foreground (collapse_instances)")
    if resample:
        notes.append("masks on another grid are resampled to their image's by nearest neighbour (resample_masks)")
    repairs = Counter(note for one in seen for note in one.notes)
    return [*notes, *(f"{count} of {len(seen)} masks: {note}" for note, count in sorted(repairs.items()))]


def in_order(names: list[str], values: list[int]) -> LabelMap:
    """A class for every value."""
    return LabelMap(tuple(names), tuple(values), {value: place for place, value in enumerate(values)})


def _refuse_instances(seen: list[MaskFacts]) -> None:
    """Masks that count their objects 1, 2, 3, ... up to a number that differs from image to image."""
    counts = [len(one.values) - (0 in one.values) for one in seen if one.values != (0,) and one.segments is None]
    most = max(counts, default=0)
    counted = all(set(one.values) | {0} == set(range(max(one.values) + 1)) for one in seen if one.segments is None)
    if not counts or not counted or most < INSTANCES_FROM or (len(counts) > 1 and len(set(counts)) == 1):
        return
    several = (
        f"from 1 up to {min(counts)} in one mask and up to {most} in another" if len(counts) > 1 else f"1 to {most}"
    )
    raise InputError(
        f"The masks seem to number single objects ({several}).",
        "one value for each class, the same in every mask.",
        "Pass collapse_instances=True (--collapse-instances: every value but 0 is foreground) or, if the numbers are "
        "classes, name them with mask_labels={'background': 0, 'name': 1, ...} (--mask-labels name=1).",
    )


def _named(labels: MaskLabels, seen: list[MaskFacts]) -> LabelMap:
    given = {str(name): [value] if isinstance(value, int) else [*value] for name, value in labels.items()}
    every = [value for values in given.values() for value in values]
    whole = all(isinstance(value, (int, np.integer)) and value >= 0 for value in every)
    if len(set(every)) < len(every) or not whole or not all(given.values()):
        raise InputError(
            f"mask_labels names {every}.",
            "integers from 0 on, each once.",
            "Write mask_labels={'background': 0, 'edema': 2, 'tumour': [1, 4]} (--mask-labels tumour=1,4).",
        )
    background = next((name for name, values in given.items() if 0 in values), None)
    if background is None:
        background, given["background"] = "background", [0, *given.get("background", [])]
    names = [background, *(name for name in given if name != background)]
    if len(names) < 2:
        raise InputError("mask_labels names the background only.", "at least one structure.", "Name its value.")
    index = {int(value): k for k, name in enumerate(names) for value in given[name]}
    strange = Counter(value for one in seen for value in one.values if value not in index)
    if strange:
        value, count = strange.most_common(1)[0]
        raise InputError(
            f"{len(strange)} values in the masks have no name in mask_labels: {', '.join(map(str, sorted(strange)[:5]))} "
            f"({value} in {count} masks).",
            f"only {', '.join(map(str, sorted(index)))}.",
            "Add them to mask_labels (--mask-labels), to a class of their own or to the background.",
        )
    said = [
        f"values {', '.join(map(str, given[name]))} are one class, {name!r}, which a saved mask holds as {given[name][0]}"
        for name in names
        if len(given[name]) > 1
    ]
    first = [0 if name == background else int(given[name][0]) for name in names]
    return LabelMap(tuple(names), tuple(first), index, tuple(said))


def _segment_names(seen: list[MaskFacts]) -> dict[int, str] | None:
    """The label of every segment number, when masks are DICOM Segmentations that agree about them."""
    names: dict[int, tuple[str, str]] = {}
    for one in seen:
        for number, label in (one.segments or {}).items():
            before, file = names.setdefault(number, (label, one.name))
            if before.strip().casefold() != label.strip().casefold():
                raise InputError(
                    f"Segment {number} is {before!r} in {file} and {label!r} in {one.name}.",
                    "the same number for the same structure in every segmentation.",
                    "Export the segmentations with the same segment numbers, or use those that agree.",
                )
    return {number: label.strip() or f"label {number}" for number, (label, _) in names.items()} or None


def _two_whites(seen: list[MaskFacts]) -> LabelMap | None:
    """Masks that store the foreground as 1 in some files and as 255 in others."""
    whites = [set(one.values) - {0} for one in seen]
    if any(len(values) > 1 for values in whites):
        return None
    ones, tops = whites.count({1}), whites.count({255})
    note = f"the foreground is 1 in {ones} masks and 255 in {tops}: both were taken as one class"
    return LabelMap(("background", "foreground"), (0, 1 if ones > tops else 255), {0: 0, 1: 1, 255: 1}, (note,))


def _distinct(names: list[str]) -> list[str]:
    return [name if name not in names[:k] else f"{name} ({k})" for k, name in enumerate(names)]
