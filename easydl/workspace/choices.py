"""Which models fit a study: what each is for, how long it takes here, how many images it wants. It builds no model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from easydl.networks.pretrained.sources import SHIPPED
from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.reporting import RunRecord
    from easydl.studies import Study

LAPTOP = "tiny"
# Operations of one image at the default size that a laptop's training bears, in 10^9.
SMALL_GFLOPS = {2: 2.0, 3: 12.0}
# MobileNetV2's training step on two processor cores, to which the steps of facts.json are ratios (model_costs.py --time).
STEP_SECONDS, STEP_CORES, STEP_IMAGES = 0.2, 2, {2: 8, 3: 2}
EPOCHS = 30
"""Epochs for which the time is given; early stopping often ends before, fine-tuning adds some."""
TRAINING_PART = 0.7
RUNS_TIMED = 5


@dataclass(frozen=True)
class Choice:
    """A model that fits a study; ``megabytes`` and ``weights`` are those of its pretrained weights."""

    name: str
    sentence: str
    weights: Literal["here", "download", "none"]
    megabytes: float
    small: bool
    """Whether it trains on a laptop in minutes rather than hours."""
    advice: str
    """A sentence when it is much larger than the data, with the name of a smaller one; else empty."""


def choices(study: Study, *, pace: float = 1.0) -> list[Choice]:
    """The models that fit a study, that of the weights in the package and then the cheapest first; at least one. ``pace`` is that of this computer."""
    from easydl.networks import models

    kind = "segmenter" if Task(study.task).has_masks else "classifier"
    rows = models(kind=kind, dimension=study.dimension).to_dict("records")
    rows.sort(key=lambda row: (row["name"] != SHIPPED, not _first(str(row["name"])), row["gflops"]))
    return [_choice(row, len(study), study.dimension, pace) for row in rows]


def training_seconds(name: str, images: int, epochs: int = EPOCHS) -> float:
    """Roughly how long a model trains on the processor of this computer, from the cost of its step."""
    from easydl.networks.listing import ENTRIES

    steps = images / STEP_IMAGES[ENTRIES[name].dimension] * epochs
    return ENTRIES[name].step * STEP_SECONDS * STEP_CORES / (os.cpu_count() or STEP_CORES) * steps


def pace(runs: Iterable[RunRecord]) -> float:
    """How many times longer than predicted the last finished runs of this computer took; 1 before the first."""
    from easydl.networks.listing import ENTRIES

    ratios: list[float] = []
    for run in runs:
        name, seconds = str(run.config.get("model")), (run.facts.get("seconds") or {}).get("training")
        images = (run.split.get("train") or {}).get("images")
        if name in ENTRIES and seconds and images and len(run.history) and len(ratios) < RUNS_TIMED:
            ratios.append(float(seconds) / training_seconds(name, images, len(run.history)))
    return median(ratios) if ratios else 1.0


def encoders(study: Study, name: str) -> list[Choice]:
    """The classifiers with pretrained weights that a segmentation model can be built on, the cheapest first."""
    from easydl.networks import models
    from easydl.networks.registry import TAKE_ENCODER

    if name not in TAKE_ENCODER:
        return []
    rows = models(kind="classifier", dimension=2).sort_values("gflops").to_dict("records")
    return [_choice(row, len(study), 2, None) for row in rows if row["pretrained"]]


def _first(name: str) -> bool:
    """Those made for small studies, and the U-Nets, which segment by default."""
    return name.startswith(LAPTOP) or name in ("unet", "unet3d")


def _choice(row: Mapping[Any, Any], images: int, dimension: int, pace: float | None) -> Choice:
    from easydl.networks.cost import advice
    from easydl.networks.listing import ENTRIES

    weights = _weights(row)
    return Choice(
        name=str(row["name"]),
        sentence="; ".join(part for part in (_purpose(row), _time(row, images, pace), _need(row, images)) if part),
        weights=weights,
        megabytes=float(row["megabytes"]),
        small=float(row["gflops"]) <= SMALL_GFLOPS[dimension],
        advice=advice(ENTRIES[str(row["name"])], images, pretrained=weights == "here"),
    )


def _purpose(row: Mapping[Any, Any]) -> str:
    """What it is for."""
    from easydl.networks.registry import TAKE_ENCODER

    name = str(row["name"])
    if name == SHIPPED:
        return "for most studies of images, the usual first choice: its pretrained weights come with easydl"
    if name.startswith(LAPTOP):
        return "for small studies and laptops, from random weights"
    if row["kind"] == "segmenter":
        if _first(name):
            return "for masks of organs and lesions, the usual first choice"
        return "for masks, can build on a pretrained network" if name in TAKE_ENCODER else "for masks, to compare"
    if not row["pretrained"]:
        return "from random weights, for larger studies or to compare"
    sizes = {"light": "for small studies", "medium": "for medium studies", "heavy": "for large studies"}
    return f"{sizes.get(str(row['step']), 'for large studies')}, from pretrained weights"


def _time(row: Mapping[Any, Any], images: int, pace: float | None) -> str:
    """How long here; nothing for the part of a model."""
    if pace is None:
        return ""
    minutes = training_seconds(str(row["name"]), round(TRAINING_PART * images)) * pace / 60
    time = f"{minutes / 60:.0f} h" if minutes >= 90 else f"{max(1, round(minutes))} min"
    return f"roughly {time} here"


def _need(row: Mapping[Any, Any], images: int) -> str:
    """How many images it wants, where the study has fewer; segmentation learns from every pixel."""
    from easydl.networks.cost import MOST_PER_IMAGE, MOST_PER_IMAGE_PRETRAINED

    most = MOST_PER_IMAGE_PRETRAINED if row["pretrained"] else MOST_PER_IMAGE
    wanted = int(float(f"{row['parameters'] / most:.2g}"))
    return f"wants about {wanted:,} images" if row["kind"] == "classifier" and wanted > images else ""


def _weights(row: Mapping[Any, Any]) -> Literal["here", "download", "none"]:
    if not row["pretrained"]:
        return "none"
    from easydl.networks.listing import ENTRIES
    from easydl.networks.pretrained.sources import folders

    entry = ENTRIES[str(row["name"])]
    file = (ENTRIES[entry.inflates] if entry.inflates else entry).weights_file
    return "here" if any((folder / file).is_file() for folder in folders()) else "download"
