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
from easydl.studies import display, splits
from easydl.studies.masks import read_labels, stored_values

SAMPLE = 12
COLOUR_DIFFERENCE = 12.0
"""Mean difference of red and blue, of 255, from which an image counts as coloured (grey films: up to 10)."""


class Classes(list[str]):
    """Class names in order, which also tell a builder what the study's images are like.

    Attributes:
        channels: Channels of the images: 1 for grey, 3 for colour, or the number of image columns.
        image_size: The median (height, width), or (depth, height, width), in pixels.
        dimension: 2 or 3.
        label_values: For masks, the stored value of each class, in the same order.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        channels: int = 1,
        image_size: tuple[int, ...] | None = None,
        dimension: int = 2,
        label_values: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(names)
        self.channels, self.image_size, self.dimension = channels, image_size, dimension
        self.label_values = label_values


@dataclass(eq=False)
class Study:
    """Images with labels or masks, their patients, and how they were split. Made by `easydl.load`.

    Attributes:
        frame: One row per image: ``image`` (or several ``image_...`` columns), ``label`` or ``mask``, ``patient``,
            ``split`` once split, and every further column, all as text.
        task: ``"classification"`` or ``"segmentation"``.
        image_columns: The columns with images; several become channels.
        patients_known: False when every image had to count as a patient of its own.
        notes: What was assumed while loading, in words.
        overrides: Reasons given in writing for going against a refusal.
        name: What to call the study in messages.
        seed: The seed of the split, when there is one.
    """

    frame: pd.DataFrame
    task: str = "classification"
    image_columns: list[str] = field(default_factory=lambda: ["image"])
    patients_known: bool = True
    notes: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    name: str = "study"
    seed: int | None = None
    _shared: dict[str, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return display.sentence(self)

    def _repr_html_(self) -> str:
        return display.html(self)

    @property
    def n_patients(self) -> int:
        """Number of different patients."""
        return int(self.frame["patient"].nunique()) if "patient" in self.frame.columns else 0

    @cached_property
    def classes(self) -> Classes:
        """Class names in order (sorted; for masks the background first), with what builders need to know."""
        if "classes" not in self._shared:
            facts: dict[str, Any] = {
                "channels": self.channels,
                "image_size": self._image_size(),
                "dimension": self.dimension,
            }
            if self.task == "segmentation":
                values = stored_values(self)
                only = len(values) == 2
                names = ["background", *("foreground" if only else f"label {value}" for value in values[1:])]
                self._shared["classes"] = Classes(names, label_values=tuple(values), **facts)
            else:
                names = sorted(self.frame["label"].unique()) if "label" in self.frame.columns else []
                self._shared["classes"] = Classes(names, **facts)
        return self._shared["classes"]

    @property
    def dimension(self) -> int:
        """2 for images, 3 for volumes."""
        return self._sampled("dimension")

    @property
    def units(self) -> str:
        """What a model will be fed: ``"HU"`` or ``"0-255"`` (relative values are brought there)."""
        return self._sampled("units")

    @property
    def channels(self) -> int:
        """1 for grey images (also grey stored as RGB), 3 for colour, or the number of image columns."""
        return self._sampled("channels")

    @property
    def spacing_mm(self) -> tuple[float, ...] | None:
        """Median spacing of the sampled scans in the order of their axes, or None when not known."""
        return self._sampled("spacing_mm")

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
        return read_labels(str(self.frame["mask"].iloc[row]), self.classes.label_values, self.scan(row))

    def digests(self) -> list[str]:
        """SHA-256 of each row's decoded pixels: equal means the same image, whatever the file says."""
        store = self._shared.setdefault("digests", {})
        missing = [row for row in range(len(self)) if tuple(self.addresses(row)) not in store]
        results = self.each(lambda row: splits.digest(self.scan(row).pixels), missing)
        store.update({tuple(self.addresses(row)): result for row, result in zip(missing, results, strict=True)})
        return [store[tuple(self.addresses(row))] for row in range(len(self))]

    def each(self, work: Callable[[int], Any], rows: Iterable[int] | None = None) -> list[Any]:
        """Do something for every row on two threads; all unreadable images are collected into one error.

        Raises:
            InputError: Images could not be read; five are named, with the count.
        """
        bad: list[str] = []

        def one(row: int) -> Any:
            try:
                return work(row)
            except EasyDLError as problem:
                bad.append(f"row {row + 2}: {problem.found.rstrip('.')}")
                return None

        rows = range(len(self)) if rows is None else list(rows)
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(one, rows))
        if bad:
            from easydl.studies.tables import problems

            raise problems(bad, len(self), "an image in every row that can be read whole.",
                           "Export these images again, or take their rows out.")  # fmt: skip
        return results

    def split(
        self,
        sizes: tuple[float, float, float] = (0.6, 0.2, 0.2),
        *,
        seed: int = 0,
        column: str | None = None,
        override: str | None = None,
    ) -> tuple[Study, Study, Study]:
        """Split into training, validation and test so that no patient and no image is in two of them.

        Args:
            sizes: Shares of the patients, in this order.
            seed: The same seed gives the same split on every machine, whatever the order of the rows.
            column: Use the ready-made split of this column instead (``"split"`` for the one that came with the
                data); refused when it leaks.
            override: A reason, in writing, for using a leaking split. It is repeated in every report.

        Returns:
            Three studies: train, val, test. Each keeps its rows' order.

        Raises:
            InputError: A class has too few patients to be in all three parts.
            LeakageError: The ready-made split puts a patient in two parts.
        """
        if column is not None:
            splits.check_split(self, "given_split" if column == "split" else column, override)
        elif "split" not in self.frame.columns:
            splits.assign(self, sizes, seed)
        return tuple(self.part(name) for name in splits.PARTS)  # type: ignore[return-value]

    def part(self, name: str) -> Study:
        """The rows of one part of the split (``"train"``, ``"val"`` or ``"test"``) as a study of their own."""
        return self.rows(self.frame.index[self.frame["split"] == name], name=name)

    def rows(self, index: Any, name: str | None = None) -> Study:
        """A study of some rows of the frame, chosen by their index."""
        chosen = self.frame.loc[index].reset_index(drop=True)
        return replace(self, frame=chosen, name=name or self.name)

    def one_hot(self) -> np.ndarray:
        """The labels as float32 ``(images, classes)``."""
        position = {name: number for number, name in enumerate(self.classes)}
        return np.eye(len(self.classes), dtype=np.float32)[[position[name] for name in self.frame["label"]]]

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
            Batches of float32 ``(batch, *size, channels)`` in `units`, and one-hot targets: ``(batch, classes)``
            or, for masks, ``(batch, *size, classes)``.
        """
        from easydl.studies.stream import batches

        return batches(self, batch_size, size=size, shuffle=shuffle, seed=seed)

    def show(self, n: int = 9) -> Any:
        """A matplotlib figure with some images of every class (for volumes the middle slice)."""
        return display.figure(self, n)

    def _image_size(self) -> tuple[int, ...] | None:
        sizes = []
        for column in ("slices", "height", "width") if self.dimension == 3 else ("height", "width"):
            numbers = pd.to_numeric(self.frame.get(column, pd.Series(dtype=str)), errors="coerce").dropna()
            if numbers.empty:
                return None
            sizes.append(int(numbers.median()))
        return tuple(sizes)

    def _sampled(self, fact: str) -> Any:
        """Dimension, units, channels and spacing, from a dozen images spread over the study."""
        if "sample" not in self._shared:
            rows = sorted({int(row) for row in np.linspace(0, len(self) - 1, SAMPLE)})
            scans = self.each(self.scan, rows)
            dimensions = {scan.dimension for scan in scans}
            hounsfield = {scan.units == "HU" for scan in scans}
            if len(dimensions) > 1 or len(hounsfield) > 1:
                what = "images and volumes" if len(dimensions) > 1 else "CT in Hounsfield units and other images"
                raise InputError(
                    f"{self.name} mixes {what}.",
                    "one kind of image in a study.",
                    "Make a study of each kind.",
                )
            # Grey films saved as JPEG or with a coloured arrow differ a little between red and blue; photographs a lot.
            colour = len(self.image_columns) == 1 and any(
                scan.pixels.shape[-1] == 3
                and float(np.abs(scan.pixels[..., 0] - scan.pixels[..., 2]).mean()) > COLOUR_DIFFERENCE
                for scan in scans
            )
            known = [scan.spacing_mm for scan in scans if scan.spacing_mm is not None]
            self._shared["sample"] = {
                "dimension": dimensions.pop(),
                "units": "HU" if hounsfield.pop() else "0-255",
                "channels": len(self.image_columns) if len(self.image_columns) > 1 else 3 if colour else 1,
                "spacing_mm": tuple(float(mm) for mm in np.median(known, axis=0)) if known else None,
            }
        return self._shared["sample"][fact]
