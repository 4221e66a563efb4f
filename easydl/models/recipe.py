"""What travels with a model: how it was built, its classes in order, its units. No weights, no TensorFlow."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Task = Literal["classification", "multilabel", "regression", "segmentation"]


class Recipe(BaseModel):
    """The facts a model file carries in ``easydl.json``, checked against this schema when it is read.

    Attributes:
        builder: The function that built the model: ``classifier``, ``unet`` or ``unet3d``.
        arguments: What rebuilds the same graph (never ``pretrained``: the weights are in the file).
        classes: Class names in the order of the outputs. A segmenter's first class is the background.
        task: ``classification``, ``multilabel``, ``regression`` or ``segmentation``.
        dimension: 2 or 3.
        channels: Channels of the input layer.
        size: The model's spatial input size; None where the network takes any size.
        units: The units the input layer expects: ``0-255`` or ``HU``. Scans in relative units are brought to 0-255
            by their own percentiles before the network sees them.
        window: (low, high) in those units, mapped to black and white inside the model.
        spacing_mm: The working grid of a 3D model (depth, height, width), or None.
        max_side: The working grid of a 2D segmenter: longer images are reduced to this many pixels.
        patch: Size of the patches a segmenter was trained on, in working-grid pixels.
        pretrained: Where the starting weights came from, in words; empty when from random.
        training: What fit records: patients, images, seed, preset, overrides, data fingerprint, versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    builder: Literal["classifier", "unet", "unet3d"]
    arguments: dict[str, Any] = Field(default_factory=dict)
    classes: tuple[str, ...]
    task: Task
    dimension: Literal[2, 3]
    channels: int = Field(ge=1, le=64)
    size: tuple[int | None, ...]
    units: Literal["0-255", "HU"] = "0-255"
    window: tuple[float, float] = (0.0, 255.0)
    spacing_mm: tuple[float, ...] | None = None
    max_side: int | None = None
    patch: tuple[int, ...] | None = None
    pretrained: str = ""
    training: dict[str, Any] = Field(default_factory=dict)
    easydl: str = ""
