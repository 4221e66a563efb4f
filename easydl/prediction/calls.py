"""Models are called here, compiled once per model, for one scan or a whole study. It trains nothing."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from easydl.errors import InputError, ModelError
from easydl.images import Scan, prepare, read
from easydl.images.grid import resize
from easydl.networks import load_model, recipe_of
from easydl.networks.recipe import Recipe
from easydl.prediction.results import Case, Predictions, Segmentation
from easydl.prediction.windows import slide
from easydl.studies import Study, load

BATCH = 16
PATCH_2D, PATCH_3D, MULTIPLE = 256, 64, 16
_calls: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()


def predict(model: Any, source: Any) -> Predictions | Segmentation:
    """Apply a model to a study, an image, a volume or a folder.

    Args:
        model: A model of easydl or its ``.keras`` file.
        source: A `Study`, a path (image, volume, folder of DICOM or of class folders, table), a `Scan`, or an array
            ``(height, width[, channel])`` or ``(depth, height, width, channel)`` in the model's units.

    Returns:
        `Predictions` for a classifier (also for a single image: one row); for a segmenter a `Segmentation` of a
        single scan.

    Raises:
        InputError: Nothing readable there, or a segmenter was given several scans.
        ModelError: The model does not fit the images.

    Example:
        >>> easydl.predict(model, "case.dcm").frame  # doctest: +SKIP
    """
    model, recipe = opened(model)
    found = as_source(source)
    if recipe.task == "segmentation":
        if isinstance(found, Study):
            if len(found) != 1:
                raise InputError(
                    f"{found.name} holds {len(found)} scans.",
                    "one scan at a time for a model that outlines.",
                    "Give it one image, volume or series; easydl.evaluate takes the whole study.",
                )
            found = found.scan(0)
        probabilities = segment(model, recipe, found)
        mask = probabilities.argmax(axis=-1).astype(np.int32)
        return Segmentation(mask, found, recipe.classes, recipe.label_values)
    if isinstance(found, Scan):
        outputs = compiled(model)(inputs(model, found)).numpy()
        base = pd.DataFrame({"image": [found.source], "patient": [found.patient or ""]})
        return _table(base, outputs, recipe, found.source, True)
    check_classes(recipe, found)
    outputs = _over_study(model, recipe, found)
    base = found.frame[[c for c in (*found.image_columns, "patient", "label") if c in found.frame.columns]]
    return _table(base.copy(), outputs, recipe, found.name, found.patients_known)


def cases(model: Any, study: Study) -> Iterator[Case]:
    """Segment every scan of a study that has a mask, one at a time, beside its reference.

    Yields:
        `Case` on the source grid; memory does not grow with the number of scans.
    """
    model, recipe = opened(model)
    check_classes(recipe, study)
    for row in range(len(study)):
        if not str(study.frame["mask"].iloc[row]):
            continue
        scan = study.scan(row)
        predicted = segment(model, recipe, scan).argmax(axis=-1).astype(np.int32)
        patient = str(study.frame["patient"].iloc[row]) if "patient" in study.frame.columns else f"image {row + 1}"
        yield Case(study.addresses(row)[0], patient, predicted, study.reference(row), scan.spacing_mm, recipe.classes)


def inputs(model: Any, scan: Scan) -> np.ndarray:
    """The batch of one that a model gets for a Scan.

    Returns:
        float32 ``(1, *size, channels)`` in the units of the model's input layer; for a segmenter the working grid.
    """
    recipe = recipe_of(model)
    if recipe.task == "segmentation":
        return working_grid(recipe, scan)[None]
    _check_dimension(recipe, scan)
    size = tuple(int(side) for side in recipe.size if side is not None) or scan.shape
    pixels = prepare(scan, channels=recipe.channels, units=recipe.units, size=size, normalise=recipe.normalise)
    # Training keeps 8-bit images as whole numbers; so does prediction, or the two would differ by rounding.
    whole = scan.units == "0-255" and recipe.normalise == "percentile"
    return (np.rint(pixels) if whole else pixels)[None].astype(np.float32)


def compiled(model: Any, layer: str | None = None) -> Any:
    """A compiled call of a model (or up to one of its layers) that is traced once for all batch sizes.

    Args:
        model: A flat Keras model.
        layer: Stop at this layer's output; the model's own output when None.

    Returns:
        A ``tf.function`` from float32 batches to tensors, in inference mode.
    """
    import keras
    import tensorflow as tf

    window = getattr(recipe_of(model), "window", None)
    store = _calls.setdefault(model, {})
    if (layer, window) not in store:
        part = model if layer is None else keras.Model(model.inputs, model.get_layer(layer).output)
        signature = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)
        store[layer, window] = tf.function(lambda x: part(x, training=False), input_signature=[signature])
    return store[layer, window]


def segment(model: Any, recipe: Recipe, scan: Scan) -> np.ndarray:
    """Probabilities of every class on the scan's own grid, float32 ``(*shape, classes)``."""
    _check_dimension(recipe, scan)
    pixels = working_grid(recipe, scan)
    fixed = model.input_shape[1:-1]
    if all(side is not None for side in fixed):
        patch = tuple(int(side) for side in fixed)
    else:
        most = recipe.patch or ((PATCH_2D,) * 2 if recipe.dimension == 2 else (PATCH_3D,) * 3)
        patch = tuple(
            min(-(-most_side // MULTIPLE), -(-side // MULTIPLE)) * MULTIPLE
            for most_side, side in zip(most, pixels.shape, strict=False)
        )
    call = compiled(model)
    probabilities = slide(lambda batch: call(batch).numpy(), pixels, patch)
    return probabilities if probabilities.shape[:-1] == scan.shape else resize(probabilities, scan.shape)


def working_grid(recipe: Recipe, scan: Scan) -> np.ndarray:
    """A scan's pixels on the grid a segmenter works on: its spacing, or in 2D without one its longest side."""
    pixels = prepare(scan, channels=recipe.channels, units=recipe.units, normalise=recipe.normalise)
    return resize(pixels, shape) if (shape := working_shape(recipe, scan)) != scan.shape else pixels


def working_shape(recipe: Recipe, scan: Scan) -> tuple[int, ...]:
    """The spatial shape of `working_grid`."""
    if recipe.spacing_mm is not None and scan.spacing_mm is not None:
        return tuple(
            max(1, round(side * have / want))
            for side, have, want in zip(scan.shape, scan.spacing_mm, recipe.spacing_mm, strict=True)
        )
    if recipe.dimension == 3 or recipe.max_side is None or max(scan.shape) <= recipe.max_side:
        return scan.shape
    return tuple(max(2, round(side * recipe.max_side / max(scan.shape))) for side in scan.shape)


def opened(model: Any) -> tuple[Any, Recipe]:
    """A model, or the one in a ``.keras`` file, with its recipe."""
    model = load_model(model) if isinstance(model, (str, Path)) else model
    return model, recipe_of(model)


def as_source(source: Any) -> Study | Scan:
    """A Study or a Scan from whatever was given.

    Raises:
        InputError: It is none of the kinds that `predict` takes.
    """
    if isinstance(source, (Study, Scan)):
        return source
    if isinstance(source, np.ndarray):
        pixels = source[..., None] if source.ndim == 2 else source
        return Scan(pixels.astype(np.float32), "HU" if pixels.min() < -500 else "0-255", source="array")
    if isinstance(source, pd.DataFrame):
        return load(source, patient="auto" if "patient" in source.columns else None)
    if isinstance(source, (str, Path)):
        path = Path(source)
        if path.suffix.lower() in (".csv", ".tsv", ".xlsx"):
            return load(path)
        if path.is_dir():
            study = load(path)
            return study if len(study) > 1 else study.scan(0)
        return read(source)
    raise InputError(
        f"{type(source).__name__} is nothing that can be predicted.",
        "a study, a path, a Scan or an array.",
        "See the docstring of easydl.predict.",
    )


def check_classes(recipe: Recipe, study: Study) -> None:
    """Refuse a model whose classes differ from the study's, in name or in order.

    Raises:
        ModelError: Naming both lists.
    """
    theirs = tuple(study.classes) if (study.task == "segmentation" or "label" in study.frame.columns) else ()
    if theirs and recipe.task in ("classification", "segmentation") and tuple(recipe.classes) != theirs:
        # A part of a study (a test set, say) may lack a class; it may not bring one of its own.
        if recipe.task == "classification" and set(theirs) <= set(recipe.classes):
            return
        raise ModelError(
            f"The model knows the classes {', '.join(map(repr, recipe.classes))}; "
            f"the study has {', '.join(map(repr, theirs))}.",
            "the same classes in both.",
            "Build the model with classes=study.classes, or choose the study it was made for.",
        )


def _check_dimension(recipe: Recipe, scan: Scan) -> None:
    if recipe.dimension != scan.dimension:
        words = {2: "an image (2D)", 3: "a volume (3D)"}
        raise ModelError(
            f"The model takes {words[recipe.dimension]}, this is {words[scan.dimension]}.",
            words[recipe.dimension] + ".",
            "Choose a model of the right dimension, or one slice of the volume.",
        )


def _over_study(model: Any, recipe: Recipe, study: Study) -> np.ndarray:
    call = compiled(model)
    parts = []
    for begin in range(0, len(study), BATCH):
        rows = list(range(begin, min(begin + BATCH, len(study))))
        batch = np.concatenate(study.each(lambda row: inputs(model, study.scan(row)), rows))
        parts.append(call(batch).numpy())
    return np.concatenate(parts)


def _table(base: pd.DataFrame, outputs: np.ndarray, recipe: Recipe, name: str, known: bool) -> Predictions:
    if recipe.task == "regression":
        base["value"] = outputs[:, 0]
        return Predictions(base, recipe.classes, known, name)
    if recipe.task == "multilabel":
        positive = outputs >= 0.5
        base["prediction"] = ["; ".join(np.asarray(recipe.classes)[row]) for row in positive]
        base["confidence"] = np.maximum(outputs, 1 - outputs).min(axis=1)
    else:
        base["prediction"] = np.asarray(recipe.classes, dtype=object)[outputs.argmax(axis=1)]
        base["confidence"] = outputs.max(axis=1)
    for number, one in enumerate(recipe.classes):
        base[f"p({one})"] = outputs[:, number]
    return Predictions(base, recipe.classes, known, name)
