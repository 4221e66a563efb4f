"""Which models fit a study, and whether their pretrained weights are on this computer. It builds no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from easydl.studies import Study

LAPTOP = "tiny"


@dataclass(frozen=True)
class Choice:
    """A model that fits a study.

    Attributes:
        name: The name that `easydl.classifier` and a run take.
        sentence: What it is, in one line.
        weights: ``"here"`` when pretrained weights lie on this computer, ``"download"`` when they have to be
            fetched once, ``"none"`` when there are none.
        megabytes: Size of the pretrained weights, in MB.
    """

    name: str
    sentence: str
    weights: str
    megabytes: float


def choices(study: Study) -> list[Choice]:
    """The models of the catalogue that fit a study, those for a laptop first.

    Args:
        study: The study; its task and dimension decide.

    Returns:
        The models, at least one.

    Example:
        >>> import pandas as pd
        >>> from types import SimpleNamespace
        >>> films = SimpleNamespace(task="classification", dimension=2)
        >>> choices(films)[0].name
        'tiny'
    """
    from easydl.networks import models

    makes = "segmenter" if study.task == "segmentation" else "classifier"
    rows = [row for row in models().to_dict("records") if row["makes"] == makes and row["dimension"] == study.dimension]
    found = [Choice(str(row["name"]), _sentence(row), _weights(row), float(row["megabytes"])) for row in rows]
    return sorted(found, key=lambda choice: not choice.name.startswith(LAPTOP))


def _sentence(row: Mapping[Any, Any]) -> str:
    size = f"{row['parameters'] / 1e6:.1f} million parameters" if row["parameters"] else ""
    laptop = "small, made for laptops and small studies" if str(row["name"]).startswith(LAPTOP) else ""
    paper = "" if laptop else str(row["paper"]).split(", arXiv")[0]
    return "; ".join(part for part in (laptop, paper, size) if part)


def _weights(row: Mapping[Any, Any]) -> str:
    if not row["pretrained"]:
        return "none"
    from easydl.networks.catalogue import ENTRIES
    from easydl.networks.weights import folders

    entry = ENTRIES[str(row["name"])]
    file = (ENTRIES[entry.inflates] if entry.inflates else entry).weights_file
    return "here" if any((folder / file).is_file() for folder in folders()) else "download"
