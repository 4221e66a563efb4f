"""`easydl.fit`: the one call that trains. It guards, plans and hands over; the work is in the files beside it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.augmentation import preset as find_preset
from easydl.augmentation import suggest
from easydl.errors import InputError
from easydl.images.resampling import NORMALISE
from easydl.networks import attach, metadata_of
from easydl.networks.metadata import ModelMetadata
from easydl.options import FitOptions, documented
from easydl.studies import Study
from easydl.training.argument_checks import check_datasets, check_options, check_parts
from easydl.training.plan import Asked, mixed_task
from easydl.traps import refuse_leakage

if TYPE_CHECKING:
    import keras


@documented(FitOptions)
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
        model: From `easydl.classifier`, `easydl.segmenter` (`easydl.unet`, `easydl.unet3d`) or `easydl.image_to_image`, which
            needs no labels; or any Keras model when ``train`` is a ``tf.data.Dataset``.
        train: The training part of a split study, or a ``tf.data.Dataset`` of (images, targets), which is fed to the
            model as it is: only ``epochs``, ``learning_rate``, ``seed``, ``run`` and ``verbose`` apply to it. Images
            in HU need `easydl.networks.set_window` before.
        val: The validation part, or a dataset.
        {options}
        run: A run folder to write status.json, history.csv and checkpoints into; a training that was interrupted there
            goes on where it was.
        verbose: False for silence; ``"auto"`` shows a bar in a terminal or notebook and lines elsewhere.

    Returns:
        The Keras ``History``. ``history.history`` holds every phase, one entry per epoch; ``history.params["plan"]``
        the choices in words; ``history.params["stopped"]`` whether it was stopped from outside.

    Raises:
        LeakageError: A patient or an identical image is in both parts.
        InputError: No validation part, no labels, an unknown preset or window, an option that this model cannot use, or
            unreadable images.
        ModelError: The model's classes, dimension or channels are not the study's, or the training diverged.

    Example:
        >>> train, val, test = study.split(seed=7)  # doctest: +SKIP
        >>> easydl.fit(model, train, val, augment="chest_xray")  # doctest: +SKIP
    """
    import keras

    from easydl.training.callbacks import Watch

    keras.utils.set_random_seed(seed)
    show = _verbosity(verbose)
    metadata = metadata_of(model)
    folder = Path(run) if run is not None else None
    if not isinstance(train, Study):
        unused = {
            "augment": augment, "batch_size": batch_size, "fine_tune": fine_tune, "class_weight": class_weight,
            "window": window, "normalise": normalise, "spacing_mm": spacing_mm, "loss": loss, "override": override,
        }  # fmt: skip
        check_datasets(train, val, unused, fit.__kwdefaults__ or {})
        return _fit_plain(model, train, val, metadata, epochs or 20, learning_rate or 1e-3, show, folder)
    if not isinstance(val, Study) or len(val) == 0:
        raise InputError(
            "There is no validation part.",
            "the second part of a split study: training is stopped by it.",
            "Use train, val, test = study.split(seed=0).",
        )
    makes_images = metadata.task == "reconstruction"
    check_options(metadata, fine_tune, class_weight)
    check_parts(metadata, train, val)
    record = refuse_leakage(train, val, override)
    if metadata.task == "classification":
        # Loaded by itself, a validation part may lack a class or have its own order: what counts is the model's.
        val = replace(val, class_names=list(metadata.classes))
    metadata = _with_grid(model, metadata, train, normalise, spacing_mm)
    chosen = suggest(train, "none" if makes_images and augment == "auto" else augment)
    preset = find_preset(chosen[0])
    # What cannot work is refused before anything is decoded.
    preset.adapted(dimension=metadata.dimension, units=train.units, task=mixed_task(metadata))
    started = time.monotonic()
    watch = Watch(folder)
    asked = Asked(
        preset=(preset, chosen[1]), window=window, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
        loss=loss, fine_tune=fine_tune, class_weight=class_weight, seed=seed, watch=watch, show=show,
    )  # fmt: skip
    if makes_images:
        from easydl.training.denoising import fit_image_to_image as trained
    elif metadata.task == "segmentation":
        from easydl.training.segmentation import fit_segmenter as trained
    else:
        from easydl.training.classification import fit_classifier as trained
    plan = trained(model, train, val, metadata, asked)
    if (epoch := _diverged(watch.rows)) is not None:
        words = f"The training diverged in epoch {epoch}; the best one before is kept. A lower learning_rate may go further."
        plan = replace(plan, why=(*plan.why, words))
        if show:
            print(words, flush=True)
    attach(model, metadata_of(model).model_copy(update={"training": {
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


def _diverged(rows: Sequence[dict[str, Any]]) -> int | None:
    """The first epoch whose loss is no number, or None."""
    return next((row["epoch"] for row in rows if not np.isfinite(row["loss"])), None)


def _with_grid(
    model: Any, metadata: ModelMetadata, train: Study, normalise: str, spacing_mm: Sequence[float] | None
) -> ModelMetadata:
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
        if metadata.task != "segmentation":
            raise InputError(
                "spacing_mm was given for a classifier.", "a model that outlines (unet, unet3d).",
                "Leave it out: a classifier sees the whole image at its own size.",
            )  # fmt: skip
        if len(spacing) != metadata.dimension or not all(np.isfinite(spacing)) or min(spacing) <= 0:
            raise InputError(
                f"spacing_mm={spacing_mm!r} is no spacing of a {metadata.dimension}D scan.",
                f"{metadata.dimension} positive numbers in mm, in the order of the axes.", "Correct the numbers.",
            )  # fmt: skip
        changes["spacing_mm"] = spacing
    changed = metadata.model_copy(update=changes)
    attach(model, changed)
    return changed


def fingerprint(study: Study) -> str:
    """SHA-256 over the study's images, whatever their order: which data a model has seen."""
    import hashlib

    return hashlib.sha256("".join(sorted(study.digests())).encode()).hexdigest()


def _fit_plain(
    model: Any, train: Any, val: Any, metadata: Any, epochs: int, rate: float, show: int, folder: Path | None
) -> Any:
    """The escape hatch: any Keras model on any dataset, with the same watching, and Keras' own `fit`."""
    import keras

    from easydl.training.callbacks import Watch
    from easydl.training.loop import jit

    if not model.compiled:
        from easydl.training.objective import plain_losses, tasks_of

        if metadata.task == "reconstruction":
            raise InputError(
                "A dataset was given for a model that makes images, which spoils its images itself.",
                "the parts of a split study.",
                "Give it a study, or compile the model yourself for pairs of (spoiled, clean) images.",
            )
        tasks = tasks_of(metadata)
        metrics: Any = {
            name: ["mean_absolute_error" if task == "regression" else "accuracy"] for name, task in tasks.items()
        }
        model.compile(
            keras.optimizers.AdamW(rate),
            plain_losses(tasks),
            weighted_metrics=metrics.get("", metrics),
            jit_compile=jit(),
        )
    watch = Watch(folder)
    watch.begin("train", epochs)
    return model.fit(train, validation_data=val, epochs=epochs, verbose=show, callbacks=[watch])


def _verbosity(verbose: bool | str) -> int:
    if verbose == "auto":
        return 1 if sys.stdout.isatty() or "ipykernel" in sys.modules else 2
    return int(bool(verbose))
