"""Networks that take an image and give an image, as plain flat Keras models. It trains nothing."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from easydl.networks import arguments
from easydl.networks.common_layers import BLACK_TO_WHITE, front, seeded, wired
from easydl.networks.listing import find
from easydl.networks.metadata import ModelMetadata, attach
from easydl.networks.segmenters import filters_of


def image_to_image(
    name: str = "image_to_image",
    *,
    channels: int = 1,
    size: int | Sequence[int] | None = None,
    width: int | None = None,
    seed: int = 0,
) -> keras.Model:
    """Build a network that makes an image of an image: rebuilt from a code, freed of noise, or sharpened.

    Such a network may invent detail that was never measured, and may take real detail away: its output is for study,
    not for reading. `easydl.fit` trains it from the images alone.

    Args:
        name: A network of ``easydl.models(kind="image_to_image")``: ``autoencoder``, ``denoising_autoencoder``,
            ``variational_autoencoder``, ``image_to_image`` (noise), ``super_resolution`` (a scan of half the
            resolution, enlarged); for volumes the same with ``3d`` at the end.
        channels: Channels of the images, 1 to 64.
        size: None for any size whose sides are multiples of 8 (4 in 3D); else one such size in pixels. `easydl.predict`
            takes scans of any size and pads them.
        width: Filters of the first level and maps of the code, a multiple of 4 from 4 to 64. 16 when not given.
        seed: Settles the random weights and the draws of the code. The caller's random state is left as it was.

    Returns:
        A model from float32 ``(batch, *spatial, channels)`` to the same shape and unit: 0-255, or HU once
        `easydl.networks.set_window` was called. What lies beyond the window is cut off before. Layers to know:
        ``image``, ``window``, ``clip``, ``image_out``.

    Raises:
        InputError: An argument is not one of its choices or out of its range.

    Example:
        >>> image_to_image("autoencoder", size=64).output_shape
        (None, 64, 64, 1)

    References:
        The papers in the catalogue, ``easydl.models(kind="image_to_image")``.
    """
    entry = find(name, "image_to_image")
    depth = arguments.channel_count(channels, None)
    shape = arguments.grid_size(size, entry)
    filters, seed = filters_of(entry, width), arguments.seed_of(seed)
    with seeded(seed):
        image, pixels = front(shape, depth)
        x = wired(entry, pixels, width=filters)
        # From -1..1 back to the unit of the image; `set_window` keeps it in step with the layer `window`.
        half = BLACK_TO_WHITE / 2
        model = keras.Model(image, layers.Rescaling(half, half, name="image_out", dtype="float32")(x), name=entry.name)
    metadata = ModelMetadata(
        builder="image_to_image",
        arguments={
            "name": entry.name, "channels": depth, "size": None if None in shape else list(shape), "width": filters,
            "seed": seed,
        },
        classes=tuple(f"channel {number}" for number in range(1, depth + 1)),
        task="reconstruction",
        dimension=entry.dimension,
        channels=depth,
        size=shape,
        multiple=entry.multiple,
    )  # fmt: skip
    return attach(model, metadata)
