"""Training a segmenter, 2D or 3D, on patches drawn from scans on one working grid."""

from __future__ import annotations

import hashlib
from typing import Any

import keras
import numpy as np

from easydl.atomic import write_status
from easydl.augmentation import Preset
from easydl.errors import ModelError
from easydl.images.grid import resize_labels
from easydl.networks import attach, set_window
from easydl.networks.recipe import Recipe
from easydl.prediction.calls import working_grid
from easydl.studies import Study
from easydl.training.feed import Patches, patch_feed
from easydl.training.losses import dice, dice_cross_entropy
from easydl.training.phase import run_phase
from easydl.training.plan import SIDE_2D, Plan, choose_window, plan_segmenter
from easydl.training.watch import Watch


def fit_segmenter(
    model: keras.Model,
    train: Study,
    val: Study,
    recipe: Recipe,
    *,
    preset: tuple[Preset, str],
    window: Any,
    epochs: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    seed: int,
    watch: Watch,
    show: int,
) -> Plan:
    """Train ``model`` in place; arguments as in `easydl.fit`. Returns what was chosen."""
    if recipe.dimension != train.dimension:
        raise ModelError(
            f"The model takes {recipe.dimension}D scans, the study holds {train.dimension}D ones.",
            "a model of the study's dimension.",
            "Use easydl.unet3d for volumes and easydl.unet for images.",
        )
    if watch.folder is not None:
        write_status(watch.folder, state="running", phase="loading", message="Reading the scans and masks")
    grid: dict[str, Any] = {"units": train.units, "label_values": train.classes.label_values}
    if recipe.dimension == 3:
        grid["spacing_mm"] = _median_spacing(train)
    else:
        grid["max_side"] = SIDE_2D
    recipe = recipe.model_copy(update=grid)
    images, labels = _decoded(train, recipe)
    held_images, held_labels = _decoded(val, recipe)
    sample = np.concatenate([one[::2, ::2].ravel()[:100_000] for one in images[:20]])
    chosen = choose_window(window, train, sample)
    plan = plan_segmenter(
        recipe, train, [one.shape for one in labels], preset=(preset[0].name, preset[1]), window=chosen,
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
    )  # fmt: skip
    assert plan.patch is not None
    attach(model, recipe.model_copy(update={"patch": plan.patch}))
    set_window(model, plan.window, plan.units)
    if show:
        print("\n".join(plan.why), flush=True)
    augment = None
    if preset[0].name != "none":
        names = [
            *recipe.classes,
            *(str(path).replace("\\", "/").rsplit("/", 1)[-1] for path in train.frame["mask"]),
        ]
        apply = preset[0].augmenter(
            dimension=recipe.dimension,
            units=plan.units,
            window=plan.window,
            seed=seed,
            classes=names,
            spacing_mm=recipe.spacing_mm,
        )
        augment = apply
    count = len(recipe.classes)
    patches = Patches(images, labels, plan.patch, count)
    held = Patches(held_images, held_labels, plan.patch, count)
    middle = [held.middle(case) for case in range(len(held_labels))]
    validation_x = np.stack([one for one, _ in middle])
    validation_y = np.eye(count, dtype=np.float32)[np.stack([one for _, one in middle])]
    text = f"{recipe}|{plan}|{seed}|{len(images)}"
    run_phase(
        model,
        lambda first: patch_feed(
            patches, plan.batch_size, plan.steps, seed=seed, augment=augment, first_epoch=first
        ),
        _batched(validation_x, validation_y, plan.batch_size), name="train", epochs=plan.epochs, steps=plan.steps,
        learning_rate=plan.learning_rate, loss=dice_cross_entropy, metrics=[dice], watch=watch, show=show,
        key=hashlib.sha256(text.encode()).hexdigest(), monitor="val_loss",
    )  # fmt: skip
    # Left compiled with losses that Keras itself knows, so that model.save opens anywhere without easydl.
    model.compile(optimizer=model.optimizer, loss="categorical_crossentropy", jit_compile=False)
    return plan


def _decoded(study: Study, recipe: Recipe) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Every scan with a mask on the working grid, and its class indices there."""

    def one(row: int) -> tuple[np.ndarray, np.ndarray] | None:
        if not str(study.frame["mask"].iloc[row]):
            return None
        scan = study.scan(row)
        pixels = working_grid(recipe, scan)
        return pixels.astype(np.float32), resize_labels(study.reference(row), pixels.shape[:-1]).astype(np.uint8)

    pairs = [pair for pair in study.each(one) if pair is not None]
    return [image for image, _ in pairs], [label for _, label in pairs]


def _median_spacing(study: Study) -> tuple[float, ...] | None:
    known = [scan.spacing_mm for scan in study.each(study.scan) if scan.spacing_mm is not None]
    return tuple(round(float(mm), 4) for mm in np.median(known, axis=0)) if len(known) == len(study) else None


def _batched(x: np.ndarray, y: np.ndarray, batch: int) -> Any:
    from easydl.studies.stream import dataset

    return dataset(x, y, batch)
