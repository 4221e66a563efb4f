"""What a heatmap explains: one class, label or value of one image, and the network's output for it. It draws nothing."""

from __future__ import annotations

from dataclasses import dataclass
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

    @property
    def chosen(self) -> int:
        """The class that the model chooses, of several that exclude each other."""
        decision = self.decision or Decision(self.task, ())
        return int(decision.classes_of(softmax(self.logits)[None])[0])

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
    logits = network.logits(batch)[0]
    if head.task.has_masks:
        return _in_a_mask(network, head, batch, logits, index)
    probabilities, decision = softmax(logits), metadata.decision(head.name)
    if index is None and not head.task.exclusive:
        # The label that is furthest above its threshold.
        index = int((logits - logit(decision.values)).argmax())
    elif index is None:
        index = int(decision.classes_of(probabilities[None])[0])
    if head.task.is_value:
        mean, std = metadata.target.get(head.name, (0.0, 1.0))
        probability = float(logits[0]) * std + mean
    else:
        probability = float(probabilities[index] if head.task.exclusive else expit(logits[index]))
    name = head.classes[index] if not head.name or head.task.is_value else f"{head.name}: {head.classes[index]}"
    return Target(network, batch, index, np.ones((1,), np.float32), logits, head.task, name, probability, decision)


def _in_a_mask(network: Network, head: Head, batch: np.ndarray, logits: np.ndarray, index: int | None) -> Target:
    """A class of a segmentation model; the one with the largest segmentation when none was asked for."""
    if logits.shape[-1] != len(head.classes):
        raise ModelError(
            f"The model has {logits.shape[-1]} outputs and {len(head.classes)} class names.",
            "one name for each output.",
            "Load the model with easydl.load_model.",
        )
    chosen = logits.argmax(axis=-1)
    if index is None:
        index = 1 + int(np.bincount(chosen.ravel(), minlength=logits.shape[-1])[1:].argmax())
    region = (chosen == index).astype(np.float32)[None]
    each = softmax(logits, axis=-1)[..., index]
    probability = float(each[region[0] > 0].mean()) if region.any() else float(each.max())
    return Target(network, batch, index, region, logits, head.task, head.classes[index], probability)
