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
from easydl.training.masks_on_grid import MaskFacts, check_classes_seen, read_share
from easydl.training.objective import KERAS_LOSSES, Objective
from easydl.training.patch_plan import PATCH_PIXELS, SIDE_2D, Fingerprint, by, grid_spacing, plan_segmenter
from easydl.training.patches import Patches, Scans, sample_of
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
    facts: MaskFacts
    validation_images: Scans
    validation_labels: list[np.ndarray]
    validation_facts: MaskFacts
    resolution: Resolution
    average: bool

    def read(self) -> np.ndarray:
        """Choose the working grid, and bring scans and masks of both parts to it."""
        loss = "dice_cross_entropy" if self.settings.loss == "auto" else self.settings.loss
        self.loss = mask_loss(loss) if isinstance(loss, str) else loss
        self.grid_reason = self._choose_grid()
        self.images, self.labels, self.facts = read_share(self.train, self.metadata, self.team)
        if self.metadata.dimension == 2 and self.metadata.spacing_mm is None:
            self._settle_side()
        check_classes_seen(self.facts, self.metadata)
        self.validation_images, self.validation_labels, self.validation_facts = read_share(
            self.val, self.metadata, self.team
        )
        return sample_of(self.images)

    def _settle_side(self) -> None:
        """The longest side that later images may have, and why."""
        sides = self.facts.shapes.max(axis=1)
        longest, long = int(sides.max()), self.facts.resized
        facts: dict[str, Any] = {"reduced": bool(long)}
        if self.resolution.full:
            # An image that is longer than any of these has another scale.
            facts["max_side"] = max(SIDE_2D, longest)
            long = int((sides > SIDE_2D).sum())
        if long:
            many = f"{long} of {len(sides)} images are longer than {SIDE_2D} pixels and are"
            self.grid_reason = f"{many} {self.resolution.reason}"
        self.metadata = self.metadata.model_copy(update=facts)

    def _choose_grid(self) -> str:
        """The working grid, which the first worker chooses; the reason for it."""
        facts, reason, resolution = self.team.from_first(self._grid)
        tuples = {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
        self.metadata = self.metadata.model_copy(update=tuples)
        self.resolution = Resolution(*resolution)
        return str(reason)

    def _grid(self) -> tuple[dict[str, Any], str, tuple[bool, str]]:
        """What the metadata are to say of the grid, the reason, and what was chosen for long images."""
        grid: dict[str, Any] = {"units": self.train.units, "reduced": False}
        grid["label_values"] = self.train.summary.label_values
        spacing, reason, resolution = self.metadata.spacing_mm, "", Resolution(full=False)
        if spacing is not None:
            _check_spacing(self.train)
            reason = f"Scans are resampled to {by(spacing)} mm, as asked."
        elif self.metadata.dimension == 3:
            spacing, reason = _median_spacing(self.train)
            grid["spacing_mm"] = spacing
        else:
            window = isqrt(PATCH_PIXELS["GPU" if "GPU" in device() else "CPU"][2])
            resolution = choose_resolution(self.settings.full_resolution, self.train, self.metadata, window)
            grid["max_side"] = None if resolution.full else SIDE_2D
        if spacing is not None:
            _check_spacing(self.val)
        return grid, reason, (resolution.full, resolution.reason)

    def choose(self, window: Window) -> Plan:
        """The plan from the study's fingerprint."""
        self.fewest = self.replicas
        fingerprint = _fingerprint(self.model, self.metadata, self.facts.shapes, self.replicas)
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
        own = not isinstance(self.settings.loss, str)
        kind: dict[str, Any] = {"xla": not own and self.settings.loss not in WITHOUT_XLA, "of_batch": not own}
        if not self.metadata.arguments.get("deep_supervision"):
            return Objective(self.model, self.loss, lambda: self.with_own([dice]), plain, **kind)
        twin = supervised(self.model)
        levels = sorted(twin.output, key=("probability", "level2", "level3").index)
        return Objective(
            learner=twin,
            loss={name: _weighted(self.loss, 0.5**number) for number, name in enumerate(levels)},
            metrics=lambda: {"probability": self.with_own([dice])},
            plain=plain,
            adapt=lambda data: data.map(lambda x, y: (x, dict.fromkeys(levels, y))),
            monitor="val_probability_loss",
            **kind,
        )

    def data(self) -> Data:
        """Patches of the training part drawn anew in each epoch, and the middle patch of every validation scan."""
        plan, classes = self.plan, len(self.metadata.classes)
        assert plan.patch is not None
        patches = Patches(self.images, self.labels, plan.patch, classes)
        fraction = augmented_fraction(self.metadata.dimension, plan.epochs)
        shares = self.team.shares(len(self.facts.shapes), plan.batch_size)
        options: dict[str, Any] = {"seed": self.settings.seed, "shares": shares}
        feed = partial(
            patch_feed, patches, plan.batch_size, plan.steps, augment=self.augment, fraction=fraction, **options
        )
        validation = Patches(self.validation_images, self.validation_labels, plan.patch, classes)
        checked = middle_patches(validation, self.team.of_batch(plan.batch_size))
        sample = patch_sample(patches, plan.batch_size, plan.steps, **options)
        return Data(feed, checked, sample, sum(share.batch for share in shares) * plan.steps)

    def targets(self) -> Sequence[Any]:
        """What tells the masks of both parts from others."""
        return self.facts.marks, self.validation_facts.marks

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
        times = self.team.from_first(lambda: self._speedup(objective, data, key)) if long else 0.0
        if times < mixed_precision.LEAST_SPEEDUP:
            yield
            return
        self.explain(
            f"Computed in bfloat16, {times:.1f} times as fast here as float32 (measured); the model stays float32."
        )
        with in_bfloat16(objective.learner):
            yield

    def _speedup(self, objective: Objective, data: Data, key: str) -> float:
        """How many times as fast as float32 this computer computes in bfloat16, measured once; 0 where it cannot."""
        if "GPU" in device() or not mixed_precision.has_bfloat16():
            return 0.0
        state, measured = load_checkpoint(self.progress.checkpoints, key), self.progress.measured
        if state is not None:
            # The race may end otherwise today, and what goes on has to be the same training.
            measured |= state.facts["measured"]
        if "bfloat16" not in measured:
            x, y = next(iter(objective.adapt(data.validation)))
            measured["bfloat16"] = mixed_precision.speedup(objective.learner, objective.loss, x, y)
        return measured["bfloat16"]


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


def _fingerprint(model: keras.Model, metadata: ModelMetadata, shapes: np.ndarray, replicas: int) -> Fingerprint:
    side = tuple(
        2 * step if fixed is None else int(fixed) for fixed, step in zip(metadata.size, metadata.multiples, strict=True)
    )
    gpu = "GPU" in device()
    return Fingerprint(
        scans=len(shapes),
        shape=tuple(float(median) for median in np.median(shapes, axis=0)),
        spacing_mm=metadata.spacing_mm,
        device="GPU" if gpu else "CPU",
        memory_gb=gpu_memory_gb() if gpu else memory_gb(),
        bytes_per_pixel=4.0 * outputs(model, side) / np.prod(side),
        replicas=replicas,
    )


def _median_spacing(study: Study) -> tuple[tuple[float, ...] | None, str]:
    known = [facts.spacing_mm for facts in study.facts() if facts.spacing_mm is not None]
    if len(known) < len(study):
        return None, f"{len(study) - len(known)} scans do not say their spacing: all are used on their own grid."
    return grid_spacing(known)


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
