"""Networks that make an image of an image: autoencoders, and a U-Net that corrects what it is given. No weights."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import enlarged, sized
from easydl.networks.registry import Entry

LEVELS = {2: 3, 3: 2}


def autoencoder(entry: Entry, x: Any, *, width: int) -> Any:
    """Down to a small code and up again, without skips: what does not fit the code is lost.

    The code has ``width`` maps at an eighth of the resolution in 2D, a quarter in 3D: with one channel and
    ``width=16`` a fourth of the numbers of the image. No normalisation: it would take the brightness away that the
    code has to carry. Convolutions take the place of the papers' dense layers, so that any size fits.

    References:
        Hinton and Salakhutdinov 2006, 10.1126/science.1127647; Masci et al. 2011, 10.1007/978-3-642-21735-7_7;
        Vincent et al. 2008 (denoising), 10.1145/1390156.1390294.
    """
    code = sized("Conv", x)(width, 1, name="code")(_down(x, width, LEVELS[entry.dimension])[-1])
    return _up(code, [], width, LEVELS[entry.dimension], x.shape[-1])


def variational(entry: Entry, x: Any, *, width: int) -> Any:
    """The autoencoder whose code is a distribution: a mean and a deviation for each number of it.

    The code is drawn with built-in layers only: Keras' ``GaussianNoise`` of deviation 1 on zeros is a standard normal
    draw in training and nothing otherwise. So the model decodes the mean when it predicts, opens in plain Keras, and
    draws anew in each step of a training. The layers ``code_mean`` and ``code_deviation`` are there for the
    Kullback-Leibler term. The papers' dense layers are convolutions here.

    References:
        Kingma and Welling 2014, arXiv:1312.6114; Rezende et al. 2014, arXiv:1401.4082.
    """
    x_code = _down(x, width, LEVELS[entry.dimension])[-1]
    mean = sized("Conv", x)(width, 1, name="code_mean")(x_code)
    std = sized("Conv", x)(width, 1, activation="softplus", name="code_deviation")(x_code)
    nothing = layers.Rescaling(0.0, name="code_zero")(mean)
    drawn = layers.Multiply(name="code_spread")([std, layers.GaussianNoise(1.0, name="code_noise")(nothing)])
    return _up(layers.Add(name="code")([mean, drawn]), [], width, LEVELS[entry.dimension], x.shape[-1])


def corrected(entry: Entry, x: Any, *, width: int) -> Any:
    """A U-Net that learns what to add to the image; it begins as the identity, and its skips keep all detail.

    No normalisation, as is usual for images of images (EDSR, arXiv:1707.02921). For super-resolution the image is
    enlarged first, as in SRCNN and VDSR, so one network serves noise and blur.

    References:
        Ronneberger et al. 2015, arXiv:1505.04597; Zhang et al. 2017, DnCNN, arXiv:1608.03981; Kim et al. 2016, VDSR,
        arXiv:1511.04587; Dong et al. 2016, SRCNN, arXiv:1501.00092.
    """
    levels = LEVELS[entry.dimension]
    maps = _down(x, width, levels)
    return layers.Add(name="picture")([x, _up(maps[-1], maps[:-1], width, levels, x.shape[-1], correction=True)])


def _down(x: Any, width: int, levels: int) -> list[Any]:
    maps = []
    for level in range(levels + 1):
        x = _pair(x, width << level, f"down{level + 1}" if level < levels else "bottom")
        maps.append(x)
        if level < levels:
            x = sized("MaxPooling", x)(2, name=f"down{level + 1}_pool")(x)
    return maps


def _up(x: Any, skips: list[Any], width: int, levels: int, channels: int, *, correction: bool = False) -> Any:
    for level in reversed(range(levels)):
        name = f"up{level + 1}"
        x = sized("Conv", x)(width << level, 1, name=f"{name}_mix")(x)
        x = enlarged(x, name, smooth=True)
        if skips:
            x = layers.Concatenate(name=f"{name}_join")([x, skips[level]])
        x = _pair(x, width << level, name)
    if correction:
        return sized("Conv", x)(channels, 3, padding="same", kernel_initializer="zeros", name="correction")(x)
    return sized("Conv", x)(channels, 3, padding="same", name="picture")(x)


def _pair(x: Any, filters: int, name: str) -> Any:
    for number in (1, 2):
        x = sized("Conv", x)(
            filters, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=f"{name}_conv{number}"
        )(x)  # fmt: skip
    return x
