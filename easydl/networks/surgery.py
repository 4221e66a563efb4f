"""The parts of a built model: backbone, features, head, window, class names. It builds and trains nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from easydl.errors import InputError, ModelError
from easydl.networks import arguments
from easydl.networks.ensembles import members_of
from easydl.networks.keras_internals import forget_compiled
from easydl.networks.metadata import attach, image_input, metadata_of

FEATURES, WINDOW = "features", "window"
UNITS = ("0-255", "HU")


def feature_extractor(model: Any) -> Any:
    """The part of a classifier up to the layer ``features``, sharing its weights.

    Returns:
        A Keras model from ``(batch, *size, channels)`` to float32 ``(batch, features)``. Call it with
        ``training=False`` for features that can be cached.

    Raises:
        ModelError: The model has no such layer.

    Example:
        >>> import easydl
        >>> feature_extractor(easydl.classifier("tiny", size=32)).output_shape
        (None, 128)
    """
    import keras

    return keras.Model(image_input(model), _layer(model, FEATURES).output, name=f"{model.name}_features")


def head(model: Any) -> Any:
    """The part of a classifier after ``features``, sharing its weights: training it trains the model.

    Returns:
        A Keras model from float32 ``(batch, features)`` to the outputs of the model; for a model with covariates
        from the dict of ``features`` and ``covariates``.

    Raises:
        ModelError: The model has no such layer.

    Example:
        >>> import easydl
        >>> [layer.name for layer in head(easydl.classifier("tiny", size=32)).layers[1:]]
        ['dropout', 'logits', 'probability']
    """
    import keras

    features = _layer(model, FEATURES).output
    features.name = FEATURES
    inputs: Any = features
    if isinstance(model.input, dict):
        inputs = {FEATURES: features, **{name: tensor for name, tensor in model.input.items() if name != "image"}}
    return keras.Model(inputs, model.output, name=f"{model.name}_head")


def backbone_layers(model: Any) -> list[Any]:
    """The layers of a classifier from the image to ``features``, in the order of the model.

    Raises:
        ModelError: The model has no such layer.
    """
    names = [layer.name for layer in model.layers]
    _layer(model, FEATURES)
    return [layer for layer in model.layers[: names.index(FEATURES) + 1] if not layer.name.startswith("covariates")]


def set_window(model: Any, window: Sequence[float], units: str) -> Any:
    """Choose which values are black and which are white, inside the model.

    It holds from the next prediction on, and is saved with the model. Call it before ``compile`` and ``fit``:
    a training step that is already compiled is dropped and compiled anew.

    Args:
        model: A model of easydl.
        window: (low, high): low and less becomes black, high and more white.
        units: Their unit: ``"HU"``, or ``"0-255"``.

    Returns:
        The same model, with the window in its metadata.

    Raises:
        InputError: Not two finite values in order, or unknown units.
        ModelError: The model has no layer ``window``.

    Example:
        >>> import easydl
        >>> model = set_window(easydl.classifier("tiny", size=32), (-160.0, 240.0), "HU")
        >>> model.get_layer("window").get_config()["scale"]
        0.6375

    References:
        DICOM PS3.3 C.11.2.1.2 (window centre and width), here without its half-pixel terms.
    """
    if units not in UNITS:
        raise InputError(f"`units` is {units!r}.", f"one of {', '.join(UNITS)}.", 'Use "HU" for CT, else "0-255".')
    try:
        low, high = (float(value) for value in window)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(
            f"`window` is {window!r}.",
            "two numbers, the lower first.",
            "For lungs in CT, use window=(-1000, 400).",
        )
    for member in members_of(model):
        layer = _layer(member, WINDOW)
        layer.scale = 255.0 / (high - low)
        layer.offset = -low * layer.scale
        if metadata_of(model).task.makes_images:
            # Black and white become the same values again.
            out = _layer(member, "image_out")
            out.scale, out.offset = (high - low) / 2, (high + low) / 2
    forget_compiled(model)
    return attach(model, metadata_of(model).model_copy(update={"window": (low, high), "units": units}))


def set_target_scale(model: Any, mean: float, std: float, *, head: str = "") -> Any:
    """Choose the unit of a value that the model predicts: it learns (value - mean) / standard deviation inside.

    Call it before ``compile`` and ``fit``, with the mean and standard deviation of the training part.

    Args:
        model: A regression model of easydl.
        mean: Mean of the value.
        std: Its standard deviation, above 0.
        head: Which value, for a model with several heads.

    Returns:
        The same model, with both in its metadata.

    Raises:
        InputError: Not two finite numbers, or the standard deviation is not above 0.
        ModelError: The model predicts no value.

    Example:
        >>> import easydl
        >>> model = easydl.classifier("tiny", task="regression", size=32)
        >>> metadata_of(set_target_scale(model, 62.0, 11.5)).target
        {'': (62.0, 11.5)}
    """
    name = f"{arguments.layer_name(head)}_target_scaling" if head else "target_scaling"
    layers = [_layer(member, name, "a regression model") for member in members_of(model)]
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
        raise InputError(
            f"The values to learn have the mean {mean} and the standard deviation {std}.",
            "finite numbers that are not all the same.",
            "Look at the labels of the training part.",
        )
    for layer in layers:
        layer.scale, layer.offset = float(std), float(mean)
    forget_compiled(model)
    metadata = metadata_of(model)
    return attach(model, metadata.model_copy(update={"target": {**metadata.target, head: (float(mean), float(std))}}))


def set_temperature(model: Any, temperature: float, *, head: str = "") -> Any:
    """Divide the logits of a classifier by a temperature, in the weights of its last layer: no layer is added.

    Above 1 probabilities become less extreme, below 1 more; the order of the classes stays. Thresholds that were chosen
    before are of the old probabilities.

    Args:
        model: A classifier of easydl for classes or labels.
        temperature: Above 0; it is applied on top of an earlier one.
        head: Which output, for a model with several heads.

    Returns:
        The same model.

    Raises:
        InputError: Not a finite number above 0.
        ModelError: The model has no such logits.

    Example:
        >>> import easydl, numpy as np
        >>> model, images = easydl.classifier("tiny", size=32), np.ones((1, 32, 32, 1))
        >>> before = np.log(model(images))
        >>> after = np.log(set_temperature(model, 2.0)(images))
        >>> bool(np.allclose(np.diff(after), np.diff(before) / 2, atol=1e-5))
        True

    References:
        Guo et al. 2017, On calibration of modern neural networks, arXiv:1706.04599.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise InputError(f"`temperature` is {temperature}.", "a finite number above 0.", "Use 1.5, for instance.")
    for member in members_of(model):
        layer = _layer(member, f"{arguments.layer_name(head)}_logits" if head else "logits", "a classifier")
        layer.set_weights([weights / temperature for weights in layer.get_weights()])
    return model


def set_classes(model: Any, classes: Sequence[str]) -> Any:
    """Name the outputs of a model that was built with a number of classes only.

    Args:
        model: A model of easydl.
        classes: As many names as the model has outputs, in their order.

    Returns:
        The same model, with the names in its metadata.

    Raises:
        ModelError: Another number of names than outputs.
        InputError: A name is empty or given twice.
    """
    metadata = metadata_of(model)
    if not metadata.task.per_image and not metadata.task.has_masks:
        raise ModelError(
            "The outputs of this model are not classes.", "a model with one task.", "Name the classes in `heads`."
        )
    names = arguments.class_names(list(classes), metadata.task)
    if len(names) != len(metadata.classes):
        raise ModelError(
            f"The model has {len(metadata.classes)} outputs, {len(names)} class names were given.",
            "a name for every output.",
            "Build the model with the study: easydl.classifier(name, study).",
        )
    renamed = dict(zip(metadata.classes, names, strict=True))
    thresholds = {renamed[name]: one for name, one in metadata.thresholds.items() if name in renamed}
    return attach(model, metadata.model_copy(update={"classes": names, "thresholds": thresholds}))


def _layer(model: Any, name: str, needed: str = "") -> Any:
    try:
        return model.get_layer(name)
    except ValueError:
        needed = needed or ("a classifier" if name == FEATURES else "a model")
        raise ModelError(
            f"The model has no layer called {name}.",
            f"{needed} of easydl.",
            "Build it with easydl.classifier(...)" + (", unet(...) or unet3d(...)." if name == WINDOW else "."),
        ) from None
