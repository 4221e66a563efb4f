"""Predictions as a table, and single cases with their reference, as the evaluation takes them. It computes neither."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from easydl.errors import RESEARCH_USE, InputError, unknown_name
from easydl.fileio import csv_text, write_text
from easydl.networks.decision import Decision, Threshold
from easydl.prediction.most_useful import most_useful
from easydl.studies.labels import JOIN
from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.networks.metadata import Head
    from easydl.prediction.provenance import Provenance

_SHOWN = 50
UNLIKE = "unlike"
"""The column that says in what an image is unlike the training images; it is there when any is."""


@dataclass(eq=False)
class Predictions:
    """One row per image: the predicted class and the probability of every class.

    Attributes:
        frame: Columns ``image``, ``patient``, ``label`` (when known), ``prediction``, ``confidence`` (0 to 1) and one
            ``p(<class>)`` per class (0 to 1). For two classes and for labels (joined by ``"; "``) ``thresholds`` decide;
            for ordinal the prediction is the median of the distribution; for regression there is one column ``value``
            instead. For several tasks all but image and patient begin with the head's name, as in ``cancer: p(yes)``.
            ``spread`` and ``set`` (of a value ``low`` and ``high``) are there when they were asked for (see `easydl.predict`), ``unlike`` when any image is
            not like the training images, ``seen`` when any of the images, or another image of its patient, was in the model's training.
        classes: Class names in order; for several tasks the names of the heads.
        patients_known: False when every image counted as a patient.
        name: What the predictions are of.
        task: ``classification``, ``multilabel``, ``ordinal``, ``regression`` or ``multitask``.
        heads: For several tasks, what each head predicts, by name.
        notes: What was assumed, as text; first what speaks against the model.
        thresholds: From which probability on the second of two classes, or a label, is called present, by name.
        provenance: Which model they are of and which images, for the ledger of test looks; None for a table made otherwise.
        features: What the last layer saw in each image (up to 64 numbers), by the index of ``frame``; None where it is not known.
    """

    frame: pd.DataFrame
    classes: tuple[str, ...]
    patients_known: bool = True
    name: str = ""
    task: str = "classification"
    heads: dict[str, Head] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    thresholds: dict[str, Threshold] = field(default_factory=dict)
    provenance: Provenance | None = field(default=None, repr=False)
    features: pd.DataFrame | None = field(default=None, repr=False)

    @property
    def unlike(self) -> list[str]:
        """In what images are unlike the training images, one text for each that is; empty when none is."""
        return [text for text in self.frame.get(UNLIKE, ()) if text]

    def head(self, name: str) -> Predictions:
        """The predictions of one of several heads, with the columns of a single task.

        Args:
            name: The head.

        Returns:
            Its Predictions.

        Raises:
            InputError: There is no such head.
        """
        if name not in self.heads:
            expected = "one of {}." if self.heads else "a model of several tasks."
            raise unknown_name(
                f"The predictions have no head {name!r}.", name, self.heads, do="Correct the name.", expected=expected
            )
        start = f"{name}: "
        own = {column: column.removeprefix(start) for column in self.frame.columns if column.startswith(start)}
        prefixes = tuple(f"{head}: " for head in self.heads)
        columns = [column for column in self.frame.columns if column in own or not column.startswith(prefixes)]
        head = self.heads[name]
        frame = self.frame[columns].rename(columns=own)
        thresholds = {key.removeprefix(start): one for key, one in self.thresholds.items() if key.startswith(start)}
        known = self.patients_known
        own_facts: dict[str, Any] = {"notes": self.notes, "thresholds": thresholds, "features": self.features}
        return Predictions(frame, head.classes, known, self.name, head.task, **own_facts)

    def decided(self, thresholds: Mapping[str, Threshold]) -> Predictions:
        """The same probabilities with the answers that other thresholds make of them.

        Args:
            thresholds: By the name of the positive class or label; of several heads as ``"cancer: yes"``.

        Returns:
            New Predictions.
        """
        columns: dict[str, Any] = {}
        for name in self.heads or [""]:
            one, start = (self.head(name), f"{name}: ") if name else (self, "")
            own = {key.removeprefix(start): value for key, value in thresholds.items() if key.startswith(start)}
            decision = Decision(Task(one.task), tuple(one.classes), own)
            outputs = one.frame[["value"] if decision.task.is_value else [f"p({each})" for each in one.classes]]
            made = output_columns(outputs.to_numpy(), decision)
            columns |= {f"{start}{column}": cells for column, cells in made.items()}
        return replace(self, frame=self.frame.assign(**columns), thresholds=dict(thresholds))

    def most_useful(self, n: int = 20, *, per_patient: int | None = 1) -> pd.DataFrame:
        """The images to label next, so that they teach a network most (active learning), in the order in which to label them.

        The first is the one of which the model is least sure; each further one is the farthest from those before it in what the network
        sees, and of each patient the most uncertain image takes part. Images of patients whom the model has seen in its
        training are left out. What is unlike the training images comes last, only where nothing else is left, and the reason
        says in what. How much this brings was measured (decision 0035): little, and more than uncertainty alone, which brought
        less than images drawn at random. Never choose a test part in this way: its numbers would hold for no patients.

        Args:
            n: How many.
            per_patient: Images of one patient at most; None for any number.

        Returns:
            The columns of the image and ``patient``, ``score`` (how unsure the model is, 0 to 1: the entropy of its probabilities
            as a fraction of the largest, of several heads the mean; where there are several answers, half of it their
            spread) and ``reason``; the index is that of ``frame``. Fewer rows where the pool has no more patients.

        Raises:
            InputError: Not the predictions of a classifier for many images, or of values without a spread.

        Example:
            >>> easydl.predict(model, "unlabelled.csv").most_useful(20)  # doctest: +SKIP

        References:
            Sener and Savarese 2018, Active learning for convolutional neural networks: a core-set approach, arXiv:1708.00489;
            Hacohen et al. 2022, Active learning on a budget, arXiv:2202.02794 (few labels: uncertainty misleads).
        """
        return most_useful(self, n, per_patient)

    def __repr__(self) -> str:
        return f"<Predictions of {len(self.frame)} images. {RESEARCH_USE}>"

    def _repr_html_(self) -> str:
        table = self.frame.head(_SHOWN).to_html(index=False, escape=True, border=0, float_format="{:.3f}".format)
        more = f"<p>{len(self.frame) - _SHOWN} more rows</p>" if len(self.frame) > _SHOWN else ""
        more += "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return f"{table}{more}<p><small>{html.escape(RESEARCH_USE)}</small></p>"

    def save(self, path: str | Path) -> Path:
        """Write the table as CSV (UTF-8); its first line is the research-use sentence as a comment.

        It names images and patients: only you can read the file (mode 0600). Cells that a spreadsheet would run as a formula are preceded by an apostrophe (CWE-1236).

        Args:
            path: The file; one that is there is replaced as a whole.

        Returns:
            The path written.
        """
        return save_table(self.frame, path)


def of_a_pool(made: Any) -> Predictions:
    """What `easydl.predict` gave, as predictions from which images to label can be chosen.

    Raises:
        InputError: It is a mask or an image.
    """
    if isinstance(made, Predictions):
        return made
    raise InputError(
        f"The images to label next were asked for, and the model makes a {type(made).__name__.lower()}.",
        "a classifier, and a study, a table or a folder of many images: nothing is kept of how sure a mask or an image is.",
        "Ask a classifier of the same images.",
    )


def save_table(frame: pd.DataFrame, path: str | Path) -> Path:
    """A table that names images and patients as a CSV that only its owner can read. Returns the path."""
    return write_text(path, f"# {RESEARCH_USE}\n{csv_text(frame)}", mode=0o600)


@dataclass(eq=False)
class Case:
    """One segmented scan with its reference, as the metrics take it.

    Attributes:
        image: Address of the scan.
        patient: Its patient.
        predicted: int32 class indices on the source grid.
        reference: The same for the reference mask.
        spacing_mm: Spacing in the order of the axes, or None.
        classes: Class names, background first.
    """

    image: str
    patient: str
    predicted: np.ndarray
    reference: np.ndarray
    spacing_mm: tuple[float, ...] | None
    classes: tuple[str, ...]


@dataclass(eq=False)
class ReconstructedCase:
    """One scan of a study, clean, corrupted, and as the network reconstructed it; all on its grid, within its window."""

    image: str
    patient: str
    clean: np.ndarray
    corrupted: np.ndarray
    reconstructed: np.ndarray


def output_columns(outputs: np.ndarray, decision: Decision) -> dict[str, Any]:
    """A model's outputs as the columns of a table: ``value``; or ``prediction``, ``confidence`` and one per class.

    ``outputs`` are float32 ``(images, classes)`` probabilities, or ``(images, 1)`` values.
    """
    if decision.task.is_value:
        return {"value": outputs[:, 0]}
    names = np.asarray(decision.classes, dtype=object)
    columns: dict[str, Any] = {}
    if decision.task.exclusive:
        chosen = decision.classes_of(outputs)
        columns["prediction"] = names[chosen]
        columns["confidence"] = np.take_along_axis(outputs, chosen[:, None], axis=1)[:, 0]
    else:
        present = decision.labels(outputs)
        columns["prediction"] = [JOIN.join(names[row]) for row in present]
        columns["confidence"] = np.where(present, outputs, 1 - outputs).min(axis=1)
    return columns | {f"p({name})": outputs[:, k] for k, name in enumerate(decision.classes)}
