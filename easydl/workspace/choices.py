"""Which models fit a study, and whether their pretrained weights are on this computer. It builds no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from easydl.studies import Study

LAPTOP = "tiny"
# Operations of one image at the default size that a laptop's training bears, in 10^9.
SMALL_GFLOPS = {2: 2.0, 3: 12.0}


@dataclass(frozen=True)
class Choice:
    """A model that fits a study.

    Attributes:
        name: The name that `easydl.classifier` and a run take.
        sentence: What it is, in one line.
        weights: ``"here"`` when pretrained weights lie on this computer, ``"download"`` when they have to be
            fetched once, ``"none"`` when there are none.
        megabytes: Size of the pretrained weights, in MB.
        small: Whether it trains on a laptop in minutes rather than hours.
        advice: A sentence when it is much larger than the data, with the name of a smaller one; else empty.
    """

    name: str
    sentence: str
    weights: str
    megabytes: float
    small: bool
    advice: str


def choices(study: Study) -> list[Choice]:
    """The models of the catalogue that fit a study, the cheapest first.

    Args:
        study: The study; its task and dimension decide.

    Returns:
        The models, at least one.

    Example:
        >>> import easydl
        >>> [choice.name for choice in choices(easydl.load("films/"))][0]  # doctest: +SKIP
        'tiny'
    """
    from easydl.networks import models

    kind = "segmenter" if study.task == "segmentation" else "classifier"
    rows = models(kind=kind, dimension=study.dimension).to_dict("records")
    rows.sort(key=lambda row: (not _first(str(row["name"])), row["gflops"]))
    return [_choice(row, len(study), study.dimension) for row in rows]


def encoders(study: Study, name: str) -> list[Choice]:
    """The classifiers that a segmenter can be built on, the cheapest first; none where it has its own way down only.

    Args:
        study: The study; the number of its images decides the advice.
        name: The segmenter.

    Returns:
        The classifiers that have pretrained weights to lend.

    Example:
        >>> import easydl
        >>> [choice.name for choice in encoders(easydl.load("scans.csv"), "unet")][0]  # doctest: +SKIP
        'mobilenet_025'
    """
    from easydl.networks import models
    from easydl.networks.registry import TAKE_ENCODER

    if name not in TAKE_ENCODER:
        return []
    rows = models(kind="classifier", dimension=2).sort_values("gflops").to_dict("records")
    return [_choice(row, len(study), 2) for row in rows if row["pretrained"]]


def _first(name: str) -> bool:
    """Those made for small studies, and the U-Nets that outline by default."""
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


def _weights(row: Mapping[Any, Any]) -> str:
    if not row["pretrained"]:
        return "none"
    from easydl.networks.listing import ENTRIES
    from easydl.networks.pretrained.sources import folders

    entry = ENTRIES[str(row["name"])]
    file = (ENTRIES[entry.inflates] if entry.inflates else entry).weights_file
    return "here" if any((folder / file).is_file() for folder in folders()) else "download"
