"""How a model is called: what a scan becomes as its input, compiled once per model, and whether the two fit. No files."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from easydl.errors import ModelError
from easydl.images import Scan, prepare
from easydl.networks import metadata_of
from easydl.networks.metadata import ModelMetadata, attached, image_input
from easydl.prediction.grid import working_grid
from easydl.studies import Study
from easydl.tasks import Task

_calls: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()


def inputs(model: Any, scan: Scan) -> np.ndarray:
    """The batch of one that a model gets for a Scan.

    Returns:
        float32 ``(1, *size, channels)`` in the units of the model's input layer; for a segmentation model the working grid.
    """
    metadata, scan = metadata_of(model), scan.oriented()
    if Task(metadata.task).has_masks:
        return working_grid(metadata, scan)[None]
    check_dimension(metadata, scan)
    size = tuple(int(side) for side in metadata.size if side is not None) or scan.shape
    pixels = prepare(scan, channels=metadata.channels, units=metadata.units, size=size, normalise=metadata.normalise)
    # Training keeps 8-bit images as integers; so does prediction, or the two would differ by rounding.
    # The values that a model of somebody else takes are not known, and may lie between 0 and 1.
    integers = scan.units == "0-255" and metadata.normalise == "percentile" and attached(model) is not None
    return (np.rint(pixels) if integers else pixels)[None].astype(np.float32)


def with_covariates(images: np.ndarray, covariates: np.ndarray | None) -> Any:
    """What a model is fed: the images, or a dict of them and the encoded covariates."""
    return images if covariates is None else {"image": images, "covariates": covariates}


def compiled(model: Any, layer: str | None = None, *, beside: bool = False) -> Any:
    """A compiled call of a model (or up to one of its layers) that is traced once for all batch sizes.

    Args:
        model: A flat Keras model.
        layer: Stop at this layer's output, which depends on the image alone; the model's own output when None.
        beside: Give both as a tuple, the model's own output and this layer's, in one call.

    Returns:
        A ``tf.function`` from float32 batches (for a model with covariates and no ``layer`` from dicts of ``image`` and
        ``covariates``) to tensors, or dicts of them by head, in inference mode.
    """
    import keras
    import tensorflow as tf

    metadata = metadata_of(model)
    # Numbers in the graph are constants: another window or unit is another function.
    key = (layer, beside, metadata.members, metadata.window, tuple(metadata.target.items()))
    store = _calls.setdefault(model, {})
    if key not in store:
        # A Sequential of somebody else has inputs and outputs, but is no layer that was called on them.
        alone = isinstance(model, keras.Sequential)
        answer = model.outputs[0] if alone else model.output
        given = image_input(model) if alone or not (layer is None or beside) else model.input
        own = answer if layer is None else model.get_layer(layer).output
        # Of its layers, not the model itself: what is stored under a model must not keep it alive.
        part = keras.Model(given, (answer, own) if beside else own)
        signature = tf.nest.map_structure(lambda tensor: tf.TensorSpec((None, *tensor.shape[1:]), tf.float32), given)
        store[key] = tf.function(lambda x: part(x, training=False), input_signature=[signature])
    return store[key]


def check_dimension(metadata: ModelMetadata, scan: Scan) -> None:
    """Refuse a volume for a model of images, and the other way round."""
    if metadata.dimension != scan.dimension:
        kinds = {2: "an image (2D)", 3: "a volume (3D)"}
        raise ModelError(
            f"The model takes {kinds[metadata.dimension]}, this is {kinds[scan.dimension]}.",
            kinds[metadata.dimension] + ".",
            "Choose a model of the right dimension, or one slice of the volume.",
        )


def check_classes(metadata: ModelMetadata, study: Study, *, same: bool = False) -> None:
    """Refuse a model whose task or classes differ from the study's, with a ModelError that names both.

    With ``same`` the study's classes must be all of the model's and in its order, as training goes by their numbers.
    Predictions go by their names.
    """
    if not (study.task in (Task.SEGMENTATION, Task.MULTITASK) or "label" in study.frame.columns):
        return
    if metadata.task != study.task:
        raise ModelError(
            f"The model's task is {metadata.task}; the study's is {study.task}.",
            "the same task in both.",
            "Build the model with "
            + ("heads=study.heads" if study.task == Task.MULTITASK else f"task={str(study.task)!r}")
            + ", or load the study with task= (--task) as the model's.",
        )
    if Task(metadata.task).is_value:
        return
    ours: Any = {name: head.classes for name, head in metadata.heads.items()} or tuple(metadata.classes)
    theirs: Any = {
        name: (name,) if isinstance(classes, int) else tuple(classes) for name, classes in study.heads.items()
    } or tuple(study.classes)
    if ours == theirs or not theirs:
        return
    # A part of a study (a test set, say) may lack a class; it may not bring one of its own.
    if metadata.task == Task.CLASSIFICATION and set(theirs) <= set(ours) and not same:
        return
    raise ModelError(
        f"The model knows the classes {_listed(ours)}; the study ({study.name}) has {_listed(theirs)}.",
        "the same classes in both" + (", in the same order." if same else "."),
        "Build the model with classes=study.classes (heads=study.heads for several tasks), load the study with the "
        "model's (classes=, for masks mask_labels=), or choose the study it was made for.",
    )


def _listed(names: Any) -> str:
    if isinstance(names, dict):
        return "; ".join(f"{name}: {', '.join(map(repr, classes))}" for name, classes in names.items())
    return ", ".join(map(repr, names))
