"""Networks that answer questions about an image or volume, as plain flat Keras models. It trains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from keras import layers

from easydl.errors import InputError
from easydl.networks import arguments
from easydl.networks.common_layers import end, front, seeded, wired
from easydl.networks.listing import find
from easydl.networks.metadata import Head, ModelMetadata, Task, attach
from easydl.networks.pretrained import sources, transfer

DROPOUT = 0.2
COVARIATE_UNITS = 16


def classifier(
    name: str = "resnet",
    *,
    pretrained: bool | str | Path = False,
    classes: int | Sequence[str] | None = None,
    channels: int | None = None,
    size: int | Sequence[int] | None = None,
    task: Task = "classification",
    heads: Mapping[str, int | Sequence[str]] | None = None,
    covariates: Sequence[str] | Mapping[str, Sequence[str] | None] | None = None,
    scaling: str | None = None,
    seed: int = 0,
) -> keras.Model:
    """Build a network that classifies images or volumes, or measures a number in them.

    The model is a plain ``keras.Model`` of built-in layers without nesting. It takes pixels as they are in
    the scan (0-255, or HU once `set_window` was called) and scales them itself, so the scaling travels with
    the file. Layers to know: ``image``, ``window``, ``clip``, ``features`` (after pooling), ``logits``,
    ``probability`` (``value`` for a number).

    Args:
        name: A network of ``easydl.models(kind="classifier")``, for instance ``resnet``, ``resnet18``,
            ``densenet121``, ``mobilenet_025``, ``efficientnetb0``, ``tiny``; for volumes ``tiny3d``,
            ``resnet3d18``, ``densenet3d``.
        pretrained: True or ``"imagenet"`` for ImageNet weights (from the cache, else downloaded), for volumes
            inflated from the 2D network; ``"radimagenet"``; a path to one of our ``.keras`` files, to a run folder
            or to an ``.h5`` weights file of the same backbone; an ``https`` address with its checksum,
            ``https://.../file.h5#sha256=...`` or ``#md5=...``; False for random weights. Where they are looked for and
            how to work offline: the command `easydl weights where`.
        classes: How many classes, or their names in order (``study.classes``). 2 when not given (1 for
            regression).
        channels: Channels of the images, 1 to 64; what ``classes`` says, else 1. Grey is repeated to RGB
            where the backbone needs it, which equals summing its first convolution over the colours; 2 or more
            than 3 channels are mixed by a small layer that learns and starts as their average (``to_rgb``).
        size: Side of the input in pixels, or one number per side. Not given: 128 (48 in 3D), or less where
            the study's images are smaller (but at least 96 with trained weights).
        task: ``classification`` (softmax), ``ordinal`` (softmax over classes that have an order),
            ``multilabel`` (a sigmoid per label) or ``regression`` (a number in its own unit).
        heads: Several questions at once, by name: a number of classes or their names, or 1 for a number to be
            measured: ``{"cancer": ["no", "yes"], "density": 4, "age_years": 1}``. The output is then a dict.
        covariates: Columns of the clinical table that the network takes beside the image, such as
            ``["age", "sex"]``: what kind they are is looked up in ``classes``, and is a number when that does not
            say. Or a dict from column to its values in words, None for a number: ``{"age": None, "sex": ["F",
            "M"]}``. The inputs are then a dict of ``image`` and ``covariates`` (see
            `easydl.prediction.encode_covariates`).
        scaling: The pixel scaling of the backbone, ``"imagenet"`` or ``"radimagenet"``: that of the weights when not
            given, and ImageNet's for random ones. For an ``.h5`` file whose name does not say what it was trained on.
        seed: Settles the random weights and the dropout masks. The caller's random state is left as it was.

    Returns:
        A model from float32 ``(batch, *size, channels)`` to ``(batch, classes)``; each row is in 0..1 and
        sums to 1 for classification.

    Raises:
        InputError: An argument is not one of its choices.
        WeightsError: The pretrained weights are neither here nor to be had.

    Example:
        >>> model = classifier("tiny", classes=["abdomen", "chest"], size=64, covariates=["age"])
        >>> {name: tuple(one.shape) for name, one in model.input.items()}
        {'image': (None, 64, 64, 1), 'covariates': (None, 2)}

    References:
        The papers in the catalogue, ``easydl.models()``; Carreira and Zisserman 2017 for inflated weights,
        arXiv:1705.07750.
    """
    asked = heads if heads is not None else classes
    entry = find(name, "classifier", getattr(asked, "dimension", None))
    task = _task(task, heads, classes)
    questions = arguments.head_classes(heads) if heads is not None else {}
    labels = tuple(questions) if questions else arguments.class_names(classes, task)
    arguments.fits_study(entry, asked)
    depth = arguments.channel_count(channels, asked)
    shape = arguments.image_size(size, asked, entry, pretrained=bool(pretrained))
    beside = arguments.covariate_columns(covariates, asked)
    seed = arguments.seed_of(seed)
    start = sources.locate(entry, pretrained)
    scaling = transfer.scaling_of(entry, start, scaling)
    entry = entry.trained_on(scaling)
    with seeded(seed):
        image, pixels = front(shape, depth)
        features = _features(wired(entry, pixels), entry.dimension)
        given: Any = image
        if beside:
            table = layers.Input((sum(one.width for one in beside),), name="covariates", dtype="float32")
            hidden = layers.Dense(COVARIATE_UNITS, activation="relu", name="covariates_dense")(table)
            features = layers.Concatenate(name="joined")([features, hidden])
            given = {"image": image, "covariates": table}
        features = layers.Dropout(DROPOUT, name="dropout")(features)
        if questions:
            answer: Any = {
                key: end(features, len(head.classes), head.task, head=arguments.layer_name(key))
                for key, head in questions.items()
            }
        else:
            answer = end(features, len(labels), task)
        model = keras.Model(given, answer, name=entry.name)
    metadata = ModelMetadata(
        builder="classifier",
        arguments={
            "name": entry.name, "channels": depth, "size": list(shape), "task": task, "scaling": scaling, "seed": seed,
            "heads": {key: _asked(head) for key, head in questions.items()} or None,
            "covariates": {one.name: one.categories and list(one.categories) for one in beside} or None,
        },
        classes=labels,
        task=task,
        heads=questions,
        covariates=beside,
        dimension=entry.dimension,
        channels=depth,
        size=shape,
        pretrained=transfer.apply(model, entry, start) if start else "",
    )  # fmt: skip
    return attach(model, metadata)


def _task(task: Any, heads: Any, classes: Any) -> Task:
    if heads is not None:
        if task not in ("classification", "multitask") or classes is not None:
            raise InputError(
                f"`heads` was given together with {'`classes`' if classes is not None else f'task={task!r}'}.",
                "either `heads`, or `classes` and `task`.",
                "Say the classes of each head in `heads`.",
            )
        return "multitask"
    if task not in arguments.CLASSIFIER_TASKS:
        raise InputError(
            f"`task` is {task!r}.",
            f"one of {', '.join(arguments.CLASSIFIER_TASKS)}.",
            "For outlines, build easydl.unet or easydl.unet3d; for several questions, give `heads`.",
        )
    return task


def _features(maps: Any, dimension: int) -> Any:
    """The layer ``features``: the average of each map, or the vector that a classic network ends in."""
    if len(maps.shape) == 2:
        return layers.Activation("linear", name="features")(maps)
    pool = layers.GlobalAveragePooling2D if dimension == 2 else layers.GlobalAveragePooling3D
    return pool(name="features")(maps)


def _asked(head: Head) -> list[str] | int:
    return 1 if head.task == "regression" else list(head.classes)
