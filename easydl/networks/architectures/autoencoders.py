"""Image-to-image networks: autoencoders, and a U-Net that predicts the correction of its input."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import HE, layer_nd, upsampled
from easydl.networks.registry import Entry

LEVELS = {2: 3, 3: 2}


def autoencoder(entry: Entry, x: Any, *, width: int) -> Any:
    """Encoder, small code, decoder, without skip connections: what does not fit the code is lost.

    The code has ``width`` maps at an eighth of the resolution in 2D, a quarter in 3D: with one channel and
    ``width=16`` a fourth of the values of the image. No normalisation: it would take the brightness away that the
    code has to carry. Convolutions take the place of the papers' dense layers, so that any size fits.

    References:
        Hinton and Salakhutdinov 2006, 10.1126/science.1127647; Masci et al. 2011, 10.1007/978-3-642-21735-7_7;
        Vincent et al. 2008 (denoising), 10.1145/1390156.1390294.
    """
    code = layer_nd("Conv", x)(width, 1, name="code")(_encoder(entry, x, width)[-1])
    return _projected(_decoder(entry, code, [], width), x.shape[-1])


def variational(entry: Entry, x: Any, *, width: int) -> Any:
    """The autoencoder whose code is a distribution: a mean and a standard deviation for each of its values.

    The code is drawn with built-in layers only: Keras' ``GaussianNoise`` of standard deviation 1 on zeros is a
    standard normal draw in training and nothing otherwise. So the model decodes the mean when it predicts, opens in
    plain Keras, and draws anew in each training step. The layers ``code_mean`` and ``code_std`` are there for the
    Kullback-Leibler term. The papers' dense layers are convolutions here.

    References:
        Kingma and Welling 2014, arXiv:1312.6114; Rezende et al. 2014, arXiv:1401.4082.
    """
    maps = _encoder(entry, x, width)[-1]
    mean = layer_nd("Conv", x)(width, 1, name="code_mean")(maps)
    std = layer_nd("Conv", x)(width, 1, activation="softplus", name="code_std")(maps)
    zeros = layers.Rescaling(0.0, name="code_zero")(mean)
    noise = layers.Multiply(name="code_scaled_noise")([std, layers.GaussianNoise(1.0, name="code_noise")(zeros)])
    code = layers.Add(name="code")([mean, noise])
    return _projected(_decoder(entry, code, [], width), x.shape[-1])


def denoising_unet(entry: Entry, x: Any, *, width: int) -> Any:
    """A U-Net that learns what to add to the image; it begins as the identity, and its skips keep all detail.

    No normalisation, as is usual for image restoration (EDSR, arXiv:1707.02921). For super-resolution the image is
    upsampled first, as in SRCNN and VDSR, so one network serves noise and blur.

    References:
        Ronneberger et al. 2015, arXiv:1505.04597; Zhang et al. 2017, DnCNN, arXiv:1608.03981; Kim et al. 2016, VDSR,
        arXiv:1511.04587; Dong et al. 2016, SRCNN, arXiv:1501.00092.
    """
    *skips, bottom = _encoder(entry, x, width)
    maps = _decoder(entry, bottom, skips, width)
    # Zero weights: the first correction is none.
    zeros = {"padding": "same", "kernel_initializer": "zeros"}
    correction = layer_nd("Conv", x)(x.shape[-1], 3, **zeros, name="correction")(maps)
    return layers.Add(name="reconstruction")([x, correction])


def _encoder(entry: Entry, x: Any, width: int) -> list[Any]:
    maps, levels = [], LEVELS[entry.dimension]
    for level in range(levels + 1):
        x = _convolutions(x, width << level, f"down{level + 1}" if level < levels else "bottom")
        maps.append(x)
        if level < levels:
            x = layer_nd("MaxPooling", x)(2, name=f"down{level + 1}_pool")(x)
    return maps


def _decoder(entry: Entry, x: Any, skips: list[Any], width: int) -> Any:
    for level in reversed(range(LEVELS[entry.dimension])):
        name = f"up{level + 1}"
        x = layer_nd("Conv", x)(width << level, 1, name=f"{name}_mix")(x)
        x = upsampled(x, name, smooth=True)
        if skips:
            x = layers.Concatenate(name=f"{name}_join")([x, skips[level]])
        x = _convolutions(x, width << level, name)
    return x


def _projected(maps: Any, channels: int) -> Any:
    return layer_nd("Conv", maps)(channels, 3, padding="same", name="reconstruction")(maps)


def _convolutions(x: Any, filters: int, name: str) -> Any:
    for number in (1, 2):
        x = layer_nd("Conv", x)(filters, 3, **HE, name=f"{name}_conv{number}")(x)
    return x
