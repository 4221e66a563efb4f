"""Autoencoders: images built again from a classifier's maps, in one go or layer by layer, each from a corrupted input.

Vincent et al. 2010, Stacked denoising autoencoders, JMLR 11:3371-3408; Hinton and Salakhutdinov 2006, 10.1126/science.1127647.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras import layers, ops

from easydl.errors import InputError
from easydl.networks.keras_internals import calls
from easydl.networks.metadata import image_input
from easydl.networks.surgery import FEATURES

WHITE, NOISE, DROPPED = 255.0, 0.1, 0.25
"""Of the image: its largest value, the standard deviation of the noise as a fraction of it, and the fraction of a layer's
values that are set to 0."""
WIDEST = 64
Loss = tuple[Callable[[Any, Any, Any], Any], list[Any]]


def autoencoder_loss(model: Any, seed: int) -> Loss:
    """The error of the image that a decoder builds from the features of a noisy copy, and the weights to train.

    From the features, which are all that a head sees, and not from the maps before them: these hold more values than a small
    image has pixels, and nothing would have to be left in their means.
    """
    pixels = model.get_layer("clip").output
    encoder = keras.Model(pixels, model.get_layer(FEATURES).output)
    clean, decoder = scaled(model), image_decoder(model, seed)

    def loss(x: Any, patients: Any, number: Any) -> Any:
        target = clean(x)
        noise = tf.random.stateless_normal(tf.shape(target), tf.stack([tf.cast(seed, tf.int64), number]))
        noisy = tf.clip_by_value(target + NOISE * noise, 0.0, 1.0) * WHITE
        return tf.reduce_mean(tf.square(decoder(encoder(noisy, training=True), training=True) - target))

    return loss, [*encoder.trainable_variables, *decoder.trainable_variables]


class Layer(NamedTuple):
    """A part of a network that is trained by itself: its name, and the tensors it begins and ends with."""

    name: str
    begin: Any
    end: Any


def layers_of(model: Any) -> list[Layer]:
    """The parts between which nothing but one tensor passes, each with convolutions of its own, in order."""
    flat = keras.Model(model.get_layer("clip").output, _maps(model))
    steps = list(calls(flat))
    last_use = {id(tensor): number for number, (_, node) in enumerate(steps) for tensor in node.input_tensors}
    found, begin, waiting = [], model.get_layer("clip").output, ""
    open_until = last_use.get(id(begin), -1)
    for number, (layer, _) in enumerate(steps):
        kernels = [one for one in getattr(layer, "trainable_weights", ()) if len(one.shape) > 2]
        waiting = waiting or (layer.name if kernels else "")
        alone = open_until <= number
        open_until = max(open_until, last_use.get(id(layer.output), number))
        if alone and waiting and isinstance(layer, (layers.ReLU, layers.Activation, layers.Add, layers.LeakyReLU)):
            found.append(Layer(waiting, begin, layer.output))
            begin, waiting = layer.output, ""
    return found


def stacked_losses(model: Any, seed: int) -> Iterator[tuple[str, Loss]]:
    """Of every layer in turn: the error with which it lets its own input be built again from a part of it."""
    for number, layer in enumerate(layers_of(model)):
        below = keras.Model(image_input(model), layer.begin)
        encoder = keras.Model(layer.begin, layer.end)
        decoder = _decoder(layer.end.shape[1:], layer.begin.shape[1:], seed + number)
        yield layer.name, _layer_loss(below, encoder, decoder, seed + number)


def _layer_loss(below: Any, encoder: Any, decoder: Any, seed: int) -> Loss:
    def loss(x: Any, patients: Any, number: Any) -> Any:
        given = tf.stop_gradient(below(x, training=False))
        mean, variance = tf.nn.moments(given, list(range(len(given.shape))))
        target = (given - mean) * tf.math.rsqrt(variance + 1e-6)
        drawn = tf.random.stateless_uniform(tf.shape(given), tf.stack([tf.cast(seed, tf.int64), number]))
        part = tf.where(drawn < DROPPED, tf.zeros_like(given), given)
        built = decoder(encoder(part, training=True), training=True)
        return tf.reduce_mean(tf.square(built - target))

    return loss, [*encoder.trainable_variables, *decoder.trainable_variables]


def scaled(model: Any) -> Any:
    """From a network's input to the image in its window, black 0 and white 1."""
    return keras.Model(image_input(model), model.get_layer("clip").output / WHITE)


def image_decoder(model: Any, seed: int) -> Any:
    """From the features of a network to that image: a dense layer gives back the maps, if with fewer filters.

    Raises:
        InputError: The network ends in a vector and not in maps.
    """
    maps, image = _maps(model).shape[1:], model.get_layer("clip").output.shape[1:]
    start, coarse = keras.Input(model.get_layer(FEATURES).output.shape[1:]), (*maps[:-1], min(WIDEST, maps[-1]))
    x = layers.Dense(math.prod(coarse), activation="relu", kernel_initializer=keras.initializers.HeNormal(seed))(start)
    return keras.Model(start, _decoder(coarse, image, seed + 1)(layers.Reshape(coarse)(x)))


def _decoder(maps: tuple[int, ...], image: tuple[int, ...], seed: int) -> Any:
    """From maps to an image: as many doublings as the encoder has halvings, a convolution after each."""
    flat = len(maps) == 3
    convolution, upsampling = (layers.Conv2D, layers.UpSampling2D) if flat else (layers.Conv3D, layers.UpSampling3D)
    start = keras.Input(maps)
    x, filters = start, min(WIDEST, max(16, maps[-1]))
    draw = keras.initializers.HeNormal
    while all(have < need for have, need in zip(x.shape[1:-1], image[:-1], strict=True)):
        x = upsampling(2)(x)
        x = convolution(filters, 3, padding="same", activation="relu", kernel_initializer=draw(seed))(x)
        seed, filters = seed + 1, max(16, filters // 2)
    x = convolution(image[-1], 3, padding="same", kernel_initializer=keras.initializers.GlorotUniform(seed))(x)
    return keras.Model(start, _cut(x, image))


def _cut(x: Any, image: tuple[int, ...]) -> Any:
    """To the size of the image: what is larger is cut off, what is smaller is padded by zeros."""
    for axis, need in enumerate(image[:-1], start=1):
        have = x.shape[axis]
        if have > need:
            x = ops.take(x, range(need), axis=axis)
        elif have < need:
            x = ops.pad(x, [(0, need - have) if k == axis else (0, 0) for k in range(len(x.shape))])
    return x


def ends_in_maps(model: Any) -> bool:
    """Whether an image can be built again from what a network pools."""
    maps = model.get_layer(FEATURES).input
    return len(maps.shape) > 2 and None not in maps.shape[1:]


def _maps(model: Any) -> Any:
    if ends_in_maps(model):
        return model.get_layer(FEATURES).input
    raise InputError(
        f"{model.name} ends in a vector and not in maps.",
        "a network that ends in maps, from which an image can be built again.",
        'Choose "tiny" or "resnet18", for instance, or method="simclr".',
    )
