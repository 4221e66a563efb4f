"""Milliseconds an image for each augmentation, against keras-cv's own layer and its twin in keras.layers.

128 x 128 x 3 pictures in batches of 32 inside ``tf.data``, one call at a time; then what each operation of the presets
costs for a grey image of 128 x 128 and a volume of 64 x 64 x 64, when it happens to every image; then whole presets.

Run: python benchmarks/augmentation.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import common
import numpy as np

IMAGES, BATCH, SIDE, VOLUMES, EDGE = 128, 32, 128, 4, 64
WINDOW = (0.0, 255.0)


def work(change: Callable[..., Any], images: np.ndarray, targets: np.ndarray | None, batch: int) -> Callable[[], None]:
    """A pass over the images through ``change`` inside tf.data."""
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices(images if targets is None else (images, targets)).batch(batch)
    data = data.map(change, num_parallel_calls=1, deterministic=True)

    def once() -> None:
        for _ in data:
            continue

    return once


def ours(name: str) -> Callable[..., Any]:
    from easydl.augmentation import preset

    augment = preset(name).augmenter(dimension=2, units="0-255", window=WINDOW, seed=1)
    return lambda x, y: augment(x, targets=y)


def against_keras(images: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    """Each extra against keras-cv's layer and the one of keras.layers."""
    import keras
    import keras_cv

    def whole(layer: Any) -> Callable[..., Any]:
        return lambda x, y: layer({"images": x, "labels": y}, training=True)

    def image(layer: Any) -> Callable[..., Any]:
        return lambda x, y: (layer(x, training=True), y)

    pairs: dict[str, dict[str, Callable[..., Any]]] = {
        "randaugment": {
            "keras_cv": image(keras_cv.layers.RandAugment(WINDOW, augmentations_per_image=2, magnitude=0.2, geometric=False)),
            "keras": image(keras.layers.RandAugment(WINDOW, num_ops=2, factor=0.2)),
        },
        "cutout": {
            "keras_cv": image(keras_cv.layers.RandomCutout(0.3, 0.3)),
            "keras": image(keras.layers.RandomErasing(factor=0.5, scale=(0.0, 0.09))),
        },
        "gridmask": {"keras_cv": image(keras_cv.layers.GridMask((0.0, 0.5)))},
        "mixup": {"keras_cv": whole(keras_cv.layers.MixUp(0.2)), "keras": whole(keras.layers.MixUp(0.2))},
        "cutmix": {"keras_cv": whole(keras_cv.layers.CutMix(1.0)), "keras": whole(keras.layers.CutMix(1.0))},
    }  # fmt: skip
    found = {}
    for name, theirs in pairs.items():
        works = {"easydl": work(ours(name), images, targets, BATCH)}
        works |= {who: work(change, images, targets, BATCH) for who, change in theirs.items()}
        seconds = common.interleaved(works, repeats=5)
        mine = np.asarray(seconds["easydl"])
        found[name] = {
            "ms_per_image": {who: round(1e3 * float(np.median(s)) / IMAGES, 3) for who, s in seconds.items()},
            "times_faster_than": {
                who: round(float(np.median(np.asarray(seconds[who]) / mine)), 2) for who in seconds if who != "easydl"
            },
        }
    return found


def alone(images: np.ndarray, volumes: np.ndarray, grey: np.ndarray) -> dict[str, Any]:
    """Each operation by itself, when it happens to every image."""
    from easydl.augmentation import artefacts, extras, operations
    from easydl.augmentation.definition import Preset

    made = [
        operations.rotation(10), operations.elastic(0.03, 1.0), operations.contrast(), operations.gamma(),
        operations.noise(), artefacts.bias_field(0.5, 1.0), artefacts.ghosting(0.3, (3, 6), 1.0),
        artefacts.motion(4, 0.03, 1.0), artefacts.speckle(), artefacts.colour(), artefacts.stain(),
        extras.randaugment(), extras.cutout(0.3, 1.0), extras.gridmask(0.5, 1.0),
    ]  # fmt: skip
    found: dict[str, Any] = {}
    for operation in made:
        name = operation.name
        preset = Preset(name, operations=(operation,))
        colour = operation.rgb
        picture = preset.augmenter(dimension=2, units="0-255", window=WINDOW, seed=1)
        works = {"image": work(lambda x, a=picture: a(x)[0], images if colour else grey, None, BATCH)}
        if not colour and not operation.plane_only:
            volume = preset.augmenter(dimension=3, units="0-255", window=WINDOW, seed=1, spacing_mm=(1.0, 1.0, 1.0))
            works["volume"] = work(lambda x, a=volume: a(x)[0], volumes, None, 2)
        seconds = common.interleaved(works, repeats=5)
        found[name] = {
            f"ms_per_{kind}": round(1e3 * float(np.median(s)) / (IMAGES if kind == "image" else VOLUMES), 3)
            for kind, s in seconds.items()
        }
    return found


def whole_presets(images: np.ndarray, volumes: np.ndarray) -> dict[str, Any]:
    """Every preset on colour images, and those that suit volumes on volumes."""
    from easydl.augmentation import preset, presets

    found: dict[str, Any] = {}
    for name in presets().query("kind == 'preset' and name != 'none'")["name"]:
        picture = preset(name).augmenter(dimension=2, units="0-255", window=WINDOW, seed=1)
        works = {"image": work(lambda x, a=picture: a(x)[0], images, None, BATCH)}
        if name in ("ct", "mri", "microscopy"):
            volume = preset(name).augmenter(
                dimension=3, units="0-255", window=WINDOW, seed=1, spacing_mm=(1.0, 1.0, 1.0)
            )
            works["volume"] = work(lambda x, a=volume: a(x)[0], volumes, None, 2)
        seconds = common.interleaved(works, repeats=3)
        found[name] = {
            f"ms_per_{kind}": round(1e3 * float(np.median(s)) / (IMAGES if kind == "image" else VOLUMES), 3)
            for kind, s in seconds.items()
        }
    return found


if __name__ == "__main__":
    from easydl._tf import load_tensorflow

    load_tensorflow()
    rng = np.random.default_rng(0)
    colour = rng.uniform(0, 255, (IMAGES, SIDE, SIDE, 3)).astype(np.float32)
    labels = np.eye(4, dtype=np.float32)[np.arange(IMAGES) % 4]
    stacks = rng.uniform(0, 255, (VOLUMES, EDGE, EDGE, EDGE, 1)).astype(np.float32)
    result = {
        "extras_128x128x3": against_keras(colour, labels),
        "operations_128x128x1_and_64x64x64x1": alone(colour, stacks, colour[..., :1]),
        "presets_128x128x3_and_64x64x64x1": whole_presets(colour, stacks),
    }
    common.write("augmentation", result)
