"""Which layers of a model are trained: all, the head, or the last stages of the backbone. It trains none."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from easydl.networks.ensembles import members_of
from easydl.networks.receptive_field import reaches
from easydl.networks.surgery import backbone_layers

RGB = "to_rgb"


class Stage(NamedTuple):
    """The layers of a backbone whose maps have one size: the blocks between two strides.

    Attributes:
        stride: Pixels of the image from one point of its maps to the next, along each axis.
        layers: Its layers with weights, in the order of the network.
    """

    stride: tuple[int, ...]
    layers: list[Any]


def stages_of(model: Any) -> list[Stage]:
    """The stages of a classifier's backbone, from the image to the head.

    Example:
        >>> import easydl
        >>> [one.stride for one in stages_of(easydl.classifier("mobilenet_025", size=32))]
        [(2, 2), (4, 4), (8, 8), (16, 16), (32, 32)]

    Raises:
        ModelError: The model has no layer ``features``.
    """
    found: dict[tuple[int, ...], list[Any]] = {}
    reach = reaches(model)
    for layer in backbone_layers(model):
        if layer.weights and layer.name in reach:
            found.setdefault(reach[layer.name].stride, []).append(layer)
    stages = [Stage(stride, layers) for stride, layers in sorted(found.items(), key=lambda one: prod(one[0]))]
    # What mixes channels into colours, or only scales them, is no stage by itself.
    if len(stages) > 1 and not any(hasattr(one, "kernel_size") and one.name != RGB for one in stages[0].layers):
        stages = [Stage(stages[1].stride, [*stages[0].layers, *stages[1].layers]), *stages[2:]]
    return stages


def freeze_backbone(model: Any) -> Any:
    """Make only the head of a classifier trainable. Compile afterwards; Keras fixes what is trained when it compiles.

    Returns:
        The same model.

    Raises:
        ModelError: The model has no layer ``features``.
    """
    for layer in backbone_layers(model):
        layer.trainable = False
    return model


def unfreeze(model: Any, stages: int | None = None) -> Any:
    """Make a model trainable but for batch normalisation, which keeps its statistics. Compile afterwards.

    With the small batches of medical studies, batch statistics that move undo what was learned before.

    Args:
        model: A model of easydl.
        stages: Of a classifier only so many stages of the backbone (`stages_of`), from the head down, and the head; None for all.

    Returns:
        The same model.

    References:
        Yosinski et al. 2014, How transferable are features in deep neural networks?, arXiv:1411.1792.
    """
    for member in members_of(model):
        for layer in member.layers:
            layer.trainable = True
        if stages is not None:
            every = stages_of(member)
            for stage in every[: max(0, len(every) - stages)]:
                for layer in stage.layers:
                    layer.trainable = False
    freeze_statistics(model)
    return model


def freeze_statistics(model: Any) -> None:
    """Freeze the batch normalisation: small batches cannot gather its statistics anew."""
    import keras

    for member in members_of(model):
        for layer in member.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False


def stages_sentence(model: Any, stages: int | None) -> str:
    """Which layers of a classifier are fine-tuned, and how many parameters they have; None for all stages."""
    every = stages_of(model)
    count = len(every) if stages is None else stages
    trained, kept = every[len(every) - count :], every[: len(every) - count]
    strides = ", ".join(_side(one.stride) for one in trained)
    backbone = {id(layer) for layer in backbone_layers(model)}
    head = sum(layer.count_params() for layer in model.layers if id(layer) not in backbone)
    which = f"all {count} stages" if not kept else f"the last {count} of {len(every)} stages" if count > 1 else (
        f"the last of {len(every)} stages"
    )  # fmt: skip
    frozen = f"; the first {len(kept)} ({_parameters(kept):,} parameters) and" if len(kept) > 1 else (
        f"; the first ({_parameters(kept):,} parameters) and" if kept else ";"
    )  # fmt: skip
    return (
        f"Fine-tuned are {which} of the backbone (stride {strides}; {_parameters(trained):,} parameters) and the head "
        f"({head:,}){frozen} all batch normalisation {'stay' if kept else 'stays'} frozen."
    )


def _side(stride: tuple[int, ...]) -> str:
    return str(stride[0]) if len(set(stride)) == 1 else " x ".join(map(str, stride))


def _parameters(stages: list[Stage]) -> int:
    """Without batch normalisation, which is never fine-tuned."""
    import keras

    return sum(
        layer.count_params()
        for stage in stages
        for layer in stage.layers
        if not isinstance(layer, keras.layers.BatchNormalization)
    )
