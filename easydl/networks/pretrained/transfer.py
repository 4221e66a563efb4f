"""Weights read from a file, checked, and copied into a backbone. It fetches nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from easydl.errors import EasyDLError, InputError, WeightsError
from easydl.networks.metadata import metadata_of
from easydl.networks.model_file import hdf5
from easydl.networks.registry import ENTRIES, SOURCES, Entry
from easydl.networks.surgery import backbone_layers

# Official files hold a little more than the numbers: names, attributes, alignment.
SLACK = 1.25, 4_000_000
MIXER = "to_rgb"


def apply(model: Any, entry: Entry, path: Path) -> str:
    """Copy weights from a file into a model's backbone. The head keeps its random start.

    Args:
        model: A classifier that `easydl.classifier` wired.
        entry: Its entry in the catalogue, with the scaling it was wired with (`Entry.trained_on`).
        path: A ``.keras`` file of ours or an ``.h5`` weights file.

    Returns:
        Where the weights come from, in words, for the record.

    Raises:
        WeightsError: The file is of another network, of the same at another size that its dense layers depend on, or
            damaged.
    """
    trained = _trained_on(entry, path)
    if trained and entry.trained_on(trained).scaling != entry.scaling:
        raise WeightsError(
            f"{path.name} was trained on pixels scaled as those of {trained}, and this network scales them otherwise.",
            "weights and scaling that belong together.",
            'Use pretrained=True, or pretrained="radimagenet", and leave scaling out.',
        )
    if path.suffix.lower() == ".keras":
        return _from_ours(model, entry, path)
    arrays = read(path, source(entry))
    targets = [layer for layer in backbone_layers(model) if layer.weights and layer.name != MIXER]
    slots = [weight for layer in targets for weight in _in_file_order(layer)]
    values = [array for layer in arrays for array in layer]
    fitting = len(slots) == len(values)
    for number, (slot, value) in enumerate(zip(slots, values, strict=False)):
        value = _as_wired(value, tuple(slot.shape), inflate=bool(entry.inflates))
        if entry.bgr and number == 0:
            value = value[..., ::-1, :]
        values[number] = value
        fitting &= tuple(slot.shape) == value.shape
    if not fitting:
        raise WeightsError(
            f"{path.name} holds the weights of another network than {entry.name}.",
            f"{len(targets)} layers of {entry.application or entry.name} without the classification head.",
            f"Use {source(entry).weights_file or 'a file of this network'}, or another network.",
        )
    for slot, value in zip(slots, values, strict=True):
        slot.assign(value)
    for layer in targets:
        if hasattr(layer, "finalize_state") and layer.input_mean is None:
            from easydl.networks.architectures.keras_applications import standardise

            standardise(model, np.asarray(layer.adapt_mean).tolist(), np.asarray(layer.adapt_variance).tolist())
    words = {"imagenet": "ImageNet", "radimagenet": "RadImageNet"}.get(trained or "", "weights file")
    words += ", repeated along the depth" if entry.inflates else ""
    return f"{words} ({path.name}, sha256 {digest(path, 'sha256')[:12]})"


def _as_wired(value: np.ndarray, shape: tuple[int, ...], *, inflate: bool) -> np.ndarray:
    """An array of a file in the shape that the same layer has here; as it is where no rule applies."""
    if inflate and value.ndim == 4 and len(shape) == 5:
        # A volume that repeats one picture then gives what the picture gave (arXiv:1705.07750).
        return np.repeat(value[None], shape[0], axis=0) / shape[0]
    # ConvNeXt: its number per channel is a convolution of one pixel here, its convolution in groups of one channel a
    # depthwise one. Only axes of length one move.
    by_channel = value.ndim == 1 and shape == (1, 1, *value.shape, 1)
    grouped = value.ndim == 4 and value.shape[2] == 1 and shape == (*value.shape[:2], value.shape[3], 1)
    return value.reshape(shape) if by_channel or grouped else value


def scaling_of(entry: Entry, path: Path | None, asked: str | None = None) -> str:
    """The pixel scaling that belongs to weights: that of ``imagenet`` or that of ``radimagenet``.

    Args:
        entry: The network.
        path: The file with the weights; None for random ones.
        asked: What the user wants, for a file whose name does not say where it comes from.

    Returns:
        ``imagenet`` or ``radimagenet``.

    Raises:
        InputError: Not one of them, RadImageNet's for a network it was never trained with, or another one than the
            file was trained with.
        WeightsError: A ``.keras`` file that cannot be read.
    """
    known = None if path is None else _trained_on(entry, path)
    if asked is None:
        return known or "imagenet"
    choices = [name for name in SOURCES if name == "imagenet" or source(entry).radimagenet_file]
    if asked not in choices or (known and known != asked):
        raise InputError(
            f"`scaling` is {asked!r}"
            + (f", and {path.name} was trained with that of {known}." if known and path else "."),
            f"one of {', '.join(choices)} for {entry.name}.",
            "Leave it out: it follows the weights.",
        )
    return asked


def _trained_on(entry: Entry, path: Path) -> str | None:
    """The source whose scaling a file was trained with, as far as the file tells."""
    if path.suffix.lower() == ".keras":
        from easydl.networks.model_file.load import metadata_in

        try:
            return str(metadata_in(path).arguments.get("scaling") or "imagenet")
        except EasyDLError as problem:
            raise WeightsError(problem.found, problem.expected, problem.do) from problem
    if path.name.lower().startswith("radimagenet"):
        return "radimagenet"
    return "imagenet" if path.name == source(entry).weights_file else None


def source(entry: Entry) -> Entry:
    """The network whose published weights an entry starts from: itself, or the 2D twin of a 3D network."""
    return ENTRIES[entry.inflates] if entry.inflates else entry


def _from_ours(model: Any, entry: Entry, path: Path) -> str:
    from easydl.networks.model_file.load import load_model

    try:
        other = load_model(path)
        theirs = {layer.name: layer for layer in backbone_layers(other) if layer.weights}
    except EasyDLError as problem:
        raise WeightsError(problem.found, problem.expected, problem.do) from problem
    name = metadata_of(other).arguments.get("name")
    if name != entry.name:
        raise WeightsError(
            f"{path.name} is a {name or metadata_of(other).builder}.",
            f"a {entry.name}, whose weights fit.",
            f'Use classifier("{name}", ...), or a file of a {entry.name}.' if name else "Choose another file.",
        )
    words = ""
    pairs = zip(
        (layer for layer in backbone_layers(model) if layer.weights and layer.name != MIXER),
        (layer for layer in theirs.values() if layer.name != MIXER),
        strict=True,
    )
    for number, (mine, other_layer) in enumerate(pairs):
        values, shapes = other_layer.get_weights(), [tuple(weight.shape) for weight in mine.weights]
        if number == 0 and values[0].shape != shapes[0]:
            words = f", its first convolution for {shapes[0][-2]} instead of {values[0].shape[-2]} channel(s)"
            values[0] = _for_channels(values[0], shapes[0])
        for value, shape in zip(values, shapes, strict=True):
            if value.shape != shape:
                side = " x ".join(map(str, metadata_of(other).size))
                raise WeightsError(
                    f"The layer {mine.name} has the shape {value.shape} in {path.name} and {shape} in the network.",
                    f"a network whose layers have the shapes of that model, which takes images of {side} pixels.",
                    f"Build the network with the size of that model ({side}), or start from other weights.",
                )
        mine.set_weights(values)
        if hasattr(mine, "finalize_state") and mine.input_mean is None:
            mine.finalize_state()
    mixer = theirs.get(MIXER)
    ours = next((layer for layer in model.layers if layer.name == MIXER), None)
    if mixer is not None and ours is not None and mixer.kernel.shape == ours.kernel.shape:
        ours.set_weights(mixer.get_weights())
    return f"our own model ({path.name}, sha256 {digest(path, 'sha256')[:12]}){words}"


def _for_channels(kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A first convolution for another number of channels, which sees an image of equal channels as the old one did.

    That of our own networks follows the image's channels; the others always take three colours.
    """
    if kernel.ndim < 4 or (*kernel.shape[:-2], kernel.shape[-1]) != (*shape[:-2], shape[-1]):
        return kernel
    return np.repeat(kernel.sum(axis=-2, keepdims=True), shape[-2], axis=-2) / shape[-2]


def read(path: Path, entry: Entry) -> list[list[Any]]:
    """The arrays of an ``.h5`` file, weights alone or a whole model, per layer that has any, in the order of the file.

    Raises:
        WeightsError: No weights file, one that points outside itself or is too large, or NaN inside.
    """
    import h5py

    try:
        with h5py.File(path, "r") as opened:
            # A whole model keeps its weights one level down, beside what its optimizer remembers.
            whole = isinstance(opened.get("model_weights", getlink=True), h5py.HardLink)
            file = opened["model_weights"] if whole else opened
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
