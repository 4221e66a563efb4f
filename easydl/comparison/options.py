"""The options of compare, learning_curve and interval_width, described once: docstrings and commands read them here."""

from __future__ import annotations

from pydantic import Field

from easydl.option_model import Options


class TrialOptions(Options):
    """How networks are trained on parts of a study to compare them."""

    seed: int = Field(
        0,
        ge=0,
        le=2**31 - 1,
        description="Fixes the folds (the draws of a learning curve), the trainings and the intervals.",
    )
    epochs: int | None = Field(
        None, ge=1, le=10_000, description="Maximum number of epochs of a network in each stage."
    )
    pretrained: bool | str = Field(
        False,
        title="Start from pretrained weights",
        description="What networks start from, as in `easydl.classifier`. Frozen features are then of the first network named; "
        "otherwise of the smallest whose weights are on this computer.",
    )
    size: int | None = Field(
        None, ge=16, le=2048, title="Size of the input", description="Side of a network's input in pixels."
    )


class CompareOptions(TrialOptions):
    """How networks and baselines are compared: keyword arguments of `easydl.compare`."""

    folds: int = Field(
        5, ge=3, le=20, description="Folds by patient: every patient is tested once, by models that have not seen them."
    )


class CurveOptions(TrialOptions):
    """How a learning curve is made: keyword arguments of `easydl.learning_curve`."""

    sizes: int = Field(5, ge=4, le=10, description="How many numbers of training patients are tried.")
    repeats: int | None = Field(
        None,
        ge=3,
        le=100,
        description="How often training and test patients are drawn anew; 20 for a baseline and 3 for a network when not "
        "given.",
    )


class PlanOptions(Options):
    """What a planned test will show: keyword arguments of `easydl.interval_width`."""

    patients: int = Field(ge=4, le=10_000_000, description="How many patients will be tested.")
    auc: float | None = Field(None, gt=0, lt=1, title="AUC", description="The AUC that is expected.")
    positive: float = Field(0.5, gt=0, lt=1, description="For an AUC: the fraction of the patients with the disease.")
    proportion: float | None = Field(
        None,
        ge=0,
        le=1,
        description="The proportion that is expected, such as a sensitivity; patients are then those with the disease.",
    )
    dice: float | None = Field(None, ge=0, le=1, description="The mean Dice that is expected.")
    sd: float | None = Field(
        None, gt=0, le=0.5, title="Standard deviation", description="For Dice: its standard deviation between patients."
    )
