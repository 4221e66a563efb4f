"""What builders need to know of a study: its classes, and what a sample of its images is like. It reads no masks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from easydl.errors import InputError
from easydl.studies import pixel_facts
from easydl.studies.covariates import covariates_of
from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.studies.study import Study

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


class Classes(list[str]):
    """Class names in order, which also tell a builder what the study's images are like.

    Attributes:
        channels: Channels of the images: 1 for grey, 3 for colour, or the number of image columns.
        image_size: The median (height, width), or (depth, height, width), in pixels.
        spacing_mm: The median spacing in the same order, in mm; None when it is not known.
        dimension: 2 or 3.
        label_values: For masks, the stored value of each class, in the same order.
        covariates: The other columns of the table that a model can be told beside the image: their categories, or
            None for numbers.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        channels: int = 1,
        image_size: tuple[int, ...] | None = None,
        spacing_mm: tuple[float, ...] | None = None,
        dimension: int = 2,
        label_values: tuple[int, ...] | None = None,
        covariates: Mapping[str, tuple[str, ...] | None] | None = None,
    ) -> None:
        super().__init__(names)
        self.channels, self.image_size, self.dimension = channels, image_size, dimension
        self.spacing_mm = spacing_mm
        self.label_values = label_values
        self.covariates = dict(covariates or {})


def classes_of(study: Study) -> Classes:
    """The classes of a study in order (for masks the background first), with what its images are like."""
    facts: dict[str, Any] = {
        "channels": study.channels,
        "image_size": _image_size(study),
        "spacing_mm": study.spacing_mm,
        "dimension": study.dimension,
    }
    if study.task == "segmentation":
        known = study._meaning()
        return Classes(known.names, label_values=known.values, **facts)
    return Classes(study._names(), covariates=covariates_of(study), **facts)


def summary_of(study: Study) -> StudySummary:
    """The summary of a study, from its table and a sample of its images."""
    known = study.classes
    return StudySummary(
        task=Task(study.task),
        classes=tuple(known),
        heads={name: one if isinstance(one, int) else tuple(one) for name, one in study.heads.items()},
        channels=known.channels,
        dimension=known.dimension,
        image_size=known.image_size,
        spacing_mm=known.spacing_mm,
        units=study.units,
        covariates=known.covariates,
        label_values=known.label_values,
    )


def sampled(study: Study) -> dict[str, Any]:
    """Dimension, units, channels and spacing, from a dozen images spread over the study.

    Raises:
        InputError: Images cannot be read, or are of different kinds.
    """
    rows = sorted({int(row) for row in np.linspace(0, len(study) - 1, SAMPLE)})
    seen = pixel_facts.facts(study, rows)
    dimensions = {one["dimension"] for one in seen}
    hounsfield = {one["units"] == "HU" for one in seen}
    if len(dimensions) > 1 or len(hounsfield) > 1:
        what = "images and volumes" if len(dimensions) > 1 else "CT in Hounsfield units and other images"
        raise InputError(
            f"{study.name} mixes {what}.",
            "one kind of image in a study.",
            "Make a study of each kind.",
        )
    colour = len(study.image_columns) == 1 and any(one["coloured"] for one in seen)
    known = [one["spacing_mm"] for one in seen if one["spacing_mm"] is not None]
    return {
        "dimension": dimensions.pop(),
        "units": "HU" if hounsfield.pop() else "0-255",
        "channels": len(study.image_columns) if len(study.image_columns) > 1 else 3 if colour else 1,
        "spacing_mm": tuple(float(mm) for mm in np.median(known, axis=0)) if known else None,
    }


def _image_size(study: Study) -> tuple[int, ...] | None:
    sizes = []
    for column in ("slices", "height", "width") if study.dimension == 3 else ("height", "width"):
        numbers = pd.to_numeric(study.frame.get(column, pd.Series(dtype=str)), errors="coerce").dropna()
        if numbers.empty:
            return None
        sizes.append(int(numbers.median()))
    return tuple(sizes)
