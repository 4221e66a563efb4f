"""Networks that classify an image or volume or predict a value of it, as plain flat Keras models. It trains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
from keras import layers

from easydl.networks import arguments
from easydl.networks.arguments import Outputs
from easydl.networks.common_layers import front, laid_out, outputs, prepared, seeded
from easydl.networks.forest_head import leaves
from easydl.networks.listing import find
from easydl.networks.metadata import Covariate, Head, ModelMetadata, attach
from easydl.networks.pretrained import sources, transfer
from easydl.networks.registry import Entry
from easydl.networks.rewiring import activation_of, rewired, stochastic_depth_of
from easydl.option_model import documented
from easydl.options import BuilderOptions

if TYPE_CHECKING:
    from easydl.studies import Study, StudySummary

DROPOUT = 0.2
COVARIATE_UNITS = 16


@documented(BuilderOptions)
def classifier(
    name: str = "resnet",
    study: Study | StudySummary | None = None,
    *,
    classes: int | Sequence[str] | None = None,
    task: str | None = None,
    heads: Mapping[str, int | Sequence[str]] | None = None,
    pretrained: bool | str | Path | Any = False,
    channels: int | None = None,
    size: int | Sequence[int] | None = None,
    head: str = "linear",
    activation: str = "auto",
    stochastic_depth: float = 0.0,
    covariates: Sequence[str] | Mapping[str, Sequence[str] | None] | None = None,
    scaling: str | None = None,
    seed: int = 0,
) -> keras.Model:
    """Build a network that classifies images or volumes, or predicts a value of them.

    The model is a plain ``keras.Model`` of built-in layers without nesting. It takes pixels as they are in
    the scan (0-255, or HU once `set_window` was called) and scales them itself, so the scaling travels with
    the file. Layers to know: ``image``, ``window``, ``clip``, ``features`` (after pooling), ``logits``,
    ``probability`` (``value`` for a regression).

    In Python ``size`` may be one number per side, and is 128 (48 in 3D) by default, or less where the study's images
    are smaller; with pretrained weights of images 224, or twice the images' longer side, but at least 96; with those of one of our
    models as that has it. The categories of ``covariates`` come from the study; without
    it they are numbers, or a dict says what they are: ``{"age": None, "sex": ["F", "M"]}``, None for a number. The
    input is then a dict of ``image`` and ``covariates`` (see `easydl.prediction.encode_covariates`). ``pretrained`` takes
    one of our ``.keras`` files or an ``.h5`` file of the same backbone, as a path or as an address with its checksum,
    ``https://.../file.h5#sha256=...`` or ``#md5=...``; weights of a 2D network are inflated for volumes. Where they are
    looked for and how to work offline: the command `easydl weights where`.

    Args:
        name: A network of ``easydl.models(kind="classifier")``, for instance ``resnet``, ``resnet18``, ``densenet121``,
            ``mobilenet_025``, ``efficientnetb0``, ``tiny``; for volumes ``tiny3d``, ``resnet3d18``, ``densenet3d``.
        study: A study from `easydl.load`, or its ``summary``. What is not given is taken from it.
        {options}

    Returns:
        A model from float32 ``(batch, *size, channels)`` to ``(batch, classes)``; each row is in 0..1 and
        sums to 1 for classification.

    Raises:
        InputError: An argument is not one of its choices, or contradicts the study.
        WeightsError: The pretrained weights are neither here nor to be had.

    Example:
        >>> model = classifier("tiny", classes=["abdomen", "chest"], size=64, covariates=["age"])
        >>> {name: tuple(tensor.shape) for name, tensor in model.input.items()}
        {'image': (None, 64, 64, 1), 'covariates': (None, 2)}

    References:
        The papers in ``easydl.models()``; Kontschieder et al. 2015, Deep neural decision forests, ICCV, for the forest; Carreira
        and Zisserman 2017 for inflated weights, arXiv:1705.07750; Huang et al. 2016 for stochastic depth, arXiv:1603.09382.
    """
    summary = arguments.summary_of(study)
    entry = find(name, "classifier", summary.dimension if summary else None)
    wanted = arguments.classifier_outputs(summary, task, classes, heads)
    arguments.fits_study(entry, summary)
    channels = arguments.channel_count(channels, summary)
    start = sources.locate(entry, pretrained)
    # Its filters know structures at that scale.
    size = transfer.size_in(start, entry) if size is None else size
    shape = arguments.image_size(size, summary, entry, pretrained=bool(pretrained))
    columns = arguments.covariate_columns(covariates, summary)
    head = arguments.head_kind(head)
    activation = activation_of(activation, entry, pretrained=bool(pretrained))
    drop = stochastic_depth_of(stochastic_depth, entry)
    seed = arguments.integer("seed", seed)
    scaling = transfer.scaling_of(entry, start, scaling)
    entry = entry.trained_on(scaling)
    with seeded(seed):
        image, pixels = front(shape, channels)
        model = _model(entry, image, laid_out(entry)(entry, prepared(entry, pixels)), wanted, columns, head)
        origin = transfer.apply(model, entry, start, rebuilt) if start else ""
        model = rewired(model, activation=activation, stochastic_depth=drop)
    metadata = ModelMetadata(
        builder="classifier",
        arguments={
            "name": entry.name,
            "channels": channels,
            "size": list(shape),
            "task": str(wanted.task),
            "scaling": scaling,
            "seed": seed,
            "heads": {name: _as_given(head) for name, head in wanted.heads.items()} or None,
            "covariates": {one.name: one.categories and list(one.categories) for one in columns} or None,
            **({"head": head} if head != "linear" else {}),
            **({"activation": activation} if activation else {}),
            **({"stochastic_depth": drop} if drop else {}),
        },
        classes=wanted.classes,
        task=wanted.task,
        heads=wanted.heads,
        covariates=columns,
        dimension=entry.dimension,
        channels=channels,
        size=shape,
        pretrained=origin,
        seen=transfer.seen_in(start),
    )
    return attach(model, metadata)


def rebuilt(metadata: ModelMetadata) -> keras.Model:
    """The classifier that a model file describes, without its weights."""
    return classifier(**metadata.build_arguments)


def _model(
    entry: Entry, image: Any, maps: Any, wanted: Outputs, columns: tuple[Covariate, ...], head: str
) -> keras.Model:
    features, inputs = _features(maps), image
    if columns:
        table = layers.Input((sum(column.width for column in columns),), name="covariates", dtype="float32")
        hidden = layers.Dense(COVARIATE_UNITS, activation="relu", name="covariates_dense")(table)
        features = layers.Concatenate(name="joined")([features, hidden])
        inputs = {"image": image, "covariates": table}
    features = layers.Dropout(DROPOUT, name="dropout")(features)
    features = leaves(features) if head == "forest" else features
    if wanted.heads:
        out: Any = {
            name: outputs(features, len(head.classes), head.task, head=arguments.layer_name(name))
            for name, head in wanted.heads.items()
        }
    else:
        out = outputs(features, len(wanted.classes), wanted.task)
    return keras.Model(inputs, out, name=entry.name)


def _features(maps: Any) -> Any:
    """The layer ``features``: the average of each map, or the vector that a network without pooling ends in."""
    if len(maps.shape) == 2:
        return layers.Activation("linear", name="features")(maps)
    pool = layers.GlobalAveragePooling2D if len(maps.shape) == 4 else layers.GlobalAveragePooling3D
    return pool(name="features")(maps)


def _as_given(head: Head) -> list[str] | int:
    return 1 if head.task.is_value else list(head.classes)
