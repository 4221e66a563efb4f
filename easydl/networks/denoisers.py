"""Networks that take an image and give an image, as plain flat Keras models. It trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
from keras import layers

from easydl.networks import arguments
from easydl.networks.common_layers import WHITE, front, laid_out, prepared, seeded
from easydl.networks.listing import find
from easydl.networks.metadata import ModelMetadata, attach
from easydl.networks.rewiring import activation_of, rewired
from easydl.networks.segmenters import filters_of
from easydl.option_model import documented
from easydl.options import BuilderOptions
from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.studies import Study, StudySummary


@documented(BuilderOptions)
def image_to_image(
    name: str = "denoising_unet",
    study: Study | StudySummary | None = None,
    *,
    channels: int | None = None,
    size: int | Sequence[int] | None = None,
    width: int | None = None,
    activation: str = "auto",
    seed: int = 0,
) -> keras.Model:
    """Build an image-to-image network: an autoencoder, a denoiser or super-resolution.

    Such a network may invent detail that was never measured, and may take real detail away: its output is for study,
    not for reading. `easydl.fit` trains it from the images alone.

    Not given, ``size`` is any whose sides are multiples of 8 (4 in 3D); `easydl.predict` takes scans of any size and
    pads them.

    Args:
        name: A network of ``easydl.models(kind="image_to_image")``: ``autoencoder``, ``denoising_autoencoder``,
            ``variational_autoencoder``, ``denoising_unet``, ``super_resolution`` (a scan of half the resolution,
            upsampled); for volumes the same with ``3d`` at the end.
        study: A study from `easydl.load`, or its ``summary``. What is not given is taken from it.
        {options}

    Returns:
        A model from float32 ``(batch, *spatial, channels)`` to the same shape and unit: 0-255, or HU once
        `easydl.networks.set_window` was called. What lies beyond the window is cut off before. Layers to know:
        ``image``, ``window``, ``clip``, ``image_out``.

    Raises:
        InputError: An argument is not one of its choices or out of its range, or contradicts the study.

    Example:
        >>> image_to_image("autoencoder", size=64).output_shape
        (None, 64, 64, 1)

    References:
        The papers in ``easydl.models(kind="image_to_image")``.
    """
    summary = arguments.summary_of(study)
    entry = find(name, "image_to_image", summary.dimension if summary else None)
    arguments.fits_study(entry, summary)
    channels = arguments.channel_count(channels, summary)
    shape = arguments.grid_size(size, entry)
    activation = activation_of(activation, entry)
    filters, seed = filters_of(entry, width), arguments.integer("seed", seed)
    with seeded(seed):
        image, pixels = front(shape, channels)
        maps = laid_out(entry)(entry, prepared(entry, pixels), width=filters)
        # From -1..1 back to the unit of the image; `set_window` keeps it in step with the layer `window`.
        half = WHITE / 2
        out = layers.Rescaling(half, half, name="image_out", dtype="float32")(maps)
        model = rewired(keras.Model(image, out, name=entry.name), activation=activation)
    metadata = ModelMetadata(
        builder="image_to_image",
        arguments={
            "name": entry.name,
            "channels": channels,
            "size": None if None in shape else list(shape),
            "width": filters,
            **({"activation": activation} if activation else {}),
            "seed": seed,
        },
        classes=tuple(f"channel {number}" for number in range(1, channels + 1)),
        task=Task.RECONSTRUCTION,
        dimension=entry.dimension,
        channels=channels,
        size=shape,
        multiple=entry.multiple,
    )
    return attach(model, metadata)
