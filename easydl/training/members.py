"""The members of an ensemble, trained one after the other on the same parts from different seeds. It trains none itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from easydl.errors import ModelError
from easydl.networks import attach, ensembled, members_of, metadata_of
from easydl.networks.forest_head import DECISION
from easydl.networks.metadata import ModelMetadata
from easydl.tasks import Task
from easydl.training.plan import Plan, Settings

if TYPE_CHECKING:
    from easydl.training.callbacks import Progress
    from easydl.training.feeder import Feeder

LAST_LAYERS = re.compile(rf"(.*_)?logits|{DECISION}\d")
"""What no pretrained weights bring: those of every member start from its own seed."""


def check_members(metadata: ModelMetadata, members: int) -> int:
    """How many members are trained: as asked for, or those that the model has.

    Raises:
        ModelError: The model cannot be an ensemble, or is another one already.
    """
    if members in (1, metadata.members):
        return metadata.members
    if metadata.members > 1:
        raise ModelError(
            f"members={members} was given, and the model is an ensemble of {metadata.members} already.",
            "a single model, or as many members as it has.",
            "Build the model anew, or leave members out.",
        )
    if metadata.builder == "keras" or Task(metadata.task).makes_images:
        kind = "a Keras model built by hand" if metadata.builder == "keras" else "an image-to-image model"
        raise ModelError(
            f"members={members} was given for {kind}.",
            "a classifier or a segmentation model of easydl, of which more can be built.",
            "Leave members out.",
        )
    return members


def train_members(
    model: Any,
    members: int,
    settings: Settings,
    progress: Progress,
    feeder: Callable[[Any, ModelMetadata, Settings], Feeder],
) -> Plan:
    """Train every member, and make the model their average in place.

    Member k has the seed of the training plus k - 1: other random weights (of a pretrained model only of its last layer),
    another order of the images, other augmentation. All see the same training and validation part, so that the
    validation part stays what no member was trained on.
    """
    networks = members_of(model) if metadata_of(model).members > 1 else [model]
    plans: list[Plan] = []
    for number in range(members):
        if number >= len(networks):
            networks.append(_another(model, number))
        progress.begin_member(number + 1, members)
        own = replace(settings, seed=settings.seed + number, drawn=True)
        plans.append(feeder(networks[number], metadata_of(networks[number]), own).run())
        if progress.stopped:
            break
    progress.end_members()
    trained = networks[: max(len(plans), metadata_of(model).members)]
    if metadata_of(model).members == 1 and len(trained) > 1:
        ensembled(model, trained)
    elif metadata_of(model).members > 1:
        _as_members(model)
    plan = plans[0]
    if len(trained) == 1:
        return plan
    seeds = f"{settings.seed} to {settings.seed + len(trained) - 1}"
    return plan.because(f"{len(trained)} members were trained with the seeds {seeds}; their answers are averaged.")


def _another(model: Any, number: int) -> Any:
    """A network as the model was before its training, from another seed."""
    from easydl.networks.builders import build
    from easydl.networks.freezing import freeze_statistics

    metadata = metadata_of(model)
    arguments = metadata.arguments | {"seed": (int(metadata.arguments.get("seed") or 0) + number) % 2**32}
    alone = metadata.model_copy(update={"arguments": arguments, "members": 1})
    network = build(alone)
    if metadata.pretrained:
        for own, theirs in zip(network.layers, model.layers, strict=True):
            if not LAST_LAYERS.fullmatch(own.name):
                own.set_weights(theirs.get_weights())
        if metadata.builder == "segmenter":
            freeze_statistics(network)
    # Its file is rebuilt from the metadata of the ensemble, whose graph is the same.
    return attach(network, metadata)


def _as_members(model: Any) -> None:
    """What the training wrote into the first member's metadata holds for the ensemble."""
    changed = metadata_of(model.get_layer("member_1")).model_copy(update={"members": metadata_of(model).members})
    attach(model, changed)
