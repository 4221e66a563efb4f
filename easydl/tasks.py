"""What a model learns, as one object with properties. A new task is one entry here, plus what really differs elsewhere."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


@dataclass(frozen=True)
class _Traits:
    has_masks: bool = False
    makes_images: bool = False
    has_classes: bool = False
    exclusive: bool = False
    ordered: bool = False
    is_value: bool = False
    is_multiple: bool = False
    fewest_classes: int = 1


class Task(StrEnum):
    """A task. It is also its name, so it can be written to JSON and compared with text.

    Attributes:
        has_masks: The reference is a mask for each image.
        makes_images: The answer is an image, and no label is needed.
        has_classes: The answer is one or several of named classes, for an image or for each pixel.
        exclusive: Exactly one class holds (softmax); otherwise every class is a yes or no of its own (sigmoid).
        ordered: The classes have an order.
        is_value: The answer is a value in a unit of its own.
        is_multiple: Several tasks at once, one head each.
        fewest_classes: Names that the outputs need at least.

    Example:
        >>> Task("ordinal").ordered, Task.SEGMENTATION.per_pixel, f"{Task.REGRESSION}"
        (True, True, 'regression')
    """

    has_masks: bool
    makes_images: bool
    has_classes: bool
    exclusive: bool
    ordered: bool
    is_value: bool
    is_multiple: bool
    fewest_classes: int

    CLASSIFICATION = "classification", _Traits(has_classes=True, exclusive=True, fewest_classes=2)
    ORDINAL = "ordinal", _Traits(has_classes=True, exclusive=True, ordered=True, fewest_classes=2)
    MULTILABEL = "multilabel", _Traits(has_classes=True)
    REGRESSION = "regression", _Traits(is_value=True)
    MULTITASK = "multitask", _Traits(is_multiple=True)
    SEGMENTATION = "segmentation", _Traits(has_classes=True, exclusive=True, has_masks=True, fewest_classes=2)
    RECONSTRUCTION = "reconstruction", _Traits(makes_images=True)

    def __new__(cls, name: str, traits: _Traits = _Traits()) -> Task:
        """Only the entries above are made; ``Task("ordinal")`` looks one up."""
        task = str.__new__(cls, name)
        task._value_ = name
        for trait, value in asdict(traits).items():
            setattr(task, trait, value)
        return task

    @property
    def per_pixel(self) -> bool:
        """The answer is a mask or an image, not a row of a table."""
        return self.has_masks or self.makes_images

    @property
    def per_image(self) -> bool:
        """The answer is one label, several labels or a value for the whole image (one head)."""
        return not (self.per_pixel or self.is_multiple)


STUDY_TASKS = tuple(task for task in Task if not task.makes_images)
"""The tasks that a study's table can pose."""
CLASSIFIER_TASKS = tuple(task for task in Task if task.per_image)
"""The tasks of a classifier with one head."""
