"""`easydl.pretrain`: weights from images without labels. The methods are beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.errors import InputError, LeakageError
from easydl.option_model import documented
from easydl.options_of_learning import PretrainOptions
from easydl.pretraining.results import Pretrained

if TYPE_CHECKING:
    from easydl.studies import Study

STEPS, FEWEST, MOST = {"simclr": 400, "autoencoder": 300, "stacked_denoising": 250}, 4, 200
"""Steps of each method when the epochs are not given (of every layer, for stacked_denoising), and the limits of the epochs."""
RATES = {"simclr": 2e-3, "autoencoder": 2e-3, "stacked_denoising": 2e-3}
LEAST_IMAGES = 8


@documented(PretrainOptions)
def pretrain(
    study: Study,
    model_name: str = "tiny",
    *,
    method: str = "simclr",
    epochs: int | None = None,
    size: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    augment: str = "auto",
    seed: int = 0,
    verbose: bool = True,
) -> Pretrained:
    """Pretrain a network on images without labels: what it gives is taken by ``pretrained=``.

    No label is read. All images and patients count as seen: a later test leaves them out, and refuses where nothing else is
    left. So give the training part, or images of other patients: using a test's images without their labels is a leak, too.

    Args:
        study: The images: the training part of a split study, or a study of its own (labels are not needed).
        model_name: A classifier of `easydl.models`, 2D or 3D as the images are.
        {options}
        verbose: Whether to print the loss now and then.

    Returns:
        A `Pretrained`: ``easydl.classifier("tiny", study, pretrained=found)`` (``size`` as here) or
        ``easydl.unet(study, pretrained=found)``; ``.save("own.keras")`` for ``pretrained="own.keras"``; ``.losses``,
        ``.show()``.

    Raises:
        InputError: Too few images, or a network that the method cannot train.
        LeakageError: Images of a test part are among them.
        ModelError: The network takes images of another dimension.

    Example:
        >>> own = easydl.pretrain(train)  # doctest: +SKIP
        >>> model = easydl.classifier("tiny", train, pretrained=own)  # doctest: +SKIP

    References:
        Chen et al. 2020, arXiv:2002.05709 (SimCLR); Vincent et al. 2010, JMLR 11:3371-3408 (stacked denoising autoencoders).
    """
    chosen: dict[str, Any] = {"method": method, "epochs": epochs, "size": size, "batch_size": batch_size}
    chosen |= {"learning_rate": learning_rate, "augment": augment, "seed": seed}
    options = PretrainOptions.checked(**chosen)
    _check(study)
    from easydl._tf import load_tensorflow

    load_tensorflow()
    return _Pretraining(study, model_name, options, print if verbose else lambda text: None).run()


@dataclass
class _Pretraining:
    study: Study
    name: str
    options: PretrainOptions
    say: Callable[[str], None]

    def run(self) -> Pretrained:
        """Build, read, train, and note what was seen."""
        import keras

        from easydl.networks import attach, metadata_of
        from easydl.prediction.seen import with_training

        keras.utils.set_random_seed(self.options.seed)
        model = self._model()
        nothing = self.study.rows(self.study.frame.index[:0])
        seen = with_training(None, self.study, nothing)
        images, notes = self._images(model)
        losses = {}
        for name, loss, variables in self._stages(model, images):
            losses[name] = self._trained(name, loss, variables, images)
        self._settle_statistics(model, images)
        patients = self.study.n_patients if self.study.patients_known else 0
        origin = f"{self.options.method} on {len(self.study)} images without labels"
        attach(model, metadata_of(model).model_copy(update={"seen": seen, "pretrained": origin}))
        notes.append(
            f"These {len(self.study)} images count as seen, though without labels: a later test leaves them and their patients out."
        )
        found = Pretrained(model, self.options.method, losses, len(self.study), patients, notes)
        self.say(found.sentence)
        return found

    def _model(self) -> Any:
        from easydl.errors import ModelError
        from easydl.networks import arguments, classifier
        from easydl.networks.listing import find

        entry = find(self.name, "classifier", self.study.dimension)
        if entry.dimension != self.study.dimension:
            raise ModelError(
                f"{entry.name} takes {entry.dimension}D images, the study holds {self.study.dimension}D ones.",
                "a network of the study's dimension.",
                f'Use "{"tiny" if self.study.dimension == 2 else "tiny3d"}", for instance.',
            )
        side = arguments.image_size(self.options.size, self.study.summary, entry)
        return classifier(entry.name, channels=self.study.channels, size=side, seed=self.options.seed)

    def _images(self, model: Any) -> tuple[Any, list[str]]:
        """The decoded images, the model with its window, and what was chosen for them."""
        from easydl.augmentation import preset, suggest
        from easydl.networks import metadata_of, set_window
        from easydl.pretraining.steps import Images
        from easydl.studies.dataset import decode
        from easydl.training.plan import choose_window

        metadata, study = metadata_of(model), self.study
        size = tuple(int(side) for side in metadata.size if side is not None)
        pixels = decode(study, size=size, channels=metadata.channels, units=study.units)
        window = choose_window(None, study, np.asarray(pixels[:: max(1, len(pixels) // 50)], np.float32))
        set_window(model, window.range, study.units)
        notes, augment = [window.reason], None
        if self.options.method == "simclr":
            name, reason = suggest(study, self.options.augment)
            notes.append(reason)
            augment = preset(name).augmenter(
                dimension=metadata.dimension, units=study.units, window=window.range, seed=self.options.seed,
                channels=metadata.channels,
            ) if name != "none" else None  # fmt: skip
        batch = self.options.batch_size or (64 if metadata.dimension == 2 else 8)
        who = study.frame["patient"].astype(str) if study.patients_known else np.arange(len(study)).astype(str)
        patients = np.unique(np.asarray(who), return_inverse=True)[1].astype(np.int32)
        return Images(pixels, patients, min(batch, len(study)), self.options.seed, augment), notes

    def _stages(self, model: Any, images: Any) -> Any:
        from easydl.pretraining import contrastive, reconstruction

        method, seed = self.options.method, self.options.seed
        if method == "simclr":
            yield (method, *contrastive.simclr_loss(model, images, seed))
        elif method == "autoencoder":
            yield (method, *reconstruction.autoencoder_loss(model, seed))
        else:
            for name, pair in reconstruction.stacked_losses(model, seed):
                yield (name, *pair)

    def _trained(self, name: str, loss: Any, variables: Any, images: Any) -> list[float]:
        from easydl.pretraining.steps import trained

        method = self.options.method
        epochs = self.options.epochs or int(np.clip(STEPS[method] // images.steps, FEWEST, MOST))
        rate = self.options.learning_rate or RATES[method]
        every = max(1, epochs // 5)

        def say(epoch: int, value: float) -> None:
            if (epoch + 1) % every == 0 or epoch + 1 == epochs:
                self.say(f"{name}: epoch {epoch + 1} of {epochs}, loss {value:.4f}")

        return trained(loss, variables, images, epochs, rate, say)

    def _settle_statistics(self, model: Any, images: Any) -> None:
        """Batch normalisation has gathered its statistics on changed images; features are taken from images as they are."""
        from easydl.training.statistics import Refreshed

        refreshed = Refreshed(lambda epoch: (x for x, _, _ in images.batches(epoch)), images=len(self.study))
        refreshed.set_model(model)
        refreshed.on_test_begin()


def _check(study: Study) -> None:
    if len(study) < LEAST_IMAGES:
        raise InputError(
            f"The study holds {len(study)} images.", f"at least {LEAST_IMAGES}; hundreds help.", "Give more images."
        )
    in_test = int((study.frame["split"] == "test").sum()) if "split" in study.frame.columns else 0
    if in_test:
        raise LeakageError(
            f"{in_test} of these {len(study)} images are in the test part of a split.",
            "images that no test counts: a network that has seen them, with labels or without, knows them.",
            "Give the training part: train, val, test = study.split(); easydl.pretrain(train).",
        )
