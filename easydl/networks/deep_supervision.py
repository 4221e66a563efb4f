"""Deep supervision: a twin of a segmenter that also shows what its coarser levels would outline. It trains nothing."""

from __future__ import annotations

from typing import Any

from easydl.errors import ModelError
from easydl.networks.architectures.blocks import enlarged, sized
from easydl.networks.arguments import multiples_of, steps_of
from easydl.networks.common_layers import seeded
from easydl.networks.metadata import metadata_of

LEVELS = (2, 3)


def supervised(model: Any) -> Any:
    """A twin of a 3D U-Net with an output per level of its way up, sharing every layer: training it trains the model.

    Each coarser level gets a 1x1 convolution of its own, whose logits are enlarged to the grid of the mask, so that
    all outputs have one reference. These convolutions are new at every call and are not saved.

    Args:
        model: From `easydl.unet3d`.

    Returns:
        A Keras model from the same input to a dict of probabilities ``(batch, depth, height, width, classes)``:
        ``probability`` as the model gives it, ``level2`` and ``level3`` from after one halving and two.

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
    if metadata.task != "segmentation" or not names >= {f"up{level}_relu2" for level in LEVELS}:
        raise ModelError(
            "The model has no coarser levels to be judged.",
            "a 3D U-Net of easydl.",
            "Build it with easydl.unet3d(..., deep_supervision=True).",
        )
    outputs = {"probability": model.output}
    steps = steps_of(metadata.arguments["levels"], metadata.dimension)
    with seeded(int(metadata.arguments.get("seed", 0))):
        for level in LEVELS:
            maps = model.get_layer(f"up{level}_relu2").output
            logits = sized("Conv", maps)(len(metadata.classes), 1, name=f"level{level}_logits", dtype="float32")(maps)
            whole = enlarged(logits, f"level{level}", multiples_of(steps[: level - 1]))
            outputs[f"level{level}"] = keras.layers.Softmax(name=f"level{level}", dtype="float32")(whole)
    return keras.Model(model.input, outputs, name=f"{model.name}_supervised")
