"""Training image-to-image models on pairs of corrupted and clean patches of a study's own scans; no labels are needed."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from easydl.errors import InputError
from easydl.prediction.image_to_image import NOISE, REDUCED, corrupted, corruption_of
from easydl.studies import Study
from easydl.studies.dataset import dataset
from easydl.tasks import Task
from easydl.training.feeder import Feeder
from easydl.training.loop import Data
from easydl.training.losses import divergence
from easydl.training.objective import KERAS_LOSSES, Objective
from easydl.training.own_objects import name_of
from easydl.training.patch_plan import by
from easydl.training.patches import Patches, Scans, in_memory, on_working_grid, sample_of
from easydl.training.pipeline import pair_feed
from easydl.training.plan import Plan, Window

PATCH, BATCH = {2: 128, 3: 48}, {2: 8, 3: 2}
STEPS, LEAST_STEPS, LEAST_EPOCHS, RATE = 1500, 25, 12, 1e-3
# Standard deviation of the pixels around the image that a variational code stands for, on the scale from -1 to 1.
SPREAD = 0.2


class ImageToImageFeeder(Feeder):
    """Feeds pairs of corrupted and clean patches."""

    reading = "Reading the scans"
    images: Scans
    validation_images: Scans
    shapes: np.ndarray

    @property
    def name(self) -> str:
        """Of the network."""
        return str(self.metadata.arguments["name"])

    def read(self) -> np.ndarray:
        """Bring the scans of both parts to the working grid."""
        loss = self.settings.loss
        if loss != "auto" and (isinstance(loss, str) or self.name.startswith("variational")):
            own = "" if self.name.startswith("variational") else ", or a function of your own"
            raise InputError(
                f"loss={name_of(loss)!r} was asked for {self.name}.",
                f'loss="auto": these networks have their own{own}.',
                "Leave it out.",
            )
        if self.settings.batch_by_memory:
            raise InputError(
                'batch_size="auto" was given for an image-to-image model.',
                "a classifier or a segmentation model, or a number of patches.",
                "Leave it out, or give a number.",
            )
        self.metadata = self.metadata.model_copy(update={"units": self.train.units})
        self.images, self.validation_images = (self._scans(part) for part in (self.train, self.val))
        shapes = [self.images[case].shape[:-1] for case in range(len(self.images))]
        self.shapes = self.team.gathered(np.array(shapes, np.int64), len(self.train))
        return sample_of(self.images)

    def _scans(self, part: Study) -> Scans:
        study = part.rows(self.team.rows(len(part)))
        scans = on_working_grid(study, self.metadata)
        return in_memory(scans, sum(study.each(lambda row: scans[row].nbytes)))

    def choose(self, window: Window) -> Plan:
        """Patches of one size, and enough steps to see them all many times."""
        settings, dimension = self.settings, self.metadata.dimension
        patch = tuple(int(side) for side in self.metadata.size if side is not None) or self._patch()
        batch = max(settings.batch_size or BATCH[dimension], self.replicas)
        self.fewest = self.replicas
        steps = max(LEAST_STEPS, -(-len(self.train) // batch))
        epochs = settings.epochs or max(LEAST_EPOCHS, STEPS // steps)
        none = "No augmentation: patches are drawn anew in each epoch."
        return Plan(
            batch_size=batch,
            epochs=epochs,
            learning_rate=settings.rate(RATE, epochs * steps),
            window=window.range,
            units=self.train.units,
            preset=settings.preset.name,
            patch=patch,
            steps=steps,
            why=(
                window.reason,
                none if settings.preset.name == "none" else settings.preset_reason,
                *settings.reasons,
                self._lesson(window),
                f"Patches of {by(patch)}; {batch} patches a step, {steps} steps an epoch, at most {epochs} epochs.",
                "No labels were used.",
            ),
        )

    def _patch(self) -> tuple[int, ...]:
        longest = PATCH[self.metadata.dimension]
        sides = zip(np.median(self.shapes, axis=0), self.metadata.multiples, strict=True)
        return tuple(int(min(longest, -(-side // step) * step)) for side, step in sides)

    def _lesson(self, window: Window) -> str:
        strength = NOISE * (window.range[1] - window.range[0])
        return {
            "noise": f"It learns to remove Gaussian noise with a standard deviation of {strength:.3g} ({NOISE:.0%} of the "
            "window), drawn anew in each epoch.",
            "reduced": f"It learns super-resolution: patches are downsampled by {REDUCED} and upsampled again.",
            "": "It learns to reconstruct its own input from a small code.",
        }[corruption_of(self.metadata)]

    def objective(self) -> Objective:
        """The error of the pixels; for a variational network that of a twin which also shows the code."""
        metadata, model = self.metadata, self.model
        half = (metadata.window[1] - metadata.window[0]) / 2
        squared = corruption_of(metadata) in ("", "noise") and "autoencoder" in self.name

        def error(target: Any, reconstructed: Any) -> Any:
            difference = (target - reconstructed) / half
            return ops.mean(ops.square(difference) if squared else ops.abs(difference))

        def metrics() -> list[Any]:
            return self.with_own([keras.metrics.MeanAbsoluteError(name="mean_absolute_error")])

        plain = KERAS_LOSSES[Task.RECONSTRUCTION]
        if not self.name.startswith("variational"):
            own = self.settings.loss
            return Objective(model, error if isinstance(own, str) else own, metrics, plain, xla=isinstance(own, str))
        mean, std = (model.get_layer(layer).output for layer in ("code_mean", "code_std"))
        codes = keras.layers.Concatenate(name="codes")([mean, std])
        twin = keras.Model(model.input, {"image_out": model.output, "codes": codes}, name=f"{model.name}_twin")

        def likelihood(target: Any, reconstructed: Any) -> Any:
            return error(target, reconstructed) / (2 * SPREAD**2)

        def divergence_per_pixel(target: Any, codes: Any) -> Any:
            # Per value of the image, as the error is: the bound of the paper divided by their count.
            both = ops.split(codes, 2, axis=-1)
            count = ops.cast(ops.prod(ops.shape(target)[1:]), "float32")
            return ops.mean(divergence(*both)) / count

        return Objective(
            learner=twin,
            loss={"image_out": likelihood, "codes": divergence_per_pixel},
            metrics=lambda: {"image_out": metrics()},
            plain=plain,
            adapt=lambda data: data.map(lambda x, y: (x, {"image_out": y, "codes": y})),
        )

    def data(self) -> Data:
        """Patches of the training part corrupted anew in each epoch, and one fixed pair of every validation scan."""
        plan, seed = self.plan, self.settings.seed
        assert plan.patch is not None
        patches = Patches.without_masks(self.images, plan.patch)
        shares = self.team.shares(len(self.train), plan.batch_size)
        options: dict[str, Any] = {"seed": seed, "augment": self.augment, "shares": shares}
        feed = partial(pair_feed, patches, plan.batch_size, plan.steps, self._pair, **options)
        middles = Patches.without_masks(self.validation_images, plan.patch)
        pairs = [
            self._pair(middles.middle(case)[0], np.random.default_rng([seed, row]))
            for case, row in enumerate(self.team.rows(len(self.val)))
        ]
        inputs, clean = (np.stack(images) for images in zip(*pairs, strict=True))
        return Data(feed, dataset(inputs, clean, self.team.of_batch(plan.batch_size)))

    def _pair(self, image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        clean = np.clip(image, *self.metadata.window).astype(np.float32)
        return corrupted(self.metadata, clean, rng), clean
