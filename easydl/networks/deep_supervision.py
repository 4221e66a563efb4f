"""Deep supervision: a 3D U-Net with outputs at its coarser levels as well. It trains nothing."""

from __future__ import annotations

from typing import Any

from easydl.errors import ModelError
from easydl.networks.architectures.blocks import layer_nd, upsampled
from easydl.networks.common_layers import seeded
from easydl.networks.metadata import metadata_of
from easydl.networks.pooling import multiples_of, strides_of

LEVELS = (2, 3)


def supervised(model: Any) -> Any:
    """A 3D U-Net with an output per level of its decoder, sharing every layer: training it trains the model.

    Each coarser level gets its own 1x1 convolution, whose logits are upsampled to the grid of the mask, so that
    all outputs have one reference. These convolutions are new at every call and are not saved.

    Args:
        model: From `easydl.unet3d`.

    Returns:
        A Keras model from the same input to a dict of probabilities ``(batch, depth, height, width, classes)``:
        ``probability`` as the model gives it, ``level2`` and ``level3`` from maps downsampled once and twice.

    Raises:
        ModelError: The model has no such levels.

    Example:
        >>> import easydl
        >>> sorted(supervised(easydl.unet3d(width=4, deep_supervision=True)).output)
        ['level2', 'level3', 'probability']

    References:
        Lee et al. 2015, Deeply-supervised nets, arXiv:1409.5185; Isensee et al. 2021, nnU-Net,
        10.1038/s41592-020-01008-z.
    """
    import keras

    metadata = metadata_of(model)
    names = {layer.name for layer in model.layers}
    if not metadata.task.has_masks or not names >= {f"up{level}_relu2" for level in LEVELS}:
        raise ModelError(
            "The model has no coarser levels to supervise.",
            "a 3D U-Net of easydl.",
            "Build it with easydl.unet3d(..., deep_supervision=True).",
        )
    outputs = {"probability": model.output}
    strides = strides_of(metadata.arguments["levels"], metadata.dimension)
    with seeded(int(metadata.arguments.get("seed", 0))):
        for level in LEVELS:
            maps = model.get_layer(f"up{level}_relu2").output
            name, classes = f"level{level}", len(metadata.classes)
            logits = layer_nd("Conv", maps)(classes, 1, name=f"{name}_logits", dtype="float32")(maps)
            logits = upsampled(logits, name, multiples_of(strides[: level - 1]))
            outputs[name] = keras.layers.Softmax(name=name, dtype="float32")(logits)
    return keras.Model(model.input, outputs, name=f"{model.name}_supervised")
