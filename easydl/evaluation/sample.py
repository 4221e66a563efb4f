"""The labelled predictions of a test as arrays, resampled by patient. It decides nothing about display."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score, roc_curve

from easydl.errors import InputError
from easydl.evaluation.influence import auc_influence, average_precision_influence, standard_error
from easydl.evaluation.intervals import (
    MINIMUM_PATIENTS,
    Interval,
    auc_interval,
    blended,
    logit_limits,
    not_computable,
    proportion_interval,
    wilson,
)
from easydl.evaluation.level import level
from easydl.evaluation.metric import PATIENTS_UNKNOWN, Estimate, Resampling
from easydl.evaluation.probabilities import ProbabilitySums, calibration_line

FEW_IN_A_CLASS = f"fewer than {MINIMUM_PATIENTS} patients in a class"
_GRID = np.linspace(0, 1, 101)
_CURVE_POINTS = 300


class ClassSample:
    """The labelled rows of a test of exclusive classes as integer arrays, the bootstrap, and every resampled number.

    ``threshold`` says, as text, what the predictions were decided by.
    """

    threshold = ""

    def __init__(self, table: pd.DataFrame, names: list[str], resampling: Resampling) -> None:
        code = {name: k for k, name in enumerate(names)}
        self.names, self.resampling = names, resampling
        self.reference = table["label"].map(code).to_numpy(int)
        self.predicted = table["prediction"].map(code).to_numpy(int)
        self.scores = table[[f"p({name})" for name in names]].to_numpy(float)
        content = np.column_stack([self.scores, self.predicted])
        self.bootstrap = resampling.bootstrap(table["patient"], self.reference, content=content)
        self.images, self.patients = len(table), len(self.bootstrap.names)
        self.confusion = confusion_matrix(self.reference, self.predicted, labels=range(len(names)))
        self.images_of = np.bincount(self.reference, minlength=len(names))
        self.patients_of = [self._patients(self.reference == k) for k in range(len(names))]
        self._influences: dict[tuple[int, bool], np.ndarray] = {}
        self._resample()

    @property
    def per_class(self) -> dict[str, dict[str, int]]:
        """Images and patients of each class."""
        counts = zip(self.names, self.images_of.tolist(), self.patients_of, strict=True)
        return {name: {"images": images, "patients": patients} for name, images, patients in counts}

    @property
    def absent(self) -> list[str]:
        """Classes that no image has."""
        return [name for name, patients in zip(self.names, self.patients_of, strict=True) if not patients]

    def _patients(self, images: np.ndarray) -> int:
        return len(np.unique(self.bootstrap.index[images]))

    def _per_patient(self, images: np.ndarray) -> np.ndarray:
        return np.bincount(self.bootstrap.index[images], minlength=self.patients).astype(float)

    def _resample(self) -> None:
        """Draw once, and keep of every resample the confusion matrix, Brier score, log loss and calibration bins."""
        k = len(self.names)
        pairs = [(self.reference == i) & (self.predicted == j) for i in range(k) for j in range(k)]
        cells = np.stack([self._per_patient(pair) for pair in pairs], axis=1)
        binary = k == 2
        self.ranked = [c for c in range(k) if 0 < self.images_of[c] < self.images and (c == 1 or not binary)]
        self.probability = ProbabilitySums(self.scores, self.reference)
        sums = np.zeros((self.patients, self.probability.columns.shape[1]))
        np.add.at(sums, self.bootstrap.index, self.probability.columns)
        values = self.bootstrap.run(lambda weights: np.column_stack([weights @ cells, weights @ sums]))
        self.resampled_confusion = values[:, : k * k].reshape(-1, k, k)
        self.resampled_probability = values[:, k * k :]

    def influence(self, c: int, *, precision: bool = False) -> np.ndarray:
        """What each image adds to the error of the AUC (or the average precision) of a class, float64 ``(images,)``."""
        key = (c, precision)
        if key not in self._influences:
            of = average_precision_influence if precision else auc_influence
            self._influences[key] = of(self.scores[:, c], self.reference == c)
        return self._influences[key]

    def error(self, influence: np.ndarray) -> float:
        """The standard error that belongs to the influence of every image, by patient."""
        return float(standard_error(influence, self.bootstrap.index, self.bootstrap.strata)[0])

    @cached_property
    def calibration_line(self) -> dict[str, tuple[float, Interval]]:
        """Slope and intercept of the calibration, as `probabilities.calibration_line`."""
        return calibration_line(self.scores, self.reference, self.bootstrap.index, self.bootstrap.strata)

    def sides(self, c: int) -> tuple[int, int]:
        """Patients with a class, and with another."""
        positive = self.reference == c
        return self._patients(positive), self._patients(~positive)

    def auc(self, c: int) -> Estimate:
        """AUC of one class against the rest."""
        if c not in self.ranked:
            return Estimate(np.nan, not_computable("the test set holds one class only"), self.patients, self.images)
        value = float(roc_auc_score(self.reference == c, self.scores[:, c]))
        interval = auc_interval(value, self.error(self.influence(c)), *self.sides(c))
        return Estimate(value, interval, self.patients, self.images)

    def average_precision(self, c: int) -> Estimate:
        """The average precision of one class against the rest: the area under the precision-recall curve."""
        n, images = self.patients, self.images
        note = f"guessing gives {self.images_of[c] / images:.2f}"
        if c not in self.ranked:
            return Estimate(np.nan, not_computable("it is in none or in all of the images"), n, images, note)
        value = float(average_precision_score(self.reference == c, self.scores[:, c]))
        with_it, without = self.sides(c)
        if min(with_it, without) < MINIMUM_PATIENTS:
            reason = not_computable(f"fewer than {MINIMUM_PATIENTS} patients with or without it")
            return Estimate(value, reason, n, images, note)
        error = self.error(self.influence(c, precision=True))
        if error < 1e-12:  # every positive image stands above all others
            return Estimate(value, wilson(value, with_it), n, images, note)
        interval = logit_limits(value, blended(error, value * (1 - value) / with_it), n)
        return Estimate(value, interval, n, images, note)

    def recall(self, c: int) -> Estimate:
        """The fraction of a class's images that are predicted as such."""
        return self.ratio(self.cells([c]), self.cells([c], [c]), [c])

    def spared(self, c: int) -> Estimate:
        """The fraction of the images of other classes that are not called ``c``: its specificity."""
        others = [k for k in range(len(self.names)) if k != c]
        return self.ratio(self.cells(others), self.cells(others, others), [])

    def ratio(self, counted: np.ndarray, hits: np.ndarray, classes: list[int]) -> Estimate:
        """A proportion of images.

        ``counted`` and ``hits`` are boolean masks over the cells of the confusion matrix (reference,
        predicted); ``classes`` are the classes that need two patients each.
        """
        among = counted[self.reference, self.predicted]
        images, patients = int(among.sum()), self._patients(among)
        if not images:
            return Estimate(np.nan, not_computable("no image to count"), 0, 0)
        value = float(self.confusion[hits].sum() / images)
        denominators = self.resampled_confusion[:, counted].sum(axis=1)
        resampled = np.divide(
            self.resampled_confusion[:, hits].sum(axis=1),
            denominators,
            out=np.full(len(denominators), np.nan),
            where=denominators > 0,
        )
        if any(self.patients_of[c] < MINIMUM_PATIENTS for c in classes):
            return Estimate(value, not_computable(FEW_IN_A_CLASS), patients, images)
        counts = self._per_patient(among)
        return Estimate(value, proportion_interval(value, resampled, counts[counts > 0]), patients, images)

    def cells(self, reference: list[int] | None = None, predicted: list[int] | None = None) -> np.ndarray:
        """A mask over the confusion matrix: these reference classes and these predictions (None: all)."""
        mask = np.zeros_like(self.confusion, dtype=bool)
        everything = list(range(len(self.names)))
        rows = everything if reference is None else reference
        columns = everything if predicted is None else predicted
        mask[np.ix_(rows, columns)] = True
        return mask


def roc_curves(sample: ClassSample, *, band: bool = True) -> dict[str, dict[str, list[float]]]:
    """The ROC curve of every ranked class: ``fpr``, ``tpr``, and with ``band`` its ``low``, ``high`` over ``grid``."""
    curves = {}
    for c in sample.ranked:
        positive = sample.reference == c
        false, true, _ = roc_curve(positive, sample.scores[:, c])
        keep = np.unique(np.linspace(0, len(false) - 1, min(len(false), _CURVE_POINTS)).astype(int))
        curves[sample.names[c]] = {
            "fpr": false[keep].round(5).tolist(),
            "tpr": true[keep].round(5).tolist(),
            **(_band(sample, c, positive) if band else {"grid": [], "low": [], "high": []}),
        }
    return curves


def _band(sample: ClassSample, c: int, positive: np.ndarray) -> dict[str, list[float]]:
    """Pointwise 95% band of the sensitivity at each false-positive rate; empty where it has no width."""
    if not sample.auc(c).interval.computable or sample.error(sample.influence(c)) < 1e-12:
        return {"grid": [], "low": [], "high": []}
    order = np.argsort(-sample.scores[:, c], kind="stable")
    ends = np.flatnonzero(np.append(np.diff(sample.scores[order, c]) != 0, True))
    columns, is_positive = sample.bootstrap.index[order], positive[order].astype(float)

    def statistic(weights: np.ndarray) -> np.ndarray:
        per_image = weights[:, columns]
        true = np.cumsum(per_image * is_positive, axis=1)[:, ends]
        false = np.cumsum(per_image, axis=1)[:, ends] - true
        with np.errstate(invalid="ignore"):  # a resample without one of the classes has no curve
            true, false = true / true[:, -1:], false / false[:, -1:]
        return np.stack([np.interp(_GRID, np.append(0, x), np.append(0, y)) for x, y in zip(false, true, strict=True)])

    tail = (1 - level()) / 2
    low, high = np.nanquantile(sample.bootstrap.run(statistic), [tail, 1 - tail], axis=0)
    return {"grid": _GRID.tolist(), "low": low.round(5).tolist(), "high": high.round(5).tolist()}


def class_rows(frame: pd.DataFrame, names: list[str], patients_known: bool) -> tuple[pd.DataFrame, list[str]]:
    """The labelled rows of a test of exclusive classes, sorted, and notes on what was left out."""
    if len(names) < 2:
        raise InputError(f"classes={names}.", "at least two classes.", "Pass the model's classes in their order.")
    columns = ["prediction", *(f"p({name})" for name in names)]
    table, notes = rows_to_test(frame, columns, patients_known)
    for column in ("label", "prediction"):
        strange = sorted(set(table[column]) - set(names))
        if strange:
            raise InputError(
                f"The column {column} holds {', '.join(repr(name) for name in strange[:5])}.",
                f"One of the model's classes: {', '.join(names)}.",
                "Correct the labels, or test with the model that was trained on them.",
            )
    return table, notes


def rows_to_test(
    frame: pd.DataFrame, columns: list[str], patients_known: bool, *, empty_is_label: bool = False
) -> tuple[pd.DataFrame, list[str]]:
    """The labelled rows of a test, sorted, with a patient in each; and notes on what was left out.

    All of ``columns`` but ``prediction`` hold finite numbers. ``empty_is_label`` where an image may have none of several
    labels.
    """
    needed = ["label", *columns, *(["patient"] if patients_known else [])]
    missing = [column for column in needed if column not in frame.columns]
    if missing:
        raise InputError(
            f"The predictions lack the column(s) {', '.join(missing)}.",
            f"Columns {', '.join(needed)}.",
            "Pass the table of easydl.predict(model, study), and the model's classes in their order.",
        )
    labelled = frame["label"].notna() & (empty_is_label | (frame["label"].astype(str).str.strip() != ""))
    table = frame.loc[labelled].copy()
    notes = []
    if len(table) < len(frame):
        notes.append(f"{len(frame) - len(table)} of {len(frame)} images have no label and were left out.")
    if table.empty:
        raise InputError(
            "No test image has a label.", "A reference label for every test image.", "Add the column label."
        )
    for column in {"label", "prediction"} & set(needed):
        table[column] = table[column].astype(str)
    numbers = [column for column in columns if column != "prediction"]
    broken = ~np.isfinite(table[numbers].to_numpy(float)).all(axis=1)
    if broken.any():
        raise InputError(
            f"{int(broken.sum())} of {len(table)} images have a prediction that is not a number.",
            "Finite numbers; probabilities between 0 and 1.",
            "Train again with a lower learning rate, or look at these images: their pixels may be empty.",
        )
    patient = table["patient"].astype(object).where(table["patient"].notna(), "") if patients_known else ""
    table["patient"] = pd.Series(patient, index=table.index).astype(str).str.strip()
    by = [column for column in ("label", *numbers, "image", "patient") if column in table.columns]
    # Sorted by what is measured, so that neither the order of the rows nor names matter, not even to the last digit.
    table = table.sort_values(by, kind="stable").reset_index(drop=True)
    alone = table["patient"] == ""
    table["patient"] = table["patient"].mask(alone, [f"(image {row})" for row in range(len(table))])
    if not patients_known:
        notes.append(PATIENTS_UNKNOWN)
    elif alone.any():
        notes.append(f"{int(alone.sum())} images have no patient and count as a patient each.")
    return table, notes
