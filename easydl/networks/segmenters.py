"""Networks that give a class per pixel or voxel (U-Nets), as plain flat Keras models. It trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from easydl.errors import InputError
from easydl.networks import arguments
from easydl.networks.catalogue import find
from easydl.networks.recipe import Recipe, attach
from easydl.networks.wiring import end, front, scaled, seeded

LEVELS = {"unet": 4, "unet3d": 3}
WIDEST = 64


def unet(
    *,
    classes: int | Sequence[str] | None = None,
    channels: int | None = None,
    size: int | Sequence[int] | None = None,
    width: int = 16,
    seed: int = 0,
) -> keras.Model:
    """Build a network that outlines structures in images (2D U-Net with residual blocks).

    Four levels down and up, normalised per image and channel so that a batch of one trains as well as any.
    Pixels are taken as they are in the scan and scaled inside.

    Args:
        classes: How many classes with the background, or their names, background first. 2 when not given.
        channels: Channels of the images, 1 to 64; what ``classes`` says, else 1.
        size: None for any size whose sides are multiples of 16; else one such size in pixels.
        width: Filters of the first level, a multiple of 4 from 4 to 64; doubled at every level.
        seed: Settles the random weights. The caller's random state is left as it was.

    Returns:
        A model from float32 ``(batch, height, width, channels)`` to ``(batch, height, width, classes)``,
        0..1, summing to 1 over the classes. Layers to know: ``logits``, ``probability``.

    Raises:
        InputError: An argument is out of its range.

    Example:
        >>> unet(classes=["background", "lung"], size=64).output_shape
        (None, 64, 64, 2)

    References:
        Ronneberger et al. 2015, arXiv:1505.04597; Zhang et al. 2017, arXiv:1711.10684.
    """
    return _build("unet", classes, channels, size, width, seed)


def unet3d(
    *,
    classes: int | Sequence[str] | None = None,
    channels: int | None = None,
    size: int | Sequence[int] | None = None,
    width: int = 16,
    seed: int = 0,
) -> keras.Model:
    """Build a network that outlines structures in volumes (3D U-Net with residual blocks).

    Three levels down and up, so that a volume of 32 x 48 x 32 is large enough; see `unet` for the rest.

    Args:
        classes: How many classes with the background, or their names, background first. 2 when not given.
        channels: Sequences that are stacked as channels, 1 to 64; what ``classes`` says, else 1.
        size: None for any size whose sides are multiples of 8; else one such size in voxels.
        width: Filters of the first level, a multiple of 4 from 4 to 64; doubled at every level.
        seed: Settles the random weights. The caller's random state is left as it was.

    Returns:
        A model from float32 ``(batch, depth, height, width, channels)`` to ``(batch, depth, height, width,
        classes)``, 0..1, summing to 1 over the classes.

    Raises:
        InputError: An argument is out of its range.

    Example:
        >>> unet3d(channels=2, width=8).input_shape
        (None, None, None, None, 2)

    References:
        Cicek et al. 2016, arXiv:1606.06650; Isensee et al. 2018, arXiv:1809.10486.
    """
    return _build("unet3d", classes, channels, size, width, seed)


def _build(name: str, classes: Any, channels: Any, size: Any, width: Any, seed: Any) -> keras.Model:
    entry = find(name, "segmenter")
    labels = arguments.class_names(classes, "segmentation")
    arguments.fits_study(entry, classes)
    depth = arguments.channel_count(channels, classes)
    shape = arguments.grid_size(size, entry)
    if not arguments.whole(width) or not 4 <= width <= WIDEST or width % 4:
        raise InputError(
            f"`width` is {width!r}.",
            f"a multiple of 4 from 4 to {WIDEST}.",
            "Use width=16; fewer filters make a faster and simpler network.",
        )
    width, seed = int(width), arguments.seed_of(seed)
    with seeded(seed):
        image, pixels = front(shape, depth)
        x = _unet(scaled(pixels, entry.scaling), entry.dimension, width, LEVELS[name])
        convolution = layers.Conv2D if entry.dimension == 2 else layers.Conv3D
        logits = convolution(len(labels), 1, name="logits", dtype="float32")(x)
        model = keras.Model(image, end(logits, "segmentation"), name=name)
    values = getattr(classes, "label_values", None)
    recipe = Recipe(
        builder=entry.name,  # type: ignore[arg-type]
        arguments={
            "channels": depth,
            "size": None if None in shape else list(shape),
            "width": width,
            "seed": seed,
        },
        classes=labels,
        task="segmentation",
        dimension=entry.dimension,
        channels=depth,
        size=shape,
        label_values=tuple(int(value) for value in values) if values else None,
    )
    return attach(model, recipe)


def _unet(x: Any, dimension: int, width: int, levels: int) -> Any:
    flat = dimension == 2
    pool = layers.MaxPooling2D if flat else layers.MaxPooling3D
    enlarge = layers.UpSampling2D if flat else layers.UpSampling3D
    convolution = layers.Conv2D if flat else layers.Conv3D
    skips = []
    for level in range(levels):
        x = _residual(x, dimension, width << level, f"down{level + 1}")
        skips.append(x)
        x = pool(2, name=f"down{level + 1}_pool")(x)
    x = _residual(x, dimension, width << levels, "bottom")
    for level in reversed(range(levels)):
        name = f"up{level + 1}"
        # Mixing to fewer channels before enlarging costs an eighth of doing it after; as fast as a transposed
        # convolution on a CPU, and free of its chequerboard.
        x = convolution(width << level, 1, use_bias=False, name=f"{name}_mix")(x)
        x = enlarge(2, name=f"{name}_enlarge")(x)
        x = layers.Concatenate(name=f"{name}_join")([x, skips[level]])
        x = _residual(x, dimension, width << level, name)
    return x


def _residual(x: Any, dimension: int, filters: int, name: str) -> Any:
    convolution = layers.Conv2D if dimension == 2 else layers.Conv3D
    shortcut = x
    if x.shape[-1] != filters:
        shortcut = convolution(filters, 1, use_bias=False, name=f"{name}_shortcut")(x)
    for number in (1, 2):
        x = convolution(filters, 3, padding="same", use_bias=False, name=f"{name}_conv{number}")(x)
        # groups=-1 is one group per channel: instance normalisation.
        x = layers.GroupNormalization(groups=-1, name=f"{name}_norm{number}")(x)
        if number == 1:
            x = layers.ReLU(name=f"{name}_relu{number}")(x)
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu2")(x)
