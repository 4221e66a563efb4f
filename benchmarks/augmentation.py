"""Milliseconds an image for each augmentation, against keras-cv's own layer and its equivalent in keras.layers.

128 x 128 x 3 images in batches of 32 inside ``tf.data``, one call at a time; then what each operation of the presets
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
    result = {}
    for name, theirs in pairs.items():
        works = {"easydl": work(ours(name), images, targets, BATCH)}
        works |= {who: work(change, images, targets, BATCH) for who, change in theirs.items()}
        seconds = common.interleaved(works, repeats=5)
        mine = np.asarray(seconds["easydl"])
        result[name] = {
            "ms_per_image": {who: round(1e3 * float(np.median(s)) / IMAGES, 3) for who, s in seconds.items()},
            "times_faster_than": {
                who: round(float(np.median(np.asarray(seconds[who]) / mine)), 2) for who in seconds if who != "easydl"
            },
        }
    return result


def operations(images: np.ndarray, volumes: np.ndarray) -> dict[str, Any]:
    """Each operation by itself, when it happens to every image."""
    from easydl.augmentation import artefacts, extras, operations
    from easydl.augmentation.definition import Preset

    grey_images = images[..., :1]
    made = [
        operations.rotation(10), operations.elastic(0.03, 1.0), operations.contrast(), operations.gamma(),
        operations.noise(), artefacts.bias_field(0.5, 1.0), artefacts.ghosting(0.3, (3, 6), 1.0),
        artefacts.motion(4, 0.03, 1.0), artefacts.speckle(), artefacts.colour(), artefacts.stain(),
        extras.randaugment(), extras.cutout(0.3, 1.0), extras.gridmask(0.5, 1.0),
    ]  # fmt: skip
    times: dict[str, Any] = {}
    for operation in made:
        colour, flat = operation.rgb, operation.rgb or operation.plane_only
        preset = Preset(operation.name, operations=(operation,))
        times[preset.name] = milliseconds(preset, images if colour else grey_images, None if flat else volumes, 5)
    return times


def whole_presets(images: np.ndarray, volumes: np.ndarray) -> dict[str, Any]:
    """Every preset on colour images, and those that suit volumes on volumes."""
    from easydl.augmentation import preset, presets

    names = presets().query("kind == 'preset' and name != 'none'")["name"]
    return {
        name: milliseconds(preset(name), images, volumes if name in ("ct", "mri", "microscopy") else None, 3)
        for name in names
    }


def milliseconds(preset: Any, images: np.ndarray, volumes: np.ndarray | None, repeats: int) -> dict[str, float]:
    """What an image, and a volume, costs."""
    works, counts = {}, {"image": IMAGES, "volume": VOLUMES}
    for kind, arrays, dimension, batch in (("image", images, 2, BATCH), ("volume", volumes, 3, 2)):
        if arrays is not None:
            spacing = {"spacing_mm": (1.0, 1.0, 1.0)} if dimension == 3 else {}
            augment = preset.augmenter(dimension=dimension, units="0-255", window=WINDOW, seed=1, **spacing)
            works[kind] = work(lambda x, augment=augment: augment(x)[0], arrays, None, batch)
    seconds = common.interleaved(works, repeats=repeats)
    return {f"ms_per_{kind}": round(1e3 * float(np.median(s)) / counts[kind], 3) for kind, s in seconds.items()}


if __name__ == "__main__":
    from easydl._tf import load_tensorflow

    load_tensorflow()
    rng = np.random.default_rng(0)
    colour = rng.uniform(0, 255, (IMAGES, SIDE, SIDE, 3)).astype(np.float32)
    labels = np.eye(4, dtype=np.float32)[np.arange(IMAGES) % 4]
    volumes = rng.uniform(0, 255, (VOLUMES, EDGE, EDGE, EDGE, 1)).astype(np.float32)
    result = {
        "extras_128x128x3": against_keras(colour, labels),
        "operations_128x128x1_and_64x64x64x1": operations(colour, volumes),
        "presets_128x128x3_and_64x64x64x1": whole_presets(colour, volumes),
    }
    common.write("augmentation", result)
