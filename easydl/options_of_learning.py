"""The options of learning beside labels: teachers, unlabelled images, pretraining; described once, as in `easydl.options`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from easydl.option_model import Options


class BeyondLabelsOptions(Options):
    """What a training learns from beside the labels of its part: keyword arguments of `easydl.fit`."""

    teacher: str | None = Field(
        None,
        description="A larger trained model of the same task, as a file or run folder (in Python also the model itself): a "
        "classifier then learns from its answers, too (distillation). It must not have seen the validation or test part.",
    )
    unlabelled: str | None = Field(
        None,
        title="Images without labels",
        description="A table or folder of further images (in Python also a study), whose labels are not used: a classifier "
        "learns from those that it is sure of (pseudo-labels). Patients of the validation or test part are refused.",
    )


class PretrainOptions(Options):
    """How a network is pretrained without labels: keyword arguments of `easydl.pretrain`."""

    method: Literal["simclr", "autoencoder", "stacked_denoising"] = Field(
        "simclr",
        title="Method",
        description='``"simclr"``: two changed copies of an image get features that are alike, unlike those of other '
        'images, and enough to build the copy again. ``"autoencoder"``: the image is built again from its features. '
        '``"stacked_denoising"``: layer by layer, each from a corrupted copy of what the layers before give.',
    )
    epochs: int | None = Field(
        None, ge=1, le=10_000, description="Passes over the images (of stacked_denoising, for every layer)."
    )
    size: int | None = Field(
        None,
        ge=16,
        le=512,
        title="Size of the input",
        description="Side of the images in pixels; that of the classifier that is built on it later may differ.",
    )
    batch_size: int | None = Field(None, ge=2, le=4096, description="Images in a step.")
    learning_rate: float | None = Field(None, gt=0, le=1e6, description="Peak learning rate.")
    augment: str = Field(
        "auto",
        title="Augmentation",
        description='How the copies of an image differ: the name of a preset (see `easydl.presets`); ``"auto"`` chooses it by '
        "modality.",
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Fixes the random weights, the order and the changes.")
