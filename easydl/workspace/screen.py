"""A study as it may be shown on a screen: patients numbered, files without their folders. It changes no study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from easydl.atomic import inert

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
    copy = study.rows(study.frame.index)
    names = {name: f"patient {n}" for n, name in enumerate(dict.fromkeys(copy.frame["patient"]), start=1)}
    copy.frame["patient"] = copy.frame["patient"].map(names)
    return copy


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
    """Images and patients of each class.

    Args:
        study: A classification study.

    Returns:
        Columns ``class``, ``images`` and, when patients are known, ``patients``.
    """
    counts = study.frame.groupby("label").agg(images=("label", "size"), patients=("patient", "nunique"))
    counts = counts.reset_index(names="class")
    return counts if study.patients_known else counts.drop(columns="patients")


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
        if "label" in part.frame.columns:
            counts = part.frame["label"].value_counts()
            row |= {f"images of {name}": int(counts.get(name, 0)) for name in part.classes}
        rows.append(row)
    frame = pd.DataFrame(rows)
    return frame if parts[0].patients_known else frame.drop(columns="patients")
