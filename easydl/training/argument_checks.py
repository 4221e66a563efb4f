"""What `easydl.fit` refuses before an image is decoded. It chooses nothing and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from easydl.augmentation import check_augment
from easydl.errors import InputError, ModelError, unknown_name
from easydl.images.resampling import NORMALISE
from easydl.networks import members_of
from easydl.networks.freezing import stages_of
from easydl.networks.metadata import ModelMetadata
from easydl.option_model import settings_error, validator
from easydl.options_of_training import FitOptions
from easydl.prediction import check_classes
from easydl.studies import Study
from easydl.tasks import Task
from easydl.training.class_weights import check_weighted
from easydl.training.loss_names import check_loss
from easydl.training.optimizers import check_optimizer
from easydl.training.own_objects import check_metrics, check_own_loss
from easydl.training.plan import STRATEGIES, named_window
from easydl.training.workers import Team, check_several

DATASET_OPTIONS = ("epochs", "learning_rate", "optimizer", "metrics", "seed")
# What to build instead of a network of the other dimension.
OTHER_DIMENSION = {
    "classifier": {2: "easydl.classifier('tiny')", 3: "easydl.classifier('tiny3d')"},
    "segmenter": {2: "easydl.unet", 3: "easydl.unet3d"},
    "image_to_image": {
        2: "easydl.image_to_image('denoising_autoencoder')",
        3: "easydl.image_to_image('denoising_autoencoder3d')",
    },
    "keras": {2: "a network that takes images", 3: "a network that takes volumes"},
}


def check_parts(metadata: ModelMetadata, train: Study, val: Study) -> None:
    """Refuse a training or validation part without targets, or of another dimension or other classes than the model's.

    Raises:
        InputError: No labels or masks.
        ModelError: Another dimension, task or classes; in the training part also another order of the classes.
    """
    task = Task(metadata.task)
    target = "mask" if task.has_masks else "label"
    for part in (train, val):
        columns = part.mask_columns if task.has_masks else ["label"]
        if not (task.makes_images or Task(part.task).is_multiple or set(columns) <= set(part.frame.columns)):
            raise InputError(
                f"The study ({part.name}) has no {target}s.", f"a {target} for every image.", "Load a table with them."
            )
        if metadata.dimension != part.dimension:
            name = OTHER_DIMENSION[metadata.builder][part.dimension]
            raise ModelError(
                f"The model takes {metadata.dimension}D images, the study ({part.name}) holds {part.dimension}D ones.",
                "a model of the study's dimension.",
                f"Use {name}, for instance.",
            )
        if not task.makes_images:
            check_classes(metadata, part, same=part is train)


def check_names(metadata: ModelMetadata, train: Study, given: Mapping[str, Any]) -> None:
    """Refuse the name of a preset, window, loss, normalisation or class that there is not, before any image is read.

    Raises:
        InputError: Such a name, with the one that was probably meant.
    """
    task, weights = Task(metadata.task), given["class_weight"]
    check_numbers(given)
    if isinstance(given["augment"], str):
        check_augment(given["augment"])
    check_optimizer(given["optimizer"], given["learning_rate"])
    check_metrics(given["metrics"], task, metadata.classes)
    if given["normalise"] not in NORMALISE:
        found = f"normalise={given['normalise']!r} is not known."
        raise unknown_name(found, given["normalise"], NORMALISE)
    if isinstance(given["window"], str):
        named_window(given["window"], train.units)
    if not isinstance(given["loss"], str):
        check_own_loss(given["loss"], task)
    elif not task.makes_images:
        check_loss(given["loss"], task)
    if isinstance(weights, Mapping) and task.has_classes and not task.has_masks:
        check_weighted(weights, metadata.classes)


def check_numbers(given: Mapping[str, Any]) -> None:
    """Refuse numbers of epochs, of images in a step, of stages, and learning rates that are none.

    Raises:
        InputError: Such a number.
    """
    for name in ("epochs", "batch_size", "learning_rate", "fine_tune"):
        value = given[name].item() if hasattr(given[name], "item") else given[name]
        try:
            validator(FitOptions.model_fields[name]).validate_python(value)
        except ValidationError as problem:
            error = settings_error(problem)
            raise InputError(
                f"{name}={value!r} was given.", error.expected, f"Correct {name}, or leave it out."
            ) from None


def check_options(metadata: ModelMetadata, strategy: str, class_weight: dict[str, float] | str | None) -> None:
    """Refuse options that were given and that this kind of model has no use for, naming the option."""
    task = Task(metadata.task)
    if class_weight not in ("auto", None) and task.per_pixel:
        raise InputError(
            f"class_weight was given for a model whose task is {metadata.task}.",
            "a classifier, which has images of a class to weight.",
            'Leave it out; with loss="tversky" or "focal" a structure that is missed costs more.'
            if task.has_masks
            else "Leave it out.",
        )
    if strategy not in STRATEGIES:
        raise unknown_name(f"strategy={strategy!r} is not known.", strategy, STRATEGIES)
    starts = bool(metadata.pretrained) and not task.per_pixel
    if strategy in ("features", "finetune") and not starts:
        raise InputError(
            f'strategy="{strategy}" was given, and this model is trained as a whole from the start.',
            "a classifier with pretrained weights.",
            'Leave it out, or build such a classifier: easydl.classifier("efficientnetlite0", pretrained=True).',
        )
    if strategy == "scratch" and metadata.pretrained:
        raise InputError(
            'strategy="scratch" was given, and the model has pretrained weights.',
            "a model from random weights.",
            "Leave it out, or build the model with pretrained=False.",
        )


def check_fine_tune(model: Any, metadata: ModelMetadata, strategy: str, fine_tune: int | str | None) -> None:
    """Refuse a number of stages that this model has not, or that another option speaks against.

    Raises:
        InputError: No classifier with pretrained weights, more stages than it has, or a strategy that says something else.
    """
    if fine_tune is None:
        return
    given = f"fine_tune={fine_tune!r} was given"
    if not metadata.pretrained or Task(metadata.task).per_pixel:
        raise InputError(
            f"{given}, and this model is trained as a whole from the start.",
            "a classifier with pretrained weights.",
            'Leave it out, or build such a classifier: easydl.classifier("efficientnetlite0", pretrained=True).',
        )
    if strategy == "features" or (strategy == "finetune" and fine_tune == 0):
        raise InputError(
            f'{given} with strategy="{strategy}".',
            "one of them: fine_tune says by itself what is trained, and 0 is the head alone.",
            "Leave strategy out.",
        )
    count = len(stages_of(members_of(model)[0]))
    if isinstance(fine_tune, int) and fine_tune > count:
        raise InputError(
            f"{given}, and the backbone has {count} stages.",
            f'a number from 0 (the head alone) to {count}, or "all".',
            'Use fine_tune="all" for the whole network.',
        )


def check_workers(team: Team, task: Task, parts: Sequence[Study], options: Mapping[str, Any]) -> None:
    """Refuse what needs all images in one place or is measured by the clock of one computer, and parts that cannot be divided.

    Raises:
        InputError: Such an option, or fewer images in a part than workers.
    """
    if team.count == 1:
        return
    check_several(team.count, options)
    for name, part in zip(("training", "validation"), parts, strict=True):
        images = sum(part.has_mask(row) for row in range(len(part))) if task.has_masks else len(part)
        if images < team.count:
            raise InputError(
                f"The {name} part has {images} images{' with a mask' if task.has_masks else ''}, and there are "
                f"{team.count} workers.",
                "an image in training and validation for each worker.",
                "Train with fewer workers.",
            )


def check_datasets(train: Any, val: Any, options: Mapping[str, Any], metadata: ModelMetadata) -> None:
    """Refuse what Keras cannot train on, and ``options`` that only a study has, unless they have their defaults."""
    import keras
    import tensorflow as tf

    task = Task(metadata.task)
    check_numbers(options)
    if options["learning_rate"] == "find":
        raise InputError(
            'learning_rate="find" was given with a dataset, which may be read once only.',
            "the parts of a study, or a learning rate.",
            "Leave it out.",
        )
    check_optimizer(options["optimizer"], options["learning_rate"])
    check_metrics(options["metrics"], task, metadata.classes)
    if not isinstance(options["loss"], str):
        check_own_loss(options["loss"], task)
    for part in (train, val):
        if part is not None and not isinstance(part, (tf.data.Dataset, keras.utils.PyDataset)):
            raise InputError(
                f"A {type(part).__name__} was given to train on.",
                "the parts of a split study, or a tf.data.Dataset of (images, targets) for each.",
                "Use train, val, test = easydl.load(...).split(seed=0).",
            )
    # Compared as text, for a window or a spacing may be an array.
    unused = [
        name
        for name, value in options.items()
        if name not in DATASET_OPTIONS
        and not (name == "loss" and callable(value))
        and str(value) != str(FitOptions.model_fields[name].default)
    ]
    if unused:
        raise InputError(
            f"{', '.join(unused)} was given with a dataset, which is fed to the model as it is.",
            "a study, whose images are prepared by these options.",
            "Leave them out and prepare the dataset yourself, or give the parts of a study.",
        )
