"""Networks that give a class per pixel or voxel, as plain flat Keras models. It trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
from keras import layers

from easydl.errors import InputError
from easydl.networks import arguments
from easydl.networks.architectures.encoders import backbone_scales
from easydl.networks.common_layers import front, laid_out, prepared, seeded, wired
from easydl.networks.listing import find
from easydl.networks.metadata import ModelMetadata, attach
from easydl.networks.pretrained import sources, transfer
from easydl.networks.registry import TAKE_ENCODER, Entry

WIDEST, WIDTH = 64, 16
# Filters of the first level where 16 would be too much for a laptop, or not what was published.
WIDTHS = {"tiramisu": 12, "vnet": 4, "multiscale3d": 20}
BY_LEVELS = ("unet", "unet3d")
DEEPLY_SUPERVISED = ("unet3d",)


def unet(
    *,
    encoder: str | None = None,
    pretrained: bool | str | Path = False,
    classes: int | Sequence[str] | None = None,
    channels: int | None = None,
    size: int | Sequence[int] | None = None,
    width: int | None = None,
    levels: int | Sequence[Sequence[int]] | None = None,
    seed: int = 0,
) -> keras.Model:
    """Build a network that outlines structures in images (2D U-Net with residual blocks).

    Four levels down and up unless said otherwise, normalised per image and channel so that a batch of one trains as well as any.
    Pixels are taken as they are in the scan and scaled inside.

    Args:
        encoder: A 2D classifier of the catalogue whose backbone takes the place of the way down.
        pretrained: Where the encoder's weights come from, as in `easydl.classifier`.
        classes: How many classes with the background, or their names, background first. 2 when not given.
        channels: Channels of the images, 1 to 64; what ``classes`` says, else 1.
        size: None for any size whose sides are multiples of 16 (32 with most encoders; 2 to the power of ``levels``); else one such size in pixels.
        width: Filters of the first level, a multiple of 4 from 4 to 64; doubled at every level. 16 when not given.
        levels: How often the size is halved, 2 to 5; chosen by the size of the study's images when not given.
        seed: Settles the random weights. The caller's random state is left as it was.

    Returns:
        A model from float32 ``(batch, height, width, channels)`` to ``(batch, height, width, classes)``,
        0..1, summing to 1 over the classes. Layers to know: ``logits``, ``probability``.

    Raises:
        InputError: An argument is out of its range.
        WeightsError: The pretrained weights are neither here nor to be had.

    Example:
        >>> unet(classes=["background", "lung"], size=64).output_shape
        (None, 64, 64, 2)

    References:
        Ronneberger et al. 2015, arXiv:1505.04597; Zhang et al. 2017, arXiv:1711.10684.
    """
    return segmenter(
        "unet",
        encoder=encoder,
        pretrained=pretrained,
        classes=classes,
        channels=channels,
        size=size,
        width=width,
        levels=levels,
        seed=seed,
    )


def unet3d(
    *,
    classes: int | Sequence[str] | None = None,
    channels: int | None = None,
    size: int | Sequence[int] | None = None,
    width: int | None = None,
    levels: int | Sequence[Sequence[int]] | None = None,
    deep_supervision: bool = False,
    seed: int = 0,
) -> keras.Model:
    """Build a network that outlines structures in volumes (3D U-Net with residual blocks).

    Three levels down and up, so that a volume of 32 x 48 x 32 is large enough; see `unet` for the rest.

    Args:
        classes: How many classes with the background, or their names, background first. 2 when not given.
        channels: Sequences that are stacked as channels, 1 to 64; what ``classes`` says, else 1.
        size: None for any size whose sides are multiples of 8 (2 to the power of ``levels``); else one such size in voxels.
        width: Filters of the first level, a multiple of 4 from 4 to 64; doubled at every level. 16 when not given.
        levels: How often the size is halved, 2 to 5; or what each axis is divided by, level by level:
            ``[(1, 2, 2), (2, 2, 2)]`` leaves thick slices alone at first. Chosen by the size and the spacing of the
            study's images when not given.
        deep_supervision: Whether training also judges the outlines that the coarser levels make
            (`easydl.networks.supervised`). The model itself has one output either way.
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
    return segmenter(
        "unet3d",
        classes=classes,
        channels=channels,
        size=size,
        width=width,
        levels=levels,
        deep_supervision=deep_supervision,
        seed=seed,
    )


def segmenter(
    name: str = "unet",
    *,
    encoder: str | None = None,
    pretrained: bool | str | Path = False,
    classes: int | Sequence[str] | None = None,
    channels: int | None = None,
    size: int | Sequence[int] | None = None,
    width: int | None = None,
    levels: int | Sequence[Sequence[int]] | None = None,
    deep_supervision: bool = False,
    scaling: str | None = None,
    seed: int = 0,
) -> keras.Model:
    """Build a network that outlines structures, by name.

    Args:
        name: A network of ``easydl.models(kind="segmenter")``: ``unet``, ``attention_unet``, ``unetplusplus``,
            ``fcn``, ``segnet``, ``deeplabv3plus``, ``linknet``, ``fpn``, ``tiramisu``, ``tiramisu103``; for volumes
            ``unet3d``, ``vnet``, ``multiscale3d``. What differs from the paper, and the published number of
            parameters, is in the docstrings of ``easydl.networks.architectures``.
        encoder: For ``unet``, ``unetplusplus``, ``deeplabv3plus``, ``linknet`` and ``fpn``: a 2D classifier of the
            catalogue whose backbone takes the place of the network's own way down. It sees the image as it does in
            that classifier (colours, range).
        pretrained: Where the encoder's weights come from: True or ``"imagenet"``, ``"radimagenet"``, or a path, as in
            `easydl.classifier`. Its batch normalisation then keeps its statistics, because batches of patches are small.
        classes: How many classes with the background, or their names, background first. 2 when not given.
        channels: Channels of the images, 1 to 64; what ``classes`` says, else 1.
        size: None for any size whose sides are multiples of the network's (32 with most encoders); else one such size
            in pixels. `easydl.predict` takes scans of any size and pads them.
        width: Filters of the first level (the maps that a layer adds in the tiramisu; those in the middle of
            ``multiscale3d``), a multiple of 4 from 4 to 64. Not given: 16, but 12 for ``tiramisu``, 4 for ``vnet``, 20 for
            ``multiscale3d``.
        levels: For ``unet`` and ``unet3d`` without `encoder`: how often the size is halved, 2 to 5; or what each axis is
            divided by, level by level: ``[(1, 2, 2), (2, 2, 2)]``. Not given: 4 for images and 3 for volumes, or fewer
            (more) where the study's images are so small (large) that the coarsest map would be narrower than 4 (wider
            than 8) pixels; in a study of thick slices the axis across them is halved later than the others.
        deep_supervision: For ``unet3d``: whether training also judges the coarser levels.
        scaling: The pixel scaling of the encoder, as in `easydl.classifier`: that of its weights when not given.
        seed: Settles the random weights and the dropout masks. The caller's random state is left as it was.

    Returns:
        A model from float32 ``(batch, *spatial, channels)`` to ``(batch, *spatial, classes)``, 0..1, summing to 1
        over the classes. Layers to know: ``image``, ``window``, ``clip``, ``logits``, ``probability``.

    Raises:
        InputError: An argument is not one of its choices or out of its range.
        WeightsError: The pretrained weights are neither here nor to be had.

    Example:
        >>> segmenter("fpn", encoder="tiny", classes=["background", "lung"], size=64).output_shape
        (None, 64, 64, 2)

    References:
        The papers in the catalogue, ``easydl.models(kind="segmenter")``.
    """
    entry = find(name, "segmenter", getattr(classes, "dimension", None))
    labels = arguments.class_names(classes, "segmentation")
    arguments.fits_study(entry, classes)
    depth = arguments.channel_count(channels, classes)
    backbone = _encoder(entry, encoder, pretrained)
    start = sources.locate(backbone, pretrained) if backbone else None
    if backbone:
        scaling = transfer.scaling_of(backbone, start, scaling)
        backbone = backbone.trained_on(scaling)
    elif scaling is not None:
        raise InputError(
            f"`scaling` was given for {entry.name} without `encoder`.",
            "the scaling that an encoder's weights were trained with.",
            "Leave it out.",
        )
    filters, seed = filters_of(entry, width), arguments.seed_of(seed)
    if deep_supervision and entry.name not in DEEPLY_SUPERVISED:
        raise InputError(
            f"`deep_supervision` was asked for {entry.name}.",
            f"one of {', '.join(DEEPLY_SUPERVISED)}.",
            "Leave it out.",
        )
    # A backbone halves up to five times; its entry settles colours and range.
    grid = replace(entry, rgb=backbone.rgb, scaling=backbone.scaling, smallest=32, multiple=32) if backbone else entry
    halvings, multiples = None, (grid.multiple,) * entry.dimension
    if entry.name in BY_LEVELS and backbone is None:
        halvings = arguments.halvings(levels, classes, entry, least=3 if deep_supervision else 2)
        if deep_supervision and len(halvings) < 3:
            raise InputError(
                f"`levels` is {levels!r} and `deep_supervision` is on.", "3 levels or more, for it judges three of them.",
                "Leave one of the two out.",
            )  # fmt: skip
        multiples = arguments.multiples_of(halvings)
        grid = replace(entry, smallest=min(multiples))
    elif levels is not None:
        raise InputError(
            f"`levels` was given for {entry.name}{' on an encoder' if backbone else ''}.",
            f"{' or '.join(BY_LEVELS)} without an encoder.",
            "Leave it out.",
        )
    shape = arguments.grid_size(size, grid, multiples)
    with seeded(seed):
        image, pixels = front(shape, depth)
        if backbone:
            scales, end = backbone_scales(backbone, prepared(grid, pixels))
            x = laid_out(entry)(entry, pixels, width=filters, scales=scales)
        else:
            x = wired(entry, pixels, width=filters, **({} if halvings is None else {"levels": halvings}))
        convolution = layers.Conv2D if entry.dimension == 2 else layers.Conv3D
        logits = convolution(len(labels), 1, name="logits", dtype="float32")(x)
        model = keras.Model(image, layers.Softmax(name="probability", dtype="float32")(logits), name=entry.name)
        origin = _start(image, end, backbone, start) if backbone and start else ""
    values = getattr(classes, "label_values", None)
    metadata = ModelMetadata(
        builder="segmenter",
        arguments={
            "name": entry.name, "encoder": backbone.name if backbone else None, "channels": depth,
            "size": None if None in shape else list(shape), "width": filters, "levels": _told_levels(halvings),
            "deep_supervision": bool(deep_supervision), "scaling": scaling, "seed": seed,
        },
        classes=labels,
        task="segmentation",
        dimension=entry.dimension,
        channels=depth,
        size=shape,
        multiple=multiples[0] if len(set(multiples)) == 1 else multiples,
        label_values=tuple(int(value) for value in values) if values else None,
        pretrained=origin,
    )  # fmt: skip
    return attach(model, metadata)


def _told_levels(halvings: arguments.Halvings | None) -> int | list[list[int]] | None:
    """As the recipe keeps it: a number where every level halves every axis."""
    if halvings is None:
        return None
    return len(halvings) if min(map(min, halvings)) == 2 else [list(one) for one in halvings]


def _encoder(entry: Entry, encoder: Any, pretrained: Any) -> Entry | None:
    if encoder is None and pretrained is not False and pretrained is not None:
        raise InputError(
            f"`pretrained` was given for {entry.name} without `encoder`.",
            "the classifier whose weights are to be used.",
            'Give encoder="mobilenetv2", for instance, or leave `pretrained` out.',
        )
    if encoder is None:
        return None
    if entry.name not in TAKE_ENCODER:
        raise InputError(
            f"`encoder` was given for {entry.name}, which has its own way down.",
            f"one of {', '.join(TAKE_ENCODER)}.",
            "Choose one of these networks, or leave `encoder` out.",
        )
    found = find(encoder, "classifier", 2)
    if found.dimension != 2:
        raise InputError(
            f"`encoder` is {found.name!r}, which takes volumes.",
            "a 2D classifier.",
            'Use encoder="resnet18", for instance.',
        )
    return found


def filters_of(entry: Entry, width: Any) -> int:
    """The filters of the first level: as asked, else the default of the network.

    Raises:
        InputError: Not a multiple of 4 from 4 to 64.
    """
    width = WIDTHS.get(entry.name, WIDTH) if width is None else width
    if not arguments.whole(width) or not 4 <= width <= WIDEST or width % 4:
        raise InputError(
            f"`width` is {width!r}.",
            f"a multiple of 4 from 4 to {WIDEST}.",
            "Use width=16; fewer filters make a faster and simpler network.",
        )
    return int(width)


def _start(image: Any, end: Any, encoder: Entry, start: Path) -> str:
    """Copy published weights into the backbone, seen as the classifier it was; says where they come from."""
    features = layers.Activation("linear", name="features")(end)
    classifier = keras.Model(image, features)
    origin = transfer.apply(classifier, encoder, start)
    keep_statistics(classifier)
    return origin


def keep_statistics(model: Any) -> None:
    """Freeze the batch normalisation of a pretrained encoder: batches of patches are too small to gather statistics anew."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False
