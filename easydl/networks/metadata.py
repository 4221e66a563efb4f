"""What travels with a model: how it was built, its classes in order, its units. No weights, no TensorFlow."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from easydl.errors import ModelError
from easydl.networks.decision import Decision, Threshold
from easydl.networks.heatmap_reference import HeatmapReference
from easydl.networks.seen import Seen
from easydl.tasks import Task


def _head_task(task: Task) -> Task:
    if task not in (Task.CLASSIFICATION, Task.REGRESSION):
        raise ValueError("a head is a classification or a regression")
    return task


class Head(BaseModel):
    """One of several tasks of a network.

    Attributes:
        task: ``classification`` or ``regression``.
        classes: Class names in the order of the outputs; the name of the value for regression.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Annotated[Task, AfterValidator(_head_task)]
    classes: tuple[str, ...]


class Covariate(BaseModel):
    """A column of the clinical table that a network takes as a further input.

    Attributes:
        name: The column.
        categories: The categories of a categorical column; None for numbers.
        mean: Mean of the training part, for numbers.
        std: Standard deviation of the training part, for numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    categories: tuple[str, ...] | None = None
    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)

    @property
    def width(self) -> int:
        """Inputs of the network that it fills: one per category, or the number and whether it is missing."""
        return 2 if self.categories is None else len(self.categories)


class ModelMetadata(BaseModel):
    """The facts a model file carries in ``easydl.json``, checked against this schema when it is read.

    Attributes:
        builder: The function that built the model: ``classifier``, ``segmenter`` or ``image_to_image``; ``keras`` for a
            model somebody built by hand, which only plain Keras can open again.
        arguments: What rebuilds the same graph (never ``pretrained``: the weights are in the file).
        classes: Class names in the order of the outputs. A segmenter's first class is the background. For several
            heads their names, for an image-to-image model the names of the image's channels.
        task: What the model was built for.
        heads: What each head predicts, by name; empty for the other tasks.
        covariates: Further inputs of the network.
        target: (mean, standard deviation) of the values it was trained on, by head; that of a regression model is "".
        dimension: 2 or 3.
        channels: Channels of the input layer.
        size: The model's spatial input size; None where the network takes any size.
        units: The units the input layer expects: ``0-255`` or ``HU``. Scans in relative units are brought to
            0-255 by their own percentiles before the network sees them.
        normalise: How values that are not Hounsfield units were brought to 0-255 (`easydl.images.resampling.NORMALISE`).
        window: (low, high) in those units, mapped to black and white inside the model.
        spacing_mm: The working grid of a segmenter in mm, in the order of its axes, or None.
        max_side: The working grid of a 2D segmenter: longer images are downsampled to this many pixels.
        reduced: Whether images it was trained on were longer than that, so that it knows them at a smaller scale.
        multiple: Every side of a patch that a segmenter or image-to-image model is given is a multiple of this many
            pixels, 1 to 256; axis by axis where they differ.
        patch: Size of the patches it was trained on, in working-grid pixels.
        label_values: For a segmenter, the value of each class in mask files, background first; None counts up.
        pretrained: Where the starting weights came from, as text; empty when from random.
        thresholds: From which probability on the second of two classes, or a label, is called present, by its name; of
            several heads as ``"cancer: yes"``. What is not there is 0.5.
        members: Networks of an ensemble, whose answers are averaged; 1 for a single one.
        training: What fit records: patients, images, seed, preset, overrides, data fingerprint, versions, warnings.
        seen: Digests of the images and patients it was trained and validated on; None when nothing is known of them.
        heatmaps: What the verdict on its heatmaps rests on, by method, head and size of the input.
        easydl: The version that wrote the file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    builder: Literal["classifier", "segmenter", "image_to_image", "keras"]
    arguments: dict[str, Any] = Field(default_factory=dict)
    classes: tuple[str, ...]
    task: Task
    heads: dict[str, Head] = Field(default_factory=dict)
    covariates: tuple[Covariate, ...] = ()
    target: dict[str, tuple[float, float]] = Field(default_factory=dict)
    dimension: Literal[2, 3]
    channels: int = Field(ge=1, le=64)
    size: tuple[int | None, ...]
    units: Literal["0-255", "HU"] = "0-255"
    normalise: Literal["percentile", "z-score"] = "percentile"
    window: tuple[float, float] = (0.0, 255.0)
    spacing_mm: tuple[float, ...] | None = None
    max_side: int | None = None
    reduced: bool = False
    multiple: int | tuple[int, ...] = 16
    patch: tuple[int, ...] | None = None
    label_values: tuple[int, ...] | None = None
    pretrained: str = ""
    thresholds: dict[str, Threshold] = Field(default_factory=dict)
    members: int = Field(1, ge=1, le=20)
    training: dict[str, Any] = Field(default_factory=dict)
    seen: Seen | None = Field(None, repr=False)
    heatmaps: dict[str, HeatmapReference] = Field(default_factory=dict, repr=False)
    easydl: str = ""

    @field_validator("classes")
    @classmethod
    def _named(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if not classes or len(set(classes)) < len(classes) or any(not one.strip() for one in classes):
            raise ValueError("class names must be there, be different and not be empty")
        return classes

    @property
    def multiples(self) -> tuple[int, ...]:
        """`multiple`, axis by axis."""
        return (self.multiple,) * self.dimension if isinstance(self.multiple, int) else self.multiple

    @property
    def build_arguments(self) -> dict[str, Any]:
        """What the builder is called with to lay out the same graph."""
        named = not (self.task.is_multiple or self.task.makes_images)
        return self.arguments | ({"classes": self.classes} if named else {})

    @property
    def linear_head(self) -> bool:
        """Whether the logits are linear in the features, and not in the leaves of soft trees."""
        return self.arguments.get("head", "linear") == "linear"

    @property
    def learned_from(self) -> Seen | None:
        """What it was trained on; that of a file from before this was kept is there, but not complete."""
        return Seen.new(complete=False) if self.seen is None and self.training else self.seen

    @property
    def warnings(self) -> list[str]:
        """What its validation part says against the model, as `easydl.fit` found it."""
        found = self.training.get("warnings")
        return [str(one) for one in found] if isinstance(found, list) else []

    @property
    def decided_by_threshold(self) -> bool:
        """Whether a threshold decides any answer: of two classes, or of labels."""
        return any(self.decision(head).decided_by_threshold for head in (self.heads or [""]))

    def decision(self, head: str = "") -> Decision:
        """How an output becomes a class or labels; of several heads that of one."""
        if not head:
            return Decision(self.task, self.classes, self.thresholds)
        start, one = f"{head}: ", self.heads[head]
        own = {name.removeprefix(start): value for name, value in self.thresholds.items() if name.startswith(start)}
        return Decision(one.task, one.classes, own)

    @model_validator(mode="after")
    def _divided(self) -> ModelMetadata:
        if len(self.multiples) != self.dimension or not all(1 <= one <= 256 for one in self.multiples):
            raise ValueError("multiple must be 1 to 256, once or for each axis")
        return self

    @field_validator("window")
    @classmethod
    def _ordered(cls, window: tuple[float, float]) -> tuple[float, float]:
        if not (all(map(math.isfinite, window)) and window[0] < window[1]):
            raise ValueError("a window is two finite numbers, the lower first")
        return window


_ATTRIBUTE = "easydl_metadata"


def attach(model: Any, metadata: ModelMetadata) -> Any:
    """Give a model its metadata. Keras does not notice: summary, clone and plain save are as before.

    Args:
        model: A ``keras.Model`` with one input and one output, channels last.
        metadata: What is to be known about it.

    Returns:
        The same model.

    Raises:
        ModelError: The metadata name another number of classes or channels than the model has.

    Example:
        >>> import easydl
        >>> model = easydl.classifier("tiny", size=32)
        >>> attach(model, metadata_of(model).model_copy(update={"classes": ("no", "yes")})) is model
        True
    """
    have = (image_input(model).shape[-1], len(model.output) if metadata.heads else model.output_shape[-1])
    if have != (metadata.channels, len(metadata.classes)):
        raise ModelError(
            f"The model has {have[0]} input channel(s) and {have[1]} output(s); "
            f"the metadata say {metadata.channels} and {len(metadata.classes)}.",
            "metadata of this very model.",
            "Build the model with the classes and channels of the study.",
        )
    setattr(model, _ATTRIBUTE, metadata)
    return model


def image_input(model: Any) -> Any:
    """The symbolic input that takes the image: the one called ``image``, or the only one.

    Raises:
        ModelError: Several inputs, none of them called ``image``.
    """
    inputs = list(model.inputs)
    named = [one for one in inputs if one.name.split(":")[0] == "image"] or inputs
    if len(named) != 1:
        raise ModelError(
            f"The model has {len(inputs)} inputs, none of them called image.",
            "one input, or one that is called image.",
            "Build it with easydl.classifier, or name its input.",
        )
    return named[0]


def metadata_of(model: Any) -> ModelMetadata:
    """The metadata of a model; for a Keras model built by hand, what its input and output layers tell.

    Args:
        model: A ``keras.Model``.

    Returns:
        The attached metadata, or new ones with ``builder="keras"``, classes ``class 0``, ``class 1``..., 0-255.

    Raises:
        ModelError: Not a Keras model, several inputs or outputs, or an output that is neither a softmax, a
            sigmoid nor a single value.

    Example:
        >>> import keras
        >>> pool, dense = keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(3, activation="softmax")
        >>> metadata_of(keras.Sequential([keras.Input((32, 32, 1)), pool, dense])).classes
        ('class 0', 'class 1', 'class 2')
    """
    return attached(model) or _inferred(model)


def attached(model: Any) -> ModelMetadata | None:
    """The metadata that were attached to a model, or None for one that has none, such as a part of a network."""
    metadata = getattr(model, _ATTRIBUTE, None)
    return metadata if isinstance(metadata, ModelMetadata) else None


def _inferred(model: Any) -> ModelMetadata:
    try:
        inputs, outputs = tuple(model.input_shape), tuple(model.output_shape)
        activation = _last_activation(model)
    except (AttributeError, ValueError, TypeError):
        inputs, outputs, activation = (), (), ""
    per_image, per_pixel = len(outputs) == 2, len(outputs) == len(inputs)
    usable = len(inputs) in (4, 5) and isinstance(inputs[-1], int) and (per_image or per_pixel)
    if not usable or not isinstance(outputs[-1], int):
        raise ModelError(
            f"{type(model).__name__} cannot be used here.",
            "a Keras model with one input (height, width, channel) or (depth, height, width, channel) "
            "and one output: class probabilities per image or per pixel.",
            "Build it with easydl.classifier, easydl.unet or easydl.unet3d, or make such a Keras model.",
        )
    count = outputs[-1]
    if activation == "softmax" and count >= 2:
        task = Task.CLASSIFICATION if per_image else Task.SEGMENTATION
    elif activation == "sigmoid" and per_image:
        task = Task.MULTILABEL
    elif activation == "linear" and per_image and count == 1:
        task = Task.REGRESSION
    else:
        raise ModelError(
            f"The model ends in {count} {activation or 'unknown'} output(s).",
            "probabilities: a softmax over two or more classes, or sigmoids per label; or one linear value.",
            'End the model with Dense(2, activation="softmax"), for instance.',
        )
    names = [f"class {number}" for number in range(count)]
    return ModelMetadata(
        builder="keras",
        classes=("background", *names[1:]) if task.has_masks else tuple(names),
        task=task,
        dimension=2 if len(inputs) == 4 else 3,
        channels=inputs[-1],
        size=inputs[1:-1],
    )


def _last_activation(model: Any) -> str:
    last = model.layers[-1]
    if getattr(last, "layers", None):  # a model in a model
        return _last_activation(last)
    if type(last).__name__ == "Softmax":
        return "softmax"
    return str(getattr(getattr(last, "activation", None), "__name__", ""))
