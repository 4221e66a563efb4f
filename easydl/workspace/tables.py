"""A study as it may be shown on a screen: patients numbered, files without their folders. It changes no study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from easydl.fileio import inert

if TYPE_CHECKING:
    import pandas as pd

    from easydl.studies import Study


def numbered(study: Study) -> Study:
    """A copy of a study whose patients are called ``patient 1``, ``patient 2``, ... in the order of the rows.

    Args:
        study: The study; it is not changed.

    Returns:
        The copy; its images are the same.

    Example:
        >>> import pandas as pd
        >>> from easydl.studies import Study
        >>> frame = pd.DataFrame({"image": ["b.png", "a.png"], "patient": ["Smith", "Jones"]})
        >>> list(numbered(Study(frame)).frame["patient"])
        ['patient 1', 'patient 2']
    """
    names = {name: f"patient {n}" for n, name in enumerate(dict.fromkeys(study.frame["patient"]), start=1)}
    return replace(study, frame=study.frame.assign(patient=study.frame["patient"].map(names)))


def table(study: Study, rows: int) -> pd.DataFrame:
    """The first rows of a study's table with numbered patients and bare file names.

    Args:
        study: The study; it is not changed.
        rows: How many rows.

    Returns:
        The rows.
    """
    frame = numbered(study).frame.head(rows)
    for column in [*study.image_columns, *(["mask"] if "mask" in frame.columns else [])]:
        frame = frame.assign(**{column: [Path(address.split("#")[0]).name for address in frame[column]]})
    return frame.map(inert)  # the table on the screen can be downloaded as CSV


def classes(study: Study) -> pd.DataFrame:
    """Images and patients of each class, grade or finding; for several questions, of the classes of each.

    Args:
        study: A study with labels.

    Returns:
        Columns ``class``, ``images`` and, when patients are known, ``patients``. Empty for numbers.
    """
    from easydl.studies.plots import counts

    table = counts(study.frame, study.schema).rename(columns={"label": "class"})
    return table if study.patients_known else table.drop(columns="patients")


def numbers(study: Study) -> list[str]:
    """What is measured, in words: the range of each number; empty for classes.

    Args:
        study: The study.
    """
    from easydl.studies.plots import ranges

    return [
        f"{name}: {one['lowest']:g} to {one['highest']:g}, median {one['median']:g}"
        for name, one in ranges(study.frame, study.schema).items()
    ]


def split(parts: tuple[Study, Study, Study]) -> pd.DataFrame:
    """Patients and images in each part of a split.

    Args:
        parts: Train, val and test, from ``study.split``.

    Returns:
        Columns ``part``, ``patients`` (when known), ``images`` and ``images of`` each class.
    """
    import pandas as pd

    rows = []
    for part, words in zip(parts, ("training", "validation", "test"), strict=True):
        row: dict[str, object] = {"part": words, "patients": part.n_patients, "images": len(part)}
        found = classes(part)
        counts = {name: int(count) for name, count in zip(found["class"], found["images"], strict=True)}
        row |= {f"images of {name}": counts.get(name, 0) for name in _named(parts[0])}
        rows.append(row)
    frame = pd.DataFrame(rows)
    return frame if parts[0].patients_known else frame.drop(columns="patients")


def _named(study: Study) -> list[str]:
    """The classes in their own order; those of several questions with the question before them."""
    if study.heads:
        return [f"{name}: {one}" for name, asked in study.heads.items() if isinstance(asked, list) for one in asked]
    return [] if study.task in ("regression", "segmentation") else study.classes
