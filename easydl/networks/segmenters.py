"""Networks that give a class per pixel or voxel, as plain flat Keras models. It trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
from keras import layers

from easydl.errors import InputError
from easydl.networks import arguments
from easydl.networks.architectures.encoders import backbone_scales
from easydl.networks.classifiers import rebuilt
from easydl.networks.common_layers import front, laid_out, prepared, seeded
from easydl.networks.freezing import freeze_statistics
from easydl.networks.listing import find
from easydl.networks.metadata import ModelMetadata, attach, metadata_of
from easydl.networks.pooling import Strides, multiples_of, pooling_strides
from easydl.networks.pretrained import sources, transfer
from easydl.networks.registry import TAKE_ENCODER, Entry
from easydl.networks.rewiring import activation_of, rewired
from easydl.option_model import documented
from easydl.options import BuilderOptions
from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.studies import Study, StudySummary

WIDTH = 16
# Filters of the first level where 16 would be too much for a laptop, or not what was published.
WIDTHS = {"tiramisu": 12, "vnet": 4, "multiscale3d": 20}
BY_LEVELS = ("unet", "unet3d")
DEEPLY_SUPERVISED = ("unet3d",)
# A backbone downsamples up to five times.
ENCODER_MULTIPLE = 32


@documented(BuilderOptions)
def unet(
    study: Study | StudySummary | None = None,
    *,
    encoder: str | None = None,
    pretrained: bool | str | Path | Any = False,
    classes: int | Sequence[str] | None = None,
    channels: int | None = None,
    size: int | Sequence[int] | None = None,
    width: int | None = None,
    levels: int | Sequence[Sequence[int]] | None = None,
    activation: str = "auto",
    seed: int = 0,
) -> keras.Model:
    """Build a network that segments images (2D U-Net with residual blocks).

    Four levels unless said otherwise, normalised per image and channel so that a batch of one trains as well as any.
    Pixels are taken as they are in the scan and scaled inside. It is ``easydl.segmenter("unet", ...)``.

    Args:
        study: A study from `easydl.load`, or its ``summary``. What is not given is taken from it.
        {options}

    Returns:
        A model from float32 ``(batch, height, width, channels)`` to ``(batch, height, width, classes)``,
        0..1, summing to 1 over the classes. Layers to know: ``logits``, ``probability``.

    Raises:
        InputError: An argument is out of its range, or contradicts the study.
        WeightsError: The pretrained weights are neither here nor to be had.

    Example:
        >>> unet(classes=["background", "lung"], size=64).output_shape
        (None, 64, 64, 2)

    References:
        Ronneberger et al. 2015, arXiv:1505.04597; Zhang et al. 2017, arXiv:1711.10684.
    """
    return segmenter(
        "unet",
        study,
        encoder=encoder,
        pretrained=pretrained,
        classes=classes,
        channels=channels,
        size=size,
        width=width,
        levels=levels,
        activation=activation,
        seed=seed,
    )


@documented(BuilderOptions)
def unet3d(
    study: Study | StudySummary | None = None,
    *,
    classes: int | Sequence[str] | None = None,
    channels: int | None = None,
    size: int | Sequence[int] | None = None,
    width: int | None = None,
    levels: int | Sequence[Sequence[int]] | None = None,
    deep_supervision: bool = False,
    activation: str = "auto",
    seed: int = 0,
) -> keras.Model:
    """Build a network that segments volumes (3D U-Net with residual blocks).

    Three levels unless said otherwise, so that a volume of 32 x 48 x 32 is large enough. It is
    ``easydl.segmenter("unet3d", ...)``.

    Args:
        study: A study from `easydl.load`, or its ``summary``. What is not given is taken from it.
        {options}

    Returns:
        A model from float32 ``(batch, depth, height, width, channels)`` to ``(batch, depth, height, width,
        classes)``, 0..1, summing to 1 over the classes.

    Raises:
        InputError: An argument is out of its range, or contradicts the study.

    Example:
        >>> unet3d(channels=2, width=8).input_shape
        (None, None, None, None, 2)

    References:
        Cicek et al. 2016, arXiv:1606.06650; Isensee et al. 2018, arXiv:1809.10486.
    """
    return segmenter(
        "unet3d",
        study,
        classes=classes,
        channels=channels,
        size=size,
        width=width,
        levels=levels,
        deep_supervision=deep_supervision,
        activation=activation,
        seed=seed,
    )


@documented(BuilderOptions)
def segmenter(
    name: str = "unet",
    study: Study | StudySummary | None = None,
    *,
    encoder: str | None = None,
    pretrained: bool | str | Path | Any = False,
    classes: int | Sequence[str] | None = None,
    channels: int | None = None,
    size: int | Sequence[int] | None = None,
    width: int | None = None,
    levels: int | Sequence[Sequence[int]] | None = None,
    deep_supervision: bool = False,
    activation: str = "auto",
    scaling: str | None = None,
    seed: int = 0,
) -> keras.Model:
    """Build a segmentation network by name.

    What differs from the paper, and the published number of parameters, is in the docstrings of
    ``easydl.networks.architectures``. An encoder is for ``unet``, ``unetplusplus``, ``deeplabv3plus``, ``linknet`` and
    ``fpn``; it gets the image as it does in that classifier (colours, range). The batch normalisation of a pretrained
    encoder keeps its statistics, because batches of patches are small. Not given, ``size`` is any whose sides are
    multiples of what the network downsamples by (32 with most encoders); `easydl.predict` takes scans of any size and
    pads them.

    Args:
        name: A network of ``easydl.models(kind="segmenter")``: ``unet``, ``attention_unet``, ``unetplusplus``, ``fcn``,
            ``segnet``, ``deeplabv3plus``, ``linknet``, ``fpn``, ``tiramisu``, ``tiramisu103``; for volumes ``unet3d``,
            ``vnet``, ``multiscale3d``.
        study: A study from `easydl.load`, or its ``summary``. What is not given is taken from it.
        {options}

    Returns:
        A model from float32 ``(batch, *spatial, channels)`` to ``(batch, *spatial, classes)``, 0..1, summing to 1
        over the classes. Layers to know: ``image``, ``window``, ``clip``, ``logits``, ``probability``.

    Raises:
        InputError: An argument is not one of its choices or out of its range, or contradicts the study.
        WeightsError: The pretrained weights are neither here nor to be had.

    Example:
        >>> segmenter("fpn", encoder="tiny", classes=["background", "lung"], size=64).output_shape
        (None, 64, 64, 2)

    References:
        The papers in ``easydl.models(kind="segmenter")``.
    """
    summary = arguments.summary_of(study)
    entry = find(name, "segmenter", summary.dimension if summary else None)
    arguments.fits_study(entry, summary)
    labels = _classes(summary, classes)
    channels = arguments.channel_count(channels, summary)
    if encoder is None and (network := sources.network_in(pretrained)) is not None:
        encoder = metadata_of(network).arguments.get("name")
    backbone = _encoder(entry, encoder, pretrained, scaling)
    activation = activation_of(activation, entry, pretrained=bool(pretrained), encoder=backbone)
    start = None
    if backbone:
        start = sources.locate(backbone, pretrained)
        scaling = transfer.scaling_of(backbone, start, scaling)
        backbone = backbone.trained_on(scaling)
    filters, seed = filters_of(entry, width), arguments.integer("seed", seed)
    strides = _strides(entry, backbone, summary, levels, deep_supervision)
    grid = _grid(entry, backbone, strides)
    multiples = multiples_of(strides) if strides else (grid.multiple,) * entry.dimension
    shape = arguments.grid_size(size, grid, multiples)
    with seeded(seed):
        image, pixels = front(shape, channels)
        if backbone:
            scales, end = backbone_scales(backbone, prepared(grid, pixels))
            maps = laid_out(entry)(entry, pixels, width=filters, scales=scales)
        else:
            options = {"levels": strides} if strides else {}
            maps = laid_out(entry)(entry, prepared(entry, pixels), width=filters, **options)
        convolution = layers.Conv2D if entry.dimension == 2 else layers.Conv3D
        logits = convolution(len(labels), 1, name="logits", dtype="float32")(maps)
        model = keras.Model(image, layers.Softmax(name="probability", dtype="float32")(logits), name=entry.name)
        origin = _start(image, end, backbone, start) if backbone and start else ""
        model = rewired(model, activation=activation)
    metadata = ModelMetadata(
        builder="segmenter",
        arguments={
            "name": entry.name,
            "encoder": backbone.name if backbone else None,
            "channels": channels,
            "size": None if None in shape else list(shape),
            "width": filters,
            "levels": _levels_given(strides),
            "deep_supervision": bool(deep_supervision),
            **({"activation": activation} if activation else {}),
            "scaling": scaling,
            "seed": seed,
        },
        classes=labels,
        task=Task.SEGMENTATION,
        dimension=entry.dimension,
        channels=channels,
        size=shape,
        multiple=multiples[0] if len(set(multiples)) == 1 else multiples,
        label_values=_label_values(summary, labels),
        pretrained=origin,
        seen=transfer.seen_in(start),
    )
    return attach(model, metadata)


def _classes(summary: StudySummary | None, classes: Any) -> tuple[str, ...]:
    if summary and not summary.task.has_masks:
        raise InputError(
            f"The study is for {summary.task}: it has no masks.",
            "a study with masks.",
            "Load it with mask=..., or build easydl.classifier.",
        )
    return arguments.study_classes(summary, classes, Task.SEGMENTATION)


def _label_values(summary: StudySummary | None, labels: tuple[str, ...]) -> tuple[int, ...] | None:
    if summary is None or summary.label_values is None:
        return None
    values = dict(zip(summary.classes, summary.label_values, strict=True))
    return tuple(int(values[label]) for label in labels)


def _grid(entry: Entry, backbone: Entry | None, strides: Strides | None) -> Entry:
    """The entry with what settles its size here; a backbone also settles colours and range."""
    if backbone:
        smallest = multiple = ENCODER_MULTIPLE
        return replace(entry, rgb=backbone.rgb, scaling=backbone.scaling, smallest=smallest, multiple=multiple)
    return replace(entry, smallest=min(multiples_of(strides))) if strides else entry


def _strides(
    entry: Entry, backbone: Entry | None, summary: StudySummary | None, levels: Any, deep_supervision: bool
) -> Strides | None:
    """The pooling strides of a U-Net; None for the other networks, whose levels are fixed."""
    if deep_supervision and entry.name not in DEEPLY_SUPERVISED:
        raise InputError(
            f"`deep_supervision` was given for {entry.name}.",
            f"one of {', '.join(DEEPLY_SUPERVISED)}.",
            "Leave it out.",
        )
    if entry.name in BY_LEVELS and backbone is None:
        strides = pooling_strides(levels, summary, entry, least=3 if deep_supervision else 2)
        if deep_supervision and len(strides) < 3:
            raise InputError(
                f"`levels` is {levels!r} and `deep_supervision` is on.",
                "3 levels or more, for it supervises three of them.",
                "Leave one of the two out.",
            )
        return strides
    if levels is not None:
        raise InputError(
            f"`levels` was given for {entry.name}{' on an encoder' if backbone else ''}.",
            f"{' or '.join(BY_LEVELS)} without an encoder.",
            "Leave it out.",
        )
    return None


def _levels_given(strides: Strides | None) -> int | list[list[int]] | None:
    """As the metadata keep it: a number where every level downsamples every axis."""
    if strides is None:
        return None
    return len(strides) if min(map(min, strides)) == 2 else [list(stride) for stride in strides]


def _encoder(entry: Entry, encoder: Any, pretrained: Any, scaling: Any) -> Entry | None:
    if encoder is None:
        for argument, given, expected in (
            ("pretrained", pretrained not in (False, None), "the classifier whose weights are to be used."),
            ("scaling", scaling is not None, "the scaling that an encoder's weights were trained with."),
        ):
            if given:
                raise InputError(
                    f"`{argument}` was given for {entry.name} without `encoder`.",
                    expected,
                    f'Give encoder="mobilenetv2", for instance, or leave `{argument}` out.',
                )
        return None
    if entry.name not in TAKE_ENCODER:
        raise InputError(
            f"`encoder` was given for {entry.name}, which has its own encoder.",
            f"one of {', '.join(TAKE_ENCODER)}.",
            "Choose one of these networks, or leave `encoder` out.",
        )
    backbone = find(encoder, "classifier", 2)
    if backbone.dimension != 2:
        raise InputError(
            f"`encoder` is {backbone.name!r}, which takes volumes.",
            "a 2D classifier.",
            'Use encoder="resnet18", for instance.',
        )
    return backbone


def filters_of(entry: Entry, width: Any) -> int:
    """The filters of the first level: as given, else the default of the network."""
    return arguments.integer("width", WIDTHS.get(entry.name, WIDTH) if width is None else width)


def _start(image: Any, end: Any, encoder: Entry, start: Path) -> str:
    """Copy published weights into the backbone, as into the classifier it was; says where they come from."""
    features = layers.Activation("linear", name="features")(end)
    classifier = keras.Model(image, features)
    origin = transfer.apply(classifier, encoder, start, rebuilt)
    freeze_statistics(classifier)
    return origin
