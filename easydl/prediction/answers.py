"""What a classifier puts out for the rows of a study, batch by batch, before it becomes a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from easydl.networks import members_of
from easydl.networks.metadata import ModelMetadata, metadata_of
from easydl.networks.surgery import FEATURES, head
from easydl.prediction.calling import compiled, inputs, with_covariates
from easydl.prediction.covariates import study_covariates
from easydl.prediction.doubt import Passes, passes_of
from easydl.prediction.likeness import unlike
from easydl.studies import Study

BATCH = 16


@dataclass(eq=False)
class Answers:
    """Of every row: the outputs, in what its image is unlike the training images, and what was assumed in reading it.

    Attributes:
        stacks: float32 ``(passes, images, outputs)``, one for each head.
        heads: The names of several heads; empty for one.
        strange: Of every image, in what it is unlike.
        notes: Of every image.
        seen: What the last layer sees (of an ensemble that of its first member), float32 ``(images, features)``; None without such a layer.
    """

    stacks: list[np.ndarray]
    heads: list[str]
    strange: list[list[str]]
    notes: list[tuple[str, ...]]
    seen: np.ndarray | None = None

    @property
    def stack(self) -> Any:
        """The outputs as one array, or a dict of them by head."""
        return dict(zip(self.heads, self.stacks, strict=True)) if self.heads else self.stacks[0]


def joined(parts: Sequence[Answers]) -> Answers:
    """The answers of several parts of a study, one behind the other."""
    first = parts[0]
    return Answers(
        [np.concatenate([part.stacks[number] for part in parts], axis=1) for number in range(len(first.stacks))],
        first.heads,
        [one for part in parts for one in part.strange],
        [one for part in parts for one in part.notes],
        None if first.seen is None else np.concatenate([part.seen for part in parts if part.seen is not None]),
    )


def passes_with_features(
    model: Any, metadata: ModelMetadata, uncertainty: str | None
) -> tuple[Passes, list[str], list[np.ndarray]]:
    """What answers a batch, once or several times; what to say of it; and where it leaves what the last layer sees."""
    several, meaning = passes_of(model, metadata, uncertainty)
    seen: list[np.ndarray] = []
    said = [meaning] if meaning else []
    first, *others = members_of(model)
    if not any(layer.name == FEATURES and len(layer.output.shape) == 2 for layer in first.layers):
        call = compiled(model)
        return several or (lambda given: [call(given)]), said, seen
    if several is None or uncertainty is None:  # every member answers once, and the first says what it saw
        both, calls = compiled(first, FEATURES, beside=True), [compiled(member) for member in others]

        def once(given: Any) -> list[Any]:
            answer, features = both(given)
            seen.append(np.asarray(features))
            return [answer, *(call(given) for call in calls)]

        return once, said, seen
    alone, again = compiled(first, FEATURES), several

    def passes(given: Any) -> list[Any]:
        seen.append(np.asarray(alone(given["image"] if isinstance(given, dict) else given)))
        return again(given)

    return passes, said, seen


def answers_of(
    model: Any,
    study: Study,
    uncertainty: str | None = None,
    *,
    change: Callable[[np.ndarray], np.ndarray] | None = None,
    rows: Sequence[int] | None = None,
) -> Answers:
    """The answers for some rows of a study, or for all; ``change`` makes other images of each batch before."""
    metadata = metadata_of(model)
    passes, _, looked = passes_with_features(model, metadata, uncertainty)
    chosen = list(range(len(study)) if rows is None else rows)
    covariates = study_covariates(model, study if rows is None else study.rows(chosen))
    notes: list[tuple[str, ...]] = []

    def one(row: int) -> tuple[np.ndarray, list[str]]:
        scan = study.scan(row)
        notes.append(scan.notes)
        return inputs(model, scan), unlike(metadata.training, scan)

    parts, strange = [], []
    for begin in range(0, len(chosen), BATCH):
        read = study.each(one, chosen[begin : begin + BATCH])
        batch = np.concatenate([image for image, _ in read])
        batch = batch if change is None else change(batch)
        strange += [found for _, found in read]
        given = None if covariates is None else covariates[begin : begin + BATCH]
        parts.append(passes(with_covariates(batch, given)))
    stack = stacked(parts)
    heads = list(stack) if isinstance(stack, dict) else []
    stacks = list(stack.values()) if isinstance(stack, dict) else [stack]
    return Answers(stacks, heads, strange, notes, np.concatenate(looked) if looked else None)


def answers_by_head(model: Any, study: Study, features: np.ndarray) -> Answers:
    """The answers for all rows from what the last layer sees in them: no image is read, nothing before that layer runs.

    Args:
        model: A classifier of easydl with the layer ``features``.
        study: Whose rows they are; covariates come from it.
        features: float32 ``(rows, features)``.
    """
    covariates = study_covariates(model, study)
    given = features if covariates is None else {FEATURES: features, "covariates": covariates}
    stack = stacked([[head(model)(given, training=False)]])
    heads = list(stack) if isinstance(stack, dict) else []
    stacks = list(stack.values()) if isinstance(stack, dict) else [stack]
    return Answers(stacks, heads, [[] for _ in features], [() for _ in features])


def stacked(parts: list[list[Any]]) -> Any:
    """From batches of passes to arrays ``(passes, images, outputs)``; a dict of them by head where there are several."""
    if isinstance(parts[0][0], dict):
        return {name: stacked([[each[name] for each in part] for part in parts]) for name in parts[0][0]}
    return np.concatenate([np.stack([np.asarray(each) for each in part]) for part in parts], axis=1)
