"""`easydl.feature_maps`: the filters of a network's first layer, and the maps it makes of one image. It judges nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.errors import ModelError, unknown_name
from easydl.explanation.cases import image_of
from easydl.figures import literal, new_figure, panel, sign
from easydl.networks import members_of
from easydl.prediction import compiled, inputs
from easydl.prediction.cascades import open_model
from easydl.prediction.feature_table import deepest_layer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN, COLUMNS, WIDE = 16, 8, 8


def feature_maps(model: Any, case: Any, *, layer: str | None = None, row: int = 0, units: str = "auto") -> Figure:
    """Draw what a network makes of one image: the filters of its first layer and the strongest maps of a layer.

    Args:
        model: A model of easydl or its ``.keras`` file; of an ensemble its first network.
        case: An image: a path, a `Scan`, an array; or a `Study` and its ``row``. Of a volume the slice with most
            activation is shown.
        layer: Name of a layer with maps, as ``model.summary()`` lists them; when None the last whose maps are at least 8
            points wide.
        row: Which image, where ``case`` is a study.
        units: As for `easydl.predict`.

    Returns:
        A matplotlib figure: the image, up to 16 filters, the 16 maps that differ most from place to place.

    Raises:
        InputError: No such layer.
        ModelError: The layer has no maps, or the model does not fit the image.

    Example:
        >>> easydl.feature_maps(model, "case.png")  # doctest: +SKIP

    References:
        Zeiler and Fergus 2014, Visualizing and understanding convolutional networks, arXiv:1311.2901.
    """
    model, metadata = open_model(model)
    scan = image_of(model, metadata, case, row, covariates=None, units=units)[0].oriented()
    batch = inputs(model, scan)
    model = members_of(model)[0]
    names = [one.name for one in model.layers]
    if layer is not None and layer not in names:
        raise unknown_name(f"The model has no layer {layer!r}.", layer, names)
    layer = layer or deepest_layer(model, batch.shape[1:-1], WIDE**metadata.dimension)
    maps = compiled(model, layer)(batch).numpy()[0]
    if maps.ndim != metadata.dimension + 1:
        raise ModelError(
            f"The layer {layer!r} gives {' x '.join(map(str, maps.shape))} values and no maps.",
            "a layer before the pooling.",
            "Choose another layer, or leave it out.",
        )
    maps = np.moveaxis(maps, -1, 0)
    strongest = np.argsort(-maps.reshape(len(maps), -1).std(axis=1), kind="stable")[:SHOWN]
    if metadata.dimension == 3:
        maps = maps[:, int(np.abs(maps[strongest]).sum(axis=(0, 2, 3)).argmax())]
    filters = _filters(model)
    rows = 1 + -(-len(strongest) // COLUMNS) + (-(-len(filters) // COLUMNS))
    figure = new_figure(9.2, 1.25 * rows + 1.1)
    grid = figure.subplots(rows, COLUMNS)
    for ax in grid.flat:
        ax.axis("off")
    panel(grid[0, 0], scan, window=metadata.window if scan.units == "HU" else None)
    grid[0, 0].set_title("image", fontsize=9, loc="left")
    _tiles(grid[1:], filters, "filters of the first layer", "gray")
    _tiles(
        grid[1 + -(-len(filters) // COLUMNS) :], [maps[k] for k in strongest], literal(f"maps of {layer}"), "viridis"
    )
    sign(figure)
    return figure


def _filters(model: Any) -> list[np.ndarray]:
    """The kernels of the first convolution, each 0 to 1; of several channels their mean, of a volume the middle slice."""
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None and len(kernel.shape) >= 4 and kernel.shape[0] > 1:
            values = np.asarray(kernel).mean(axis=-2)
            values = values[values.shape[0] // 2] if values.ndim == 4 else values
            return list(np.moveaxis(values, -1, 0)[:SHOWN])
    return []


def _tiles(grid: np.ndarray, images: list[np.ndarray], title: str, colours: str) -> None:
    for place, (ax, image) in enumerate(zip(grid.flat, images, strict=False)):
        ax.imshow(image, cmap=colours, interpolation="nearest")
        if place == 0:
            ax.set_title(title, fontsize=9, loc="left")
