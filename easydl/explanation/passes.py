"""What TensorFlow compiles of a model for its explanations: logits, gradients, maps. It chooses no batches."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import keras
import tensorflow as tf

from easydl.errors import InputError
from easydl.explanation.graph import Graph
from easydl.explanation.layers import pooled_step

GUIDED = {"Relu": "EasydlGuidedRelu", "Relu6": "EasydlGuidedRelu6"}


class Passes:
    """Passes through a model, each to be compiled; the weights are the model's own, or handed over.

    Every pass takes a batch, the encoded covariates of its images (``(1, width)`` for all of them, ``(1, 0)`` for none), and
    what it asks for. ``target`` is a class and ``region`` the pixels whose logits are averaged.

    Args:
        graph: The model's steps.
        place: The step whose map is explained.
        finer: One before it, whose map of Grad-CAM comes with it, and the gradient to the image.
        segmenter: Whether there is a logit for every pixel.
        softmax: Whether a logit is explained against the mean of all.
        variables: The model's variables, in the order in which weights are handed over.

    Attributes:
        traces: How often TensorFlow compiled.
    """

    def __init__(
        self, graph: Graph, place: int, finer: int | None, *, segmenter: bool, softmax: bool, variables: list[Any]
    ) -> None:
        self.graph, self._place, self._segmenter, self._softmax = graph, place, segmenter, softmax
        self._places = [place] if finer is None else [place, finer]
        self._variables = variables
        self._axes = list(range(1, len(graph.steps[graph.image].shape) - 1))
        self.traces = 0

    def _forward(self, batch: Any, table: Any, weights: Any, keep: Callable[[int, Any], Any] | None = None) -> Any:
        """The logits, float32; ``keep(step, result)`` sees every step's result, and what it returns goes on."""
        self.traces += 1
        own = [variable.value for variable in self._variables] if weights is None else weights
        values = {id(variable): value for variable, value in zip(self._variables, own, strict=True)}
        mapping = [] if weights is None else list(zip(self._variables, weights, strict=True))
        mapping += [(twin, values[id(variable)]) for variable, twin in self.graph.twins]
        table = table + tf.zeros((tf.shape(batch)[0], table.shape[-1]))
        inputs = [batch if number == self.graph.image else table for number in range(self.graph.inputs)]
        with keras.StatelessScope(state_mapping=mapping):
            return tf.cast(self.graph.run(inputs, keep or _unchanged), tf.float32)

    def _score_of(self, logits: Any, target: Any, region: Any) -> Any:
        if self._softmax:
            logits = logits - tf.reduce_mean(logits, axis=-1, keepdims=True)
        chosen = tf.gather(logits, target, axis=-1) * region
        if not self._segmenter:
            return chosen
        return tf.reduce_sum(chosen, self._axes) / tf.maximum(tf.reduce_sum(region, self._axes), 1.0)

    def answer(self, batch: Any, table: Any, target: Any, region: Any, offsets: Any, weights: Any = None) -> Any:
        """The maps of Grad-CAM, Grad-CAM++ and LayerCAM with the logits; a target below 0 is chosen, as is such a region.

        With a finer step its map of Grad-CAM comes second, and third the gradient to the image; without one both are empty.
        """
        found: dict[int, Any] = {}
        sharper = len(self._places) > 1
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            if sharper:
                tape.watch(batch)

            def keep(number: int, result: Any) -> Any:
                # Watched from here on: nothing is differentiated that lies before the map.
                if number in self._places:
                    tape.watch(result)
                    found[number] = result
                return result

            logits = self._forward(batch, table, weights, keep)
            target, region = self._chosen(logits, target, region, offsets)
            score = self._score_of(logits, target, region)
        maps = [tf.cast(found[number], tf.float32) for number in self._places]
        asked = [*(found[number] for number in self._places), *([batch] if sharper else [])]
        gradients = [tf.cast(one, tf.float32) for one in tape.gradient(score, asked)]
        finer, image = (self._cams(maps[1], gradients[1])[0], gradients[2]) if sharper else (tf.zeros(0), tf.zeros(0))
        return tf.stack(self._cams(maps[0], gradients[0])), finer, image, logits, target, region

    def _chosen(self, logits: Any, target: Any, region: Any, offsets: Any) -> tuple[Any, Any]:
        if not self._segmenter:
            best = tf.argmax(logits[0] - offsets, output_type=tf.int32)
            return tf.where(target < 0, best, target), region
        classes = tf.argmax(logits, axis=-1, output_type=tf.int32)
        counts = tf.math.bincount(tf.reshape(classes, [-1]), minlength=logits.shape[-1])
        target = tf.where(target < 0, 1 + tf.argmax(counts[1:], output_type=tf.int32), target)
        return target, tf.where(region < 0, tf.cast(classes == target, tf.float32), region)

    def _cams(self, maps: Any, gradient: Any) -> list[Any]:
        axes = self._axes
        mean = gradient if self._segmenter else tf.reduce_mean(gradient, axes, keepdims=True)
        # Equation 19 of Grad-CAM++ divided by the square of the gradient, which for small ones float32 does not keep.
        positive = tf.nn.relu(gradient)
        alpha = 1 / (2 + positive * tf.reduce_sum(tf.nn.relu(maps), axes, keepdims=True))
        weighed = tf.reduce_sum(alpha * positive, axes, keepdims=True)
        return [tf.reduce_sum(one * maps, axis=-1) for one in (mean, weighed, positive)]

    def score(self, batch: Any, table: Any, target: Any, region: Any, weights: Any = None) -> Any:
        """The score of every image."""
        return self._score_of(self._forward(batch, table, weights), target, region)

    def masked(self, pair: Any, keep: Any, table: Any, target: Any, region: Any, weights: Any = None) -> Any:
        """The scores of the first image of a pair, where every mask shows the second in its place."""
        shown = pair[1] + keep[..., None] * (pair[0] - pair[1])
        return self._score_of(self._forward(shown, table, weights), target, region)

    def gradients(self, batch: Any, table: Any, target: Any, region: Any, weights: Any = None) -> Any:
        """The gradients of every score to its image and its covariates, and the scores."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([batch, table])
            score = self._score_of(self._forward(batch, table, weights), target, region)
        gradients = tape.gradient(score, [batch, table], unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return *gradients, score

    def guided(self, batch: Any, table: Any, target: Any, region: Any, weights: Any = None) -> Any:
        """As `gradients`, but what is negative stops at every ReLU from the first convolution on."""
        graph = tf.compat.v1.get_default_graph()
        before = next(n for n in self.graph.wanted if hasattr(self.graph.steps[n].operation, "kernel_size")) - 1
        with ExitStack() as rule:

            def keep(number: int, result: Any) -> Any:
                if number == before:
                    rule.enter_context(graph.gradient_override_map(GUIDED))
                return result

            if before < self.graph.inputs:
                rule.enter_context(graph.gradient_override_map(GUIDED))
            score = self._score_of(self._forward(batch, table, weights, keep), target, region)
        if not any(one.type in GUIDED and one.node_def.attr["_gradient_op_type"].s for one in graph.get_operations()):
            raise InputError(
                '`method` is "guided", and the model has no ReLU.',
                "a network with ReLU: guided backpropagation is a rule for how gradients pass through them.",
                'Use method="smoothgrad" or "integrated_gradients".',
            )
        return *tf.gradients(score, [batch, table], unconnected_gradients="zero"), score

    def maps(self, batch: Any, table: Any, weights: Any = None) -> Any:
        """The map that is explained."""
        return self._result_of(self._place, batch, table, weights)

    def pooled(self, batch: Any, table: Any, weights: Any = None) -> Any:
        """The map that is averaged before the last dense layer."""
        return self._result_of(pooled_step(self.graph, len(self._axes))[0], batch, table, weights)

    def _result_of(self, step: int, batch: Any, table: Any, weights: Any) -> Any:
        found: dict[int, Any] = {}
        self._forward(batch, table, weights, lambda number, result: found.setdefault(number, result))
        return tf.cast(found[step], tf.float32)


def _unchanged(_: int, result: Any) -> Any:
    return result


@tf.RegisterGradient(GUIDED["Relu"])
def _guided_relu(operation: Any, gradient: Any) -> Any:
    """Springenberg et al. 2015, arXiv:1412.6806: only what raises the score, through units that were active."""
    return tf.where((operation.outputs[0] > 0) & (gradient > 0), gradient, 0.0)


@tf.RegisterGradient(GUIDED["Relu6"])
def _guided_relu6(operation: Any, gradient: Any) -> Any:
    out = operation.outputs[0]
    return tf.where((out > 0) & (out < 6) & (gradient > 0), gradient, 0.0)
