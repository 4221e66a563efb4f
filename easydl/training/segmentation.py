"""Training a segmenter, 2D or 3D, on patches drawn from scans on one working grid."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from easydl.atomic import write_status
from easydl.augmentation import Preset
from easydl.errors import InputError, ModelError
from easydl.images.grid import resize_labels
from easydl.networks import attach, set_window
from easydl.networks.recipe import Recipe
from easydl.prediction.calls import working_grid
from easydl.studies import Study
from easydl.studies.contents import Decoded, facts
from easydl.studies.stream import IN_MEMORY_BYTES
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
    if recipe.spacing_mm is not None:
        _check_spacing(train)
    elif recipe.dimension == 3:
        grid["spacing_mm"] = _median_spacing(train)
    else:
        grid["max_side"] = SIDE_2D
    recipe = recipe.model_copy(update=grid)
    images, labels = _decoded(train, recipe)
    _check_seen(labels, recipe)
    held_images, held_labels = _decoded(val, recipe)
    sample = np.concatenate(
        [one[::2, ::2].ravel()[:100_000] for one in (images[case] for case in range(min(20, len(images))))]
    )
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


def _decoded(study: Study, recipe: Recipe) -> tuple[Sequence[np.ndarray] | Decoded, list[np.ndarray]]:
    """Every scan with a mask on the working grid, and its class indices there; scans stay in the cache when large."""
    with_mask = study.rows(study.frame.index[study.frame["mask"].astype(str) != ""])
    settings = (recipe.channels, recipe.units, recipe.normalise, recipe.spacing_mm, recipe.max_side)
    found = Decoded(
        with_mask, f"working grid|{settings}", lambda row: working_grid(recipe, with_mask.scan(row)).astype(np.float32)
    )

    def one(row: int) -> tuple[np.ndarray, int]:
        pixels = found[row]
        labels = resize_labels(with_mask.reference(row), pixels.shape[:-1]).astype(np.uint8)
        return labels, pixels.nbytes

    pairs = with_mask.each(one)
    small = sum(size for _, size in pairs) <= IN_MEMORY_BYTES
    images: Sequence[np.ndarray] | Decoded = [np.array(found[row]) for row in range(len(found))] if small else found
    return images, [labels for labels, _ in pairs]


def _median_spacing(study: Study) -> tuple[float, ...] | None:
    known = [one["spacing_mm"] for one in facts(study) if one["spacing_mm"] is not None]
    return tuple(round(float(mm), 4) for mm in np.median(known, axis=0)) if len(known) == len(study) else None


def _check_seen(labels: list[np.ndarray], recipe: Recipe) -> None:
    """A class that no training mask holds cannot be learned, whatever validation and test masks hold."""
    seen = set().union(*(np.unique(one).tolist() for one in labels))
    unseen = [name for k, name in enumerate(recipe.classes) if k and k not in seen]
    if unseen:
        raise InputError(
            f"No training mask holds the class {', '.join(map(repr, unseen))}; other masks of the study do, or the model "
            "was built for it.",
            "every class in at least one training mask.",
            "Split with another seed, or load the study with mask_labels= (--mask-labels) so that this value belongs to "
            "another class.",
        )


def _check_spacing(study: Study) -> None:
    unknown = sum(one["spacing_mm"] is None for one in facts(study))
    if unknown:
        raise InputError(
            f"{unknown} of {len(study)} scans do not say how many millimetres a pixel is.",
            "a known spacing in every scan: spacing_mm= resamples to it.",
            "Leave spacing_mm out, or take these scans out of the study.",
        )


def _batched(x: np.ndarray, y: np.ndarray, batch: int) -> Any:
    from easydl.studies.stream import dataset

    return dataset(x, y, batch)
