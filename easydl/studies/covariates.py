"""Which other columns of a study a model may be told beside the image, such as age and sex. It encodes nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pandas as pd

from easydl.studies.labels import MISSING, in_order

if TYPE_CHECKING:
    from easydl.studies.study import Study

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
}
"""What tells about the file and not the patient: it would teach a model which scanner or clinic an image came from."""
_NEVER = {"image", "mask", "label", "patient", "split", "given_split", "given_label"}
_IDENTIFIER = re.compile(
    r"(^|[_ -])(id|uid|ids|name|mrn|accession|address|path|file|url|doi|date|time|birth\w*|phone)($|[_ -])"
)


def covariates_of(study: Study) -> dict[str, tuple[str, ...] | None]:
    """The usable columns of a study.

    Left out are the image, the label and what stands for it one to one, the patient, splits, raters, identifiers,
    dates, paths, what tells about the file, text of more than 20 different values, and what never varies.

    Args:
        study: The study; its frame is text.

    Returns:
        For each column its categories in order, or None for a number.

    Example:
        >>> from easydl.studies import Study
        >>> frame = pd.DataFrame({"image": ["a", "b", "c"], "age": ["61", "", "40"], "sex": ["F", "M", "F"]})
        >>> covariates_of(Study(frame))
        {'age': None, 'sex': ('F', 'M')}
    """
    frame = study.frame
    taken = _NEVER | FILE_FACTS | set(study.image_columns) | set(study.raters) | set(study.heads)
    targets = list(study.heads) or (["label"] if "label" in frame.columns else [])
    found: dict[str, tuple[str, ...] | None] = {}
    for column in map(str, frame.columns):
        if column in taken or column.startswith("image_") or _IDENTIFIER.search(column.lower()):
            continue
        cells = known(frame[column])
        if cells.nunique() < 2 or any(_same(cells, frame[target]) for target in targets):
            continue
        if pd.to_numeric(cells, errors="coerce").notna().all():
            found[column] = None
        elif cells.nunique() <= min(MOST_CATEGORIES, len(cells) // 2):
            found[column] = tuple(in_order(list(cells.unique())))
    return found


def known(cells: pd.Series) -> pd.Series:
    """The cells that say something: no blanks, and no word for "missing"."""
    text = cells.astype(str).str.strip()
    return text[(text != "") & ~text.str.casefold().isin(MISSING)]


def _same(cells: pd.Series, label: pd.Series) -> bool:
    """Whether a column is the label in other words: every value of one goes with one value of the other."""
    pairs = pd.DataFrame({"cell": cells, "label": label.loc[cells.index]}).drop_duplicates()
    return len(pairs) == pairs["cell"].nunique() == pairs["label"].nunique()
