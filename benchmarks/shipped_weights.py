"""Write the weights of EfficientNet-Lite0 that the package ships from the published state dict.

Run: python benchmarks/shipped_weights.py STATE.npz
STATE.npz holds the arrays of the published PyTorch state dict under their names (`_conv_stem.weight`, `_bn0.weight`, ...),
as float16. The classification head (`_fc`) is left out. The result is a file in the layout of Keras' own `.h5` weights, and
its SHA-256 belongs into `easydl/networks/registry.py`.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import h5py
import numpy as np

import easydl
from easydl.networks import backbone_layers
from easydl.networks.pretrained.sources import SHIPPED, shipped
from easydl.networks.registry import ENTRIES

NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def published_names(layer: str) -> tuple[str, str]:
    """The names of a convolution and its normalisation in the state dict, by the convolution's name here."""
    place, _, kind = layer.rpartition("_")
    if place in ("stem", "last"):
        return ("_conv_stem", "_bn0") if place == "stem" else ("_conv_head", "_bn1")
    if kind == "conv":
        place, _, kind = place.rpartition("_")
    number = int(place.removeprefix("block"))
    return f"_blocks.{number}._{kind}_conv", f"_blocks.{number}._bn{('expand', 'depthwise', 'project').index(kind)}"


def arrays(layer, state: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The arrays of a layer, trainable ones first."""
    if layer.name.endswith("_bn"):
        _, norm = published_names(layer.name.removesuffix("_bn"))
        return [state[f"{norm}.{theirs}"] for theirs in NORM]
    kernel = state[f"{published_names(layer.name)[0]}.weight"]
    # (out, in, height, width) and, where each channel is by itself, (channel, 1, height, width).
    return [kernel.transpose(2, 3, 0, 1) if "depthwise" in layer.name else kernel.transpose(2, 3, 1, 0)]


if __name__ == "__main__":
    state = dict(np.load(sys.argv[1]))
    path = shipped() / ENTRIES[SHIPPED].weights_file
    layers = [layer for layer in backbone_layers(easydl.classifier(SHIPPED, channels=3)) if layer.weights]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            names = [weight.name for weight in [*layer.trainable_weights, *layer.non_trainable_weights]]
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, array in zip(names, arrays(layer, state), strict=True):
                group.create_dataset(name, data=array.astype(np.float16))
    print(path, f"{Path(path).stat().st_size:,} bytes", hashlib.sha256(path.read_bytes()).hexdigest())
