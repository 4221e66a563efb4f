"""The options of training and of decision thresholds, described once as those of `easydl.options` are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from easydl.option_model import Options
from easydl.options_of_learning import BeyondLabelsOptions


class DecisionOptions(Options):
    """What the threshold of a class is chosen for: keyword arguments of `easydl.operating_point` and `easydl.fit`."""

    sensitivity: float | None = Field(
        None,
        gt=0,
        lt=1,
        title="Sensitivity to guarantee",
        description="The sensitivity that the threshold of the second of two classes, or of every label, is to guarantee, "
        "such as 0.95. Not given, nor one of the next two, the threshold has the largest sensitivity plus specificity on "
        "the validation part (Youden's index).",
    )
    specificity: float | None = Field(
        None, gt=0, lt=1, title="Specificity to guarantee", description="The same for the specificity."
    )
    cost: float | None = Field(
        None,
        gt=0,
        le=10_000,
        title="Cost of a missed image",
        description="How many false alarms a missed image is worth: the threshold with the lowest total cost on the "
        "validation part is chosen, which holds at its prevalence.",
    )
    confidence: float = Field(
        0.9,
        ge=0.5,
        lt=1,
        title="Confidence of the guarantee",
        description="How sure the guaranteed sensitivity or specificity is to be.",
    )


class FitOptions(BeyondLabelsOptions, DecisionOptions):
    """How a model is trained: the keyword arguments of `easydl.fit`."""

    augment: str = Field(
        "auto",
        title="Augmentation",
        description='Name of a preset (see `easydl.presets`), alone or with extras, such as ``"chest_xray+mixup"``; '
        '``"auto"`` (or ``"auto+mixup"``) chooses the preset by modality, ``"none"`` is none. In Python also a preset of '
        "your own, or for 2D classifiers a Keras layer, or a ``keras.Sequential`` of layers, that augments.",
    )
    epochs: int | None = Field(None, ge=1, le=10_000, description="Maximum number of epochs in each stage.")
    batch_size: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] | None = Field(
        None,
        description='Images (or patches) in a step; chosen by their number when not given. ``"auto"`` takes the largest that '
        "memory holds and that still leaves 16 steps in an epoch, and raises the learning rate with its square root.",
    )
    learning_rate: Annotated[float, Field(gt=0, le=1e6)] | Literal["find"] | None = Field(
        None,
        description='Peak learning rate of the main stage. ``"find"`` looks for it on a copy of the weights: up to 100 steps, '
        'each with a higher rate; the curve is ``history.params["learning_rates"]`` and in the run folder.',
    )
    optimizer: Literal[
        "adamw", "adam", "adamax", "nadam", "sgd", "rmsprop", "adagrad", "adadelta", "adafactor", "lion"
    ] = Field(
        "adamw",
        description="A name of Keras, whose learning rate is warmed up and falls along a cosine; in Python also a "
        "``keras.optimizers.Optimizer``, whose own learning rate or schedule then counts.",
    )
    metrics: list[str] | None = Field(
        None,
        title="More metrics",
        description="What is followed in every epoch beside the task's own metrics, by its name in Keras, such as "
        '``"recall"`` (with two classes that of the second); in Python also ``keras.metrics`` objects.',
    )
    strategy: Literal["auto", "features", "finetune", "scratch"] = Field(
        "auto",
        description='What of a classifier is trained. ``"features"``: a linear model on the frozen features of pretrained weights; '
        '``"finetune"``: then the whole network, gently; ``"scratch"``: the whole network from random weights; ``"auto"``: '
        "features, and from 200 training images on a short fine-tuning that is kept only where it surely lowers the "
        "validation loss, or scratch for a network without pretrained weights.",
    )
    fine_tune: Annotated[int, Field(ge=0, le=20)] | Literal["all"] | None = Field(
        None,
        title="Stages to fine-tune",
        description="How many stages of a pretrained classifier are fine-tuned after its head, from the head down: a stage is the "
        'blocks between two strides, and most networks have five. 0 trains the head alone, ``"all"`` the whole network; not '
        "given, the strategy decides. What is fine-tuned is kept where an epoch lowers the validation loss. Batch normalisation "
        "stays as it is.",
    )
    class_weight: dict[str, float] | Literal["auto"] | None = Field(
        "auto",
        examples=["normal=1", "nodule=4"],
        description='``"auto"`` gives rare classes more weight (with several heads, those of each), but not of two classes '
        "under a linear head, whose probabilities would be too high; a dict from class, or label, to weight; or None. Values, "
        "masks and images are not weighted.",
    )
    window: str | tuple[float, float] | None = Field(
        None,
        description='For CT the name of a window (``"lung"``, ``"bone"``, ``"brain"``, ...) or (low, high) in HU; for '
        "other images (low, high) in 0-255. Chosen from the training images when not given.",
    )
    normalise: Literal["percentile", "z-score"] = Field(
        "percentile",
        title="Normalisation",
        description='For MR and other images without units of their own: ``"percentile"`` (0.5th and 99.5th of each '
        'image become 0 and 255) or ``"z-score"`` (mean and standard deviation of each image). It travels with the model.',
    )
    spacing_mm: tuple[float, ...] | None = Field(
        None,
        title="Spacing (mm)",
        description="For segmentation models: the spacing of the grid to work on, in the order (depth, height, width), "
        "which run to the feet, the back and the left, or (height, width); the median of the training scans when not given. It travels with the model.",
    )
    full_resolution: bool | Literal["auto"] = Field(
        "auto",
        title="Full resolution",
        description="For 2D segmentation: whether images longer than 640 pixels are used as they are, patch by patch, or "
        'downsampled to 640. ``"auto"`` uses them as they are where a structure would not survive the downsampling (a Dice '
        "below 0.95 of masks downsampled and put back) and a prediction takes 400 windows at most. It travels with the model.",
    )
    loss: str = Field(
        "auto",
        description='``"auto"``, or a name of the task in `easydl.training.loss_names.LOSSES`: for segmentation models '
        '``"tversky"``, ``"boundary"``..., for others ``"focal"`` for classes and labels, ``"absolute_error"`` for values... In '
        "Python also a ``keras.losses.Loss``, or a function of targets and outputs.",
    )
    members: int = Field(
        1,
        ge=1,
        le=20,
        description="How many networks are trained, from as many seeds; the model becomes the average of their answers, and "
        "predictions say how far they disagree.",
    )
    calibrate: bool = Field(
        True,
        title="Calibrate the probabilities",
        description="Divide the logits by a temperature that is fitted on the validation part, where this lowers the "
        "log-loss; from 30 validation patients on. Not for values and masks.",
    )
    seed: int = Field(
        0,
        ge=0,
        le=2**31 - 1,
        description="Fixes the order of the images, the augmentation and the dropout. Recorded in the model.",
    )
    override: str | None = Field(
        None, description="A reason, in writing, for training although patients or images are in both parts."
    )
