"""A study as it may be shown on a screen: patients numbered, files without their folders. It changes no study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from easydl.fileio import inert
from easydl.reporting.record import PARTS
from easydl.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

    from easydl.studies import Study


def numbered(study: Study) -> Study:
    """A copy of a study whose patients are called ``patient 1``, ``patient 2``, ... in the order of the rows."""
    names = {name: f"patient {n}" for n, name in enumerate(dict.fromkeys(study.frame["patient"]), start=1)}
    return replace(study, frame=study.frame.assign(patient=study.frame["patient"].map(names)))


def table(study: Study, rows: int) -> pd.DataFrame:
    """The first rows of a study's table with numbered patients and bare file names."""
    frame = numbered(study).frame.head(rows)
    for column in [*study.image_columns, *(name for name in study.mask_columns if name in frame.columns)]:
        frame = frame.assign(**{column: [Path(address.split("#")[0]).name for address in frame[column]]})
    return frame.map(inert)  # the table on the screen can be downloaded as CSV


def classes(study: Study) -> pd.DataFrame:
    """Images and, when they are known, patients of each class or label, with several tasks of each; empty for values."""
    from easydl.studies.plots import counts

    table = counts(study.frame, study.schema).rename(columns={"label": "class"})
    return table if study.patients_known else table.drop(columns="patients")


def numbers(study: Study) -> list[str]:
    """The range of each value, as text; empty for classes."""
    from easydl.studies.plots import ranges

    return [
        f"{name}: {measured['lowest']:g} to {measured['highest']:g}, median {measured['median']:g}"
        for name, measured in ranges(study.frame, study.schema).items()
    ]


def split(parts: tuple[Study, Study, Study]) -> pd.DataFrame:
    """Patients (when known) and images in each part of a split, in all and of each class."""
    import pandas as pd

    rows = []
    for part, name in zip(parts, PARTS.values(), strict=True):
        row: dict[str, object] = {"part": name, "patients": part.n_patients, "images": len(part)}
        counted = classes(part)
        counts = {name: int(count) for name, count in zip(counted["class"], counted["images"], strict=True)}
        row |= {f"images of {name}": counts.get(name, 0) for name in _named(parts[0])}
        rows.append(row)
    frame = pd.DataFrame(rows)
    return frame if parts[0].patients_known else frame.drop(columns="patients")


def _named(study: Study) -> list[str]:
    """The classes in their order; with several tasks, with the task's name before them."""
    if study.heads:
        heads = study.heads.items()
        return [f"{name}: {label}" for name, labels in heads if not isinstance(labels, int) for label in labels]
    task = Task(study.task)
    return list(study.classes) if task.has_classes and not task.has_masks else []
