"""Several networks as one plain Keras model that averages their answers. It trains none of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from easydl.errors import ModelError
from easydl.networks.metadata import ModelMetadata, attach, attached, image_input, metadata_of

MEMBER = "member_"


def members_of(model: Any) -> list[Any]:
    """The networks of an ensemble, sharing its weights, each with metadata of its own; of any other model itself.

    Example:
        >>> import easydl
        >>> model = easydl.classifier("tiny", size=32)
        >>> members_of(model) == [model]
        True
    """
    metadata = attached(model)
    if metadata is None or metadata.members == 1:
        return [model]
    alone = metadata.model_copy(update={"members": 1})
    return [attach(model.get_layer(f"{MEMBER}{number}"), alone) for number in range(1, metadata.members + 1)]


def ensembled(model: Any, members: Sequence[Any]) -> Any:
    """Make a model the average of its members, in place: whoever holds it holds the ensemble from then on.

    Every member is a layer ``member_1``, ``member_2``... that is a flat network as easydl builds it.

    Args:
        model: The model to be; it may be the first member, whose layers the ensemble then shares.
        members: Two or more networks with the same inputs and outputs.

    Returns:
        The same model.

    Raises:
        ModelError: Fewer than two members.

    References:
        Ciresan D et al. Multi-column deep neural networks. CVPR 2012, arXiv:1202.2745; Lakshminarayanan B et al. Deep
        ensembles, NIPS 2017, arXiv:1612.01474.
    """
    import keras

    if len(members) < 2:
        raise ModelError(f"An ensemble of {len(members)} was asked for.", "two members or more.", "Use members=5.")
    metadata, name = metadata_of(model).model_copy(update={"members": len(members)}), model.name
    parts = [
        keras.Model(one.input, one.output, name=f"{MEMBER}{number}") for number, one in enumerate(members, 1)
    ]  # fmt: skip
    inputs = _new_inputs(model)
    answers = [part(inputs) for part in parts]
    if metadata.heads:
        out: Any = {head: _average(keras, [one[head] for one in answers], f"{head}_mean") for head in answers[0]}
    else:
        out = _average(keras, answers, "mean")
    # Keras makes a functional model in its __init__: called again on a bare object it makes that object another model.
    vars(model).clear()
    type(model).__init__(model, inputs, out, name=name)
    return attach(model, metadata)


def _new_inputs(model: Any) -> Any:
    import keras

    if isinstance(model.input, dict):
        return {
            key: keras.layers.Input(tensor.shape[1:], name=key, dtype="float32") for key, tensor in model.input.items()
        }
    return keras.layers.Input(image_input(model).shape[1:], name="image", dtype="float32")


def _average(keras: Any, answers: list[Any], name: str) -> Any:
    from easydl.networks.arguments import layer_name

    return keras.layers.Average(name=layer_name(name), dtype="float32")(answers)


def rebuilt_members(metadata: ModelMetadata, build: Any) -> Any:
    """The ensemble that a model file describes, without its weights."""
    alone = metadata.model_copy(update={"members": 1})
    networks = [build(alone) for _ in range(metadata.members)]
    return networks[0] if metadata.members == 1 else ensembled(networks[0], networks)
