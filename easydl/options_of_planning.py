"""The options of simulate, compare, learning_curve and interval_width, described once, as in `easydl.options`."""

from __future__ import annotations

from typing import Literal

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
        "otherwise of the one whose weights come with easydl (for volumes the smallest whose weights are on this computer).",
    )
    size: int | None = Field(
        None, ge=16, le=2048, title="Size of the input", description="Side of a network's input in pixels."
    )


class FoldOptions(TrialOptions):
    """On which folds."""

    folds: int = Field(
        5, ge=3, le=20, description="Folds by patient: every patient is tested once, by models that have not seen them."
    )


class CompareOptions(FoldOptions):
    """How networks and baselines are compared: keyword arguments of `easydl.compare`."""

    repeats: int = Field(
        1,
        ge=1,
        le=20,
        description="How often each network is trained on every fold, from as many seeds; its number is then the mean, and the "
        "standard deviation over seeds stands beside the interval over patients.",
    )


class TuneOptions(FoldOptions):
    """How settings are chosen: keyword arguments of `easydl.tune`."""

    search: Literal["grid", "random", "optuna"] = Field(
        "grid",
        description='``"grid"`` tries every combination, ``"random"`` draws them, ``"optuna"`` proposes each after the scores of '
        "those before it (the optional package optuna).",
    )
    trials: int | None = Field(
        None, ge=1, le=1000, description="How many settings a search that draws tries; 20 when not given."
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


class SimulationOptions(Options):
    """What is simulated: the keyword arguments of `easydl.simulate`."""

    kind: Literal["slices", "volumes", "pelvis", "pelvis_volumes"] = Field(
        "slices",
        description='``"slices"`` (2D) or ``"volumes"`` (a folder per series) of a chest in CT, with and without a nodule; '
        '``"pelvis"`` or ``"pelvis_volumes"`` in MR, with a malignant or a benign mass.',
    )
    patients: int = Field(80, ge=1, le=9999, description="Number of patients.")
    images_per_patient: int | None = Field(
        None,
        ge=1,
        le=20,
        description="Images of each patient; 2 slices or 1 volume when not given. All of them share the label; each has "
        "its own nodule or mass.",
    )
    size: int | None = Field(
        None,
        ge=32,
        le=512,
        description="Pixels across, for 340 mm of the chest or 400 mm of the pelvis; 128 for slices and 64 for volumes "
        "when not given.",
    )
    depth: int = Field(
        32,
        ge=8,
        le=160,
        description="Slices in a volume, over 160 mm of the chest or 120 mm of the pelvis; those of a 2D study are 3 mm "
        "thick.",
    )
    nodule_rate: float = Field(
        0.5, ge=0, le=1, description="Fraction of the patients with nodules, or with a malignant mass."
    )
    dose: float | None = Field(
        None,
        ge=100,
        le=1e9,
        description="CT only: photons sent along each ray, 20,000 when not given. Noise falls with its square root.",
    )
    traps: str | list[str] | None = Field(
        None,
        description='What to plant: ``"scanner"``, ``"sex"``, ``"marker"``, ``"same_patient"``, ``"duplicates"``, or '
        '``"sealed"``: one of them, or none, chosen by the seed and said nowhere (`easydl.simulation.unseal` tells).',
    )
    masks: str | list[str] | None = Field(
        None,
        description="What the masks show; the nodule or the mass when not given. Chest: nodule, lungs, heart, aorta, "
        "spine. Pelvis: mass, gland, bladder, rectum, femurs. Several have the values 1, 2, 3, ... in their order, a "
        "later one over an earlier.",
    )
    seed: int = Field(0, ge=0, le=2**63 - 1, description="The same seed gives the same study.")
