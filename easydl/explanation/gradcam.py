"""Grad-CAM as one compiled function per model, which takes the weights as an argument. It judges nothing.

The verdict asks what the map would be under random weights. Handing the weights to the compiled function answers that
without touching the user's model and without compiling anything twice.
"""

from __future__ import annotations

import weakref
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from easydl.explanation.layers import LOGITS, evidence_layer
from easydl.networks import metadata_of
from easydl.networks.arguments import layer_name
from easydl.networks.metadata import image_input
from easydl.tasks import Task

CHUNK = 16
FINEST = {2: 32, 3: 16}
_networks: weakref.WeakKeyDictionary[Any, dict[Any, Network]] = weakref.WeakKeyDictionary()


class Network:
    """A model up to its logits, compiled for explanations; it shares the model's weights and keeps none of its own.

    Args:
        model: A flat Keras model with a layer ``logits``.
        size: Spatial input size.
        segmenter: Whether there is a logit for every pixel.
        softmax: Whether the classes compete. Then a logit is explained against the mean of all: softmax sees only
            differences, and a network may say "disc" by lowering "background" alone.
        logits: The layer whose output is explained.

    Attributes:
        layer: Name of the layer whose map is explained.
        variables: The model's variables, in the order of `weights`.
        traces: How often TensorFlow compiled; it stays at one for each function.
    """

    def __init__(
        self, model: Any, size: tuple[int, ...], *, segmenter: bool, softmax: bool, logits: str = LOGITS
    ) -> None:
        layer = evidence_layer(model, size, segmenter=segmenter, logits=logits)
        self.layer, self.segmenter, self.softmax, self.dimension = layer.name, segmenter, softmax, len(size)
        self._part = keras.Model(model.input, [layer.output, model.get_layer(logits).output])
        encoded = model.input.get("covariates") if isinstance(model.input, dict) else None
        self._covariates = None if encoded is None else tf.Variable(tf.zeros((1, encoded.shape[-1])), trainable=False)
        self.layers = self._part.layers
        self.variables = [variable for layer in self.layers for variable in layer.weights]
        self.traces = 0
        self._start: list[np.ndarray] | None = None
        batch = tf.TensorSpec((None, *image_input(model).shape[1:]), tf.float32)
        region = tf.TensorSpec((None,) * (self.dimension + 1 if segmenter else 1), tf.float32)
        whole = tf.TensorSpec((), tf.int32)
        self._types = [keras.backend.standardize_dtype(variable.dtype) for variable in self.variables]
        weights = tuple(tf.TensorSpec(v.shape, kind) for v, kind in zip(self.variables, self._types, strict=True))
        self._logits = tf.function(self._run_logits, input_signature=[batch, weights])
        self._score = tf.function(self._run_score, input_signature=[batch, whole, region, weights])
        self._cam = tf.function(self._run_cam, input_signature=[batch, whole, region, weights])

    def set_covariates(self, encoded: np.ndarray | None) -> None:
        """Hold the covariates fixed at these for all that follows: float32 ``(1, width)``."""
        if self._covariates is not None and encoded is not None:
            self._covariates.assign(encoded)

    def weights(self) -> tuple[tf.Tensor, ...]:
        """The weights as they are now."""
        return tuple(tf.convert_to_tensor(variable.value) for variable in self.variables)

    def logits(self, batch: np.ndarray, weights: tuple[Any, ...] | None = None) -> np.ndarray:
        """Logits, float32 ``(batch, classes)`` or ``(batch, *spatial, classes)``."""
        return self._logits(tf.constant(batch, tf.float32), weights or self.weights()).numpy()

    def scores(
        self, batch: np.ndarray, target: int, region: np.ndarray, weights: tuple[Any, ...] | None = None
    ) -> np.ndarray:
        """The logit of class ``target`` for every image of a batch (against the mean logit where classes compete).

        ``region`` are the pixels whose logits are averaged, ``(1, *size)``, for a segmentation model; else ones, ``(1,)``.
        ``weights`` are in the order of `variables`; the model's own when None.
        """
        weights = weights or self.weights()
        parts = []
        for begin in range(0, len(batch), CHUNK):
            some = tf.constant(batch[begin : begin + CHUNK], tf.float32)
            where = tf.constant(np.repeat(region, len(some), axis=0), tf.float32)
            parts.append(self._score(some, target, where, weights).numpy())
        return np.concatenate(parts)

    def cam(
        self, batch: np.ndarray, target: int, region: np.ndarray, weights: tuple[Any, ...] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Grad-CAM of one image on the grid of the feature map, and the logits it comes with.

        A classifier's gradients are averaged over the map (Grad-CAM). Those of a segmentation model are multiplied point
        by point (Seg-HiRes-Grad-CAM), because its score belongs to a place and the average forgets which; the result is
        averaged to at most 32 points a side (16 in 3D), because single points of a fine map are noise.

        float32 of the feature map's spatial shape, 0 or more, not normalised; arguments as for `scores`.

        References:
            Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2; Vinogradova et al. 2020, arXiv:2002.11434;
            Rheude et al. 2024, arXiv:2409.20287.
        """
        weights = weights or self.weights()
        image, where = tf.constant(batch, tf.float32), tf.constant(region, tf.float32)
        evidence, logits = self._cam(image, target, where, weights)
        return np.maximum(self._block_means(evidence.numpy()[0]), 0.0), logits.numpy()[0]

    def random_weights(self, draw: int, fraction: float = 1.0) -> tuple[Any, ...]:
        """The weights of the same architecture, untrained: the same draw gives the same weights.

        ``fraction`` of the layers is replaced, counted from the logits; 0 replaces the logits alone.
        """
        if self._start is None:
            self._start = _untrained(self.layers)
        rng = np.random.default_rng(draw)
        known = {id(variable): number for number, variable in enumerate(self.variables)}
        holders = [layer for layer in self.layers if layer.weights]
        replaced = holders[min(len(holders) - 1, int(len(holders) * (1 - fraction))) :]
        new: list[Any] = list(self.weights() if fraction < 1 else self._start)
        for variable in [variable for layer in replaced for variable in layer.weights]:
            number = known[id(variable)]
            start = self._start[number]
            # Untrained numbers are exchangeable: moving them round by a random step is another draw, at the price
            # of a copy instead of a second initialisation.
            moved = np.roll(start.ravel(), int(rng.integers(start.size))).reshape(start.shape)
            new[number] = moved if start.ndim > 1 else start
        return tuple(tf.convert_to_tensor(value, kind) for value, kind in zip(new, self._types, strict=True))

    def _block_means(self, evidence: np.ndarray) -> np.ndarray:
        blocks = tuple(-(-side // FINEST[self.dimension]) for side in evidence.shape)
        if not self.segmenter or max(blocks) == 1:
            return evidence
        padding = [(0, -side % block) for side, block in zip(evidence.shape, blocks, strict=True)]
        shape = [
            part
            for side, block, (_, more) in zip(evidence.shape, blocks, padding, strict=True)
            for part in ((side + more) // block, block)
        ]
        padded = np.pad(evidence, padding, mode="edge").reshape(shape)
        return padded.mean(axis=tuple(range(1, 2 * evidence.ndim, 2)))

    def _forward(self, batch: Any, weights: Any) -> tuple[Any, Any]:
        self.traces += 1
        with keras.StatelessScope(state_mapping=list(zip(self.variables, weights, strict=True))):
            given = batch
            if self._covariates is not None:
                given = {"image": batch, "covariates": tf.repeat(self._covariates, tf.shape(batch)[0], axis=0)}
            maps, logits = self._part(given, training=False)
        return tf.cast(maps, tf.float32), tf.cast(logits, tf.float32)

    def _pooled(self, logits: Any, target: Any, region: Any) -> Any:
        if self.softmax:
            logits = logits - tf.reduce_mean(logits, axis=-1, keepdims=True)
        chosen = tf.gather(logits, target, axis=-1) * region
        if not self.segmenter:
            return chosen
        axes = list(range(1, self.dimension + 1))
        return tf.reduce_sum(chosen, axes) / tf.maximum(tf.reduce_sum(region, axes), 1.0)

    def _run_logits(self, batch: Any, weights: Any) -> Any:
        return self._forward(batch, weights)[1]

    def _run_score(self, batch: Any, target: Any, region: Any, weights: Any) -> Any:
        return self._pooled(self._forward(batch, weights)[1], target, region)

    def _run_cam(self, batch: Any, target: Any, region: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(batch)
            maps, logits = self._forward(batch, weights)
            score = self._pooled(logits, target, region)
        gradient = tape.gradient(score, maps)
        if not self.segmenter:
            gradient = tf.reduce_mean(gradient, axis=list(range(1, self.dimension + 1)), keepdims=True)
        return tf.reduce_sum(gradient * maps, axis=-1), logits


def network_of(model: Any, size: tuple[int, ...], head: str = "") -> Network:
    """The compiled functions of a model (of one head), made once for as long as the model lives.

    A new one after the window was changed, because the window is compiled in.
    """
    metadata = metadata_of(model)
    store = _networks.setdefault(model, {})
    if any(known[0] != metadata.window for known in store):
        store.clear()
    key = (metadata.window, head)
    if key not in store:
        output = metadata.heads[head] if head else metadata
        task = Task(output.task)
        competing = task.exclusive and len(output.classes) > 1
        logits = f"{layer_name(head)}_{LOGITS}" if head else LOGITS
        store[key] = Network(model, size, segmenter=task.has_masks, softmax=competing, logits=logits)
    return store[key]


def _untrained(layers: list[Any]) -> list[np.ndarray]:
    """New values for every variable by its own layer's initialiser; what has none is shuffled.

    Statistics that are set and not learned (the channel means of a Normalization layer) stay as they are.
    """
    rng = np.random.default_rng(0)
    values = []
    for layer in layers:
        for variable in layer.weights:
            name = variable.name
            initializer = getattr(layer, f"{name}_initializer", None)
            if initializer is None and name == "kernel":
                initializer = getattr(layer, "depthwise_initializer", None)
            if initializer is not None and hasattr(initializer, "get_config"):
                config = initializer.get_config()
                if "seed" in config:
                    config["seed"] = int(rng.integers(2**31))
                value = np.asarray(type(initializer).from_config(config)(variable.shape, "float32"))
            else:
                value = np.asarray(variable.value)
                if value.ndim > 1:
                    value = rng.permutation(value.ravel()).reshape(value.shape)
            values.append(value)
    return values
