"""Baselines beside a trained network: fitted on its training patients, measured on its validation and test patients."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.comparison.baselines import BASELINES, BaselineInputs, LeftOut
from easydl.comparison.costs import Cost, with_costs
from easydl.comparison.frozen import Backbone
from easydl.comparison.paired_rows import as_predictions, side_by_side
from easydl.comparison.results import Comparison
from easydl.errors import RESEARCH_USE, EasyDLError, InputError
from easydl.evaluation.leakage import without_seen
from easydl.evaluation.level import over_looks
from easydl.evaluation.measuring import RESAMPLES
from easydl.prediction.results import Predictions
from easydl.prediction.seen import COLUMN
from easydl.training.estimators import problem_of

if TYPE_CHECKING:
    from easydl.studies import Study

NETWORK = "network"
PARTS = {"test": "test", "val": "validation"}
"""In the order of the report."""
AFTER_THE_FACT = (
    "The best baseline is the best on these very images, which favours the baselines. They were fitted on the training "
    "patients only."
)
WIDENED = "Intervals are as wide as {} looks at this test part make them."
CHOSEN = "The network was chosen by its loss on the validation part, which favours it there."


@dataclass(frozen=True)
class BaselineComparisons:
    """A network and its baselines on each part: of several tasks one comparison for each.

    Attributes:
        comparisons: Those of the test first.
    """

    comparisons: tuple[Comparison, ...]

    def of(self, part: str) -> tuple[Comparison, ...]:
        """Those of one part: ``"test"`` or ``"validation"``."""
        return tuple(one for one in self.comparisons if one.part == part)

    @property
    def sentences(self) -> list[str]:
        """Whether the network adds anything on the test patients, one sentence for each task."""
        return [one.sentence for one in self.of("test")]

    def to_dict(self) -> dict[str, Any]:
        """The content of ``baselines.json``."""
        return {"research_use": RESEARCH_USE, "comparisons": [one.to_dict() for one in self.comparisons]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> BaselineComparisons:
        """Read it back.

        Raises:
            InputError: It is something else.
        """
        found = content.get("comparisons")
        if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
            raise InputError("This is not the content of a baselines.json.", "a list of comparisons.", "Run again.")
        return cls(tuple(Comparison.from_dict(one) for one in found))


def compare_with_baselines(
    study: Study,
    predictions: Mapping[str, Predictions],
    *,
    backbone: Backbone | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    override: str | None = None,
    looks: int = 1,
    cost: Cost | None = None,
) -> BaselineComparisons:
    """Fit every baseline on the training rows of a study and measure it where the network was measured.

    Args:
        study: The whole study with its column ``split``.
        predictions: The network's, by part (``"test"``, ``"val"``): of all rows of the part, in their order. The test
            rows that the network has seen are left out, as `easydl.evaluate` does.
        backbone: Of the frozen features; None for that which `backbone_here` finds.
        seed: Of folds, trees and intervals.
        resamples: Of the bootstrap.
        override: A reason for counting seen rows.
        looks: How often the test part has been looked at; its intervals are then those of all looks together.
        cost: What an answer of the network costs, where it was measured.

    Returns:
        A `BaselineComparisons`.
    """
    inputs = BaselineInputs(study, backbone)
    split = study.frame["split"].to_numpy()
    found: list[Comparison] = []
    for head in list(study.heads) or [""]:
        outputs, seconds, left_out = _fitted(inputs, head, split == "train", seed)
        for part in (name for name in PARTS if name in predictions):
            mine = predictions[part].head(head) if head else predictions[part]
            kept = _unseen(mine, override) if part == "test" else np.ones(len(mine.frame), bool)
            rows = np.flatnonzero(split == part)[kept]
            network = replace(mine, frame=mine.frame[kept])
            entries = {NETWORK: network}
            entries |= {name: as_predictions(network, values[rows]) for name, values in outputs.items()}
            texts = {NETWORK: "the trained network"} | {name: BASELINES[name].title(inputs) for name in outputs}
            notes = [AFTER_THE_FACT] if part == "test" else [AFTER_THE_FACT, CHOSEN]
            notes += [WIDENED.format(looks)] if part == "test" and looks > 1 else []
            facts = {"part": PARTS[part], "head": head, "left_out": left_out, "notes": notes}
            with over_looks(looks if part == "test" else 1):
                one = side_by_side(
                    entries, texts, seconds, against=NETWORK, seed=seed, resamples=resamples, facts=facts
                )  # fmt: skip
            found.append(one if cost is None else with_costs(one, {NETWORK: cost}))
    order = list(PARTS.values())
    return BaselineComparisons(tuple(sorted(found, key=lambda one: order.index(one.part))))


def _fitted(
    inputs: BaselineInputs, head: str, train: np.ndarray, seed: int
) -> tuple[dict[str, np.ndarray], dict[str, float], dict[str, str]]:
    """The outputs of every baseline for all rows, the seconds each took, and which are left out and why."""
    problem = problem_of(inputs.study, head)
    outputs, seconds, left_out = {}, {}, {}
    for name, baseline in BASELINES.items():
        begun = time.perf_counter()
        try:
            outputs[name] = baseline.outputs(inputs, problem, train, seed)
        except LeftOut as reason:
            left_out[name] = str(reason)
        except EasyDLError as problem_found:
            left_out[name] = problem_found.found
        seconds[name] = time.perf_counter() - begun
    return outputs, seconds, left_out


def _unseen(predictions: Predictions, override: str | None) -> np.ndarray:
    frame = predictions.frame
    if COLUMN not in frame.columns:
        return np.ones(len(frame), bool)
    units = frame["patient"] if predictions.patients_known else frame.index.to_series()
    return without_seen(frame[COLUMN].tolist(), units, override).kept


def backbone_of(metadata: Any, pretrained: bool | str | Path) -> Backbone | None:
    """The pretrained start of a network, shown the images as the network is; None where it started from random."""
    if not pretrained or not metadata.pretrained:
        return None
    size = tuple(int(side) for side in metadata.size if side is not None)
    source = pretrained if isinstance(pretrained, bool) else str(pretrained)
    return Backbone(str(metadata.arguments["name"]), source, size, metadata.window, metadata.normalise)
