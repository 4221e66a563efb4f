"""The heatmap of an ensemble: the mean of those of its members, for the class that the ensemble chooses. It computes no map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import logit

from easydl.explanation.heatmap import Heatmap
from easydl.explanation.targets import head_of
from easydl.explanation.verdict import Verdict
from easydl.networks import members_of
from easydl.networks.heatmap_reference import HeatmapReference
from easydl.networks.metadata import ModelMetadata, attach, metadata_of
from easydl.prediction.results import Predictions

LEVELS = ("PASS", "CAUTION", "FAIL")


def mean_heatmap(
    model: Any,
    metadata: ModelMetadata,
    target: str | int | None,
    answer: Callable[[], Predictions],
    explain: Callable[[Any, Any], Heatmap],
) -> Heatmap:
    """The mean of the members' maps, with the worst of their verdicts.

    Args:
        model: An ensemble.
        metadata: Its metadata.
        target: As for `easydl.saliency`.
        answer: Gives the ensemble's predictions for the image.
        explain: Gives the heatmap of one member for a target.
    """
    head, index = head_of(metadata, target)
    chosen: Any = target
    right = None
    if not head.task.has_masks and not head.task.is_value:
        predictions = answer().head(head.name) if head.name else answer()
        name = _chosen(predictions, metadata, head.name) if index is None else head.classes[index]
        chosen = f"{head.name}: {name}" if head.name else name
    each = _each(model, metadata, lambda member: explain(member, chosen))
    verdicts = [one.verdict for one in each if one.verdict is not None]
    first = each[0]
    if first.reference and head.task.exclusive and not head.task.has_masks:
        right = str(predictions.frame["prediction"].iloc[0]) == first.reference
    elif first.reference:
        right = first.right
    note = f"The map is the mean of {len(each)} members', and their worst verdict is its verdict."
    return replace(
        first,
        array=np.asarray(np.mean([one.array for one in each], axis=0), np.float32),
        probability=float(np.mean([one.probability for one in each])),
        verdict=_worst(verdicts),
        right=right,
        notes=(*first.notes, note),
    )


def _each(model: Any, metadata: ModelMetadata, explain: Callable[[Any], Heatmap]) -> list[Heatmap]:
    """The members' heatmaps; the tests of every member are kept with the ensemble."""
    each: list[Heatmap] = []
    tests: dict[str, HeatmapReference] = {}
    for number, member in enumerate(members_of(model), 1):
        start = f"member {number}: "
        own = {key.removeprefix(start): one for key, one in metadata.heatmaps.items() if key.startswith(start)}
        attach(member, metadata_of(member).model_copy(update={"heatmaps": own}))
        each.append(explain(member))
        tests |= {f"{start}{key}": one for key, one in metadata_of(member).heatmaps.items()}
    attach(model, metadata.model_copy(update={"heatmaps": tests}))
    return each


def _chosen(predictions: Predictions, metadata: ModelMetadata, head: str) -> str:
    """The class of the ensemble; of several labels the one furthest above its threshold."""
    decision = metadata.decision(head)
    if decision.task.exclusive:
        return str(predictions.frame["prediction"].iloc[0])
    row = predictions.frame[[f"p({name})" for name in decision.classes]].to_numpy(float)[0]
    return decision.classes[int((logit(np.clip(row, 1e-6, 1 - 1e-6)) - logit(decision.values)).argmax())]


def _worst(verdicts: list[Verdict]) -> Verdict | None:
    if not verdicts:
        return None
    worst = max(verdicts, key=lambda one: LEVELS.index(one.level))
    same = sum(one.level == worst.level for one in verdicts)
    sentence = f"{same} of {len(verdicts)} members: {worst.sentence}"
    numbers = {f"member {number}": one.numbers for number, one in enumerate(verdicts, 1)}
    return Verdict(worst.level, sentence, numbers, worst.reasons)
