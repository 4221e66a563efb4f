"""Training a segmenter, 2D or 3D, on patches drawn from scans on one working grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import takewhile
from typing import Any

import keras
import numpy as np
from keras import ops

from easydl.errors import InputError
from easydl.fileio import write_status
from easydl.images.resampling import resize_labels
from easydl.machine import device, gpu_memory_gb, memory_gb
from easydl.networks import attach, set_window, supervised
from easydl.networks.cost import outputs
from easydl.networks.metadata import ModelMetadata
from easydl.prediction.grid import working_grid
from easydl.studies import Study
from easydl.studies.dataset import IN_MEMORY_BYTES
from easydl.studies.pixel_facts import Decoded
from easydl.training import mixed_precision
from easydl.training.checkpoint import training_key
from easydl.training.fingerprint import Fingerprint, grid_spacing, plan_segmenter
from easydl.training.group_norm import fused
from easydl.training.loop import run_stage
from easydl.training.losses import WITHOUT_XLA, dice, mask_loss
from easydl.training.pipeline import Patches, patch_feed
from easydl.training.plan import SIDE_2D, Asked, Plan, choose_window

# Volumes are bent and turned for a part of the patches only, and for fewer and fewer of them: interpolation blurs what is
# a few voxels wide. On 180 hippocampi all patches cost one point of Dice against none (0.872 and 0.883, 1,500 steps).
AUGMENTED = 1 / 3


def fit_segmenter(
    model: keras.Model,
    train: Study,
    val: Study,
    metadata: ModelMetadata,
    asked: Asked,
) -> Plan:
    """Train ``model`` in place. Returns what was chosen."""
    preset, seed, watch, show = asked.preset[0], asked.seed, asked.watch, asked.show
    if watch.folder is not None:
        write_status(watch.folder, state="running", stage="loading", message="Reading the scans and masks")
    grid: dict[str, Any] = {"units": train.units, "label_values": train.summary.label_values}
    words = ""
    if metadata.spacing_mm is not None:
        _check_spacing(train)
        words = f"Scans are resampled to {' x '.join(f'{mm:g}' for mm in metadata.spacing_mm)} mm, as asked."
    elif metadata.dimension == 3:
        grid["spacing_mm"], words = _own_spacing(train)
    else:
        grid["max_side"] = SIDE_2D
    metadata = metadata.model_copy(update=grid)
    if metadata.spacing_mm is not None:
        _check_spacing(val)
    kind = mask_loss("dice_cross_entropy" if asked.loss == "auto" else asked.loss)
    images, labels, reduced = _decoded(train, metadata)
    if reduced and metadata.max_side is not None:
        words = f"{reduced} of {len(labels)} images are longer than {metadata.max_side} pixels and are reduced to that."
    _check_seen(labels, metadata)
    held_images, held_labels, _ = _decoded(val, metadata)
    sample = np.concatenate(
        [one[::2, ::2].ravel()[:100_000] for one in (images[case] for case in range(min(20, len(images))))]
    )
    chosen = choose_window(asked.window, train, sample)
    plan = plan_segmenter(metadata, train, _fingerprint(model, metadata, labels), asked, chosen, words)
    augment = None
    if preset.name != "none":
        augment = preset.augmenter(
            dimension=metadata.dimension, units=plan.units, window=plan.window, seed=seed, classes=_names(metadata, train),
            spacing_mm=metadata.spacing_mm, channels=metadata.channels, task=metadata.task,
        )  # fmt: skip
        flips = [operation for operation in augment.preset.operations if operation.name == "flip"]
        mirrors = tuple(axis for flip in flips for axis in flip.values["axes"])
        part = (
            []
            if metadata.dimension == 2
            else [
                "At first a third of the patches is augmented, in the last epoch none; the others are seen as they are."
            ]
        )
        plan = replace(plan, mirrors=mirrors, why=(*plan.why, *part, *augment.notes))
    # Running statistics belong to the very weights they were gathered with; an average of both does not fit together.
    average = not any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)
    if average:
        kept = "What is validated and kept is an average of the weights of all epochs, the last third counting most."
        plan = replace(plan, why=(*plan.why, kept))
    assert plan.patch is not None
    attach(model, metadata.model_copy(update={"patch": plan.patch, "reduced": bool(reduced and metadata.max_side)}))
    set_window(model, plan.window, plan.units)
    if show:
        print("\n".join(plan.why), flush=True)
    count = len(metadata.classes)
    patches = Patches(images, labels, plan.patch, count)
    held = Patches(held_images, held_labels, plan.patch, count)
    key = training_key(metadata, plan, asked, (train, val), (labels, held_labels))
    learner, losses, metrics, shared = _learner(model, metadata, kind)
    held_out = shared(_batched(held, plan.batch_size))
    with fused(learner), _precision(learner, losses, held_out, plan) as sentence:
        if sentence:
            plan = replace(plan, why=(*plan.why, sentence))
            if show:
                print(sentence, flush=True)
        run_stage(
            learner,
            lambda first: shared(patch_feed(
                patches, plan.batch_size, plan.steps, seed=seed, augment=augment,
                share=_share_of(metadata.dimension, plan.epochs), first_epoch=first,
            )),
            held_out, name="train", epochs=plan.epochs, steps=plan.steps, learning_rate=plan.learning_rate, loss=losses,
            metrics=metrics, watch=watch, show=show, key=key,
            monitor="val_loss" if learner is model else "val_probability_loss", average=average,
            xla=asked.loss not in WITHOUT_XLA,
        )  # fmt: skip
    # Left compiled with losses that Keras itself knows, so that model.save opens anywhere without easydl.
    optimizer = model.optimizer if learner is model else keras.optimizers.AdamW(plan.learning_rate)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer, loss="categorical_crossentropy", jit_compile=False)
    return plan


def _learner(
    model: keras.Model, metadata: ModelMetadata, loss: Any
) -> tuple[keras.Model, Any, Any, Callable[[Any], Any]]:
    """What is trained: the model, or with deep supervision its twin, whose coarser levels count half as much each."""
    if not metadata.arguments.get("deep_supervision"):
        return model, loss, [dice], lambda feed: feed
    twin = supervised(model)
    names = sorted(twin.output, key=("probability", "level2", "level3").index)
    losses = {name: _share(loss, 0.5**number) for number, name in enumerate(names)}
    return twin, losses, {"probability": [dice]}, lambda feed: feed.map(lambda x, y: (x, dict.fromkeys(names, y)))


def _share_of(dimension: int, epochs: int) -> Callable[[int], float]:
    """Which part of the patches is augmented in an epoch: all images; of volumes a third, falling to none."""
    if dimension == 2:
        return lambda epoch: 1.0
    return lambda epoch: AUGMENTED * (1 - epoch / max(1, epochs - 1))


def _share(loss: Any, share: float) -> Any:
    """The loss of one level, counted by its share."""

    def shared_loss(target: Any, probability: Any) -> Any:
        return share * loss(target, probability)

    return shared_loss


@contextmanager
def _precision(learner: keras.Model, loss: Any, batches: Any, plan: Plan) -> Iterator[str]:
    """Train in bfloat16 where that is faster here; gives the sentence about it, or nothing."""
    if (
        plan.epochs * plan.steps < mixed_precision.WORTH_STEPS
        or "GPU" in device()
        or not mixed_precision.has_bfloat16()
    ):
        yield ""
        return
    x, y = next(iter(batches))
    gain = mixed_precision.race(learner, loss, x, y)
    if gain < mixed_precision.LEAST_GAIN:
        yield ""
        return
    with mixed_precision.half(learner):
        yield f"Computed in bfloat16, {gain:.1f} times as fast here as float32 (measured); the model stays float32."


def _fingerprint(model: keras.Model, metadata: ModelMetadata, labels: list[np.ndarray]) -> Fingerprint:
    side = tuple(
        int(one) if one is not None else 2 * step for one, step in zip(metadata.size, metadata.multiples, strict=True)
    )
    gpu = "GPU" in device()
    return Fingerprint(
        scans=len(labels),
        shape=tuple(float(one) for one in np.median([one.shape for one in labels], axis=0)),
        spacing_mm=metadata.spacing_mm,
        device="GPU" if gpu else "CPU",
        memory_gb=gpu_memory_gb() if gpu else memory_gb(),
        bytes_per_pixel=4.0 * outputs(model, side) / np.prod(side),
    )


def _decoded(study: Study, metadata: ModelMetadata) -> tuple[Sequence[np.ndarray] | Decoded, list[np.ndarray], int]:
    """Every scan with a mask on the working grid, its class indices there, and how many scans came with another grid.

    Scans stay in the cache when they are large.
    """
    with_mask = study.rows(study.frame.index[study.frame["mask"].astype(str) != ""])
    settings = (metadata.channels, metadata.units, metadata.normalise, metadata.spacing_mm, metadata.max_side)
    found = with_mask.decoded(
        f"working grid|{settings}", lambda row: working_grid(metadata, with_mask.scan(row)).astype(np.float32)
    )

    def one(row: int) -> tuple[np.ndarray, int, bool]:
        pixels, own = found[row], with_mask.reference(row)
        return resize_labels(own, pixels.shape[:-1]).astype(np.uint8), pixels.nbytes, own.shape != pixels.shape[:-1]

    pairs = with_mask.each(one)
    small = sum(size for _, size, _ in pairs) <= IN_MEMORY_BYTES
    images: Sequence[np.ndarray] | Decoded = [np.array(found[row]) for row in range(len(found))] if small else found
    return images, [labels for labels, _, _ in pairs], sum(other for _, _, other in pairs)


def _own_spacing(study: Study) -> tuple[tuple[float, ...] | None, str]:
    known = [one.spacing_mm for one in study.facts() if one.spacing_mm is not None]
    if len(known) < len(study):
        return None, f"{len(study) - len(known)} scans do not say their spacing: all are used on their own grid."
    return grid_spacing(known)


def _check_seen(labels: list[np.ndarray], metadata: ModelMetadata) -> None:
    """A class that no training mask holds cannot be learned, whatever validation and test masks hold."""
    seen = set().union(*(np.unique(one).tolist() for one in labels))
    unseen = [name for k, name in enumerate(metadata.classes) if k and k not in seen]
    if unseen:
        raise InputError(
            f"No training mask holds the class {', '.join(map(repr, unseen))}; other masks of the study do, or the model "
            "was built for it.",
            "every class in at least one training mask.",
            "Split with another seed, or load the study with mask_labels= (--mask-labels) so that this value belongs to "
            "another class.",
        )


def _check_spacing(study: Study) -> None:
    unknown = sum(one.spacing_mm is None for one in study.facts())
    if unknown:
        raise InputError(
            f"{unknown} of {len(study)} scans do not say how many millimetres a pixel is.",
            "a known spacing in every scan, training and validation alike: they are resampled to one.",
            "Take these scans out of the study. If you gave spacing_mm, you can also leave it out.",
        )


def _names(metadata: ModelMetadata, train: Study) -> list[str]:
    """Every name that may say a side: the classes, the masks' column, and of each mask its file and the study's folders."""

    def steps(column: str) -> list[list[str]]:
        return [str(path).replace("\\", "/").split("/") for path in train.frame[column] if str(path)]

    masks, images = steps("mask"), [one for column in train.image_columns for one in steps(column)]
    # What all paths share lies above the study; where they share the root alone, nobody knows where it begins.
    above = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, zip(*masks, *images, strict=False)))
    below = [one[above:] if above > 1 else one[-1:] for one in masks]
    return list(dict.fromkeys([*metadata.classes, train.mask_column, *(name for one in below for name in one)]))


def _batched(held: Patches, batch: int) -> Any:
    """The middle patch of every scan, in batches of (patch, one-hot mask); no more than a batch is one-hot at a time."""
    from easydl.studies.dataset import dataset

    middle = [held.middle(case) for case in range(len(held.labels))]
    labels = np.stack([label.astype(np.uint8) for _, label in middle])
    found = dataset(np.stack([image for image, _ in middle]), labels, batch)
    return found.map(lambda x, y: (x, ops.one_hot(ops.cast(y, "int32"), held.classes)))
