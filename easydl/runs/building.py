"""The model that a run's settings name. It trains nothing."""

from __future__ import annotations

from typing import Any

from easydl.errors import InputError
from easydl.options import ModelOptions
from easydl.runs.config import RunConfig
from easydl.tasks import Task


def build(config: RunConfig, study: Any) -> Any:
    """The model that a run's settings name, built for its study.

    Raises:
        InputError: The named model does not fit the task.
    """
    from easydl.networks import classifier, models, segmenter
    from easydl.networks.by_default import network_for, weights_for

    options, name = config.arguments(ModelOptions), config.model
    settings = config.model_dump()
    encoder, covariates, head = options.pop("encoder"), options.pop("covariates"), options.pop("head")
    stochastic_depth = options.pop("stochastic_depth")
    if Task(study.task).has_masks:
        if covariates:
            raise InputError(
                f"covariates={covariates!r} were given for a study with masks.",
                "covariates for a classifier: a segmentation model sees the image only.",
                "Leave them out.",
            )
        if head != "linear":
            raise InputError(
                f"head={head!r} was given for a study with masks.", "a head for a classifier.", "Leave it out."
            )
        if stochastic_depth:
            raise InputError(
                f"stochastic_depth={stochastic_depth:g} was given for a study with masks.",
                "a rate for a residual classifier.",
                "Leave it out.",
            )
        name = {2: "unet", 3: "unet3d"}[study.dimension] if name == "auto" else name
        options["pretrained"] = weights_for(settings, encoder or name)
        return segmenter(name, study, encoder=encoder, seed=config.seed, **options)
    if encoder is not None:
        raise InputError(
            f"encoder={encoder!r} was given for a study without masks.",
            "an encoder for a segmentation model.",
            "Leave it out, or name the classifier itself with model=.",
        )
    if name in set(models(kind="segmenter")["name"]):
        raise InputError(
            f"model={name!r} needs masks.", "a mask column.", "Pass mask= its name, or choose a classifier."
        )
    name = network_for(settings, study.dimension)
    options["pretrained"] = weights_for(settings, name)
    own = {"covariates": covariates, "head": head, "stochastic_depth": stochastic_depth}
    return classifier(name, study, seed=config.seed, **own, **options)
