"""What a model learns, as one object with properties. A new task is one entry here, plus what really differs elsewhere."""

from __future__ import annotations

from enum import StrEnum


class Task(StrEnum):
    """A task. It is also its name, so it can be written to JSON and compared with text.

    Attributes:
        has_masks: The reference is a mask for each image.
        makes_images: The answer is an image, and no label is needed.
        has_classes: The answer is one or several of named classes (not a value, not an image).
        exclusive: Exactly one class holds (softmax); otherwise each class is a yes or no of its own (sigmoid).
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

    def __new__(
        cls,
        name: str,
        *,
        has_masks: bool = False,
        makes_images: bool = False,
        has_classes: bool = True,
        exclusive: bool = False,
        ordered: bool = False,
        is_value: bool = False,
        is_multiple: bool = False,
        fewest_classes: int = 1,
    ) -> Task:
        """Only the entries below are made."""
        task = str.__new__(cls, name)
        task._value_ = name
        task.has_masks, task.makes_images, task.has_classes = has_masks, makes_images, has_classes
        task.exclusive, task.ordered, task.is_value = exclusive, ordered, is_value
        task.is_multiple, task.fewest_classes = is_multiple, fewest_classes
        return task

    @property
    def per_pixel(self) -> bool:
        """The answer is a mask or an image, not a row of a table."""
        return self.has_masks or self.makes_images
