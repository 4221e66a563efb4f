"""The Study: a table of images with their labels or masks, patients and splits. It reads pixels only when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from easydl.errors import unknown_name
from easydl.images import Scan
from easydl.option_model import documented
from easydl.options import SplitOptions
from easydl.studies import plots, splits
from easydl.studies.agreement import Agreement
from easydl.studies.balancing import by_class, check_options
from easydl.studies.cohort import persons
from easydl.studies.dividing import assigned, cohort_of, divided
from easydl.studies.mask_labels import LabelMap, MaskLabels
from easydl.studies.near_copies import NearCopy
from easydl.studies.pixel_facts import Decoded, ImageFiles, PixelFacts, remarks
from easydl.studies.references import mask_addresses, read_label_map, reference_of
from easydl.studies.row_errors import for_rows
from easydl.studies.schema import LabelSchema
from easydl.studies.summary import ImageKind, StudySummary, image_kind, spread, summarise
from easydl.studies.tables import column_of
from easydl.tasks import Task


@dataclass(frozen=True, eq=False)
class Study:
    """Images with labels or masks, their patients, and how they were split. Made by `easydl.load`.

    Its methods never change it: they return other studies, which know this one and share its classes and kind of images.

    Attributes:
        frame: One row per image: ``image`` (or several ``image_...`` columns), ``label`` or ``mask``, ``patient``,
            ``split`` once split, and every further column, all as text. Several labels of one image are joined by
            ``"; "``.
        task: What is to be learnt.
        image_columns: The columns with images; several become channels.
        patients_known: False when every image had to count as a patient.
        respelled: How many patients were written in several ways.
        notes: What was assumed while loading and reading. Digests and masks add theirs when they are first read.
        overrides: Reasons given in writing for going against a refusal.
        name: What to call the study in messages.
        seed: The seed of the split, when there is one.
        class_names: The classes or labels in their stored order, or the name of the value; None sorts the labels.
        heads: For the task ``"multitask"``, each head's column with its classes in order, or 1 for a value.
        raters: The columns with the labels of several raters.
        agreement: How well the raters agree over all images, those excluded later too; None without raters.
        resample_masks: Whether masks on another grid are resampled to their image's.
        collapse_instances: Whether every value but 0 in a mask is foreground.
        mask_labels: Names for the values in the masks, or None.
        mask_column: What the column ``mask`` was called in the table; it may name a side.
        mask_columns: The columns with masks; several hold one structure each, called ``mask_`` and its name.
        parent: The study that this one was taken from; that of a split part has the whole column ``split``.
        files: What is known of the image files.
    """

    frame: pd.DataFrame
    task: Task = Task.CLASSIFICATION
    image_columns: list[str] = field(default_factory=lambda: ["image"])
    patients_known: bool = True
    respelled: int = 0
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
    mask_columns: list[str] = field(default_factory=lambda: ["mask"])
    parent: Study | None = field(default=None, repr=False)
    files: ImageFiles = field(default_factory=ImageFiles, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", Task(self.task))
        for name in ("notes", "overrides"):  # nobody else's list, so that a note stays where it was made
            object.__setattr__(self, name, list(getattr(self, name)))

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return f"<{self._sentence}>"

    def _repr_html_(self) -> str:
        agreement = self.agreement._repr_html_() if self.agreement is not None else ""
        return plots.html(self.frame, self.schema, self._sentence, agreement, [*self.notes, *self.overrides])

    @property
    def _sentence(self) -> str:
        patients = f"{self.n_patients} patients" if self.patients_known else "patients not known"
        labels = plots.labels(self.frame, self.schema)
        return f"Study {self.name}: {len(self)} images, {patients}{'; ' if labels else ''}{labels}"

    @property
    def n_patients(self) -> int:
        """Number of different patients."""
        return int(self.frame["patient"].nunique()) if "patient" in self.frame.columns else 0

    @property
    def classes(self) -> list[str]:
        """Class names in order: those of the masks with the background first, labels, heads, or the value's name."""
        if self.heads:
            return list(self.heads)
        if self.task.has_masks:
            return list(self.label_map.names)
        if self.class_names is not None:
            return list(self.class_names)
        if self.parent is not None:
            return self.parent.classes
        return sorted(self.frame["label"].unique()) if "label" in self.frame.columns else []

    @property
    def schema(self) -> LabelSchema:
        """What the label columns mean."""
        classes = () if self.task.has_masks or self.heads else tuple(self.classes)
        return LabelSchema(self.task, classes, self.heads)

    @cached_property
    def summary(self) -> StudySummary:
        """What a builder needs to know; print it. That of a part is its whole study's."""
        if self.parent is not None and self.schema == self.parent.schema:
            return self.parent.summary
        others = [*self.image_columns, *self.mask_columns, *self.raters]
        label_values = self.label_map.values if self.task.has_masks else None
        return summarise(self.frame, replace(self.schema, classes=self.classes), self.kind, others, label_values)

    def head(self, name: str) -> Study:
        """One head of a study with several, as a study; rows without a label for it are left out.

        Args:
            name: The head's column.

        Raises:
            InputError: The study has no such head.

        Example:
            >>> study.head("density").task  # doctest: +SKIP
            <Task.CLASSIFICATION: 'classification'>
        """
        if name not in self.heads:
            do = "Correct the name, or load with heads=."
            raise unknown_name(f"The study has no head {name!r}.", name, self.heads or ("none",), do=do)
        schema = self.schema.head(name)
        rows = self.schema.head_rows(self.frame, name).reset_index(drop=True)
        return replace(self, frame=rows, heads={}, task=schema.task, class_names=list(schema.classes), parent=self)

    @cached_property
    def kind(self) -> ImageKind:
        """What the images are like, from a sample; that of a part is its whole study's. A mix of kinds is refused."""
        if self.parent is not None:
            return self.parent.kind
        return image_kind(self.facts(spread(len(self))), len(self.image_columns), self.name)

    @property
    def dimension(self) -> int:
        """2 for images, 3 for volumes."""
        return self.kind.dimension

    @property
    def units(self) -> str:
        """What a model will be fed: ``"HU"`` or ``"0-255"`` (relative values are brought there)."""
        return self.kind.units

    @property
    def channels(self) -> int:
        """1 for grey images (also grey stored as RGB), 3 for colour, or the number of image columns."""
        return self.kind.channels

    @property
    def spacing_mm(self) -> tuple[float, ...] | None:
        """Median spacing of the sampled scans in the order of their axes, or None when not known."""
        return self.kind.spacing_mm

    def addresses(self, row: int) -> list[str]:
        """The paths (or ``folder#key``) of one row's images, one per channel column."""
        return [str(self.frame[column].iloc[row]) for column in self.image_columns]

    def scan(self, row: int) -> Scan:
        """The image of one row, decoded once, then read from the cache; several image columns become channels.

        Raises:
            InputError: A file cannot be read, or the channels lie on different grids.
        """
        return self.files.scan(tuple(self.addresses(row)))

    def has_mask(self, row: int) -> bool:
        """Whether a mask is named for a row."""
        return bool(mask_addresses(self, row))

    def reference(self, row: int, *, scan: Scan | None = None) -> np.ndarray:
        """The reference mask of one row as class indices.

        Args:
            row: Which row.
            scan: The image of this row, when it is at hand.

        Returns:
            int32 array of the scan's spatial shape; 0 is the background, k the k-th class.

        Raises:
            InputError: The row has no mask, the mask does not lie on the image's grid, or structures overlap.
        """
        return reference_of(self, row, self.scan(row) if scan is None else scan)

    @cached_property
    def label_map(self) -> LabelMap:
        """What the values in the masks stand for, from all masks of the whole study; assumptions become notes."""
        known = self.parent.label_map if self.parent is not None else read_label_map(self)
        self._note(*known.notes)
        return known

    def facts(self, rows: Iterable[int] | None = None) -> list[PixelFacts]:
        """What the pixels of rows (all when None) tell; unreadable images are collected into one `InputError`."""
        chosen = list(range(len(self)) if rows is None else rows)
        every, place = self._rows(), {row: place for place, row in enumerate(chosen)}
        return self.files.facts(
            [every[row] for row in chosen],
            lambda work, missing: self.each(lambda row: work(place[row]), [chosen[one] for one in missing]),
        )

    def digests(self) -> list[str]:
        """SHA-256 of each row's decoded pixels: equal means the same image, whatever the file says."""
        facts = self.facts()
        self._note(*remarks(facts))
        return [one.digest for one in facts]

    @property
    def near_copies(self) -> list[NearCopy]:
        """Pairs of images, of different patients where these are known, that are nearly the same; not identical ones."""
        return self.files.near_copies(
            self.facts(), persons(self.frame["patient"]).tolist() if self.patients_known else None
        )

    def decoded(self, settings: str, make: Callable[[int], np.ndarray]) -> Decoded:
        """The arrays that ``make`` makes of every row, kept in the cache; ``settings`` is all else they depend on."""
        return Decoded(self.keys(), settings, make)

    def keys(self) -> list[str]:
        """SHA-256 of each row's files and of how they are read: what is derived from pixels can be kept under it."""
        return self.files.keys(self._rows())

    def each(self, work: Callable[[int], Any], rows: Iterable[int] | None = None) -> list[Any]:
        """Do something for every row on two threads; all unreadable images are collected into one `InputError`."""
        return for_rows(work, range(len(self)) if rows is None else rows, len(self))

    @documented(SplitOptions)
    def split(
        self,
        sizes: tuple[float, float, float] = (0.6, 0.2, 0.2),
        *,
        seed: int | None = None,
        column: str | None = None,
        time: str | None = None,
        group: str | None = None,
        balance: str | list[str] | None = None,
        override: str | None = None,
    ) -> tuple[Study, Study, Study]:
        """Split into training, validation and test so that no patient and no image is in two of them.

        The study itself is not changed: the parts hold the split, and their ``parent`` is the whole study with it. What
        is split already is a study that was loaded with ``split=``, or such a parent.

        Args:
        {options}

        Returns:
            Three studies: train, val, test. Each keeps its rows' order.

        Raises:
            InputError: A class has too few patients to be in all three parts, the dates cannot be read, or columns
                cannot be balanced.
            LeakageError: The ready-made split puts a patient in two parts.

        References:
            Collins 2015 (TRIPOD), Ann Intern Med 162:55, on temporal and geographical validation.
        """
        is_split = "split" in self.frame.columns and set(splits.PARTS) <= set(self.frame["split"])
        stays = is_split and (self.seed is None or seed is None)
        check_options(group=group, balance=balance, time=time, column=column, stays=stays)
        together = None if group is None else column_of(self.frame, group)
        if time is not None:
            dates = column_of(self.frame, time)
            return divided(self, lambda rows: splits.by_time(rows, dates, time, sizes), together=together)._parts()
        if column is not None:
            return self.with_split(column, override)._parts()
        if stays:
            return self._parts()
        names = dict.fromkeys([balance] if isinstance(balance, str) else balance or ())
        balancing = [column_of(self.frame, name) for name in names]
        return divided(self, lambda rows: by_class(rows, balancing, sizes, seed or 0), seed or 0, together)._parts()

    def with_split(self, column: str, override: str | None = None) -> Study:
        """The study with a ready-made split, as `easydl.load` returns it with ``split=``; refused when it leaks."""
        column = "given_split" if column == "split" else column
        if column not in self.frame.columns:
            found, expected = f"There is no column {column!r} with a split.", "a column of train, val and test."
            raise unknown_name(found, column, self.frame.columns, do="Use study.split(seed=0).", expected=expected)
        return divided(self, lambda rows: splits.ready_made(rows, self.frame[column], column, override))

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
            ...     easydl.fit(easydl.classifier("tiny", study), train, val)
        """
        cells = None if site is None else column_of(self.frame, site)
        base = replace(self, parent=self)
        rows = cohort_of(base)
        folds = splits.k_folds(rows, k, seed) if cells is None else splits.leave_site_out(rows, cells, str(site), seed)
        return [assigned(base, fold, seed)._parts() for fold in folds]

    def part(self, name: str) -> Study:
        """The rows of one part of the split (``"train"``, ``"val"`` or ``"test"``) as a study."""
        return self.rows(self.frame.index[self.frame["split"] == name], name=name)

    def rows(self, index: Any, name: str | None = None) -> Study:
        """A study of some rows of the frame, chosen by their index."""
        return replace(self, frame=self.frame.loc[index].reset_index(drop=True), name=name or self.name, parent=self)

    def targets(self) -> Any:
        """What a model is to put out for every image, as float32.

        Returns:
            ``(images, classes)`` with one 1 in each row (classification, ordinal) or any number of them (multilabel),
            or ``(images, 1)`` with the value (regression). With several heads a dict of these by name; a row without a
            label for a head holds zeros, and `target_weights` says so.

        Raises:
            InputError: The study has no labels, or masks instead.
        """
        return self.schema.targets(self.frame)

    def target_weights(self) -> dict[str, np.ndarray] | None:
        """With several heads, float32 ``(images,)`` by name: 1 where there is a label, 0 where not; else None."""
        return self.schema.weights(self.frame)

    def batches(
        self, batch_size: int = 16, *, size: tuple[int, ...] | None = None, shuffle: bool | None = None, seed: int = 0
    ) -> Any:
        """A ``tf.data.Dataset`` of (images, targets) that ``model.fit`` takes; images are decoded once.

        Args:
            batch_size: Images in a batch.
            size: Spatial size to resize to; 128 on each side of an image, 64 of a volume, when not given.
            shuffle: Whether to draw a new order in each epoch; when not given, for the training part of a split only.
            seed: Seed of that order.

        Returns:
            Batches of float32 ``(batch, *size, channels)`` in `units`, and `targets`: ``(batch, classes)``,
            ``(batch, 1)`` for values, with several heads a dict of these (and a dict of weights, 0 where a label is
            missing), or, for masks, one-hot ``(batch, *size, classes)``.
        """
        from easydl.studies.dataset import dataset, decode, masks

        if shuffle is None:
            shuffle = "split" in self.frame.columns and set(self.frame["split"]) == {"train"}
        size = tuple(size) if size else ((64,) * 3 if self.dimension == 3 else (128, 128))
        images = decode(self, size=size, channels=self.channels, units=self.units)
        targets = masks(self, size, len(self.classes)) if self.task.has_masks else self.targets()
        return dataset(images, targets, batch_size, weights=self.target_weights(), shuffle=shuffle, seed=seed)

    def show(self, n: int = 9) -> Any:
        """A figure with some images of every class (for volumes the middle slice)."""
        return plots.gallery(self, n)

    def _rows(self) -> list[tuple[str, ...]]:
        return list(zip(*(self.frame[column].astype(str) for column in self.image_columns), strict=True))

    def _parts(self) -> tuple[Study, Study, Study]:
        return self.part("train"), self.part("val"), self.part("test")

    def _note(self, *notes: str) -> None:
        self.notes.extend(note for note in notes if note not in self.notes)
