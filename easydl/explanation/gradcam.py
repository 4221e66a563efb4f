"""A model compiled for explanations: its maps, gradients and scores, with its own weights or with others. It judges nothing.

The verdict asks what the map would be under random weights. Handing the weights to the compiled function answers that
without touching the user's model and without compiling anything anew for each draw.
"""

from __future__ import annotations

import weakref
from math import prod
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from scipy import ndimage

from easydl.explanation.centres import Centres, centres_of, even, on_image
from easydl.explanation.graph import LOGITS, Graph
from easydl.explanation.layers import evidence_step, finer_step, pooled_step
from easydl.explanation.passes import Passes
from easydl.explanation.untrained import untrained
from easydl.networks import metadata_of
from easydl.networks.arguments import layer_name
from easydl.networks.metadata import image_input
from easydl.tasks import Task

CHUNK, MOST_POINTS = 16, 1 << 20
"""Images of a batch, and points of its images: memory stays the same however many samples a method takes."""
FINEST = {2: 32, 3: 16}
CAMS = ("gradcam", "gradcam++", "layercam")
OFFSETS = tf.TensorSpec((None,), tf.float32)
_networks: weakref.WeakKeyDictionary[Any, dict[Any, Network]] = weakref.WeakKeyDictionary()


class Answer(NamedTuple):
    """What one pass gives.

    Attributes:
        maps: The maps of `CAMS` on the grid of the feature map, 0 or more, by method.
        logits: ``(classes,)`` or ``(*size, classes)``.
        target: The class that was explained.
        region: The pixels whose logits were averaged, ``(1, *size)``; ones, ``(1,)``, for one answer per image.
    """

    maps: dict[str, np.ndarray]
    logits: np.ndarray
    target: int
    region: np.ndarray


class Network:
    """A model up to its logits, compiled for explanations; it shares the model's weights and keeps none of its own.

    Args:
        model: A functional or sequential Keras model; models inside it are unfolded.
        size: Spatial input size.
        segmenter: Whether there is a logit for every pixel.
        softmax: Whether the classes compete. Then a logit is explained against the mean of all: softmax sees only
            differences, and a network may say "disc" by lowering "background" alone.
        logits: The layer whose output is explained.
        finer: Whether Grad-CAM of a shallow classifier is multiplied by that of the last map with more points, and by what
            each pixel adds, which say where in a point the evidence lies.

    Attributes:
        layer: Name of the layer whose map is explained.
        dimension: 2 or 3.
        covariates: The encoded covariates that are held fixed, float32 ``(1, width)``; ``(1, 0)`` without any.
        variables: The model's variables, in the order of `weights`.
        softmax: Whether the classes compete.
        segmenter: Whether there is a logit for every pixel.
    """

    def __init__(
        self,
        model: Any,
        size: tuple[int, ...],
        *,
        segmenter: bool,
        softmax: bool,
        logits: str = LOGITS,
        finer: bool = False,
    ) -> None:
        self.graph = Graph(model, size, logits)
        place = evidence_step(self.graph, size, segmenter=segmenter)
        self._finer = finer_step(self.graph, size, place) if finer and not segmenter else None
        self.layer, self.dimension, self.segmenter = self.graph.steps[place].name, len(size), segmenter
        self.softmax = softmax
        self.layers = [layer for layer in self.graph.operations if getattr(layer, "weights", None)]
        self.variables = [variable for layer in self.layers for variable in layer.weights]
        kind: dict[str, Any] = {"segmenter": segmenter, "softmax": softmax, "variables": self.variables}
        self._passes = Passes(self.graph, place, self._finer, **kind)
        self._types = [keras.backend.standardize_dtype(variable.dtype) for variable in self.variables]
        self._place = place
        self._centres: dict[tuple[str, tuple[int, ...]], Centres] = {}
        self._start: list[np.ndarray] | None = None
        self._compiled: dict[tuple[str, bool], Any] = {}
        width = sum(
            one.shape[-1]
            for number, one in enumerate(self.graph.steps[: self.graph.inputs])
            if number != self.graph.image
        )
        self.covariates = np.zeros((1, width), np.float32)
        image, points = image_input(model).shape[1:], (None,) * len(size)
        batch, table = tf.TensorSpec((None, *image), tf.float32), tf.TensorSpec((None, width), tf.float32)
        region = tf.TensorSpec((None, *points) if segmenter else (None,), tf.float32)
        target, self._keep = tf.TensorSpec((), tf.int32), tf.TensorSpec((None, *points), tf.float32)
        self._shown, self._asked = [batch, table], [batch, table, target, region]

    @property
    def traces(self) -> int:
        """How often TensorFlow compiled; it stays at one for each pass, and one more where weights are handed over."""
        return self._passes.traces

    def centres(self, method: str, size: tuple[int, ...]) -> Centres:
        """Where the points of a method's map lie in images of a size.

        Of ``"cam"`` those of the pooled map, of ``"finer"`` those of the map that Grad-CAM is multiplied by, else `layer`'s.
        """
        if (method, size) not in self._centres:
            if method == "gradcam" and self._finer is not None:
                return even(size, size)
            place = pooled_step(self.graph, self.dimension)[0] if method == "cam" else self._place
            place = self._finer if method == "finer" and self._finer is not None else place
            found, points = centres_of(self.graph, place, size), self.graph.steps_for(size)[place].shape[1:-1]
            self._centres[method, size] = found.in_blocks(self._blocks(points)) if method in CAMS else found
        return self._centres[method, size]

    def set_covariates(self, encoded: np.ndarray | None) -> None:
        """Hold the covariates fixed at these for all that follows: float32 ``(1, width)``."""
        if encoded is not None and self.covariates.shape[-1]:
            self.covariates = np.asarray(encoded, np.float32)

    def weights(self) -> tuple[tf.Tensor, ...]:
        """The weights as they are now."""
        return tuple(tf.convert_to_tensor(variable.value) for variable in self.variables)

    def answer(
        self,
        batch: np.ndarray,
        index: int | None = None,
        region: np.ndarray | None = None,
        *,
        offsets: np.ndarray | None = None,
        weights: tuple[Any, ...] | None = None,
    ) -> Answer:
        """The logits of one image and its maps by `CAMS`, in one pass.

        A classifier's gradients are averaged over the map (Grad-CAM). Those of a segmentation model are multiplied point
        by point (Seg-HiRes-Grad-CAM), because its score belongs to a place and the average forgets which; the result is
        averaged to at most 32 points a side (16 in 3D), because single points of a fine map are noise.

        Args:
            batch: ``(1, *size, channels)``.
            index: The class; the one of the largest logit less its offset when None (of a segmentation model the one with
                the largest segmentation, the background left out).
            region: Of a segmentation model the pixels that count, ``(1, *size)``; those segmented as the class when None.
            offsets: ``(classes,)``; zeros when None.
            weights: In the order of `variables`; the model's own when None.

        References:
            Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2; Vinogradova et al. 2020, arXiv:2002.11434;
            Rheude et al. 2024, arXiv:2409.20287; Chattopadhay et al. 2018, arXiv:1710.11063; Jiang et al. 2021, LayerCAM,
            doi:10.1109/TIP.2021.3089943.
        """
        if region is None:
            region = np.full((1, *batch.shape[1:-1]), -1.0) if self.segmenter else np.ones(1)
        classes = self.graph.steps[self.graph.logits].shape[-1]
        shift = np.zeros(classes) if offsets is None else offsets
        given = (batch, self.covariates, -1 if index is None else index, region, shift)
        maps, *sharper, logits, chosen, where = self._call(self._passes.answer, [*self._asked, OFFSETS], given, weights)
        found = {name: np.maximum(self._block_means(one[0]), 0.0) for name, one in zip(CAMS, maps.numpy(), strict=True)}
        if self._finer is not None:
            finer, gradient = (one.numpy()[0] for one in sharper)
            found["gradcam"] = self._sharper(found["gradcam"], np.maximum(finer, 0.0), gradient, batch[0])
        return Answer(found, logits.numpy()[0], int(chosen), where.numpy())

    def cam(
        self, batch: np.ndarray, target: int, region: np.ndarray, weights: tuple[Any, ...] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Grad-CAM of one image and the logits it comes with; see `answer`."""
        found = self.answer(batch, target, region, weights=weights)
        return found.maps["gradcam"], found.logits

    def scores(
        self, batch: np.ndarray, target: int, region: np.ndarray, weights: tuple[Any, ...] | None = None
    ) -> np.ndarray:
        """The logit of class ``target`` for every image of a batch (against the mean logit where classes compete).

        ``region`` are the pixels whose logits are averaged, ``(1, *size)``, for a segmentation model; else ones, ``(1,)``.
        ``weights`` are in the order of `variables`; the model's own when None.
        """
        parts = [
            self._call(self._passes.score, self._asked, (batch[rows], self.covariates, target, region), weights).numpy()
            for rows in self._rows(batch)
        ]
        return np.concatenate(parts)

    def masked_scores(
        self,
        pair: np.ndarray,
        keep: np.ndarray,
        target: int,
        region: np.ndarray,
        weights: tuple[Any, ...] | None = None,
    ) -> np.ndarray:
        """The scores of an image of which a part is replaced, mask by mask.

        Args:
            pair: The image and what replaces it, ``(2, *size, channels)``.
            keep: Masks, ``(masks, *size)``, at most `chunk` of them: 1 keeps the image, 0 replaces it.
            target: The class.
            region: As for `scores`.
            weights: As for `scores`.
        """
        types = [self._asked[0], self._keep, *self._asked[1:]]
        given = (pair, keep, self.covariates, target, region)
        return np.asarray(self._call(self._passes.masked, types, given, weights))

    def gradients(
        self,
        batch: np.ndarray,
        target: int,
        region: np.ndarray,
        weights: tuple[Any, ...] | None = None,
        *,
        covariates: np.ndarray | None = None,
        guided: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The gradient of the score to the image and to the covariates, and the score, for every image of a batch.

        Args:
            batch: ``(images, *size, channels)``.
            target: The class.
            region: As for `scores`.
            weights: As for `scores`.
            covariates: ``(images, width)``; those that are held fixed when None.
            guided: Whether negative gradients stop at every ReLU after the first convolution (guided backpropagation).

        Returns:
            float32 ``(images, *size, channels)``, ``(images, width)`` and ``(images,)``.
        """
        run = self._passes.guided if guided else self._passes.gradients
        table = np.repeat(self.covariates, len(batch), axis=0) if covariates is None else covariates
        parts = [
            self._call(run, self._asked, (batch[rows], table[rows], target, region), weights)
            for rows in self._rows(batch)
        ]
        of_images, of_tables, scores = (np.concatenate([part[n].numpy() for part in parts]) for n in range(3))
        return of_images, of_tables, scores

    def feature_maps(self, batch: np.ndarray, weights: tuple[Any, ...] | None = None) -> np.ndarray:
        """The maps of `layer`, float32 ``(*coarse, channels)``."""
        return np.asarray(self._call(self._passes.maps, self._shown, (batch, self.covariates), weights))[0]

    def pooled_maps(self, batch: np.ndarray, weights: tuple[Any, ...] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The maps that are averaged before the last dense layer, ``(*coarse, channels)``, and its ``(channels, classes)``.

        Raises:
            InputError: The model does not end in the average over each map and one dense layer.
        """
        _, dense = pooled_step(self.graph, self.dimension)
        kernel = self.graph.steps[dense].operation.kernel
        place = next(number for number, variable in enumerate(self.variables) if variable is kernel)
        maps = np.asarray(self._call(self._passes.pooled, self._shown, (batch, self.covariates), weights))
        return maps[0], np.asarray(kernel.value if weights is None else weights[place], np.float32)

    def random_weights(self, draw: int, fraction: float = 1.0) -> tuple[Any, ...]:
        """The weights of the same architecture, untrained: the same draw gives the same weights.

        ``fraction`` of the layers is replaced, counted from the logits; 0 replaces the logits alone.
        """
        if self._start is None:
            self._start = untrained(self.layers)
        rng = np.random.default_rng(draw)
        known = {id(variable): number for number, variable in enumerate(self.variables)}
        replaced = self.layers[min(len(self.layers) - 1, int(len(self.layers) * (1 - fraction))) :]
        new: list[Any] = list(self.weights() if fraction < 1 else self._start)
        for variable in [variable for layer in replaced for variable in layer.weights]:
            number = known[id(variable)]
            start = self._start[number]
            # Untrained numbers are exchangeable: moving them round by a random step is another draw, at the price
            # of a copy instead of a second initialisation.
            moved = np.roll(start.ravel(), int(rng.integers(start.size))).reshape(start.shape)
            new[number] = moved if start.ndim > 1 else start
        return tuple(tf.convert_to_tensor(value, kind) for value, kind in zip(new, self._types, strict=True))

    def _call(self, run: Any, types: list[Any], given: tuple[Any, ...], weights: tuple[Any, ...] | None) -> Any:
        """One compiled function with the model's own weights, and one that takes them: handing them over takes time."""
        key = (run.__name__, weights is None)
        if key not in self._compiled:
            if weights is None:
                self._compiled[key] = tf.function(run, input_signature=types, autograph=False)
            else:
                kinds = zip(self.variables, self._types, strict=True)
                handed = tuple(tf.TensorSpec(variable.shape, kind) for variable, kind in kinds)
                self._compiled[key] = tf.function(run, input_signature=[*types, handed], autograph=False)
        tensors = [tf.constant(one, kind.dtype) for one, kind in zip(given, types, strict=True)]
        return self._compiled[key](*tensors, *([] if weights is None else [weights]))

    def _rows(self, batch: np.ndarray) -> list[slice]:
        step = chunk(batch.shape[1:-1])
        return [slice(begin, begin + step) for begin in range(0, len(batch), step)]

    def _sharper(self, coarse: np.ndarray, finer: np.ndarray, gradient: np.ndarray, image: np.ndarray) -> np.ndarray:
        """The product of two maps and of what each pixel adds, on the grid of the image.

        To first order a pixel adds the gradient times its difference from the image's mean. Smoothed by half a point of the
        finer map, because the gradient of single pixels is noise. A factor that leaves nothing is left out.
        """
        size = image.shape[:-1]
        centres = self.centres("finer", size)
        axes = tuple(range(len(size)))
        added = np.sum(gradient * (image - image.mean(axis=axes)), axis=-1)
        added = ndimage.gaussian_filter(added, [step / 2 for step in centres.step], mode="nearest")
        found = on_image(coarse, size, self.centres("layercam", size))
        for factor in (on_image(finer, size, centres), np.maximum(added, 0.0)):
            product = found * (factor / max(float(factor.max()), 1e-30))
            found = product if product.max() > 0 else found
        return found

    def _blocks(self, points: tuple[int, ...]) -> tuple[int, ...]:
        """How many points of a map are averaged along each axis."""
        return tuple(-(-side // FINEST[self.dimension]) if self.segmenter else 1 for side in points)

    def _block_means(self, evidence: np.ndarray) -> np.ndarray:
        blocks = self._blocks(evidence.shape)
        if max(blocks) == 1:
            return evidence
        padding = [(0, -side % block) for side, block in zip(evidence.shape, blocks, strict=True)]
        shape = [
            part
            for side, block, (_, more) in zip(evidence.shape, blocks, padding, strict=True)
            for part in ((side + more) // block, block)
        ]
        padded = np.pad(evidence, padding, mode="edge").reshape(shape)
        return padded.mean(axis=tuple(range(1, 2 * evidence.ndim, 2)))


def chunk(size: tuple[int, ...]) -> int:
    """How many images of a size are shown at once, so that memory stays bounded."""
    return max(1, min(CHUNK, MOST_POINTS // prod(size)))


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
        store[key] = Network(model, size, segmenter=task.has_masks, softmax=competing, logits=logits, finer=True)
    return store[key]
