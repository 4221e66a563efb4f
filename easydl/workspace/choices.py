"""Which models fit a study, and whether their pretrained weights are on this computer. It builds no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.studies import Study

LAPTOP = "tiny"
# Operations of one image at the default size that a laptop's training bears, in 10^9.
SMALL_GFLOPS = {2: 2.0, 3: 12.0}


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


def choices(study: Study) -> list[Choice]:
    """The models that fit a study, the cheapest first; at least one."""
    from easydl.networks import models

    kind = "segmenter" if Task(study.task).has_masks else "classifier"
    rows = models(kind=kind, dimension=study.dimension).to_dict("records")
    rows.sort(key=lambda row: (not _first(str(row["name"])), row["gflops"]))
    return [_choice(row, len(study), study.dimension) for row in rows]


def encoders(study: Study, name: str) -> list[Choice]:
    """The classifiers with pretrained weights that a segmentation model can be built on, the cheapest first."""
    from easydl.networks import models
    from easydl.networks.registry import TAKE_ENCODER

    if name not in TAKE_ENCODER:
        return []
    rows = models(kind="classifier", dimension=2).sort_values("gflops").to_dict("records")
    return [_choice(row, len(study), 2) for row in rows if row["pretrained"]]


def _first(name: str) -> bool:
    """Those made for small studies, and the U-Nets, which segment by default."""
    return name.startswith(LAPTOP) or name in ("unet", "unet3d")


def _choice(row: Mapping[Any, Any], images: int, dimension: int) -> Choice:
    from easydl.networks.cost import advice
    from easydl.networks.listing import ENTRIES

    weights = _weights(row)
    return Choice(
        name=str(row["name"]),
        sentence=_sentence(row),
        weights=weights,
        megabytes=float(row["megabytes"]),
        small=float(row["gflops"]) <= SMALL_GFLOPS[dimension],
        advice=advice(ENTRIES[str(row["name"])], images, pretrained=weights == "here"),
    )


def _sentence(row: Mapping[Any, Any]) -> str:
    size = f"{row['parameters'] / 1e6:.1f} million parameters" if row["parameters"] else ""
    laptop = "small, made for laptops and small studies" if str(row["name"]).startswith(LAPTOP) else ""
    paper = "" if laptop else str(row["paper"]).split(", arXiv")[0]
    return "; ".join(part for part in (laptop, paper, size) if part)


def _weights(row: Mapping[Any, Any]) -> Literal["here", "download", "none"]:
    if not row["pretrained"]:
        return "none"
    from easydl.networks.listing import ENTRIES
    from easydl.networks.pretrained.sources import folders

    entry = ENTRIES[str(row["name"])]
    file = (ENTRIES[entry.inflates] if entry.inflates else entry).weights_file
    return "here" if any((folder / file).is_file() for folder in folders()) else "download"
