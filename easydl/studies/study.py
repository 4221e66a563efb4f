"""The Study: a table of images with their labels or masks, patients and splits. It reads pixels only when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from easydl.errors import EasyDLError, InputError
from easydl.images import Scan, read
from easydl.options import SplitOptions, documented
from easydl.studies import folds, pixel_facts, plots, splits
from easydl.studies.agreement import Agreement
from easydl.studies.mask_labels import MaskLabels, Meaning, meaning
from easydl.studies.masks import read_labels
from easydl.studies.multitask import targets_of
from easydl.studies.summary import Classes, StudySummary, classes_of, sampled, summary_of

TASKS = ("classification", "multilabel", "regression", "ordinal", "multitask", "segmentation")


@dataclass(eq=False)
class Study:
    """Images with labels or masks, their patients, and how they were split. Made by `easydl.load`.

    Attributes:
        frame: One row per image: ``image`` (or several ``image_...`` columns), ``label`` or ``mask``, ``patient``,
            ``split`` once split, and every further column, all as text. Several findings of one image are joined by
            ``"; "``.
        task: One of `TASKS`.
        image_columns: The columns with images; several become channels.
        patients_known: False when every image had to count as a patient of its own.
        notes: What was assumed while loading, in words.
        overrides: Reasons given in writing for going against a refusal.
        name: What to call the study in messages.
        seed: The seed of the split, when there is one.
        class_names: The classes or findings in their stored order, or the name of the number; None sorts the labels.
        heads: For the task ``"multitask"``, each question's column with its classes in order, or 1 for a number.
        raters: The columns with what several raters said.
        agreement: How well the raters agree over all images, those set aside included; None without raters.
        resample_masks: Whether masks on another grid are brought to their image's.
        collapse_instances: Whether every value but 0 in a mask is foreground.
        mask_labels: Names for the values in the masks, or None.
        mask_column: What the column ``mask`` was called in the table; it may name a side.
    """

    frame: pd.DataFrame
    task: str = "classification"
    image_columns: list[str] = field(default_factory=lambda: ["image"])
    patients_known: bool = True
    notes: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    name: str = "study"
    seed: int | None = None
    class_names: list[str] | None = None
    heads: dict[str, list[str] | int] = field(default_factory=dict)
    raters: list[str] = field(default_factory=list)
    agreement: Agreement | None = None
    resample_masks: bool = False
    collapse_instances: bool = False
    mask_labels: MaskLabels | None = None
    mask_column: str = "mask"
    _shared: dict[str, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return plots.sentence(self)

    def _repr_html_(self) -> str:
        return plots.html(self)

    @property
    def n_patients(self) -> int:
        """Number of different patients."""
        return int(self.frame["patient"].nunique()) if "patient" in self.frame.columns else 0

    @cached_property
    def classes(self) -> Classes:
        """Class names in order (for masks the background first), with what builders need to know."""
        if "classes" not in self._shared:
            self._shared["classes"] = classes_of(self)
        return self._shared["classes"]

    def head(self, name: str) -> Study:
        """One question of a study with several, as a study of its own; rows without an answer to it are left out.

        Args:
            name: The question's column.

        Raises:
            InputError: The study has no such question.

        Example:
            >>> study.head("density").task  # doctest: +SKIP
            'classification'
        """
        if name not in self.heads:
            raise InputError(
                f"The study has no question {name!r}.",
                f"one of {', '.join(map(repr, self.heads)) or 'none: it was loaded without heads='}.",
                "Correct the name, or load the study with heads= (--heads).",
            )
        asked = self.heads[name]
        answered = self.frame[self.frame[name] != ""]
        return replace(
            self, frame=answered.assign(label=answered[name]).reset_index(drop=True), heads={},
            task="regression" if isinstance(asked, int) else "classification",
            class_names=[name] if isinstance(asked, int) else list(asked),
            _shared={key: self._shared[key] for key in ("contents", "sample") if key in self._shared},
        )  # fmt: skip

    @property
    def summary(self) -> StudySummary:
        """What a builder needs to know: task, classes, channels, size, spacing, units, covariates."""
        return summary_of(self)

    @property
    def dimension(self) -> int:
        """2 for images, 3 for volumes."""
        return self._sample["dimension"]

    @property
    def units(self) -> str:
        """What a model will be fed: ``"HU"`` or ``"0-255"`` (relative values are brought there)."""
        return self._sample["units"]

    @property
    def channels(self) -> int:
        """1 for grey images (also grey stored as RGB), 3 for colour, or the number of image columns."""
        return self._sample["channels"]

    @property
    def spacing_mm(self) -> tuple[float, ...] | None:
        """Median spacing of the sampled scans in the order of their axes, or None when not known."""
        return self._sample["spacing_mm"]

    def addresses(self, row: int) -> list[str]:
        """The paths (or ``folder#key``) of one row's images, one per channel column."""
        return [str(self.frame[column].iloc[row]) for column in self.image_columns]

    def scan(self, row: int) -> Scan:
        """Read the image of one row; several image columns are stacked as channels.

        Raises:
            InputError: A file cannot be read, or the channels lie on different grids.
        """
        scans = [read(address) for address in self.addresses(row)]
        if len(scans) == 1:
            return scans[0]
        shapes = {scan.shape for scan in scans}
        if len(shapes) > 1:
            raise InputError(
                f"Row {row + 2}: the images have different sizes: {', '.join(map(str, sorted(shapes)))}.",
                "image columns that lie on one grid (co-registered).",
                "Resample them to one grid first, or use one image column.",
            )
        return replace(scans[0], pixels=np.concatenate([scan.pixels[..., :1] for scan in scans], axis=-1))

    def reference(self, row: int) -> np.ndarray:
        """The reference mask of one row as class indices.

        Returns:
            int32 array of the scan's spatial shape; 0 is the background, k the k-th class.

        Raises:
            InputError: The row has no mask, or the mask does not lie on the image's grid.
        """
        return read_labels(
            str(self.frame["mask"].iloc[row]), self._meaning(), self.scan(row), resample=self.resample_masks,
            collapse=self.collapse_instances, note=self._note,
        )  # fmt: skip

    def digests(self) -> list[str]:
        """SHA-256 of each row's decoded pixels: equal means the same image, whatever the file says."""
        found = pixel_facts.facts(self)
        if not self._shared.get("remarked"):
            self._shared["remarked"] = True
            for note in pixel_facts.remarks(self):
                self._note(note)
        return [one["digest"] for one in found]

    def each(self, work: Callable[[int], Any], rows: Iterable[int] | None = None) -> list[Any]:
        """Do something for every row on two threads; all unreadable images are collected into one error.

        Raises:
            InputError: Images could not be read; five are named, with the count.
        """
        bad: list[str] = []
        advice: set[tuple[str, str]] = set()

        def one(row: int) -> Any:
            try:
                return work(row)
            except EasyDLError as problem:
                bad.append(f"row {row + 2}: {problem.found.rstrip('.')}")
                advice.add((problem.expected, problem.do))
                return None

        rows = range(len(self)) if rows is None else list(rows)
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(one, rows))
        if bad:
            from easydl.studies.tables import problems

            general = (
                "an image in every row that can be read whole.",
                "Export these images again, or take their rows out.",
            )
            raise problems(bad, len(self), *(advice.pop() if len(advice) == 1 else general))
        return results

    @documented(SplitOptions)
    def split(
        self,
        sizes: tuple[float, float, float] = (0.6, 0.2, 0.2),
        *,
        seed: int | None = None,
        column: str | None = None,
        time: str | None = None,
        override: str | None = None,
    ) -> tuple[Study, Study, Study]:
        """Split into training, validation and test so that no patient and no image is in two of them.

        Args:
        {options}

        Returns:
            Three studies: train, val, test. Each keeps its rows' order.

        Raises:
            InputError: A class has too few patients to be in all three parts, or the dates cannot be read.
            LeakageError: The ready-made split puts a patient in two parts.

        References:
            Collins 2015 (TRIPOD), Ann Intern Med 162:55, on temporal and geographical validation.
        """
        if time is not None:
            folds.by_time(self, time, sizes)
        elif column is not None:
            splits.check_split(self, "given_split" if column == "split" else column, override)
        elif "split" not in self.frame.columns or (self.seed is not None and seed is not None):
            splits.assign(self, sizes, seed or 0)
        return tuple(self.part(name) for name in splits.PARTS)  # type: ignore[return-value]

    def folds(self, k: int = 5, *, seed: int = 0, site: str | None = None) -> list[tuple[Study, Study, Study]]:
        """Cross-validation by patient, or with one site left out at a time. The study itself is not split.

        Args:
            k: Number of folds, at least 3. Every patient is tested once; the next fold validates, the others train.
            seed: The same seed gives the same folds on every machine, whatever the order of the rows.
            site: Leave one site of this column out at a time instead: it is the test set, and a fifth of the other
                patients validates. Images that the site's patients have at other sites are in no part.

        Returns:
            (train, val, test) for every fold, or for every site in the order of their names. What each holds is in its
            ``notes``.

        Raises:
            InputError: Too few patients in a class, one site only, or rows without a site.

        Example:
            >>> for train, val, test in study.folds(5):  # doctest: +SKIP
            ...     easydl.fit(easydl.classifier("tiny", classes=study.classes), train, val)
        """
        return folds.k_folds(self, k, seed) if site is None else folds.leave_site_out(self, site, seed)

    def part(self, name: str) -> Study:
        """The rows of one part of the split (``"train"``, ``"val"`` or ``"test"``) as a study of their own."""
        return self.rows(self.frame.index[self.frame["split"] == name], name=name)

    def rows(self, index: Any, name: str | None = None) -> Study:
        """A study of some rows of the frame, chosen by their index."""
        chosen = self.frame.loc[index].reset_index(drop=True)
        return replace(self, frame=chosen, name=name or self.name)

    def targets(self) -> Any:
        """What a model is to put out for every image, as float32.

        Returns:
            ``(images, classes)`` with one 1 in each row (classification, ordinal) or any number of them (multilabel),
            or ``(images, 1)`` with the number (regression). For several questions a dict of these by name; a row
            without an answer holds zeros, and `target_weights` says so.

        Raises:
            InputError: The study has no labels, or masks instead.
        """
        if self.task == "multitask":
            return {
                name: targets_of(self.frame[name], "regression", [name])
                if isinstance(asked, int)
                else targets_of(self.frame[name], "classification", asked)
                for name, asked in self.heads.items()
            }
        if "label" not in self.frame.columns or self.task == "segmentation":
            raise InputError(
                "The study has no label for each image.", "classes, findings or numbers.", "Load a table with labels."
            )
        return targets_of(self.frame["label"], self.task, self._names())

    def target_weights(self) -> dict[str, np.ndarray] | None:
        """For several questions, float32 ``(images,)`` by name: 1 where it is answered, 0 where not; else None."""
        if self.task != "multitask":
            return None
        return {name: (self.frame[name] != "").to_numpy(np.float32) for name in self.heads}

    def one_hot(self) -> np.ndarray:
        """The classes as float32 ``(images, classes)``; `targets` serves every task."""
        return self.targets()

    def batches(
        self,
        batch_size: int = 16,
        *,
        size: tuple[int, ...] | None = None,
        shuffle: bool = False,
        seed: int = 0,
    ) -> Any:
        """A ``tf.data.Dataset`` of (images, targets) that ``model.fit`` takes; images are decoded once.

        Args:
            batch_size: Images in a batch.
            size: Spatial size to resize to; 128 on each side of an image, 64 of a volume, when not given.
            shuffle: Whether to draw a new order in each epoch.
            seed: Seed of that order.

        Returns:
            Batches of float32 ``(batch, *size, channels)`` in `units`, and `targets`: ``(batch, classes)``,
            ``(batch, 1)`` for numbers, for several questions a dict of these (and a dict of weights, 0 where a question
            is not answered), or, for masks, one-hot ``(batch, *size, classes)``.
        """
        from easydl.studies.dataset import batches

        return batches(self, batch_size, size=size, shuffle=shuffle, seed=seed)

    @property
    def _sample(self) -> dict[str, Any]:
        """Dimension, units, channels and spacing; looked at once for a study and its parts."""
        if "sample" not in self._shared:
            self._shared["sample"] = sampled(self)
        return self._shared["sample"]

    def _meaning(self) -> Meaning:
        """What the values in the masks stand for; worked out once, and what was assumed goes on the record."""
        if "masks" not in self._shared:
            self._shared["masks"] = meaning(self)
            for note in self._shared["masks"].notes:
                self._note(note)
        return self._shared["masks"]

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _names(self) -> list[str]:
        if self.heads:
            return list(self.heads)
        if self.class_names is not None:
            return self.class_names
        return sorted(self.frame["label"].unique()) if "label" in self.frame.columns else []

    def show(self, n: int = 9) -> Any:
        """A matplotlib figure with some images of every class (for volumes the middle slice)."""
        return plots.figure(self, n)
