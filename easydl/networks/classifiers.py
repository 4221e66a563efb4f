"""Networks that give one answer per image or volume, as plain flat Keras models. It trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from keras import layers

from easydl.errors import InputError
from easydl.networks import arguments, transfer, weights
from easydl.networks.catalogue import Entry, find
from easydl.networks.recipe import Recipe, Task, attach
from easydl.networks.wiring import as_rgb, end, front, scaled, seeded

DROPOUT = 0.2
# Small studies have few steps in an epoch: with Keras' 0.99 the statistics would never arrive.
MOMENTUM = 0.9
STAGES = ((16, 1), (32, 2), (64, 2), (128, 2))
# ImageNet colour statistics, as EfficientNet was trained with them.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def classifier(
    name: str = "resnet",
    *,
    pretrained: bool | str | Path = False,
    classes: int | Sequence[str] | None = None,
    channels: int | None = None,
    size: int | Sequence[int] | None = None,
    task: Task = "classification",
    seed: int = 0,
) -> keras.Model:
    """Build a network that classifies images or volumes.

    The model is a plain ``keras.Model`` of built-in layers without nesting. It takes pixels as they are in
    the scan (0-255, or HU once `set_window` was called) and scales them itself, so the scaling travels with
    the file. Layers to know: ``image``, ``window``, ``clip``, ``features`` (after pooling), ``logits``,
    ``probability``.

    Args:
        name: ``resnet``, ``mobilenet`` (also ``_075``, ``_050``, ``_025``), ``efficientnet``, ``tiny``, or
            ``tiny3d`` for volumes. ``easydl models`` lists them with their size.
        pretrained: True or ``"imagenet"`` for ImageNet weights (from the cache, else downloaded); a path to
            one of our ``.keras`` files or an ``.h5`` weights file of the same backbone; False for random
            weights.
        classes: How many classes, or their names in order (``study.classes``). 2 when not given (1 for
            regression).
        channels: Channels of the images, 1 to 64; what ``classes`` says, else 1. Grey is repeated to RGB
            where the backbone needs it; 2 or more than 3 channels are mixed by a small layer that learns
            (``to_rgb``).
        size: Side of the input in pixels, or one number per side. Not given: 128 (48 in 3D), or less where
            the study's images are smaller (but at least 96 with trained weights).
        task: ``classification`` (softmax), ``multilabel`` (a sigmoid per label) or ``regression`` (linear).
        seed: Settles the random weights and the dropout masks. The caller's random state is left as it was.

    Returns:
        A model from float32 ``(batch, *size, channels)`` to ``(batch, classes)``; each row is in 0..1 and
        sums to 1 for classification.

    Raises:
        InputError: An argument is not one of its choices.
        WeightsError: The pretrained weights are neither here nor to be had.

    Example:
        >>> model = classifier("tiny", classes=["abdomen", "chest"], size=64)
        >>> model.output_shape
        (None, 2)

    References:
        He et al. 2016, arXiv:1603.05027; Howard et al. 2017, arXiv:1704.04861; Tan and Le 2019,
        arXiv:1905.11946.
    """
    entry = find(name, "classifier")
    if task not in arguments.CLASSIFIER_TASKS:
        raise InputError(
            f"`task` is {task!r}.",
            f"one of {', '.join(arguments.CLASSIFIER_TASKS)}.",
            "For outlines, build easydl.unet or easydl.unet3d.",
        )
    labels = arguments.class_names(classes, task)
    arguments.fits_study(entry, classes)
    depth = arguments.channel_count(channels, classes)
    shape = arguments.image_size(size, classes, entry, pretrained=bool(pretrained))
    seed = arguments.seed_of(seed)
    start = weights.locate(entry, pretrained)
    with seeded(seed):
        image, pixels = front(shape, depth)
        maps = _backbone(entry, pixels)
        pool = layers.GlobalAveragePooling2D if entry.dimension == 2 else layers.GlobalAveragePooling3D
        features = layers.Dropout(DROPOUT, name="dropout")(pool(name="features")(maps))
        logits = layers.Dense(len(labels), name="logits", dtype="float32")(features)
        model = keras.Model(image, end(logits, task), name=entry.name)
    recipe = Recipe(
        builder="classifier",
        arguments={"name": entry.name, "channels": depth, "size": list(shape), "task": task, "seed": seed},
        classes=labels,
        task=task,
        dimension=entry.dimension,
        channels=depth,
        size=shape,
        pretrained=transfer.apply(model, entry, start) if start else "",
    )
    return attach(model, recipe)


def _backbone(entry: Entry, pixels: Any) -> Any:
    if not entry.application:
        x = scaled(pixels, entry.scaling)
        return _tiny(x) if entry.dimension == 2 else _tiny3d(x)
    options = {} if entry.width is None else {"alpha": entry.width}
    make = getattr(keras.applications, entry.application)
    backbone = make(
        include_top=False, weights=None, input_tensor=scaled(as_rgb(pixels), entry.scaling), **options
    )  # fmt: skip
    standardise(backbone, _MEAN, [d * d for d in _DEVIATION])
    for layer in backbone.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = MOMENTUM
    return backbone.output


def standardise(model: Any, mean: Sequence[float], variance: Sequence[float]) -> None:
    """Set EfficientNet's own normalisation layer so that it does the whole of the published scaling.

    ``keras.applications`` divides by the deviation in that layer, and by its square root once more in a
    second one that it adds only for ``weights="imagenet"``. Both are one division; it is folded into the
    variance here, so that the graph does not depend on where the weights came from. Models without such a
    layer are left alone.
    """
    for layer in model.layers:
        if isinstance(layer, layers.Normalization):
            layer.adapt_mean.assign(mean)
            layer.adapt_variance.assign([v * d for v, d in zip(variance, _DEVIATION, strict=True)])
            layer.finalize_state()


def _tiny(x: Any) -> Any:
    for stage, (filters, repeats) in enumerate(STAGES, start=1):
        if stage > 1:
            x = layers.MaxPooling2D(2, name=f"stage{stage}_pool")(x)
        for number in range(1, repeats + 1):
            name = f"stage{stage}_{number}"
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
            x = layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_bn")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
    return x


def _tiny3d(x: Any) -> Any:
    for stage, (filters, repeats) in enumerate(STAGES, start=1):
        if stage > 1:
            x = layers.MaxPooling3D(2, padding="same", name=f"stage{stage}_pool")(x)
        for number in range(1, repeats + 1):
            name = f"stage{stage}_{number}"
            x = layers.Conv3D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
            # Volumes come in batches of one or two, too few for batch statistics.
            x = layers.GroupNormalization(groups=8, name=f"{name}_norm")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
    return x
