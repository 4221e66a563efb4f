"""Weights read from a file, checked, and copied into a backbone. It fetches nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from easydl.errors import EasyDLError, WeightsError
from easydl.networks import hdf5
from easydl.networks.catalogue import Entry
from easydl.networks.parts import backbone_layers
from easydl.networks.recipe import recipe_of

# Official files hold a little more than the numbers: names, attributes, alignment.
SLACK = 1.25, 4_000_000
MIXER = "to_rgb"


def apply(model: Any, entry: Entry, path: Path) -> str:
    """Copy weights from a file into a model's backbone. The head keeps its random start.

    Args:
        model: A classifier that `easydl.classifier` wired.
        entry: Its entry in the catalogue.
        path: A ``.keras`` file of ours or an ``.h5`` weights file.

    Returns:
        Where the weights come from, in words, for the record.

    Raises:
        WeightsError: The file is of another network, or damaged.
    """
    if path.suffix.lower() == ".keras":
        return _from_ours(model, entry, path)
    arrays = read(path, entry)
    targets = [layer for layer in backbone_layers(model) if layer.weights and layer.name != MIXER]
    wanted = [[tuple(weight.shape) for weight in _in_file_order(layer)] for layer in targets]
    if wanted != [[array.shape for array in layer] for layer in arrays]:
        raise WeightsError(
            f"{path.name} holds the weights of another network than {entry.name}.",
            f"{len(targets)} layers of {entry.application or entry.name} without the classification head.",
            f"Use {entry.weights_file or 'a file of this network'}, or another network.",
        )
    for layer, values in zip(targets, arrays, strict=True):
        for weight, value in zip(_in_file_order(layer), values, strict=True):
            weight.assign(value)
    if entry.scaling is None:
        from easydl.networks.classifiers import standardise

        mean, variance = next(
            (v[0], v[1]) for layer, v in zip(targets, arrays, strict=True) if hasattr(layer, "finalize_state")
        )
        standardise(model, mean.tolist(), variance.tolist())
    official = path.name == entry.weights_file
    return f"{'ImageNet' if official else 'weights file'} ({path.name}, sha256 {digest(path, 'sha256')[:12]})"


def _from_ours(model: Any, entry: Entry, path: Path) -> str:
    from easydl.networks.opening import load_model

    try:
        other = load_model(path)
        theirs = {layer.name: layer for layer in backbone_layers(other) if layer.weights}
    except EasyDLError as problem:
        raise WeightsError(problem.found, problem.expected, problem.do) from problem
    name = recipe_of(other).arguments.get("name")
    if name != entry.name:
        raise WeightsError(
            f"{path.name} is a {name or recipe_of(other).builder}.",
            f"a {entry.name}, whose weights fit.",
            f'Use classifier("{name}", ...), or a file of a {entry.name}.' if name else "Choose another file.",
        )
    for mine, other_layer in zip(
        (layer for layer in backbone_layers(model) if layer.weights and layer.name != MIXER),
        (layer for layer in theirs.values() if layer.name != MIXER),
        strict=True,
    ):
        values = other_layer.get_weights()
        # Only the first convolution of a network of our own depends on the number of channels.
        if [v.shape for v in values] == [tuple(w.shape) for w in mine.weights]:
            mine.set_weights(values)
            if hasattr(mine, "finalize_state"):
                mine.finalize_state()
    mixer = theirs.get(MIXER)
    ours = next((layer for layer in model.layers if layer.name == MIXER), None)
    if mixer is not None and ours is not None and mixer.kernel.shape == ours.kernel.shape:
        ours.set_weights(mixer.get_weights())
    return f"our own model ({path.name}, sha256 {digest(path, 'sha256')[:12]})"


def read(path: Path, entry: Entry) -> list[list[Any]]:
    """The arrays of an official ``.h5`` weights file, per layer that has any, in the order of the file.

    Raises:
        WeightsError: No weights file, one that points outside itself or is too large, or NaN inside.
    """
    import h5py
    import numpy as np

    try:
        with h5py.File(path, "r") as file:
            found = hdf5.datasets(file, most_bytes=room(entry), exact=False)
            layers = []
            for name in hdf5.texts(file, "layer_names"):
                if isinstance(file.get(name), h5py.Group) and (inner := hdf5.texts(file[name], "weight_names")):
                    layers.append([np.asarray(found[f"{name}/{one}"]) for one in inner])
    except hdf5.UnsafeFile as problem:
        raise _refused(path, str(problem)) from None
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as problem:
        raise _refused(path, "it is no complete HDF5 weights file") from problem
    if not layers:
        raise _refused(path, "it lists no layers (a .weights.h5 of Keras 3 is another format)")
    if not all(np.isfinite(array).all() for layer in layers for array in layer):
        raise _refused(path, "it holds weights that are no numbers (NaN or infinite)")
    return layers


def _refused(path: Path, why: str) -> WeightsError:
    return WeightsError(
        f"{path.name} cannot be used: {why}.",
        "an .h5 weights file as keras.applications publishes it.",
        "Delete the file and get it again.",
    )


def _in_file_order(layer: Any) -> list[Any]:
    # Keras' .h5 files list what a layer learns before what it only keeps.
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def room(entry: Entry) -> int:
    """The most bytes that a weights file of a network may take."""
    return int(entry.parameters * 4 * SLACK[0]) + SLACK[1]


def digest(path: Path, kind: str) -> str:
    """Checksum of a file (``md5``, ``sha256``) in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()
