"""SimCLR: two changed copies of an image are to have features that are alike, and unlike those of other patients.

The features of each copy also have to hold the copy: a decoder builds it again, as that of an autoencoder. Without it a network
learns to tell the images apart by little, and forgets the rest: the grey values that a diagnosis is made from.

Chen et al. 2020, A simple framework for contrastive learning of visual representations, arXiv:2002.05709.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from easydl.networks import feature_extractor
from easydl.pretraining.reconstruction import ends_in_maps, image_decoder, scaled
from easydl.pretraining.steps import Images

TEMPERATURE, PROJECTED = 0.2, 64
SMALLEST_CROP = 0.7
"""Of the area of an image: a copy shows at least so much of it. Only of 2D images."""
REBUILT = 100.0
"""What the squared error of the images built again, black 0 and white 1, counts beside the contrastive loss; both are then alike
in the beginning, and the contrastive one is most of it at the end."""


def simclr_loss(model: Any, images: Images, seed: int) -> tuple[Callable[[Any, Any, Any], Any], list[Any]]:
    """The loss of a batch and the weights to train: the backbone's, and a projection and a decoder that are thrown away afterwards.

    A network that ends in a vector, from which no image can be built, is trained by the contrastive loss alone.
    """
    backbone = feature_extractor(model)
    features = backbone.output_shape[-1]
    projection = keras.Sequential(
        [
            keras.Input((features,)),
            layers.Dense(features, activation="relu", kernel_initializer=keras.initializers.GlorotUniform(seed)),
            layers.Dense(PROJECTED, kernel_initializer=keras.initializers.GlorotUniform(seed + 1)),
        ]
    )

    clean, decoder = scaled(model), image_decoder(model, seed) if ends_in_maps(model) else None

    def loss(x: Any, patients: Any, number: Any) -> Any:
        views = tf.concat([view(x, 2 * number + k, images, seed) for k in (0, 1)], 0)
        seen = backbone(views, training=True)
        contrast = nt_xent(projection(seen, training=True), patients)
        if decoder is None:
            return contrast
        return contrast + REBUILT * tf.reduce_mean(tf.square(decoder(seen, training=True) - clean(views)))

    trained = [backbone, projection, *([] if decoder is None else [decoder])]
    return loss, [variable for one in trained for variable in one.trainable_variables]


def view(x: Any, number: Any, images: Images, seed: int) -> Any:
    """A changed copy of a batch: a random part of each image at full size, and what the preset changes."""
    if len(x.shape) == 4:
        x = cropped(x, tf.stack([tf.cast(seed, tf.int64), number]))
    if images.augment is None:
        return x
    return tf.ensure_shape(images.augment(x, counter=number)[0], x.shape)


def cropped(x: Any, key: Any) -> Any:
    """A random part of every image, its area between `SMALLEST_CROP` and all of it, resized to the whole."""
    count = tf.shape(x)[0]
    drawn = tf.random.stateless_uniform((count, 3), key)
    side = tf.sqrt(SMALLEST_CROP + (1 - SMALLEST_CROP) * drawn[:, :1])
    corner = drawn[:, 1:] * (1 - side)
    boxes = tf.concat([corner, corner + side], axis=1)
    return tf.image.crop_and_resize(x, boxes, tf.range(count), x.shape[1:3])


def nt_xent(projected: Any, patients: Any) -> Any:
    """The normalised temperature-scaled cross-entropy of pairs, the mean of all copies.

    ``projected`` are ``(2 n, width)``, the second copies behind the first; ``patients`` ``(n,)``. Other images of the same
    patient are no counterexamples: they are left out.
    """
    unit = tf.math.l2_normalize(projected, axis=1)
    alike = tf.matmul(unit, unit, transpose_b=True) / TEMPERATURE
    count = tf.shape(patients)[0]
    both = tf.concat([patients, patients], 0)
    pair = tf.concat([tf.range(count, 2 * count), tf.range(count)], 0)
    is_pair = tf.one_hot(pair, 2 * count, on_value=True, off_value=False, dtype=tf.bool)
    counts = (both[:, None] != both[None, :]) | is_pair
    logits = tf.where(counts, alike, tf.float32.min)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=pair, logits=logits))
