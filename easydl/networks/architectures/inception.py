"""Inception networks laid out here: GoogLeNet (v1) and Inception-v4. Keras has v3 and Inception-ResNet."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import MOMENTUM
from easydl.networks.registry import Entry

EPSILON = 1e-3
# Filters of each module of GoogLeNet (Szegedy 2015, table 1): 1x1; 3x3 and what comes before; 5x5 and what comes before;
# after the pooling.
MODULES = (
    ("3a", 64, (96, 128), (16, 32), 32),
    ("3b", 128, (128, 192), (32, 96), 64),
    ("4a", 192, (96, 208), (16, 48), 64),
    ("4b", 160, (112, 224), (24, 64), 64),
    ("4c", 128, (128, 256), (24, 64), 64),
    ("4d", 112, (144, 288), (32, 64), 64),
    ("4e", 256, (160, 320), (32, 128), 128),
    ("5a", 256, (160, 320), (32, 128), 128),
    ("5b", 384, (192, 384), (48, 128), 128),
)
# A convolution of a branch: filters, height and width of its kernel.
Step = tuple[int, int, int]


def googlenet(entry: Entry, x: Any) -> Any:
    """GoogLeNet (Inception v1): 6,998,552 weights and biases with colour images and 1000 classes.

    Every convolution is batch normalised, as its authors do from the next paper on (7,280 parameters more); that takes
    the place of local response normalisation, which Keras has no layer for. The two auxiliary classifiers are left out:
    they do not make training converge earlier, and what they add in the end batch normalisation adds, too (Szegedy 2016,
    arXiv:1512.00567, section 4).

    References:
        Szegedy et al. 2015, arXiv:1409.4842; Ioffe and Szegedy 2015, arXiv:1502.03167.
    """
    x = _conv(x, (64, 7, 7), "stem1", strides=2)
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="stem1_pool")(x)
    x = _conv(_conv(x, (64, 1, 1), "stem2"), (192, 3, 3), "stem3")
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="stem3_pool")(x)
    for name, single, triple, five, pooled in MODULES:
        if name in ("4a", "5a"):
            x = layers.MaxPooling2D(3, strides=2, padding="same", name=f"before{name}_pool")(x)
        branches = [
            _branch(x, [(single, 1, 1)], f"mixed{name}_1"),
            _branch(x, [(triple[0], 1, 1), (triple[1], 3, 3)], f"mixed{name}_3"),
            _branch(x, [(five[0], 1, 1), (five[1], 5, 5)], f"mixed{name}_5"),
        ]
        pool = layers.MaxPooling2D(3, strides=1, padding="same", name=f"mixed{name}_pool")(x)
        branches.append(_branch(pool, [(pooled, 1, 1)], f"mixed{name}_pooled"))
        x = layers.Concatenate(name=f"mixed{name}")(branches)
    return x


def inceptionv4(entry: Entry, x: Any) -> Any:
    """Inception-v4: 42,679,816 trainable parameters with colour images and 1000 classes.

    References:
        Szegedy et al. 2016, arXiv:1602.07261, figures 3 to 9.
    """
    x = _v4_stem(x)
    for number in range(1, 5):
        x = _mixed(x, f"a{number}", 96, [[(96, 1, 1)], [(64, 1, 1), (96, 3, 3)], [(64, 1, 1), (96, 3, 3), (96, 3, 3)]])
    x = _reduced(x, "reduce_a", [(384, 3, 3)], [(192, 1, 1), (224, 3, 3), (256, 3, 3)])
    for number in range(1, 8):
        wide = [(192, 1, 1), (224, 1, 7), (256, 7, 1)]
        wider = [(192, 1, 1), (192, 7, 1), (224, 1, 7), (224, 7, 1), (256, 1, 7)]
        x = _mixed(x, f"b{number}", 128, [[(384, 1, 1)], wide, wider])
    x = _reduced(x, "reduce_b", [(192, 1, 1), (192, 3, 3)], [(256, 1, 1), (256, 1, 7), (320, 7, 1), (320, 3, 3)])
    for number in range(1, 4):
        x = _v4_coarsest(x, f"c{number}")
    return x


def _v4_stem(x: Any) -> Any:
    x = _conv(x, (32, 3, 3), "stem1", strides=2, padding="valid")
    x = _conv(x, (32, 3, 3), "stem2", padding="valid")
    x = _conv(x, (64, 3, 3), "stem3")
    pool = layers.MaxPooling2D(3, strides=2, padding="valid", name="stem4_pool")(x)
    x = layers.Concatenate(name="stem4")([pool, _conv(x, (96, 3, 3), "stem4", strides=2, padding="valid")])
    short = _conv(_conv(x, (64, 1, 1), "stem5_1"), (96, 3, 3), "stem5_2", padding="valid")
    long = _branch(x, [(64, 1, 1), (64, 7, 1), (64, 1, 7)], "stem5_long")
    x = layers.Concatenate(name="stem5")([short, _conv(long, (96, 3, 3), "stem5_long4", padding="valid")])
    pool = layers.MaxPooling2D(3, strides=2, padding="valid", name="stem6_pool")(x)
    return layers.Concatenate(name="stem6")([_conv(x, (192, 3, 3), "stem6", strides=2, padding="valid"), pool])


def _mixed(x: Any, name: str, pooled: int, branches: list[list[Step]]) -> Any:
    """Branches of convolutions beside one of averages."""
    pool = layers.AveragePooling2D(3, strides=1, padding="same", name=f"{name}_pool")(x)
    ends = [_branch(pool, [(pooled, 1, 1)], f"{name}_pooled")]
    ends += [_branch(x, steps, f"{name}_branch{number}") for number, steps in enumerate(branches, start=1)]
    return layers.Concatenate(name=name)(ends)


def _reduced(x: Any, name: str, *branches: list[Step]) -> Any:
    """Half the resolution: the last convolution of each branch and a pooling beside them have a stride of two."""
    ends = [layers.MaxPooling2D(3, strides=2, padding="valid", name=f"{name}_pool")(x)]
    for number, steps in enumerate(branches, start=1):
        branch = f"{name}_branch{number}"
        before = _branch(x, steps[:-1], branch)
        ends.append(_conv(before, steps[-1], f"{branch}_{len(steps)}", strides=2, padding="valid"))
    return layers.Concatenate(name=name)(ends)


def _v4_coarsest(x: Any, name: str) -> Any:
    """The module of the coarsest maps: two of its branches end in a 1x3 and a 3x1 convolution side by side."""
    pool = layers.AveragePooling2D(3, strides=1, padding="same", name=f"{name}_pool")(x)
    ends = [_branch(pool, [(256, 1, 1)], f"{name}_pooled"), _branch(x, [(256, 1, 1)], f"{name}_branch1")]
    for number, steps in enumerate(([(384, 1, 1)], [(384, 1, 1), (448, 1, 3), (512, 3, 1)]), start=2):
        branch = f"{name}_branch{number}"
        before = _branch(x, list(steps), branch)
        ends += [_conv(before, (256, *sides), f"{branch}_{sides[0]}x{sides[1]}") for sides in ((1, 3), (3, 1))]
    return layers.Concatenate(name=name)(ends)


def _branch(x: Any, steps: list[Step], name: str) -> Any:
    for number, step in enumerate(steps, start=1):
        x = _conv(x, step, f"{name}_{number}")
    return x


def _conv(x: Any, step: Step, name: str, *, strides: int = 1, padding: str = "same") -> Any:
    """A convolution, batch normalisation, ReLU."""
    filters, *kernel = step
    options: dict[str, Any] = {"strides": strides, "padding": padding, "kernel_initializer": "he_normal"}
    x = layers.Conv2D(filters, kernel, **options, use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
