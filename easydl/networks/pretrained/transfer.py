"""Weights read from a file, checked, and copied into a backbone. It fetches nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from easydl.errors import EasyDLError, InputError, WeightsError
from easydl.fileio import sha256
from easydl.networks.model_file.load import Build, metadata_in, opened
from easydl.networks.pretrained.weights_file import read
from easydl.networks.registry import SOURCES, TITLES, Entry, weights_entry
from easydl.networks.seen import Seen
from easydl.networks.surgery import backbone_layers

MIXER = "to_rgb"


def apply(model: Any, entry: Entry, path: Path, build: Build) -> str:
    """Copy weights from a file into a model's backbone; the head keeps its random start.

    ``entry`` has the scaling that the model was laid out with (`Entry.trained_on`); ``build`` lays out the classifier
    of a ``.keras`` file. Returns where the weights come from, as text for the record.

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
        return _from_model(model, entry, path, build)
    targets = [layer for layer in backbone_layers(model) if layer.weights and layer.name != MIXER]
    slots = [weight for layer in targets for weight in _in_file_order(layer)]
    values = [array for layer in read(path, weights_entry(entry)) for array in layer]
    fitting = len(slots) == len(values)
    for number, (slot, value) in enumerate(zip(slots, values, strict=False)):
        value = _reshaped(value, tuple(slot.shape), inflate=bool(entry.inflates))
        if entry.bgr and number == 0:
            value = value[..., ::-1, :]
        values[number] = value
        fitting &= tuple(slot.shape) == value.shape
    if not fitting:
        raise WeightsError(
            f"{path.name} holds the weights of another network than {entry.name}.",
            f"{len(targets)} layers of {entry.application or entry.name} without the classification head.",
            f"Use {weights_entry(entry).weights_file or 'a file of this network'}, or another network.",
        )
    for slot, value in zip(slots, values, strict=True):
        slot.assign(value)
    for layer in targets:
        if hasattr(layer, "finalize_state") and layer.input_mean is None:
            from easydl.networks.architectures.keras_applications import standardise

            standardise(model, np.asarray(layer.adapt_mean).tolist(), np.asarray(layer.adapt_variance).tolist())
    origin = TITLES.get(trained or "", "weights file")
    inflated = ", repeated along the depth" if entry.inflates else ""
    return f"{origin}{inflated} ({path.name}, sha256 {sha256(path)[:12]})"


def _reshaped(value: np.ndarray, shape: tuple[int, ...], *, inflate: bool) -> np.ndarray:
    """An array of a file in the shape that the same layer has here; as it is where no rule applies."""
    if inflate and value.ndim == 4 and len(shape) == 5:
        # A volume that repeats one image then gives what the image gave (arXiv:1705.07750).
        return np.repeat(value[None], shape[0], axis=0) / shape[0]
    # ConvNeXt: its factor per channel is a convolution of one pixel here, its convolution in groups of one channel a
    # depthwise one. Only axes of length one move.
    by_channel = value.ndim == 1 and shape == (1, 1, *value.shape, 1)
    grouped = value.ndim == 4 and value.shape[2] == 1 and shape == (*value.shape[:2], value.shape[3], 1)
    return value.reshape(shape) if by_channel or grouped else value


def scaling_of(entry: Entry, path: Path | None, scaling: str | None = None) -> str:
    """The pixel scaling that belongs to weights, ``imagenet`` or ``radimagenet``; ``scaling`` is what the user wants.

    Raises:
        InputError: Not one of them, RadImageNet's for a network it was never trained with, or another one than the
            file was trained with.
        WeightsError: A ``.keras`` file that cannot be read.
    """
    known = None if path is None else _trained_on(entry, path)
    if scaling is None:
        return known or "imagenet"
    choices = [name for name in SOURCES if name == "imagenet" or weights_entry(entry).radimagenet_file]
    if scaling not in choices or (known and known != scaling):
        file = f", and {path.name} was trained with that of {known}" if known and path else ""
        raise InputError(
            f"`scaling` is {scaling!r}{file}.",
            f"one of {', '.join(choices)} for {entry.name}.",
            "Leave it out: it follows the weights.",
        )
    return scaling


def seen_in(path: Path | None) -> Seen | None:
    """What the weights of a file have learned from, where it is one of our models."""
    return _read(metadata_in, path).learned_from if path is not None and path.suffix.lower() == ".keras" else None


def size_in(path: Path | None, entry: Entry) -> list[int] | None:
    """The input size that the weights of a file were trained at, where it is one of our models of as many dimensions."""
    if path is None or path.suffix.lower() != ".keras":
        return None
    sides = [side for side in _read(metadata_in, path).size if side is not None]
    return sides if len(sides) == entry.dimension else None


def _trained_on(entry: Entry, path: Path) -> str | None:
    """The source whose scaling a file was trained with, as far as the file tells."""
    if path.suffix.lower() == ".keras":
        return str(_read(metadata_in, path).arguments.get("scaling") or "imagenet")
    if path.name.lower().startswith("radimagenet"):
        return "radimagenet"
    return "imagenet" if path.name == weights_entry(entry).weights_file else None


def _read(read: Callable[..., Any], path: Path, *options: Any) -> Any:
    """What one of our model files holds; a refusal of the file is one of the weights."""
    try:
        return read(path, *options)
    except EasyDLError as problem:
        raise WeightsError(problem.found, problem.expected, problem.do) from problem


def _from_model(model: Any, entry: Entry, path: Path, build: Build) -> str:
    """Copy the backbone of one of our model files, layer by layer."""
    metadata = _read(metadata_in, path)
    name = metadata.arguments.get("name")
    if metadata.builder != "classifier" or name != entry.name:
        instead = f'Use classifier("{name}", ...), or a file of a {entry.name}.'
        raise WeightsError(
            f"{path.name} is a {name or metadata.builder}.",
            f"a {entry.name}, whose weights fit.",
            instead if metadata.builder == "classifier" else "Choose another file.",
        )
    other = _read(opened, path, build)
    theirs = [layer for layer in backbone_layers(other) if layer.weights]
    mine = [layer for layer in backbone_layers(model) if layer.weights]
    if {layer.name for layer in mine} == (by_name := {layer.name: layer for layer in theirs}).keys():
        theirs = [by_name[layer.name] for layer in mine]  # with stochastic depth the order is another
    adapted = ""
    pairs = zip(*([layer for layer in each if layer.name != MIXER] for each in (mine, theirs)), strict=True)
    for number, (layer, source) in enumerate(pairs):
        values, shapes = source.get_weights(), [tuple(weight.shape) for weight in layer.weights]
        if number == 0 and values[0].shape != shapes[0]:
            adapted = f", its first convolution for {shapes[0][-2]} instead of {values[0].shape[-2]} channel(s)"
            values[0] = _for_channels(values[0], shapes[0])
        for value, shape in zip(values, shapes, strict=True):
            if value.shape != shape:
                side = " x ".join(map(str, metadata.size))
                raise WeightsError(
                    f"The layer {layer.name} has the shape {value.shape} in {path.name} and {shape} in the network.",
                    f"a network whose layers have the shapes of that model, which takes images of {side} pixels.",
                    f"Build the network with the size of that model ({side}), or start from other weights.",
                )
        layer.set_weights(values)
        if hasattr(layer, "finalize_state") and layer.input_mean is None:
            layer.finalize_state()
    mixers = [layer for each in (mine, theirs) for layer in each if layer.name == MIXER]
    if len(mixers) == 2 and mixers[0].kernel.shape == mixers[1].kernel.shape:
        mixers[0].set_weights(mixers[1].get_weights())
    return f"our own model ({path.name}, sha256 {sha256(path)[:12]}){adapted}"


def _for_channels(kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A first convolution for another number of channels, which sees an image of equal channels as the old one did.

    That of our own networks follows the image's channels; the others always take three colours.
    """
    if kernel.ndim < 4 or (*kernel.shape[:-2], kernel.shape[-1]) != (*shape[:-2], shape[-1]):
        return kernel
    return np.repeat(kernel.sum(axis=-2, keepdims=True), shape[-2], axis=-2) / shape[-2]


def _in_file_order(layer: Any) -> list[Any]:
    # Keras' .h5 files list the trainable weights of a layer first.
    return [*layer.trainable_weights, *layer.non_trainable_weights]
