"""Training a segmentation model, 2D or 3D, on patches drawn from scans on one working grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import takewhile
from math import isqrt
from typing import Any

import keras
import numpy as np
from keras import ops

from easydl.errors import InputError
from easydl.images.resampling import resize_labels
from easydl.machine import device, gpu_memory_gb, memory_gb
from easydl.networks import supervised
from easydl.networks.cost import outputs
from easydl.networks.metadata import ModelMetadata
from easydl.studies import Study
from easydl.studies.dataset import dataset
from easydl.tasks import Task
from easydl.training import mixed_precision
from easydl.training.checkpoint import load_checkpoint
from easydl.training.feeder import Feeder
from easydl.training.full_resolution import Resolution, choose_resolution
from easydl.training.keras_internals import fused_instance_norm, in_bfloat16
from easydl.training.loop import Data, Stage
from easydl.training.losses import WITHOUT_XLA, dice, mask_loss
from easydl.training.objective import KERAS_LOSSES, Objective
from easydl.training.patch_plan import PATCH_PIXELS, SIDE_2D, Fingerprint, by, grid_spacing, plan_segmenter
from easydl.training.patches import Patches, Scans, in_memory, on_working_grid, sample_of
from easydl.training.pipeline import patch_feed, patch_sample
from easydl.training.plan import Plan, Window

# Volumes are deformed and rotated for a part of the patches only, and for fewer and fewer of them: interpolation blurs what
# is a few voxels wide. On 180 hippocampi all patches cost one point of Dice against none (0.872 and 0.883, 1,500 steps).
AUGMENTED = 1 / 3


class SegmenterFeeder(Feeder):
    """Feeds patches of scans and their masks."""

    reading = "Reading the scans and masks"
    images: Scans
    labels: list[np.ndarray]
    validation_images: Scans
    validation_labels: list[np.ndarray]
    resolution: Resolution
    average: bool

    def read(self) -> np.ndarray:
        """Choose the working grid, and bring scans and masks of both parts to it."""
        loss = "dice_cross_entropy" if self.settings.loss == "auto" else self.settings.loss
        self.loss = mask_loss(loss) if isinstance(loss, str) else loss
        self.resolution = Resolution(full=False)
        self.grid_reason = self._choose_grid()
        self.images, self.labels, resized = _scans_and_labels(self.train, self.metadata)
        if self.metadata.dimension == 2 and self.metadata.spacing_mm is None:
            self._settle_side(resized)
        _check_classes_seen(self.labels, self.metadata)
        self.validation_images, self.validation_labels, _ = _scans_and_labels(self.val, self.metadata)
        return sample_of(self.images)

    def _settle_side(self, resized: int) -> None:
        """The longest side that later images may have, and why."""
        longest = max(max(labels.shape) for labels in self.labels)
        facts: dict[str, Any] = {"reduced": bool(resized)}
        long = resized
        if self.resolution.full:
            # An image that is longer than any of these has another scale.
            facts["max_side"] = max(SIDE_2D, longest)
            long = sum(max(labels.shape) > SIDE_2D for labels in self.labels)
        if long:
            many = f"{long} of {len(self.labels)} images are longer than {SIDE_2D} pixels and are"
            self.grid_reason = f"{many} {self.resolution.reason}"
        self.metadata = self.metadata.model_copy(update=facts)

    def _choose_grid(self) -> str:
        grid: dict[str, Any] = {"units": self.train.units, "reduced": False}
        grid["label_values"] = self.train.summary.label_values
        reason = ""
        if self.metadata.spacing_mm is not None:
            _check_spacing(self.train)
            reason = f"Scans are resampled to {by(self.metadata.spacing_mm)} mm, as asked."
        elif self.metadata.dimension == 3:
            grid["spacing_mm"], reason = _median_spacing(self.train)
        else:
            window = isqrt(PATCH_PIXELS["GPU" if "GPU" in device() else "CPU"][2])
            self.resolution = choose_resolution(self.settings.full_resolution, self.train, self.metadata, window)
            grid["max_side"] = None if self.resolution.full else SIDE_2D
        self.metadata = self.metadata.model_copy(update=grid)
        if self.metadata.spacing_mm is not None:
            _check_spacing(self.val)
        return reason

    def choose(self, window: Window) -> Plan:
        """The plan from the study's fingerprint."""
        fingerprint = _fingerprint(self.model, self.metadata, self.labels)
        return plan_segmenter(self.metadata, self.train, fingerprint, self.settings, window, self.grid_reason)

    def names(self) -> Iterable[str]:
        """The classes, the masks' column, and of each mask its file and the study's folders."""
        return _names(self.metadata, self.train)

    def with_augmentation(self) -> Plan:
        """The plan with what the augmentation does to masks, and with the way the best weights are kept."""
        plan = self.plan
        if self.augment is not None:
            flips = [operation for operation in self.augment.preset.operations if operation.name == "flip"]
            plan = replace(plan, mirrors=tuple(axis for flip in flips for axis in flip.values["axes"]))
            if self.metadata.dimension == 3:
                plan = plan.because(
                    "At first a third of the patches is augmented, in the last epoch none; the others are seen as they are."
                )
            plan = plan.because(*self.augment.notes)
        # Running statistics belong to the very weights they were gathered with; an average of both does not fit together.
        self.average = not any(isinstance(layer, keras.layers.BatchNormalization) for layer in self.model.layers)
        if not self.average:
            return plan
        return plan.because(
            "What is validated and kept is an average of the weights of all epochs, the last third counting most."
        )

    def objective(self) -> Objective:
        """The mask's loss; with deep supervision that of a twin, whose coarser levels count half as much each."""
        plain = KERAS_LOSSES[Task.SEGMENTATION]
        # What an own loss does is not known: it may call into Python.
        xla = isinstance(self.settings.loss, str) and self.settings.loss not in WITHOUT_XLA
        if not self.metadata.arguments.get("deep_supervision"):
            return Objective(self.model, self.loss, lambda: self.with_own([dice]), plain, xla=xla)
        twin = supervised(self.model)
        levels = sorted(twin.output, key=("probability", "level2", "level3").index)
        return Objective(
            learner=twin,
            loss={name: _weighted(self.loss, 0.5**number) for number, name in enumerate(levels)},
            metrics=lambda: {"probability": self.with_own([dice])},
            plain=plain,
            adapt=lambda data: data.map(lambda x, y: (x, dict.fromkeys(levels, y))),
            monitor="val_probability_loss",
            xla=xla,
        )

    def data(self) -> Data:
        """Patches of the training part drawn anew in each epoch, and the middle patch of every validation scan."""
        plan, classes = self.plan, len(self.metadata.classes)
        assert plan.patch is not None
        patches = Patches(self.images, self.labels, plan.patch, classes)
        fraction = augmented_fraction(self.metadata.dimension, plan.epochs)
        options: dict[str, Any] = {"seed": self.settings.seed, "augment": self.augment, "fraction": fraction}
        feed = partial(patch_feed, patches, plan.batch_size, plan.steps, **options)
        validation = Patches(self.validation_images, self.validation_labels, plan.patch, classes)
        sample = patch_sample(patches, plan.batch_size, plan.steps, seed=self.settings.seed)
        return Data(feed, middle_patches(validation, plan.batch_size), sample, plan.batch_size * plan.steps)

    def targets(self) -> Sequence[Any]:
        """The masks of both parts."""
        return self.labels, self.validation_labels

    def main_stage(self) -> Stage:
        """The only stage."""
        return replace(super().main_stage(), average=self.average)

    def stages(self, objective: Objective, data: Data, key: str) -> None:
        """Train with fused normalisation, and in half precision where that is faster here."""
        with fused_instance_norm(objective.learner), self._precision(objective, data, key):
            super().stages(objective, data, key)

    @contextmanager
    def _precision(self, objective: Objective, data: Data, key: str) -> Iterator[None]:
        long = self.plan.epochs * self.plan.steps >= mixed_precision.WORTH_STEPS
        if not long or "GPU" in device() or not mixed_precision.has_bfloat16():
            yield
            return
        state, measured = load_checkpoint(self.progress.checkpoints, key), self.progress.measured
        if state is not None:
            # The race may end otherwise today, and what goes on has to be the same training.
            measured |= state.facts["measured"]
        if "bfloat16" not in measured:
            x, y = next(iter(objective.adapt(data.validation)))
            measured["bfloat16"] = mixed_precision.speedup(objective.learner, objective.loss, x, y)
        times = measured["bfloat16"]
        if times < mixed_precision.LEAST_SPEEDUP:
            yield
            return
        self.explain(
            f"Computed in bfloat16, {times:.1f} times as fast here as float32 (measured); the model stays float32."
        )
        with in_bfloat16(objective.learner):
            yield


def augmented_fraction(dimension: int, epochs: int) -> Callable[[int], float]:
    """Which fraction of the patches is augmented in an epoch: all images; of volumes a third, falling to none."""
    if dimension == 2:
        return lambda epoch: 1.0
    return lambda epoch: AUGMENTED * (1 - epoch / max(1, epochs - 1))


def middle_patches(validation: Patches, batch_size: int) -> Any:
    """The middle patch of every scan, in batches of (patch, one-hot mask); no more than a batch is one-hot at a time."""
    middle = [validation.middle(case) for case in range(len(validation.labels))]
    labels = np.stack([label.astype(np.uint8) for _, label in middle])
    batches = dataset(np.stack([image for image, _ in middle]), labels, batch_size)
    return batches.map(lambda x, y: (x, ops.one_hot(ops.cast(y, "int32"), validation.classes)))


def _weighted(loss: Any, weight: float) -> Any:
    def weighted_loss(target: Any, probability: Any) -> Any:
        return weight * loss(target, probability)

    return weighted_loss


def _fingerprint(model: keras.Model, metadata: ModelMetadata, labels: list[np.ndarray]) -> Fingerprint:
    side = tuple(
        2 * step if fixed is None else int(fixed) for fixed, step in zip(metadata.size, metadata.multiples, strict=True)
    )
    gpu = "GPU" in device()
    return Fingerprint(
        scans=len(labels),
        shape=tuple(float(median) for median in np.median([label.shape for label in labels], axis=0)),
        spacing_mm=metadata.spacing_mm,
        device="GPU" if gpu else "CPU",
        memory_gb=gpu_memory_gb() if gpu else memory_gb(),
        bytes_per_pixel=4.0 * outputs(model, side) / np.prod(side),
    )


def _scans_and_labels(study: Study, metadata: ModelMetadata) -> tuple[Scans, list[np.ndarray], int]:
    """Every scan with a mask on the working grid, its class indices there, and the number that had another grid."""
    with_mask = study.rows([row for row in range(len(study)) if study.has_mask(row)])
    scans = on_working_grid(with_mask, metadata)

    def on_grid(row: int) -> tuple[np.ndarray, int, bool]:
        pixels, labels = scans[row], with_mask.reference(row)
        resized = labels.shape != pixels.shape[:-1]
        return resize_labels(labels, pixels.shape[:-1]).astype(np.uint8), pixels.nbytes, resized

    labels, sizes, resized = zip(*with_mask.each(on_grid), strict=True)
    return in_memory(scans, sum(sizes)), list(labels), sum(resized)


def _median_spacing(study: Study) -> tuple[tuple[float, ...] | None, str]:
    known = [facts.spacing_mm for facts in study.facts() if facts.spacing_mm is not None]
    if len(known) < len(study):
        return None, f"{len(study) - len(known)} scans do not say their spacing: all are used on their own grid."
    return grid_spacing(known)


def _check_classes_seen(labels: list[np.ndarray], metadata: ModelMetadata) -> None:
    """A class that no training mask holds cannot be learned, whatever validation and test masks hold."""
    seen = set().union(*(np.unique(label).tolist() for label in labels))
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
    unknown = sum(facts.spacing_mm is None for facts in study.facts())
    if unknown:
        raise InputError(
            f"{unknown} of {len(study)} scans do not say how many millimetres a pixel is.",
            "a known spacing in every scan, training and validation alike: they are resampled to one.",
            "Take these scans out of the study. If you gave spacing_mm, you can also leave it out.",
        )


def _names(metadata: ModelMetadata, train: Study) -> list[str]:
    def steps(column: str) -> list[list[str]]:
        return [str(path).replace("\\", "/").split("/") for path in train.frame[column] if str(path)]

    masks = [path for column in train.mask_columns for path in steps(column)]
    images = [path for column in train.image_columns for path in steps(column)]
    # What all paths share lies above the study; where they share the root alone, nobody knows where it begins.
    above = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, zip(*masks, *images, strict=False)))
    below = [path[above:] if above > 1 else path[-1:] for path in masks]
    return list(dict.fromkeys([*metadata.classes, train.mask_column, *(name for path in below for name in path)]))
