"""`easydl.features`: what a model makes of every image of a study before it answers, as a table. It judges nothing."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from easydl.errors import ModelError
from easydl.networks import members_of, metadata_of
from easydl.networks.metadata import image_input
from easydl.networks.surgery import FEATURES
from easydl.prediction.calling import check_dimension, compiled, inputs
from easydl.prediction.cascades import Cascade, open_model
from easydl.prediction.grid import window_size
from easydl.prediction.predicting import as_source
from easydl.prediction.sliding_window import starts
from easydl.studies import Study
from easydl.tasks import Task

BATCH = 16


def features(model: Any, source: Any) -> pd.DataFrame:
    """The features that a model computes of every image: what its last layer decides by.

    Args:
        model: A model of easydl or its ``.keras`` file. Of an ensemble each member's features stand side by side.
        source: A `Study`, or anything `easydl.predict` takes.

    Returns:
        float32, one row for each image with the index of ``study.frame``, so that the two can be joined; one column for
        each feature, ``feature 1`` ... A classifier's are those of its layer ``features``; of a network that makes masks
        or images they are the means over the map of its deepest layer. Without units: only differences between images
        mean something. scikit-learn takes the table as it is.

    Raises:
        InputError: Nothing readable there.
        ModelError: The model does not fit the images, or is a cascade of two.

    Example:
        >>> import easydl, numpy as np
        >>> easydl.features(easydl.classifier("tiny", size=32), np.zeros((32, 32))).shape
        (1, 128)

    References:
        Donahue et al. 2014, DeCAF, arXiv:1310.1531.
    """
    model, metadata = open_model(model)
    if isinstance(model, Cascade):
        raise ModelError("A cascade is two models.", "one of them.", "Give cascade.find_organ or cascade.find_lesion.")
    source = as_source(source, metadata)
    if isinstance(source, Study):
        scans, index = source.scan, source.frame.index
    else:
        given, index = source, pd.RangeIndex(1)

        def scans(row: int) -> Any:
            return given

    parts = [_features_of(member, source, scans, len(index)) for member in members_of(model)]
    several = len(parts) > 1
    columns = [
        f"{f'member {number}: ' if several else ''}feature {k + 1}"
        for number, part in enumerate(parts, 1)
        for k in range(part.shape[1])
    ]
    return pd.DataFrame(np.concatenate(parts, axis=1), index=index, columns=columns)


def _features_of(model: Any, source: Any, scans: Any, count: int) -> np.ndarray:
    metadata = metadata_of(model)
    if Task(metadata.task).per_pixel:
        each = [_of_map(model, scans(row)) for row in range(count)]
        return np.stack(each)
    layer = FEATURES if FEATURES in {one.name for one in model.layers} else None
    if layer is None:
        raise ModelError(
            f"The model has no layer {FEATURES!r}.", "a classifier of easydl.", "Build it with easydl.classifier(...)."
        )
    call, parts = compiled(model, layer), []
    for begin in range(0, count, BATCH):
        rows = list(range(begin, min(begin + BATCH, count)))
        read = source.each(lambda row: inputs(model, scans(row)), rows) if isinstance(source, Study) else [
            inputs(model, scans(0))
        ]  # fmt: skip
        parts.append(call(np.concatenate(read)).numpy())
    return np.concatenate(parts)


def _of_map(model: Any, scan: Any) -> np.ndarray:
    """The mean over the deepest map, window by window where the scan is larger than one."""
    metadata = metadata_of(model)
    check_dimension(metadata, scan)
    pixels = inputs(model, scan)[0]
    patch = window_size(metadata, tuple(model.input_shape[1:-1]), pixels.shape[:-1])
    call = compiled(model, deepest_layer(model, patch))
    padding = [(0, max(0, need - have)) for have, need in zip(pixels.shape, patch, strict=False)]
    padded = np.pad(pixels, [*padding, (0, 0)], mode="edge")
    corners = product(*(starts(have, need, 0.0) for have, need in zip(padded.shape, patch, strict=False)))
    views = [tuple(slice(a, a + side) for a, side in zip(corner, patch, strict=True)) for corner in corners]
    axes = tuple(range(metadata.dimension + 1))
    return np.mean([call(padded[view][None]).numpy().mean(axis=axes) for view in views], axis=0)


def deepest_layer(model: Any, size: tuple[int, ...], points: int = 2) -> str:
    """The last layer with the smallest map of at least this number of points (else the largest), for images of this spatial size."""
    import keras

    image = image_input(model)
    before = [layer for layer in model.layers if len(getattr(layer.output, "shape", ())) == len(size) + 2]
    part = keras.Model(image, [layer.output for layer in before])
    shapes = part.compute_output_spec(keras.KerasTensor((1, *size, image.shape[-1])))
    sizes = {layer.name: int(np.prod(one.shape[1:-1])) for layer, one in zip(before, shapes, strict=True)}
    wanted = min((count for count in sizes.values() if count >= points), default=max(sizes.values()))
    return [name for name, count in sizes.items() if count == wanted][-1]
