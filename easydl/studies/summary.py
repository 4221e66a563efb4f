"""What builders need to know of a study: its classes, and what a sample of its images is like. It reads no files."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from easydl.errors import InputError
from easydl.studies.covariates import covariates_of
from easydl.studies.pixel_facts import PixelFacts
from easydl.studies.schema import LabelSchema
from easydl.tasks import Task

SAMPLE = 12


@dataclass(frozen=True)
class StudySummary:
    """What a builder needs to know of a study. It holds no pixels, paths or patients.

    Attributes:
        task: What is to be learnt.
        classes: Class names in order (for masks the background first), label names, or the name of the value.
        heads: For several tasks, each head's classes in order, or 1 for a value.
        channels: 1 for grey, 3 for colour, or the number of image columns.
        dimension: 2 or 3.
        image_size: The median (height, width), or (depth, height, width), in pixels; None when it is not known.
        spacing_mm: The median spacing in the same order, in mm; None when it is not known.
        units: ``"HU"`` or ``"0-255"``.
        covariates: The other columns that a model can take: their categories, or None for numbers.
        label_values: For masks, the stored value of each class, in the same order.

    Example:
        >>> summary = StudySummary(Task.CLASSIFICATION, ("abdomen", "chest"), image_size=(512, 512))
        >>> StudySummary.from_json(summary.to_json()) == summary
        True
    """

    task: Task
    classes: tuple[str, ...] = ()
    heads: Mapping[str, tuple[str, ...] | int] = field(default_factory=dict)
    channels: int = 1
    dimension: int = 2
    image_size: tuple[int, ...] | None = None
    spacing_mm: tuple[float, ...] | None = None
    units: str = "0-255"
    covariates: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    label_values: tuple[int, ...] | None = None

    def __str__(self) -> str:
        labels = "Value" if self.task.is_value else "Classes" if self.task.exclusive else "Labels"
        images = f"{self.dimension}D, {self.channels} {'channel' if self.channels == 1 else 'channels'}, {self.units}"
        lines = {
            "Task": str(self.task),
            labels: "" if self.heads else ", ".join(self.classes),
            "Heads": _columns(self.heads),
            "Images": images,
            "Median size": f"{' x '.join(map(str, self.image_size))} pixels" if self.image_size else "",
            "Median spacing": f"{' x '.join(f'{mm:.3g}' for mm in self.spacing_mm)} mm" if self.spacing_mm else "",
            "Covariates": _columns(self.covariates),
            "Mask values": ", ".join(map(str, self.label_values or ())),
        }
        shown = {f"{name}:": text for name, text in lines.items() if text}
        width = max(map(len, shown)) + 1
        return "\n".join(f"{name:<{width}}{text}" for name, text in shown.items())

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> StudySummary:
        """Read what `to_json` wrote.

        Raises:
            pydantic.ValidationError: It is something else.
        """
        return TypeAdapter(cls).validate_json(text)


@dataclass(frozen=True)
class ImageKind:
    """What a study's images are like: dimension, units, channels and median spacing in mm (or None)."""

    dimension: int
    units: str
    channels: int
    spacing_mm: tuple[float, ...] | None


def spread(rows: int) -> list[int]:
    """A dozen rows spread over a study: what `image_kind` looks at."""
    return sorted({int(row) for row in np.linspace(0, rows - 1, SAMPLE)}) if rows else []


def image_kind(seen: Sequence[PixelFacts], columns: int, name: str) -> ImageKind:
    """What images are like, from a sample of them in so many image columns.

    Raises:
        InputError: They are of different kinds.
    """
    dimensions = {one.dimension for one in seen}
    hounsfield = {one.units == "HU" for one in seen}
    if len(dimensions) > 1 or len(hounsfield) > 1:
        what = "images and volumes" if len(dimensions) > 1 else "CT in Hounsfield units and other images"
        do = "Make a study of each kind."
        if len(dimensions) == 1:
            do += ' If all are CT, say so of the files that do not (NIfTI, TIFF): units="HU" (--units HU), or a column units.'
        raise InputError(f"{name} mixes {what}.", "one kind of image in a study.", do)
    colour = columns == 1 and any(one.coloured for one in seen)
    known = [one.spacing_mm for one in seen if one.spacing_mm is not None]
    return ImageKind(
        dimension=dimensions.pop(),
        units="HU" if hounsfield.pop() else "0-255",
        channels=3 if colour else columns,
        spacing_mm=tuple(float(mm) for mm in np.median(known, axis=0)) if known else None,
    )


def image_size(frame: pd.DataFrame, dimension: int) -> tuple[int, ...] | None:
    """The median size in pixels, from what the headers said."""
    sizes = []
    for column in ("slices", "height", "width") if dimension == 3 else ("height", "width"):
        numbers = pd.to_numeric(frame.get(column, pd.Series(dtype=str)), errors="coerce").dropna()
        if numbers.empty:
            return None
        sizes.append(int(numbers.median()))
    return tuple(sizes)


def summarise(
    frame: pd.DataFrame,
    schema: LabelSchema,
    kind: ImageKind,
    others: Collection[str],
    label_values: tuple[int, ...] | None,
) -> StudySummary:
    """The summary of a study; ``others`` are columns that are not covariates."""
    targets = list(schema.heads) or (["label"] if "label" in frame.columns else [])
    return StudySummary(
        task=schema.task,
        classes=tuple(schema.classes),
        heads={name: one if isinstance(one, int) else tuple(one) for name, one in schema.heads.items()},
        channels=kind.channels,
        dimension=kind.dimension,
        image_size=image_size(frame, kind.dimension),
        spacing_mm=kind.spacing_mm,
        units=kind.units,
        covariates={} if schema.task.has_masks else covariates_of(frame, targets, others),
        label_values=label_values,
    )


def _columns(columns: Mapping[str, Sequence[str] | int | None]) -> str:
    """Columns with their categories: ``sex (F, M), age``."""
    parts = [
        f"{name} ({', '.join(map(str, kinds))})" if isinstance(kinds, Sequence) else name
        for name, kinds in columns.items()
    ]
    return ", ".join(parts)
