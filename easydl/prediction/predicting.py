"""Models are called here, compiled once per model, for one scan or a whole study. It trains nothing."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from easydl.errors import InputError, ModelError
from easydl.images import Scan, prepare, read
from easydl.networks import metadata_of
from easydl.networks.metadata import ModelMetadata, image_input
from easydl.prediction.cascades import Cascade, load_model
from easydl.prediction.covariates import beside, beside_case, unknown
from easydl.prediction.image_to_image import Rebuilt, Reconstruction, rebuilt, translated
from easydl.prediction.results import Case, Predictions, Segmentation, answers
from easydl.prediction.segmentation import chosen, how_made, segment, unknown_scale, working_grid
from easydl.studies import Study, load
from easydl.studies.tables import pick, read_table

BATCH = 16
_calls: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()


def predict(
    model: Any,
    source: Any,
    *,
    covariates: Mapping[str, Any] | None = None,
    mirror: bool = False,
    largest_component: bool = False,
    fill_holes: bool = False,
) -> Predictions | Segmentation | Reconstruction:
    """Apply a model to a study, an image, a volume or a folder.

    Args:
        model: A model of easydl or its ``.keras`` file; a `Cascade` or its folder.
        source: A `Study`, a path (image, volume, folder of DICOM or of class folders, table), a `Scan`, or an array
            ``(height, width[, channel])`` or ``(depth, height, width, channel)`` in the model's units.
        covariates: For one image and a model with covariates, their values by name: ``{"age": 61, "sex": "F"}``. What is
            not given counts as unknown, and a note says so. A study's come from its own columns.
        mirror: For a segmenter: average over the mirror images that it was trained with; the work doubles with each axis.
        largest_component: For a segmenter: keep only the largest connected piece of every structure.
        fill_holes: For a segmenter: fill background that a structure encloses.

    Returns:
        `Predictions` for a classifier (also for a single image: one row); for a segmenter or a cascade a
        `Segmentation` of a single scan, for a network that makes images a `Translation`.

    Raises:
        InputError: Nothing readable there, a segmenter was given several scans, covariates the model does not know, or
            an option for outlines with a model that makes none.
        ModelError: The model does not fit the images.

    Example:
        >>> easydl.predict(model, "case.dcm").frame  # doctest: +SKIP
    """
    model, metadata = opened(model)
    on = chosen(metadata.task, mirror=mirror, largest_component=largest_component, fill_holes=fill_holes)
    found = as_source(source, metadata)
    if metadata.task in ("segmentation", "reconstruction"):
        if isinstance(found, Study):
            if len(found) != 1:
                raise InputError(
                    f"{found.name} holds {len(found)} scans.",
                    "one scan at a time for a model that outlines or makes images.",
                    "Give it one image, volume or series; easydl.evaluate takes the whole study.",
                )
            found = found.scan(0)
        if metadata.task == "reconstruction":
            _check_dimension(metadata, found)
            return translated(compiled(model), tuple(model.input_shape[1:-1]), metadata, found)
        notes = how_made(on)
        mask = segment_scan(model, metadata, found, notes, **on)
        return Segmentation(mask, found, metadata.classes, metadata.label_values, notes)
    if isinstance(found, Scan):
        told = beside_case(metadata, covariates)
        outputs = _arrays(compiled(model)(joined(inputs(model, found), told)))
        base = pd.DataFrame({"image": [found.source], "patient": [found.patient or ""]})
        return _table(base, outputs, metadata, found.source, True, unknown(metadata, None, covariates))
    if covariates is not None:
        raise InputError(
            "covariates= was given with a study.", "covariates= for one image; a study's come from its own columns.",
            "Leave it out, and add the columns to the table.",
        )  # fmt: skip
    # Labels that answer another question than the model's are none here.
    labelled = found.task == metadata.task
    if labelled:
        check_classes(metadata, found)
    outputs = _over_study(model, found)
    kept = [*found.image_columns, "patient", *(["label"] if labelled and not metadata.heads else [])]
    base = found.frame[[column for column in kept if column in found.frame.columns]].copy()
    for name in metadata.heads if labelled else ():
        base[f"{name}: label"] = found.frame[name]
    return _table(base, outputs, metadata, found.name, found.patients_known, unknown(metadata, found.frame))


def cases(model: Any, study: Study, **options: bool) -> Iterator[Case]:
    """Segment every scan of a study that has a mask, one at a time, beside its reference; options as in `predict`.

    Yields:
        `Case` on the source grid; memory does not grow with the number of scans.
    """
    model, metadata = opened(model)
    check_classes(metadata, study)
    for row in range(len(study)):
        if not str(study.frame["mask"].iloc[row]):
            continue
        scan = study.scan(row)
        predicted = segment_scan(model, metadata, scan, None, **options)
        patient = str(study.frame["patient"].iloc[row]) if "patient" in study.frame.columns else f"image {row + 1}"
        yield Case(study.addresses(row)[0], patient, predicted, study.reference(row), scan.spacing_mm, metadata.classes)


def inputs(model: Any, scan: Scan) -> np.ndarray:
    """The batch of one that a model gets for a Scan.

    Returns:
        float32 ``(1, *size, channels)`` in the units of the model's input layer; for a segmenter the working grid.
    """
    metadata = metadata_of(model)
    if metadata.task == "segmentation":
        return working_grid(metadata, scan)[None]
    _check_dimension(metadata, scan)
    size = tuple(int(side) for side in metadata.size if side is not None) or scan.shape
    pixels = prepare(scan, channels=metadata.channels, units=metadata.units, size=size, normalise=metadata.normalise)
    # Training keeps 8-bit images as whole numbers; so does prediction, or the two would differ by rounding.
    whole = scan.units == "0-255" and metadata.normalise == "percentile"
    return (np.rint(pixels) if whole else pixels)[None].astype(np.float32)


def joined(images: np.ndarray, told: np.ndarray | None) -> Any:
    """What a model is fed: the images, or a dict of them and the encoded covariates."""
    return images if told is None else {"image": images, "covariates": told}


def compiled(model: Any, layer: str | None = None) -> Any:
    """A compiled call of a model (or up to one of its layers) that is traced once for all batch sizes.

    Args:
        model: A flat Keras model.
        layer: Stop at this layer's output, which depends on the image alone; the model's own output when None.

    Returns:
        A ``tf.function`` from float32 batches (for a model with covariates and no ``layer`` from dicts of ``image`` and
        ``covariates``) to tensors, or dicts of them by question, in inference mode.
    """
    import keras
    import tensorflow as tf

    metadata = metadata_of(model)
    # Numbers in the graph are constants: another window or unit is another function.
    key = (layer, metadata.window, tuple(metadata.target.items()))
    store = _calls.setdefault(model, {})
    if key not in store:
        given = model.input if layer is None else image_input(model)
        # Of its layers, not the model itself: what is stored under a model must not keep it alive.
        part = keras.Model(given, (model if layer is None else model.get_layer(layer)).output)
        signature = tf.nest.map_structure(lambda one: tf.TensorSpec((None, *one.shape[1:]), tf.float32), given)
        store[key] = tf.function(lambda x: part(x, training=False), input_signature=[signature])
    return store[key]


def segment_scan(
    model: Any, metadata: ModelMetadata, scan: Scan, notes: list[str] | None = None, **options: bool
) -> np.ndarray:
    """The most probable class of every pixel on the scan's own grid, int32; options as in `outline`.

    What must be known about it is added to ``notes``, in words.
    """
    _check_dimension(metadata, scan)
    if isinstance(model, Cascade):
        mask, told = model.segment(segment_scan, scan, **options)
        if notes is not None:
            notes += told
        return mask
    if notes is not None:
        notes += [one for one in unknown_scale(metadata, int(scan.spacing_mm is None)) if one not in notes]
    return segment(compiled(model), tuple(model.input_shape[1:-1]), metadata, scan, **options)


def rebuilds(model: Any, study: Study, *, seed: int = 0) -> Iterator[Rebuilt]:
    """Spoil every scan of a study and let a network that makes images undo it, one at a time."""
    model, metadata = opened(model)
    if study.dimension != metadata.dimension:
        _check_dimension(metadata, study.scan(0))
    return rebuilt(compiled(model), tuple(model.input_shape[1:-1]), metadata, study, seed)


def opened(model: Any) -> tuple[Any, ModelMetadata]:
    """A model, or the one in a ``.keras`` file or a cascade's folder, with its recipe (of a cascade the second's)."""
    model = load_model(model) if isinstance(model, (str, Path)) else model
    return model, metadata_of(model.find_lesion if isinstance(model, Cascade) else model)


def as_source(source: Any, metadata: ModelMetadata) -> Study | Scan:
    """A Study or a Scan from whatever was given. A table's labels are read when the model tells classes apart.

    Raises:
        InputError: It is none of the kinds that `predict` takes.
    """
    if isinstance(source, (Study, Scan)):
        return source
    if isinstance(source, np.ndarray):
        pixels = source[..., None] if source.ndim == 2 else source
        # Such dark values are no grey values: taken for HU they are refused by a model of grey values, not cut off.
        units = "HU" if metadata.units == "HU" or pixels.min() < -500 else "0-255"
        return Scan(pixels.astype(np.float32), units, source="array")
    classes = metadata.task in ("classification", "segmentation")
    if isinstance(source, pd.DataFrame):
        return load(source if classes else unlabelled(source), patient="auto" if "patient" in source.columns else None)
    if isinstance(source, (str, Path)):
        path = Path(source)
        if path.suffix.lower() in (".csv", ".tsv", ".xlsx") and classes:
            return load(path)
        if path.suffix.lower() in (".csv", ".tsv", ".xlsx"):
            table = unlabelled(read_table(path)[0])
            return replace(load(table, root=path.resolve().parent), name=path.name)
        if path.is_dir():
            study = load(path)
            return study if len(study) > 1 else study.scan(0)
        return read(source)
    raise InputError(
        f"{type(source).__name__} is nothing that can be predicted.",
        "a study, a path, a Scan or an array.",
        "See the docstring of easydl.predict.",
    )


def unlabelled(frame: pd.DataFrame) -> pd.DataFrame:
    """A table without its label column: findings, grades and numbers cannot be read without being told what they are."""
    label = pick(frame, "label", None)
    return frame if label is None else frame.drop(columns=label)


def check_classes(metadata: ModelMetadata, study: Study, *, same: bool = False) -> None:
    """Refuse a model whose task or classes differ from the study's.

    Args:
        recipe: Of the model.
        study: Its labels.
        same: Whether the study's classes must be all of the model's and in its order, as for training, which goes by
            their numbers. Predictions go by their names.

    Raises:
        ModelError: Naming both.
    """
    if not (study.task in ("segmentation", "multitask") or "label" in study.frame.columns):
        return
    if metadata.task != study.task:
        raise ModelError(
            f"The model's task is {metadata.task}; the study's is {study.task}.",
            "the same task in both.",
            "Build the model with "
            + ("heads=study.heads" if study.task == "multitask" else f"task={study.task!r}")
            + ", or load the study with task= (--task) as the model's.",
        )
    if metadata.task == "regression":
        return
    ours: Any = {name: one.classes for name, one in metadata.heads.items()} or tuple(metadata.classes)
    theirs: Any = {
        name: (name,) if isinstance(asked, int) else tuple(asked) for name, asked in study.heads.items()
    } or tuple(study.classes)
    if ours == theirs or not theirs:
        return
    # A part of a study (a test set, say) may lack a class; it may not bring one of its own.
    if metadata.task == "classification" and set(theirs) <= set(ours) and not same:
        return
    raise ModelError(
        f"The model knows the classes {_listing(ours)}; the study ({study.name}) has {_listing(theirs)}.",
        "the same classes in both" + (", in the same order." if same else "."),
        "Build the model with classes=study.classes (heads=study.heads for several questions), load the study with the "
        "model's (classes=, for masks mask_labels=), or choose the study it was made for.",
    )


def _listing(names: Any) -> str:
    if isinstance(names, dict):
        return "; ".join(f"{name}: {', '.join(map(repr, classes))}" for name, classes in names.items())
    return ", ".join(map(repr, names))


def _check_dimension(metadata: ModelMetadata, scan: Scan) -> None:
    if metadata.dimension != scan.dimension:
        words = {2: "an image (2D)", 3: "a volume (3D)"}
        raise ModelError(
            f"The model takes {words[metadata.dimension]}, this is {words[scan.dimension]}.",
            words[metadata.dimension] + ".",
            "Choose a model of the right dimension, or one slice of the volume.",
        )


def _over_study(model: Any, study: Study) -> Any:
    call, told = compiled(model), beside(model, study)
    parts = []
    for begin in range(0, len(study), BATCH):
        rows = list(range(begin, min(begin + BATCH, len(study))))
        batch = np.concatenate(study.each(lambda row: inputs(model, study.scan(row)), rows))
        parts.append(_arrays(call(joined(batch, None if told is None else told[rows]))))
    if isinstance(parts[0], dict):
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return np.concatenate(parts)


def _arrays(outputs: Any) -> Any:
    return {name: one.numpy() for name, one in outputs.items()} if isinstance(outputs, dict) else outputs.numpy()


def _table(
    base: pd.DataFrame, outputs: Any, metadata: ModelMetadata, name: str, known: bool, notes: list[str]
) -> Predictions:
    if metadata.heads:
        columns = {
            f"{key}: {column}": cells
            for key, one in metadata.heads.items()
            for column, cells in answers(outputs[key], one.task, one.classes).items()
        }
        listed = [column for column in base.columns if not column.endswith(": label")]
        for key in metadata.heads:  # the label of a question stands before its answer
            listed += [column for column in (*base.columns, *columns) if column.startswith(f"{key}: ")]
        frame = base.assign(**columns)[list(dict.fromkeys(listed))]
    else:
        frame = base.assign(**answers(outputs, metadata.task, metadata.classes))
    return Predictions(frame, metadata.classes, known, name, metadata.task, dict(metadata.heads), notes)
