"""The parts of a built model: backbone, features, head, window, class names. It builds and trains nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from easydl.errors import InputError, ModelError
from easydl.networks import arguments
from easydl.networks.recipe import attach, recipe_of

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

    return keras.Model(model.inputs[0], _layer(model, FEATURES).output, name=f"{model.name}_features")


def head(model: Any) -> Any:
    """The part of a classifier after ``features``, sharing its weights: training it trains the model.

    Returns:
        A Keras model from float32 ``(batch, features)`` to ``(batch, classes)``.

    Raises:
        ModelError: The model has no such layer.

    Example:
        >>> import easydl
        >>> [layer.name for layer in head(easydl.classifier("tiny", size=32)).layers[1:]]
        ['dropout', 'logits', 'probability']
    """
    import keras

    width = _layer(model, FEATURES).output.shape[-1]
    x = given = keras.Input((width,), name="cached_features")
    for layer in model.layers[_position(model) + 1 :]:
        x = layer(x)
    return keras.Model(given, x, name=f"{model.name}_head")


def backbone_layers(model: Any) -> list[Any]:
    """The layers of a classifier up to and with ``features``, from the input on.

    Raises:
        ModelError: The model has no such layer.
    """
    return list(model.layers[: _position(model) + 1])


def freeze_backbone(model: Any) -> Any:
    """Let only the head of a classifier learn. Compile afterwards; Keras fixes what learns when it compiles.

    Returns:
        The same model.

    Raises:
        ModelError: The model has no layer ``features``.
    """
    for layer in backbone_layers(model):
        layer.trainable = False
    return model


def unfreeze(model: Any) -> Any:
    """Let the whole model learn but for batch normalisation, which keeps its statistics. Compile afterwards.

    With the small batches of medical studies, batch statistics that move undo what was learned before.

    Returns:
        The same model.
    """
    import keras

    for layer in model.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    return model


def set_window(model: Any, window: Sequence[float], units: str) -> Any:
    """Choose which values are black and which are white, inside the model.

    It holds from the next prediction on, and is saved with the model. Call it before ``compile`` and ``fit``:
    a training step that is already compiled is dropped and compiled anew.

    Args:
        model: A model of easydl.
        window: (low, high): low and less becomes black, high and more white.
        units: What the numbers are: ``"HU"``, or ``"0-255"``.

    Returns:
        The same model, with the window in its recipe.

    Raises:
        InputError: Not two finite numbers in order, or unknown units.
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
    layer = _layer(model, WINDOW)
    layer.scale = 255.0 / (high - low)
    layer.offset = -low * layer.scale
    for compiled in ("train_function", "test_function", "predict_function"):
        if hasattr(model, compiled):
            setattr(model, compiled, None)
    return attach(model, recipe_of(model).model_copy(update={"window": (low, high), "units": units}))


def set_classes(model: Any, classes: Sequence[str]) -> Any:
    """Name the outputs of a model that was built with a number of classes only.

    Args:
        model: A model of easydl.
        classes: As many names as the model has outputs, in their order.

    Returns:
        The same model, with the names in its recipe.

    Raises:
        ModelError: Another number of names than outputs.
        InputError: A name is empty or given twice.
    """
    recipe = recipe_of(model)
    names = arguments.class_names(list(classes), recipe.task)
    if len(names) != len(recipe.classes):
        raise ModelError(
            f"The model has {len(recipe.classes)} outputs, {len(names)} class names were given.",
            "a name for every output.",
            "Build the model with classes=study.classes.",
        )
    changes: dict[str, Any] = {"classes": names}
    values = getattr(classes, "label_values", None)
    if values and recipe.task == "segmentation":
        changes["label_values"] = tuple(int(value) for value in values)
    return attach(model, recipe.model_copy(update=changes))


def _layer(model: Any, name: str) -> Any:
    try:
        return model.get_layer(name)
    except ValueError:
        needed = "a classifier" if name == FEATURES else "a model"
        raise ModelError(
            f"The model has no layer called {name}.",
            f"{needed} of easydl.",
            "Build it with easydl.classifier(...)" + ("." if name == FEATURES else ", unet(...) or unet3d(...)."),
        ) from None


def _position(model: Any) -> int:
    _layer(model, FEATURES)
    return [layer.name for layer in model.layers].index(FEATURES)
