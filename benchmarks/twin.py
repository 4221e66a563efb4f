"""The PyTorch twin of a flat Keras network: the same layers with the same weights, for benchmarks only."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Twin(nn.Module):
    """A Keras network of convolutions, normalisation, additions and concatenations, run by PyTorch.

    Args:
        model: A network of ``easydl.unet`` or ``easydl.unet3d``.

    ``forward`` takes ``(batch, channels, *spatial)`` and gives logits of that layout.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.dimension = len(model.input_shape) - 2
        self.parts = nn.ModuleDict()
        self.order: list[tuple[Any, list[str]]] = []
        for layer in model.layers:
            nodes = layer._inbound_nodes[0].input_tensors if layer._inbound_nodes else []
            self.order.append((layer, [tensor._keras_history.operation.name for tensor in nodes]))
            kind, config = type(layer).__name__, layer.get_config()
            if kind.startswith("Conv"):
                weights = layer.get_weights()
                kernel = np.transpose(weights[0], (self.dimension + 1, self.dimension, *range(self.dimension)))
                make = nn.Conv2d if self.dimension == 2 else nn.Conv3d
                if config["strides"] != (1,) * self.dimension:
                    raise ValueError(f"{layer.name}: a twin has no strides")
                part = make(kernel.shape[1], kernel.shape[0], kernel.shape[2:], padding="same", bias=len(weights) > 1)
                part.weight.data = torch.tensor(kernel.copy())
                if len(weights) > 1:
                    part.bias.data = torch.tensor(weights[1])
                self.parts[layer.name] = part
            elif kind == "GroupNormalization":
                scale, offset = layer.get_weights()
                groups = config["groups"] if config["groups"] > 0 else len(scale)
                part = nn.GroupNorm(groups, len(scale), eps=config["epsilon"])
                part.weight.data, part.bias.data = torch.tensor(scale), torch.tensor(offset)
                self.parts[layer.name] = part

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        known: dict[str, torch.Tensor] = {}
        for layer, sources in self.order:
            kind, given = type(layer).__name__, [known[name] for name in sources]
            if kind == "InputLayer":
                known[layer.name] = x
            elif layer.name in self.parts:
                known[layer.name] = self.parts[layer.name](given[0])
            elif kind == "ReLU":
                most = layer.max_value
                known[layer.name] = functional.relu(given[0]) if most is None else given[0].clamp(0, float(most))
            elif kind == "Rescaling":
                known[layer.name] = given[0] * float(layer.scale) + float(layer.offset)
            elif kind == "Add":
                known[layer.name] = given[0] + given[1]
            elif kind == "Concatenate":
                known[layer.name] = torch.cat(given, 1)
            elif kind.startswith("UpSampling"):
                known[layer.name] = functional.interpolate(given[0], scale_factor=2, mode="nearest")
            elif kind.startswith("MaxPooling"):
                pool = functional.max_pool2d if self.dimension == 2 else functional.max_pool3d
                known[layer.name] = pool(given[0], 2)
            elif kind == "Softmax":
                return given[0]
            else:
                raise ValueError(f"a twin has no {kind}")
        raise ValueError("the network does not end in a softmax")


def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """`easydl.training.losses.dice_cross_entropy` of logits and a one-hot target, both ``(batch, classes, *spatial)``."""
    log = functional.log_softmax(logits.float(), 1)
    found = log.exp()
    axes = (0, *range(2, target.ndim))
    both, either = (target * found).sum(axes), (target + found).sum(axes)
    return -(target * log).sum(1).mean() + 1 - ((2 * both + 1e-5) / (either + 1e-5))[1:].mean()
