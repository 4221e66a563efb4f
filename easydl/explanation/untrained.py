"""The values that the variables of layers have before training. It makes no map."""

from __future__ import annotations

from typing import Any

import numpy as np


def untrained(layers: list[Any]) -> list[np.ndarray]:
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
