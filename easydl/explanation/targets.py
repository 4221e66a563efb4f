"""What a heatmap explains: one class, label or value of one image, and the network's output for it. It draws nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import expit, logit, softmax

from easydl.errors import ModelError, unknown_name
from easydl.networks.decision import EVEN, Decision
from easydl.networks.metadata import ModelMetadata
from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.explanation.gradcam import Network


@dataclass(frozen=True)
class Target:
    """What is explained: one image, one class, and the network's output.

    Attributes:
        network: Compiled functions.
        batch: ``(1, *size, channels)``.
        index: Of the class.
        region: For a segmentation model the segmented pixels ``(1, *size)``, else ones ``(1,)``.
        logits: The network's output, ``(classes,)`` or ``(*size, classes)``.
        task: The model's task, or the head's.
        name: Of the class.
        probability: Of the class (mean over the segmented pixels); the value for a regression.
        decision: How the network's probabilities become a class; the most probable one when not given.
        maps: The maps by gradients of a layer that came with the logits, by method.
    """

    network: Network
    batch: np.ndarray
    index: int
    region: np.ndarray
    logits: np.ndarray
    task: Task
    name: str
    probability: float
    decision: Decision | None = None
    maps: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def chosen(self) -> int:
        """The class that the model chooses; of several labels the one that is furthest above its threshold."""
        return _chosen(self.logits, self.decision or Decision(self.task, ()))

    @property
    def chosen_by_threshold(self) -> bool:
        """Whether a threshold of its own decides between two classes."""
        return self.decision is not None and self.decision.positive in self.decision.thresholds

    @property
    def threshold(self) -> float:
        """The probability from which on the class is called present."""
        place = 1 if self.chosen_by_threshold else self.index
        return EVEN if self.decision is None else float(self.decision.values[place])

    @property
    def border(self) -> str:
        """What a doubtful answer is close to."""
        return "chance" if self.threshold == EVEN else "the threshold"

    def cam(self, weights: tuple[Any, ...] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The Grad-CAM map and the logits, with these weights or the model's own."""
        if weights is None and "gradcam" in self.maps:
            return self.maps["gradcam"], self.logits
        return self.network.cam(self.batch, self.index, self.region, weights)


class Head(NamedTuple):
    """The output that is explained: of several heads one by its name, otherwise the only one."""

    name: str
    task: Task
    classes: tuple[str, ...]


def head_of(metadata: ModelMetadata, target: str | int | None) -> tuple[Head, int | None]:
    """Which head is meant, and which of its classes (None: the one that the model chooses)."""
    if not metadata.heads:
        head = Head("", Task(metadata.task), metadata.classes)
        return head, _index(head, target)
    name, target = _split(metadata, target)
    head = Head(name, Task(metadata.heads[name].task), metadata.heads[name].classes)
    return head, _index(head, target)


def _split(metadata: ModelMetadata, target: str | int | None) -> tuple[str, str | None]:
    """The head's name and the class in ``"cancer: yes"``."""
    if target is None or target in metadata.heads:
        return str(target or next(iter(metadata.heads))), None
    for name in metadata.heads:
        if isinstance(target, str) and target.startswith(f"{name}: "):
            return name, target.removeprefix(f"{name}: ")
    raise unknown_name(
        f"The model has no head {target!r}.",
        target,
        metadata.heads,
        do="Choose one of these, or leave target out for the first.",
        expected="one of {}, or one with a class, such as 'cancer: yes'.",
    )


def _index(head: Head, target: str | int | None) -> int | None:
    if target is None:
        return 0 if head.task.is_value else None
    if isinstance(target, str) and target in head.classes:
        return head.classes.index(target)
    if isinstance(target, (int, np.integer)) and 0 <= target < len(head.classes):
        return int(target)
    raise unknown_name(
        f"The model has no class {target!r}.",
        target,
        head.classes,
        do="Choose one of these, or leave target out for the class the model chose.",
        expected=f"one of {{}}, or a number from 0 to {len(head.classes) - 1}.",
    )


def target_of(network: Network, metadata: ModelMetadata, head: Head, batch: np.ndarray, index: int | None) -> Target:
    """The target in an image: the class that was asked for, or the one that the model chooses."""
    decision = metadata.decision(head.name)
    if head.task.has_masks:
        return _in_a_mask(network, head, batch, index)
    found = network.answer(batch, index, offsets=_offsets(decision))
    if index is None and not head.task.is_value:
        index = _chosen(found.logits, decision)
        # The class is guessed in the same pass as its map; the median of ordered classes can be another one.
        found = found if found.target == index else network.answer(batch, index)
    probabilities, index = softmax(found.logits), found.target
    if head.task.is_value:
        mean, std = metadata.target.get(head.name, (0.0, 1.0))
        probability = float(found.logits[0]) * std + mean
    else:
        probability = float(probabilities[index] if head.task.exclusive else expit(found.logits[index]))
    name = head.classes[index] if not head.name or head.task.is_value else f"{head.name}: {head.classes[index]}"
    return Target(network, batch, index, found.region, found.logits, head.task, name, probability, decision, found.maps)


def _offsets(decision: Decision) -> np.ndarray:
    """What is taken from every logit, so that the largest rest is the class that the thresholds choose."""
    if decision.decided_by_threshold and decision.task.exclusive:
        return np.array([0.0, logit(decision.values[1])])
    return np.asarray(logit(decision.values) if decision.decided_by_threshold else np.zeros(len(decision.classes)))


def _chosen(logits: np.ndarray, decision: Decision) -> int:
    if decision.task.exclusive:
        return int(decision.classes_of(softmax(logits)[None])[0])
    return int((logits - logit(decision.values)).argmax()) if decision.classes else int(logits.argmax())


def _in_a_mask(network: Network, head: Head, batch: np.ndarray, index: int | None) -> Target:
    """A class of a segmentation model; the one with the largest segmentation when none was asked for."""
    found = network.answer(batch, index)
    if found.logits.shape[-1] != len(head.classes):
        raise ModelError(
            f"The model has {found.logits.shape[-1]} outputs and {len(head.classes)} class names.",
            "one name for each output.",
            "Load the model with easydl.load_model.",
        )
    each = softmax(found.logits, axis=-1)[..., found.target]
    region = found.region
    probability = float(each[region[0] > 0].mean()) if region.any() else float(each.max())
    name = head.classes[found.target]
    return Target(network, batch, found.target, region, found.logits, head.task, name, probability, maps=found.maps)
