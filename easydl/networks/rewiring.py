"""A network laid out once more with one thing changed: its activation, or whole blocks dropped in training. No weights."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from easydl.errors import InputError, unknown_name
from easydl.networks.arguments import is_integer
from easydl.networks.common_layers import CLIP
from easydl.networks.keras_internals import called_again, calls
from easydl.networks.registry import RESIDUAL, Entry

ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid")
"""As Keras calls them."""
MOST_DROPPED = 0.8
# Sigmoids that weigh maps and the softplus of a standard deviation have to stay what they are.
_HIDDEN, _HIDDEN_LAYERS = ("relu", "tanh", "gelu"), (layers.ReLU, layers.PReLU)


def activation_of(activation: Any, entry: Entry, *, pretrained: bool = False, encoder: Entry | None = None) -> str:
    """The activation that was asked for, or "" for "auto", that of the network's paper.

    Raises:
        InputError: An unknown name, a network of ``keras.applications``, or pretrained weights, which know their own.
    """
    if activation == "auto":
        return ""
    if activation not in ACTIVATIONS:
        raise unknown_name(f"`activation` is {activation!r}.", activation, ("auto", *ACTIVATIONS))
    of_keras = next(
        (one for one in (encoder, entry) if one and one.architecture.startswith("keras_applications")), None
    )
    if of_keras:
        raise InputError(
            f"`activation` was given for {of_keras.name}, whose layers are those of keras.applications.",
            "a network whose layers are easydl's own, such as tiny, resnet18, googlenet or unet.",
            "Leave `activation` out, or choose one of these networks.",
        )
    if pretrained:
        raise InputError(
            f"`activation` was given for {(encoder or entry).name} with pretrained weights.",
            "the activation that the weights were trained with.",
            "Leave `activation` out, or start from random weights.",
        )
    return str(activation)


def stochastic_depth_of(rate: Any, entry: Entry) -> float:
    """The rate at which the last block is dropped, 0 for none.

    Raises:
        InputError: Not a number from 0 to 0.8, or a network that has no residual blocks to drop.
    """
    if isinstance(rate, bool) or not (is_integer(rate) or isinstance(rate, float)) or not 0 <= rate <= MOST_DROPPED:
        raise InputError(
            f"`stochastic_depth` is {rate!r}.",
            f"a rate from 0 to {MOST_DROPPED:g}.",
            "Use stochastic_depth=0.2, for instance.",
        )
    if rate and entry.name not in RESIDUAL:
        raise InputError(
            f"`stochastic_depth` was given for {entry.name}, which is not built of residual blocks or drops them already.",
            f"one of {', '.join(RESIDUAL)}.",
            "Leave it out, or choose one of these networks.",
        )
    return float(rate)


def rewired(model: Any, *, activation: str = "", stochastic_depth: float = 0.0) -> Any:
    """A network with one thing changed and its weights as they are; the same model where nothing is asked.

    With an activation, each nonlinearity of a hidden layer becomes it. With stochastic depth, block ``l`` of ``L`` is
    dropped in training with the probability ``stochastic_depth * l / L``, for each image by itself: what the block adds
    to its shortcut becomes 0. What is kept is divided by the probability of keeping it, so that nothing has to be done in
    inference; the paper multiplies there instead. A ``Dropout`` with one draw for each image is just that.

    References:
        Huang et al. 2016, Deep networks with stochastic depth, arXiv:1603.09382 (linear decay: equation 4); Clevert et
        al. 2016, ELU, arXiv:1511.07289; Maas et al. 2013, leaky ReLU (ICML workshop; the slope is Keras', 0.2).
    """
    if not activation and not stochastic_depth:
        return model
    depths: dict[int, int] = {}
    for operation, node in calls(model):
        depths[id(operation.output)] = 1 + max(depths.get(id(tensor), 0) for tensor in node.input_tensors)
    blocks = sum(isinstance(operation, layers.Add) for operation, _ in calls(model))
    tensors, number, copied = {id(tensor): tensor for tensor in model.inputs}, 0, []
    for operation, node in calls(model):
        layer = _anew(operation, activation)
        inputs = tensors
        if stochastic_depth and isinstance(operation, layers.Add):
            number += 1
            # The block is the longer way; the shortcut, with or without a projection, the shorter one.
            block = max(node.input_tensors, key=lambda tensor: depths.get(id(tensor), 0))
            rate = stochastic_depth * number / blocks
            inputs = tensors | {id(block): _dropped(tensors[id(block)], rate, operation.name)}
        tensors[id(operation.output)] = called_again(layer, node, inputs)
        copied.append((layer, operation))
    for layer, operation in copied:
        if not isinstance(operation, layers.PReLU):
            layer.set_weights(operation.get_weights())
    outputs = keras.tree.map_structure(lambda tensor: tensors[id(tensor)], model.output)
    return keras.Model(model.input, outputs, name=model.name)


def _dropped(x: Any, rate: float, name: str) -> Any:
    one_draw = (None, *(1,) * (len(x.shape) - 1))
    return layers.Dropout(rate, noise_shape=one_draw, name=f"{name}_drop")(x)


def _anew(layer: Any, activation: str) -> Any:
    config = layer.get_config()
    if activation and layer.name != CLIP:
        if isinstance(layer, _HIDDEN_LAYERS):
            return layers.Activation(activation, name=layer.name)
        if config.get("activation") in _HIDDEN:
            config["activation"] = activation
    return type(layer).from_config(config)
