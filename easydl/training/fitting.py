"""`easydl.fit`: the one call that trains. It guards, plans and hands over; the work is in the files beside it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.augmentation import preset as find_preset
from easydl.augmentation import suggest
from easydl.errors import InputError, ModelError
from easydl.images.grid import NORMALISE
from easydl.networks import attach, recipe_of
from easydl.networks.recipe import Recipe
from easydl.prediction import check_classes
from easydl.studies import Study
from easydl.training.plan import Asked, mixed_task
from easydl.traps import refuse_leakage

if TYPE_CHECKING:
    import keras

# What to build instead of a network of the other dimension.
OTHER_DIMENSION = {
    "classifier": {2: "easydl.classifier('tiny')", 3: "easydl.classifier('tiny3d')"},
    "segmenter": {2: "easydl.unet", 3: "easydl.unet3d"},
    "translator": {2: "easydl.translator('denoising_autoencoder')", 3: "easydl.translator('denoising_autoencoder3d')"},
    "keras": {2: "a network that takes images", 3: "a network that takes volumes"},
}


def fit(
    model: keras.Model,
    train: Study | Any,
    val: Study | Any = None,
    *,
    augment: str = "auto",
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    fine_tune: bool | str = "auto",
    class_weight: dict[str, float] | str | None = "auto",
    window: str | Sequence[float] | None = None,
    normalise: str = "percentile",
    spacing_mm: Sequence[float] | None = None,
    loss: str = "auto",
    seed: int = 0,
    run: str | Path | None = None,
    override: str | None = None,
    verbose: bool | str = "auto",
) -> keras.callbacks.History:
    """Train a model on a study; every choice not made here is made from the data and explained.

    A pretrained classifier is trained in two phases: its frozen features are computed once, a head is trained on them,
    and, with enough images, the whole network is fine-tuned with batch normalisation kept frozen. Other models are
    trained from the start. The best epoch on the validation part is kept.

    Args:
        model: From `easydl.classifier`, `easydl.segmenter` (`easydl.unet`, `easydl.unet3d`) or `easydl.translator`, which
            needs no labels; or any Keras model when ``train`` is a ``tf.data.Dataset``.
        train: The training part of a split study, or a ``tf.data.Dataset`` of (images, targets).
        val: The validation part, or a dataset.
        augment: Name of a preset (see `easydl.presets`), alone or with extras, such as ``"chest_xray+mixup"``;
            ``"auto"`` (or ``"auto+mixup"``) chooses the preset by modality, ``"none"`` is none.
        epochs: At most so many epochs in each phase.
        batch_size: Images in a step.
        learning_rate: Peak learning rate of the main phase.
        fine_tune: True, False, or ``"auto"``: from 60 training images on. Only for pretrained models.
        class_weight: ``"auto"`` weighs rare classes up (with several questions, those of each); a dict from class, or
            finding, to weight; or None. Numbers are not weighed.
        window: For CT the name of a window (``"lung"``, ``"bone"``, ``"brain"``, ...) or (low, high) in HU; for other
            images (low, high) in 0-255. Chosen from the training images when not given.
        normalise: For MR and other images without units of their own: ``"percentile"`` (0.5th and 99.5th of each image
            become 0 and 255) or ``"z-score"`` (mean and standard deviation of each image). It travels with the model.
        spacing_mm: For models that outline: the spacing of the grid to work on, in the order (depth, height, width) or
            (height, width); the median of the training scans when not given. It travels with the model.
        loss: ``"auto"``, or for models that outline a name of `easydl.training.losses.MASK_LOSSES`, for others of
            `easydl.training.objective.LOSSES`: ``"focal"`` for classes and findings, ``"absolute_error"`` for numbers...
        seed: Fixes the order of the images, the augmentation and the dropout. Recorded in the model.
        run: A run folder to write status.json, history.csv and checkpoints into; a training that was interrupted there
            goes on where it was.
        override: A reason, in writing, for training although patients or images are in both parts.
        verbose: False for silence; ``"auto"`` shows a bar in a terminal or notebook and lines elsewhere.

    Returns:
        The Keras ``History``. ``history.history`` holds every phase, one entry per epoch; ``history.params["plan"]``
        the choices in words; ``history.params["stopped"]`` whether it was stopped from outside.

    Raises:
        LeakageError: A patient or an identical image is in both parts.
        InputError: No validation part, no labels, an unknown preset or window, or unreadable images.
        ModelError: The model's classes, dimension or channels are not the study's.

    Example:
        >>> train, val, test = study.split(seed=7)  # doctest: +SKIP
        >>> easydl.fit(model, train, val, augment="chest_xray")  # doctest: +SKIP
    """
    import keras

    from easydl.training.watch import Watch

    keras.utils.set_random_seed(seed)
    show = _verbosity(verbose)
    recipe = recipe_of(model)
    folder = Path(run) if run is not None else None
    if not isinstance(train, Study):
        return _fit_plain(model, train, val, recipe, epochs or 20, learning_rate or 1e-3, show, folder)
    if not isinstance(val, Study) or len(val) == 0:
        raise InputError(
            "There is no validation part.",
            "the second part of a split study: training is stopped by it.",
            "Use train, val, test = study.split(seed=0).",
        )
    makes_images = recipe.task == "reconstruction"
    target = "mask" if recipe.task == "segmentation" else "label"
    if target not in train.frame.columns and train.task != "heads" and not makes_images:
        raise InputError(f"The study has no {target}s.", f"a {target} for every image.", "Load a table with them.")
    record = refuse_leakage(train, val, override)
    if recipe.dimension != train.dimension:
        name = OTHER_DIMENSION[recipe.builder][train.dimension]
        raise ModelError(
            f"The model takes {recipe.dimension}D images, the study holds {train.dimension}D ones.",
            "a model of the study's dimension.",
            f"Use {name}, for instance.",
        )
    if not makes_images:
        check_classes(recipe, train)
    recipe = _with_grid(model, recipe, train, normalise, spacing_mm)
    chosen = suggest(train, "none" if makes_images and augment == "auto" else augment)
    preset = find_preset(chosen[0])
    # What cannot work is refused before anything is decoded.
    preset.adapted(dimension=recipe.dimension, units=train.units, task=mixed_task(recipe))
    started = time.monotonic()
    watch = Watch(folder)
    asked = Asked(
        preset=(preset, chosen[1]), window=window, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
        loss=loss, fine_tune=fine_tune, class_weight=class_weight, seed=seed, watch=watch, show=show,
    )  # fmt: skip
    if makes_images:
        from easydl.training.translation import fit_translator as trained
    elif recipe.task == "segmentation":
        from easydl.training.segmentation import fit_segmenter as trained
    else:
        from easydl.training.classification import fit_classifier as trained
    plan = trained(model, train, val, recipe, asked)
    attach(model, recipe_of(model).model_copy(update={"training": {
        "images": len(train), "patients": train.n_patients, "patients_known": train.patients_known,
        "validation_images": len(val), "validation_patients": val.n_patients, "seed": seed,
        "split_seed": train.seed, "augment": plan.preset, "mirrors": list(plan.mirrors), "plan": list(plan.why), "overrides": record,
        "seconds": round(time.monotonic() - started, 1), "fingerprint": fingerprint(train),
        "keras": keras.version(),
    }}))  # fmt: skip
    history = keras.callbacks.History()
    history.set_model(model)
    history.history = watch.merged()
    history.epoch = list(range(len(watch.rows)))
    history.params = {"plan": list(plan.why), "stopped": watch.stopped, "overrides": record}
    return history


def _with_grid(model: Any, recipe: Recipe, train: Study, normalise: str, spacing_mm: Sequence[float] | None) -> Recipe:
    """The recipe with the user's choice of values and grid, which every later prediction follows."""
    if normalise not in NORMALISE:
        raise InputError(f"normalise={normalise!r} is not known.", f"one of {', '.join(NORMALISE)}.", "Choose one.")
    if normalise == "z-score" and train.units == "HU":
        raise InputError(
            'normalise="z-score" was asked for CT.', "images without units of their own, such as MR.",
            "Leave it out: Hounsfield units are used as they are; window= chooses the range.",
        )  # fmt: skip
    changes: dict[str, Any] = {"normalise": normalise, "spacing_mm": None}
    if spacing_mm is not None:
        spacing = tuple(float(mm) for mm in spacing_mm)
        if recipe.task != "segmentation":
            raise InputError(
                "spacing_mm was given for a classifier.", "a model that outlines (unet, unet3d).",
                "Leave it out: a classifier sees the whole image at its own size.",
            )  # fmt: skip
        if len(spacing) != recipe.dimension or not all(np.isfinite(spacing)) or min(spacing) <= 0:
            raise InputError(
                f"spacing_mm={spacing_mm!r} is no spacing of a {recipe.dimension}D scan.",
                f"{recipe.dimension} positive numbers in mm, in the order of the axes.", "Correct the numbers.",
            )  # fmt: skip
        changes["spacing_mm"] = spacing
    changed = recipe.model_copy(update=changes)
    attach(model, changed)
    return changed


def fingerprint(study: Study) -> str:
    """SHA-256 over the study's images, whatever their order: which data a model has seen."""
    import hashlib

    return hashlib.sha256("".join(sorted(study.digests())).encode()).hexdigest()


def _fit_plain(
    model: Any, train: Any, val: Any, recipe: Any, epochs: int, rate: float, show: int, folder: Path | None
) -> Any:
    """The escape hatch: any Keras model on any dataset, with the same watching, and Keras' own `fit`."""
    import keras

    from easydl.training.phase import jit
    from easydl.training.watch import Watch

    if not model.compiled:
        from easydl.training.objective import KERAS_LOSSES

        metrics = ["mean_absolute_error"] if recipe.task == "regression" else ["accuracy"]
        model.compile(keras.optimizers.AdamW(rate), KERAS_LOSSES[recipe.task], metrics=metrics, jit_compile=jit())
    watch = Watch(folder)
    watch.begin("train", epochs)
    return model.fit(train, validation_data=val, epochs=epochs, verbose=show, callbacks=[watch])


def _verbosity(verbose: bool | str) -> int:
    if verbose == "auto":
        return 1 if sys.stdout.isatty() or "ipykernel" in sys.modules else 2
    return int(bool(verbose))
