"""What a heatmap costs beside a compiled tape and beside a naive loop, as ratios of one run.

python benchmarks/explanation_speed.py [tiny mobilenet tiny3d] [--repeats 9]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from common import interleaved, write

import easydl
from easydl.explanation.gradcam import network_of
from easydl.explanation.gradients import integrate
from easydl.explanation.methods import METHODS
from easydl.explanation.occlusion import blurred, tiles
from easydl.explanation.targets import head_of, target_of
from easydl.networks import metadata_of

CASES = {"tiny": (64, 64), "mobilenet": (224, 224), "tiny3d": (64, 64, 64)}
SAMPLES, FRESH = 16, 5


def case(name: str) -> tuple[Any, np.ndarray]:
    """A network and an image for it."""
    size = CASES[name]
    model = easydl.classifier(name, classes=["a", "b"], size=list(size))
    image = np.random.default_rng(0).integers(0, 256, (*size, 1)).astype(np.float32)
    return model, np.repeat(image, model.input_shape[-1], axis=-1)


def tape_of(model: Any, layer: str) -> Callable[[tf.Tensor], Any]:
    """Grad-CAM as one writes it by hand: one compiled tape, for the class of the largest logit."""
    part = keras.Model(model.input, [model.get_layer(layer).output, model.get_layer("logits").output])
    axes = list(range(1, len(model.input_shape) - 1))

    @tf.function
    def cam(image: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            maps, logits = part(image, training=False)
            score = tf.reduce_max(logits, axis=-1) - tf.reduce_mean(logits, axis=-1)
        weights = tf.reduce_mean(tape.gradient(score, maps), axes, keepdims=True)
        return tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1)), logits

    return cam


def naive(model: Any, index: int) -> tuple[Callable[[np.ndarray], Any], Callable[[np.ndarray], Any]]:
    """Gradient and score of one image at a time, as in the notebooks of most papers: no compiling, no batch."""
    part = keras.Model(model.input, model.get_layer("logits").output)

    def score(image: np.ndarray) -> Any:
        logits = part(tf.constant(image[None]), training=False)
        return logits[0, index] - tf.reduce_mean(logits[0])

    def gradient(image: np.ndarray) -> Any:
        given = tf.constant(image[None])
        with tf.GradientTape() as tape:
            tape.watch(given)
            logits = part(given, training=False)
            found = logits[0, index] - tf.reduce_mean(logits[0])
        return tape.gradient(found, given)[0].numpy()

    return gradient, score


def loops(model: Any, image: np.ndarray, index: int) -> dict[str, Callable[[], Any]]:
    """SmoothGrad, integrated gradients and occlusion as loops over single images."""
    gradient, score = naive(model, index)
    start = blurred(image[None])[0]
    spread = 0.15 * float(np.ptp(image))

    def smoothgrad() -> Any:
        rng = np.random.default_rng(0)
        noisy = (image + rng.normal(0, spread, image.shape).astype(np.float32) for _ in range(SAMPLES))
        return np.mean([gradient(one) for one in noisy], axis=0)

    def integrated() -> Any:
        along = (np.arange(SAMPLES) + 0.5) / SAMPLES
        return np.mean([gradient((start + a * (image - start)).astype(np.float32)) for a in along], axis=0)

    def occlusion() -> Any:
        whole, falls = float(score(image)), []
        for view in tiles(image.shape[:-1]):
            copy = image.copy()
            copy[view] = start[view]
            falls.append(whole - float(score(copy)))
        return falls

    return {"smoothgrad": smoothgrad, "integrated_gradients": integrated, "occlusion": occlusion}


def measured(name: str, repeats: int) -> dict[str, Any]:
    """The ratios of one network."""
    model, image = case(name)
    batch = tf.constant(image[None])
    tape = tape_of(model, network_of(model, image.shape[:-1]).layer)
    first: dict[str, list[float]] = {"tape": [], "mine": []}
    for _ in range(FRESH):
        fresh, _ = case(name)
        by_tape = tape_of(fresh, network_of(model, image.shape[:-1]).layer)
        first["tape"].append(seconds(lambda by_tape=by_tape: by_tape(batch)))
        fresh, _ = case(name)
        first["mine"].append(seconds(lambda fresh=fresh: network_of(fresh, image.shape[:-1]).answer(image[None])))
    metadata = metadata_of(model)
    head, _ = head_of(metadata, None)
    network = network_of(model, image.shape[:-1])
    target = target_of(network, metadata, head, image[None], None)
    mine: dict[str, Callable[[], Any]] = {
        "smoothgrad": lambda: METHODS["smoothgrad"].map(target, samples=SAMPLES),
        "integrated_gradients": lambda: integrate(target, SAMPLES),
        "occlusion": lambda: METHODS["occlusion"].map(target),
    }
    turns = interleaved(
        {
            "tape": lambda: [one.numpy() for one in tape(batch)],
            "answer": lambda: network.answer(image[None]),
            "saliency": lambda: easydl.saliency(model, image, verdict=False),
        },
        repeats,
    )
    by_hand = loops(model, image, target.index)
    pairs = interleaved(
        {f"{kind} {one}": work for one in mine for kind, work in (("mine", mine[one]), ("loop", by_hand[one]))}, 1
    )
    median = {one: statistics.median(values) for one, values in {**turns, **pairs}.items()}
    return {
        "tape_s": round(median["tape"], 4),
        "answer_of_tape": round(median["answer"] / median["tape"], 2),
        "saliency_of_tape": round(median["saliency"] / median["tape"], 2),
        "saliency_s": round(median["saliency"], 4),
        "first_call_of_tape": round(statistics.median(first["mine"]) / statistics.median(first["tape"]), 2),
        "faster_than_loop": {one: round(median[f"loop {one}"] / median[f"mine {one}"], 1) for one in mine},
        "traces": network.traces,
    }


def seconds(work: Callable[[], Any]) -> float:
    """Processor time of one call: a first call is mostly Python, and what else the machine does must not count."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(CASES))
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    tape_of(*[case("tiny")[0], "stage4_2_relu"])(tf.zeros((1, 64, 64, 1)))  # TensorFlow is awake before it is timed
    results = {name: measured(name, given.repeats) for name in given.names}
    write("explanation_speed" if set(given.names) == set(CASES) else None, results)
