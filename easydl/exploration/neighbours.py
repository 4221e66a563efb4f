"""`easydl.nearest`: the cases of a study that a model takes for most alike to one. It explains no answer by itself."""

from __future__ import annotations

import html
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype

from easydl.errors import RESEARCH_USE, InputError
from easydl.explanation.cases import one_row
from easydl.exploration.given import check_study
from easydl.figures import literal, new_figure, panel, sign
from easydl.images import Scan
from easydl.option_model import documented
from easydl.options_of_use import NearestOptions
from easydl.prediction.cascades import open_model
from easydl.prediction.feature_table import features
from easydl.prediction.predicting import as_source
from easydl.studies import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACROSS = 6
"""Images in a row of the figure."""
ROUNDING = 1e-5
"""Of a cosine distance of float32 features."""


@dataclass(eq=False)
class Nearest:
    """The nearest cases of one image. Made by `easydl.nearest`.

    Attributes:
        table: The nearest first: ``row`` (of the study), ``image``, ``patient``, ``label`` where there is one (of several
            tasks a column for each), ``distance`` (0 for the same features, 1 for unrelated ones).
        farther: Fraction of these images that lie farther from their own nearest case than this one does.
        n: Images it was compared with.
        scan: The image.
        scans: The nearest images, in the order of the table.
        window: (low, high) in HU that black and white stand for in figures, or None.
        patients_known: Whether the study says which images are of one patient.
        same_patient: Whether one of these may be of the same patient, as a sentence.
    """

    table: pd.DataFrame
    farther: float
    n: int
    scan: Scan
    scans: list[Scan]
    window: tuple[float, float] | None = None
    patients_known: bool = True
    same_patient: str = ""

    @property
    def sentence(self) -> str:
        """What the nearest cases are."""
        nearest = "nearest case of another patient" if self.patients_known else "nearest image"
        far = f"Of {self.n} images {self.farther:.0%} are farther from their own {nearest} than this one."
        said = [f"{name}{self._labels(self.table[column])}" for column, name in self._columns.items()]
        labels = f"The {len(self.table)} nearest cases: {'; '.join(said)}. " if said else ""
        return f"{labels}{far} {self.same_patient}".strip()

    @property
    def _columns(self) -> dict[str, str]:
        """What a reference is called in a sentence: nothing where there is only one."""
        own = ("row", "image", "patient", "distance")
        names = [str(column) for column in self.table.columns if column not in own]
        return {column: "" if column == "label" else f"{column}: " for column in names}

    def _labels(self, column: pd.Series) -> str:
        if is_float_dtype(column):
            return f"{column.min():.3g} to {column.max():.3g}, mean {column.mean():.3g}"
        return ", ".join(f"{count} {name}" for name, count in column.value_counts().items())

    def _label(self, row: pd.Series) -> str:
        cells = [(name, row[column]) for column, name in self._columns.items()]
        texts = [f"{name}{cell:.3g}" if isinstance(cell, float) else f"{name}{cell}" for name, cell in cells]
        return literal("\n".join(texts)) if texts else f"row {row['row']}"

    def show(self) -> Figure:
        """The image, then its nearest cases with their labels.

        Returns:
            A matplotlib figure.
        """
        count = len(self.scans) + 1
        columns = min(count, ACROSS)
        rows = -(-count // columns)
        figure = new_figure(2.1 * columns, 0.4 + 2.5 * rows)
        axes = np.ravel(figure.subplots(rows, columns))
        for ax in axes:
            ax.axis("off")
        panel(axes[0], self.scan, window=self.window)
        axes[0].set_title("this case", fontsize=10, fontweight="bold")
        for ax, scan, (_, row) in zip(axes[1:count], self.scans, self.table.iterrows(), strict=True):
            panel(ax, scan, window=self.window)
            ax.set_title(f"{self._label(row)}\ndistance {row['distance']:.2f}", fontsize=9.5)
        sign(figure)
        return figure

    def __repr__(self) -> str:
        return f"{self.table.to_string(index=False, float_format='{:.3f}'.format)}\n{self.sentence}\n{RESEARCH_USE}"

    def _repr_html_(self) -> str:
        from easydl.figures import as_image

        picture = as_image(self.show(), "The image and its nearest cases")
        return f"{picture}<p>{html.escape(self.sentence)}</p><p><small>{html.escape(RESEARCH_USE)}</small></p>"


@documented(NearestOptions)
def nearest(model: Any, case: Any, study: Study, *, k: int = 5, row: int = 0, units: str = "auto") -> Nearest:
    """Find the cases of a study that are most alike to one, as a model sees them.

    The nearest cases of a right answer are of its class. Where they share the scanner or the view and not the disease,
    that is what the model goes by.

    Args:
        model: A model of easydl or its ``.keras`` file.
        case: An image: a path, a `Scan`, an array; or a `Study` and its ``row``.
        study: Where to look, usually the training part. Images of the same patient as the case are left out.
        {options}
        row: Which image, where ``case`` is a study.
        units: As for `easydl.predict`.

    Returns:
        A `Nearest`.

    Raises:
        InputError: Fewer than ``k`` images of other patients, or nothing readable.
        ModelError: The model does not fit the images.

    Example:
        >>> easydl.nearest(model, "case.png", train).show()  # doctest: +SKIP

    References:
        Caruana et al. 1999, Case-based explanation of non-case-based learning methods, AMIA Annu Symp Proc 212-215.
    """
    NearestOptions.checked(k=k)
    check_study(study)
    model, metadata = open_model(model)
    source = as_source(case, metadata, units)
    if isinstance(source, Study):
        one = one_row(source, row)
        scan, patient = one.scan(0), str(one.frame["patient"].iloc[0]) if source.patients_known else ""
    else:
        scan, patient = source, source.patient or ""
    space = FeatureSpace.of(features(model, study).to_numpy(float), study)
    seen = space.directions_of(features(model, scan).to_numpy(float))[0]
    window = metadata.window if scan.units == "HU" else None
    return among(study, space, seen, scan, patient, k=k, window=window)


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """What a model sees in the images that a case is compared with, each feature on the scale that it has there.

    Attributes:
        directions: ``(images, features)``, each row of length 1.
        centre: The mean of each feature.
        spread: Its standard deviation.
        own: How far each image is from its own nearest of another patient.
    """

    directions: np.ndarray
    centre: np.ndarray
    spread: np.ndarray
    own: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, study: Study) -> FeatureSpace:
        """That of a study, from its features ``(images, features)``."""
        centre, spread = scale_of(values)
        return cls.scaled((values - centre) / spread, study, centre, spread)

    @classmethod
    def scaled(cls, values: np.ndarray, study: Study, centre: np.ndarray, spread: np.ndarray) -> FeatureSpace:
        """That of a study, from its features on their scale."""
        directions = unit_rows(values)
        patients = study.frame["patient"].astype(str).to_numpy() if study.patients_known else np.arange(len(study))
        return cls(directions, centre, spread, _nearest_distances(directions, patients))

    def directions_of(self, values: np.ndarray) -> np.ndarray:
        """Those of other images on the same scale."""
        return unit_rows((values - self.centre) / self.spread)


def among(
    study: Study,
    space: FeatureSpace,
    seen: np.ndarray,
    scan: Scan,
    patient: str,
    *,
    k: int,
    window: tuple[float, float] | None = None,
) -> Nearest:
    """The nearest cases of one whose features are known already.

    Args:
        study: Where to look.
        space: Of its images, row by row.
        seen: The direction of the case in it.
        scan: The case.
        patient: Whose it is; empty when that is not known.
        k: How many.
        window: Of figures, in HU.

    Raises:
        InputError: Fewer than ``k`` images of other patients.
    """
    patients = study.frame["patient"].astype(str).to_numpy()
    address = study.frame[study.image_columns[0]].astype(str).to_numpy()
    itself = np.array([_place(one) for one in address]) == _place(scan.source)
    if itself.any():
        patient = patients[itself][0]
    others = ~itself & ((patients != patient) | (not study.patients_known))
    if others.sum() < k:
        raise InputError(
            f"The study has {int(others.sum())} images of other patients.", f"at least k={k}.", "Give a smaller k."
        )
    distance = np.where(others, 1 - space.directions @ seen, np.inf)
    rows = np.argsort(distance, kind="stable")[:k]
    columns = {"row": rows, "image": address[rows], "patient": patients[rows], **_references(study, rows)}
    table = pd.DataFrame({**columns, "distance": distance[rows]})
    # Two that are each other's nearest are as far as each other, whatever rounding says.
    farther = float((space.own[others] > distance[rows[0]] + ROUNDING).mean())
    scans = [study.scan(int(one)) for one in rows]
    said = _same_patient(study, patient, bool(itself.any()))
    return Nearest(table, farther, int(others.sum()), scan, scans, window, study.patients_known, said)


def _same_patient(study: Study, patient: str, in_study: bool) -> str:
    """Whether one of the nearest may be of the same patient, in a sentence without names."""
    if not study.patients_known:
        return "The study does not say which images are of one patient: one of these may be of the same patient."
    if not patient:
        return "The image does not say whose it is: one of these may be of the same patient."
    if in_study or patient in set(study.frame["patient"].astype(str)):
        return "None of these is of the same patient: those were left out."
    return "No image that it was compared with has the patient number of this case."


def _references(study: Study, rows: np.ndarray) -> dict[str, np.ndarray]:
    """The labels of some rows: a value as a number, everything else as text; of several tasks a column for each."""
    found = {}
    for name, task in {**{head: study.head(head).task for head in study.heads}, "label": study.task}.items():
        if name in study.frame.columns:
            cells = study.frame[name].iloc[rows]
            found[name] = pd.to_numeric(cells).to_numpy(float) if task.is_value else cells.astype(str).to_numpy()
    return found


def _place(address: str) -> str:
    """A path as it is on the disk, whatever folder it was said from; the part after a ``#`` stays."""
    path, mark, key = address.partition("#")
    return os.path.realpath(path) + mark + key


def scale_of(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature; one that does not vary has an infinite one, and so no weight."""
    spread = values.std(axis=0)
    return values.mean(axis=0), np.where(spread > 1e-6 * spread.max(), spread, np.inf)


def unit_rows(values: np.ndarray) -> np.ndarray:
    """Each row at length 1; one of zeros stays."""
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _nearest_distances(units: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """For every image the distance to its nearest of another patient, block by block."""
    found = []
    for begin in range(0, len(units), 256):
        part = slice(begin, begin + 256)
        apart = np.where(patients[part][:, None] == patients[None], np.inf, 1 - units[part] @ units.T)
        found.append(apart.min(axis=1))
    return np.concatenate(found)
