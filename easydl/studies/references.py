"""The masks of a study's rows: one file with a value for each class, or one file for each structure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from easydl.errors import InputError
from easydl.images import Scan
from easydl.studies.mask_labels import LabelMap, in_order, label_map
from easydl.studies.masks import Mask, MaskFacts, file_name, on_image, read_mask

if TYPE_CHECKING:
    from easydl.studies.study import Study

PREFIX = "mask_"
"""Of the columns of a study's frame that hold one structure each."""


def mask_addresses(study: Study, row: int) -> list[str]:
    """The files with the masks of one row, without those that are not named."""
    columns = [column for column in study.mask_columns if column in study.frame.columns]
    return [cell for column in columns if (cell := str(study.frame[column].iloc[row]))]


def reference_of(study: Study, row: int, scan: Scan) -> np.ndarray:
    """See `Study.reference`."""
    known = study.label_map
    placed = [
        on_image(_read(study, path), index, scan, resample=study.resample_masks, note=study._note)
        for path, index in zip(mask_addresses(study, row), known.each or (known.index,), strict=False)
    ]
    if not placed:
        raise InputError(f"Row {row} has no mask.", "a row with a mask.", "Choose another row.")
    together = placed[0]
    for place, labels in enumerate(placed[1:], start=1):
        both = (together > 0) & (labels > 0)
        if both.any():
            first = np.bincount(together[both]).argmax()
            raise InputError(
                f"{known.names[first]!r} and {known.names[place + 1]!r} overlap in {int(both.sum())} pixels of "
                f"{file_name(study.addresses(row)[0])}.",
                "structures that share no pixel: a mask has one class in each place.",
                "Take the overlap from one of them, or load each structure as a study of its own (mask= one column).",
            )
        together = together + labels
    return together


def read_label_map(study: Study) -> LabelMap:
    """What the values in the masks of a whole study stand for."""
    rows = [row for row in range(len(study)) if study.has_mask(row)]
    collapse, resample = study.collapse_instances, study.resample_masks
    seen = study.each(lambda row: [_read(study, path).facts for path in mask_addresses(study, row)], rows)
    columns = list(zip(*seen, strict=True)) if seen else [()]

    def meaning(facts: list[MaskFacts]) -> LabelMap:
        return label_map(facts, study.mask_labels, images=len(study), collapse=collapse, resample=resample)

    if len(study.mask_columns) == 1:
        return meaning(list(columns[0]))
    names = [column.removeprefix(PREFIX) for column in study.mask_columns]
    maps = []
    for place, (name, facts) in enumerate(zip(names, columns, strict=False), start=1):
        one = meaning(list(facts))
        if len(one.names) > 2:
            raise InputError(
                f"The masks of {name!r} hold {len(one.names) - 1} values beside the background.",
                "one structure in each file, when there is a column for each.",
                "Pass collapse_instances=True (--collapse-instances) to take every value but 0 as the structure, or "
                "mask= one column and mask_labels= the names of its values.",
            )
        maps.append((one, {value: place * (index > 0) for value, index in one.index.items()}))
    notes = dict.fromkeys(f"{name}: {note}" for name, (one, _) in zip(names, maps, strict=True) for note in one.notes)
    together = in_order(["background", *names], list(range(len(names) + 1)))
    return replace(together, each=tuple(index for _, index in maps), notes=tuple(notes))


def _read(study: Study, path: str) -> Mask:
    return read_mask(path, collapse=study.collapse_instances, entry=study.files.entry(path, "mask"))
