"""What a study knows of each image beside its pixels, as evidence for a class: columns, the file, its name. No tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata

from easydl.traps.association import Categories, Evidence, Features

if TYPE_CHECKING:
    from easydl.studies import Study

FEW_CATEGORIES = 20
FEW_GROUPS = 8
MOSTLY = 0.9
"""The fraction of cells that must be read in one way: a few typing errors do not turn a column of dates into text."""
WORDS = 2.5
"""Words in a cell, on average, from which a column of different texts is free text."""
TOPICS = 30
NOT_COVARIATES = {"image", "mask", "label", "patient", "split", "given_split", "given_label", "followup"}
FILE_FIELDS = {
    "the size of the image in pixels": ("width", "height"),
    "the type of the file": ("file_type",),
    "the JPEG compression (quality and tables)": ("jpeg_quality", "jpeg_tables"),
}
LABEL_WORDS = re.compile(
    r"(^|[_ -])(label|class|classes|diagnosis|diagnose|finding|findings|target|category|y)($|[_ -])"
)
TREATMENT = re.compile(
    r"\b(?i:post-?op\w*|status post|clips?|drain(?:s|age)?|chest tube|stents?|catheter|port-?a-?cath|pacemaker|sternotomy|"
    r"resect\w*|\w*ectomy|biops\w*|chemo\w*|radiotherapy|irradiat\w*|intubat\w*|prosthes\w*|implants?|treated)\b"
)
"""What was done because of a disease is not there before it is known: images with it are not those that will be read."""
_DAY = pd.Timedelta(days=1)
_TIME = re.compile(r"(\d{1,2}):?(\d{2})(?::?(\d{2})(?:\.\d+)?)?")
_NUMBER_IN_TEXT = re.compile(r"\D*(\d{1,15})\D*")


@dataclass(frozen=True)
class Field:
    """Something that is known of every image and might predict its class.

    Attributes:
        name: What to call it in a sentence: ``the column 'scanner'``.
        evidence: What a test takes.
        features: The same as numbers for the joint model, ``(rows, few)``.
        kind: ``"column"``, ``"date"``, ``"file"`` (of which anybody sees it), ``"treatment"`` (words of a free text), or
            ``"order"`` (of the rows or names).
        groups: What each row is called by it, in a few groups: a category, or the lowest, middle or highest third; None
            where that makes no sense.
    """

    name: str
    evidence: Evidence
    features: np.ndarray
    kind: str = "column"
    groups: np.ndarray | None = None


def fields(study: Study) -> Iterator[Field]:
    """Every field of a study that varies and is neither the image, its label, nor a patient."""
    frame = study.frame
    for name, columns in FILE_FIELDS.items():
        if set(columns) <= set(frame.columns):
            values = np.concatenate([_numbers_of(frame[column])[0] for column in columns], axis=1)
            if np.ptp(values, axis=0).any():
                text = frame[list(columns)].astype(str).agg(" x ".join, axis=1)
                yield Field(name, Features(values), values, "file", _groups(text, values))
    others = NOT_COVARIATES.union(study.raters, *FILE_FIELDS.values())
    for column in map(str, frame.columns):
        if column not in others and not column.startswith("image_") and column not in study.heads:
            yield from _of_column(column, frame[column])
    yield from _of_order(study)


def says_the_label(study: Study) -> list[str]:
    """The columns called as labels are that name the label, in other or in finer words: each value goes with one class."""
    frame, found = study.frame, []
    for column in map(str, frame.columns):
        if column in NOT_COVARIATES or not LABEL_WORDS.search(column.lower()):
            continue
        pairs = pd.DataFrame({"cell": frame[column].astype(str), "label": frame["label"].astype(str)}).drop_duplicates()
        # A value for each row would say nothing: each of its values goes with one class, whatever it means.
        if len(pairs) == pairs["cell"].nunique() <= len(frame) // 2 and pairs["label"].nunique() > 1:
            found.append(column)
    return found


def _of_column(column: str, cells: pd.Series) -> Iterator[Field]:
    text = cells.astype(str).str.strip()
    different = text.nunique()
    if different < 2:
        return
    name = f"the column {column!r}"
    sentences = text.map(lambda cell: len(cell.split())).mean() >= WORDS and different > FEW_CATEGORIES
    values, known = (np.empty((len(text), 0)), 0.0) if sentences else _numbers_of(text)
    if known >= MOSTLY or (known > 0.2 and different > FEW_CATEGORIES and known + (text == "").mean() >= MOSTLY):
        if different <= FEW_CATEGORIES:
            values = np.concatenate([values, pd.get_dummies(text).to_numpy(float)], axis=1)
        kind = "date" if np.isfinite(days_of(text)).mean() >= MOSTLY * (text != "").mean() else "column"
        yield Field(name, Features(values), values, kind, _groups(text, values))
    elif different <= FEW_CATEGORIES:
        values = pd.get_dummies(text).to_numpy(float)
        yield Field(name, Categories(text), values, groups=_groups(text))
    elif sentences:
        values = _topics(text)
        if values.shape[1]:
            yield Field(name, Features(values), values)
    elif different <= MOSTLY * len(text):
        yield Field(name, Categories(text), np.empty((len(text), 0)), groups=_groups(text))
    treated = text.str.contains(TREATMENT).to_numpy(float)[:, None]
    if np.ptp(treated) and different > 2:
        yield Field(f"words of treatment in {column!r}", Features(treated), treated, "treatment")
    if 0 < (text == "").mean() < 1 and known < MOSTLY and different > FEW_CATEGORIES:
        missing = (text == "").to_numpy(float)[:, None]
        yield Field(f"whether {column!r} is filled in", Features(missing), missing)


def _groups(text: pd.Series, values: np.ndarray | None = None) -> np.ndarray:
    """A few groups of rows: the most frequent categories and all others, or thirds of a number."""
    counts = text.value_counts()
    if values is not None and len(counts) > FEW_GROUPS:
        thirds = np.quantile(values[:, 0], [1 / 3, 2 / 3])
        return np.array(["lowest third", "middle third", "highest third"])[np.searchsorted(thirds, values[:, 0])]
    frequent = counts.index[:FEW_GROUPS]
    return text.where(text.isin(frequent), "all others").replace("", "empty").to_numpy(str)


def _of_order(study: Study) -> Iterator[Field]:
    """Names and rows that were made class by class; class folders are, and say nothing by it."""
    names = study.frame[study.image_columns[0]].astype(str)
    stems = names.str.rsplit("#", n=1).str[0].str.extract(r"([^\\/]+)$")[0].fillna("")
    folders = names.str.extract(r"([^\\/]+)[\\/][^\\/]+$")[0].fillna("")
    by_folder = "label" in study.frame and (folders == study.frame["label"].astype(str)).mean() > MOSTLY
    if by_folder:
        return
    if 1 < folders.nunique() < MOSTLY * len(folders):
        yield Field("the folder of the file", Categories(folders), np.empty((len(folders), 0)), "order")
    values, known = _numbers_of(stems.str.replace(r"\.[A-Za-z0-9.]+$", "", regex=True))
    if known >= MOSTLY and np.ptp(values, axis=0).any():
        yield Field("the number in the file's name", Features(values), values, "order")
    rows = _basis(np.arange(len(names), dtype=float))
    yield Field("the order of the rows", Features(rows), rows, "order")


def _numbers_of(cells: pd.Series) -> tuple[np.ndarray, float]:
    """A column as numbers, ``(rows, few)``, and which fraction of its cells could be read; dates, times, numbers in text."""
    text = cells.astype(str).str.strip()
    filled = text != ""
    best, values = 0.0, np.full(len(text), np.nan)
    for reading in (_plain, days_of, _times, _inside_text):
        numbers = reading(text)
        fraction = float(np.isfinite(numbers[filled]).mean()) if filled.any() else 0.0
        if fraction > best:
            best, values = fraction, numbers
        if best == 1.0:
            break
    return _basis(values), best * float(filled.mean())


def _basis(values: np.ndarray) -> np.ndarray:
    """Normal scores, their squares (both ends against the middle), and what is missing."""
    missing = ~np.isfinite(values)
    scores = np.zeros(len(values))
    if (~missing).sum() > 1:
        scores[~missing] = norm.ppf((rankdata(values[~missing]) - 0.5) / (~missing).sum())
    columns = [scores, scores**2 - 1, missing.astype(float)]
    return np.stack([column for column in columns if np.ptp(column) > 0] or [np.zeros(len(values))], axis=1)


def _plain(text: pd.Series) -> np.ndarray:
    numbers = pd.to_numeric(text.str.replace(r"^(-?\d+),(\d+)$", r"\1.\2", regex=True), errors="coerce")
    return numbers.to_numpy(float)


def days_of(text: pd.Series) -> np.ndarray:
    """Dates as days, in the way of writing that reads the most cells; NaN where there is none."""
    from easydl.studies.dates import DATES, TWO_WAYS

    best = np.full(len(text), np.nan)
    for form in ("%Y%m%d", *DATES, *(form for pair in TWO_WAYS for form in pair)):
        days = (pd.to_datetime(text, format=form, errors="coerce") - pd.Timestamp(1900, 1, 1)) / _DAY
        values = days.to_numpy(float)
        if np.isfinite(values).sum() > np.isfinite(best).sum():
            best = values
    return best


def _times(text: pd.Series) -> np.ndarray:
    parts = text.str.extract(f"^{_TIME.pattern}$").astype(float)
    hours = parts[0] + parts[1] / 60 + parts[2].fillna(0) / 3600
    return hours.where((parts[0] < 24) & (parts[1] < 60)).to_numpy(float)


def _inside_text(text: pd.Series) -> np.ndarray:
    return text.str.extract(f"^{_NUMBER_IN_TEXT.pattern}$")[0].astype(float).to_numpy(float)


def _topics(text: pd.Series) -> np.ndarray:
    """Free text as a few numbers: words and pairs of words, weighted, and the directions in which they vary most."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, max_features=2000, sublinear_tf=True).fit_transform(text)
    except ValueError:  # no word occurs twice
        return np.empty((len(text), 0))
    count = min(TOPICS, min(words.shape) - 1)
    return TruncatedSVD(count, random_state=0).fit_transform(words) if count > 0 else np.empty((len(text), 0))
