"""What a network costs, counted from its layers, and whether it is too large for the data. It measures no time."""

from __future__ import annotations

import math
from typing import Any

from easydl.networks.registry import ENTRIES, Entry

# Parameters for one training image, beyond which a network from random weights overfits: `tiny` on 80 radiographs is
# well below it, ResNet-18 on 1,000 above.
MOST_PER_IMAGE = 10_000
# Trained filters need less: only the head and gentle changes are learned.
MOST_PER_IMAGE_PRETRAINED = 500_000
# What is named instead, the larger first, by dimension and whether it has to have trained weights.
SMALLER = {
    (2, False): ("resnet18", "tiny"),
    (2, True): ("densenet121", "efficientnetlite0", "mobilenet_025"),
    (3, False): ("resnet3d10", "tiny3d"),
    (3, True): ("resnet3d10", "tiny3d"),
}


def operations(model: Any, shape: tuple[int, ...] | None = None) -> int:
    """Operations for one image, a multiply-add counting as two; convolutions and dense layers only.

    ``shape`` is the size of the input where the model leaves it open.

    Example:
        >>> import easydl
        >>> round(operations(easydl.classifier("resnet18", size=224, channels=3)) / 1e9, 1)
        3.6
    """
    total = 0
    for layer in _sized(model, shape).layers:
        kernels = [weight for weight in layer.weights if weight.name.endswith("kernel") and len(weight.shape) >= 2]
        for kernel in kernels:
            transposed = "Transpose" in type(layer).__name__
            places = (layer.input if transposed else layer.output).shape[1:-1]
            if type(layer).__name__.startswith("Separable") and "pointwise" not in kernel.name:
                places = layer.output.shape[1:-1]
            total += 2 * math.prod(kernel.shape) * math.prod(places)
    return total


def outputs(model: Any, shape: tuple[int, ...] | None = None) -> int:
    """Activations of all layers for one image, which a training step keeps in memory for backpropagation."""
    return sum(math.prod(layer.output.shape[1:]) for layer in _sized(model, shape).layers)


def _sized(model: Any, shape: tuple[int, ...] | None) -> Any:
    """The same graph for one size of input; the model itself where it has one."""
    import keras

    if shape is None or None not in model.input_shape[1:]:
        return model
    return keras.models.clone_model(model, input_tensors=keras.Input((*shape, model.input_shape[-1])))


def advice(entry: Entry, images: int, *, pretrained: bool = False) -> str:
    """A sentence when a classifier is much too large for the data, with the name of a smaller one; else nothing.

    Segmentation networks learn from every pixel and need far fewer images: nothing is said of them.

    Example:
        >>> advice(ENTRIES["resnet"], 80)[:55]
        'resnet has 23.6 million parameters and 80 training imag'

    References:
        Erickson et al. 2018, Deep Learning in Radiology, 10.1016/j.jacr.2017.12.027 ("smaller classifiers").
    """
    most = (MOST_PER_IMAGE_PRETRAINED if pretrained else MOST_PER_IMAGE) * max(images, 1)
    if entry.kind != "classifier" or entry.parameters <= most:
        return ""
    ladder = [ENTRIES[name] for name in SMALLER[entry.dimension, pretrained]]
    smaller = [one for one in ladder if one.parameters < entry.parameters]
    better = next((one for one in smaller if one.parameters <= most), smaller[-1] if smaller else None)
    count = f"{entry.parameters / 1e6:.1f} million" if entry.parameters >= 1e6 else f"{entry.parameters:,}"
    tail = (
        f"{better.name} is smaller and may do better."
        if better
        else "More images would help; there is no smaller network."
    )
    return f"{entry.name} has {count} parameters and {images} training images: it may overfit. {tail}"
