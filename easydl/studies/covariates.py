"""Which other columns of a study can be covariates of a model, such as age and sex. It encodes nothing."""

from __future__ import annotations

import re
from collections.abc import Collection

import pandas as pd

from easydl.studies.labels import MISSING, in_order

MOST_CATEGORIES = 20
FILE_FACTS = {
    "width",
    "height",
    "slices",
    "frames",
    "file_type",
    "jpeg_quality",
    "jpeg_tables",
    "filename",
    "spacing_mm",
    "units",
}
"""What describes the file and not the patient: it would teach a model which scanner or clinic an image came from."""
_NEVER = {"image", "mask", "label", "patient", "split", "given_split", "given_label"}
_IDENTIFIER = re.compile(
    r"(^|[_ -])(id|uid|ids|name|mrn|accession|address|path|file|url|doi|date|time|birth\w*|phone)($|[_ -])"
)


def covariates_of(
    frame: pd.DataFrame, targets: Collection[str] = (), excluded: Collection[str] = ()
) -> dict[str, tuple[str, ...] | None]:
    """The usable columns of a study's frame: for each its categories in order, or None for a number.

    Left out are the image, the targets and what stands for them one to one, the patient, splits, identifiers, dates,
    paths, what describes the file, text of more than 20 different values, and what never varies.

    Example:
        >>> frame = pd.DataFrame({"image": ["a", "b", "c"], "age": ["61", "", "40"], "sex": ["F", "M", "F"]})
        >>> covariates_of(frame)
        {'age': None, 'sex': ('F', 'M')}
    """
    taken = _NEVER | FILE_FACTS | set(excluded) | set(targets)
    covariates: dict[str, tuple[str, ...] | None] = {}
    for column in map(str, frame.columns):
        if column in taken or column.startswith("image_") or _IDENTIFIER.search(column.lower()):
            continue
        cells = known(frame[column])
        if cells.nunique() < 2 or any(_same(cells, frame[target]) for target in targets):
            continue
        if pd.to_numeric(cells, errors="coerce").notna().all():
            covariates[column] = None
        elif cells.nunique() <= min(MOST_CATEGORIES, len(cells) // 2):
            covariates[column] = tuple(in_order(list(cells.unique())))
    return covariates


def known(cells: pd.Series) -> pd.Series:
    """The cells that say something: no blanks, and no word for "missing"."""
    text = cells.astype(str).str.strip()
    return text[(text != "") & ~text.str.casefold().isin(MISSING)]


def _same(cells: pd.Series, label: pd.Series) -> bool:
    """Whether a column is the label under other names: every value of one goes with one value of the other."""
    pairs = pd.DataFrame({"cell": cells, "label": label.loc[cells.index]}).drop_duplicates()
    return len(pairs) == pairs["cell"].nunique() == pairs["label"].nunique()
