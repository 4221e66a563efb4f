"""A network built anew from the metadata of a model file, and the file opened with it. TensorFlow is loaded on use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from easydl._tf import load_tensorflow
from easydl.networks.metadata import ModelMetadata
from easydl.networks.model_file.load import opened


def load_network(path: str | Path) -> Any:
    """Open a model file of easydl. Nothing in it is run: the network is built anew, the weights are copied.

    The metadata in the file are checked against their schema, the checksums of all parts are compared, and every
    array is checked in name, shape, type and size before it is read.

    Args:
        path: A ``.keras`` file that `save_model` wrote.

    Returns:
        The Keras model with its metadata, not compiled; it predicts as it did when it was saved.

    Raises:
        ModelError: No such file, another kind of file, or one that is damaged, altered or newer than this
            easydl.

    Example:
        >>> load_model("model.keras").summary()  # doctest: +SKIP
    """
    return opened(path, build)


def build(metadata: ModelMetadata) -> Any:
    """The network that metadata describe, without its weights."""
    load_tensorflow()
    from easydl.networks import classifiers, denoisers, segmenters

    builders: dict[str, Any] = {
        "classifier": classifiers.classifier,
        "segmenter": segmenters.segmenter,
        "image_to_image": denoisers.image_to_image,
    }
    return builders[metadata.builder](**metadata.build_arguments)
