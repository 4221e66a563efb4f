"""What `fit` chooses by itself, each choice with its reason as text. It trains nothing and needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from easydl.errors import InputError, unknown_name
from easydl.images.ct_windows import CT_WINDOWS_HU
from easydl.networks.cost import advice
from easydl.networks.metadata import ModelMetadata
from easydl.networks.registry import ENTRIES
from easydl.studies import Study
from easydl.tasks import Task
from easydl.training.class_weights import choose_weights
from easydl.training.optimizers import USUAL, described, peak_rate, relative_rate
from easydl.training.own_objects import name_of

if TYPE_CHECKING:
    from easydl.augmentation import Preset

STEPS, LEAST_EPOCHS, MOST_EPOCHS = 3000, 12, 60
HEAD_EPOCHS, FINE_TUNE_EPOCHS, SHORT_EPOCHS, FINE_TUNE_FROM = 80, 15, 6, 200
STRATEGIES = ("auto", "features", "finetune", "scratch")
COPIES = 4


@dataclass(frozen=True)
class Settings:
    """What was chosen in the call of `easydl.fit`; None and ``"auto"`` leave the choice to the plan.

    The options are those of `easydl.options.FitOptions`; ``preset`` is the augmentation, and ``preset_reason`` says why.
    """

    preset: Preset
    preset_reason: str = ""
    window: str | Sequence[float] | None = None
    epochs: int | None = None
    batch_size: int | None = None
    batch_by_memory: bool = False
    learning_rate: float | str | None = None
    optimizer: Any = USUAL
    metrics: Sequence[Any] | None = None
    callbacks: tuple[Any, ...] = ()
    loss: Any = "auto"
    strategy: str = "auto"
    fine_tune: int | str | None = None
    class_weight: dict[str, float] | str | None = "auto"
    full_resolution: bool | str = "auto"
    seed: int = 0
    drawn: bool = False
    """Whether the linear head learns from patients drawn with replacement, so that the members of an ensemble differ."""

    @property
    def preset_own(self) -> Any:
        """The Keras layers of the user's own augmentation, or None."""
        return getattr(self.preset, "layer", None)

    @property
    def asked(self) -> str:
        """The strategy that was asked for: ``fine_tune`` asks for one, too."""
        if self.fine_tune is None:
            return self.strategy
        return "features" if self.fine_tune == 0 else "finetune"

    @property
    def stages(self) -> int | None:
        """How many stages are fine-tuned; None for all."""
        return int(self.fine_tune) if isinstance(self.fine_tune, int) else None

    @property
    def by_gradient(self) -> list[str]:
        """What was given that only means something to a training by gradient."""
        usual = isinstance(self.loss, str) and self.loss in ("auto", "cross_entropy", "squared_error")
        optimizer = isinstance(self.optimizer, str) and self.optimizer == USUAL
        given = {"loss": not usual, "optimizer": not optimizer, "callbacks": bool(self.callbacks)}
        return [f"{name}=" for name, there in given.items() if there]

    def rate(self, planned: float, steps: int) -> float:
        """The peak learning rate: as given, that of the user's own optimizer, or the one planned for AdamW in its terms."""
        if not isinstance(self.optimizer, str):
            return peak_rate(self.optimizer, steps)
        if isinstance(self.learning_rate, (int, float)):
            return float(self.learning_rate)
        return planned * relative_rate(self.optimizer)

    @property
    def reasons(self) -> list[str]:
        """What the user's own choices do, as sentences."""
        said = []
        if self.optimizer != USUAL:
            times = relative_rate(self.optimizer)
            rate = (
                ""
                if times == 1 or self.learning_rate is not None
                else f", at {times:g} times the rate planned for adamw"
            )
            said.append(f"Optimizer: {described(self.optimizer)}{rate}.")
        if not isinstance(self.loss, str):
            said.append(f"Loss: {name_of(self.loss)}, as given.")
        if self.metrics:
            said.append(f"Also followed: {', '.join(map(name_of, self.metrics))}.")
        if self.callbacks:
            names = ", ".join(map(name_of, self.callbacks))
            said.append(f"Your callbacks ({names}) are called in every stage; after an interruption they begin anew.")
        return said


class Window(NamedTuple):
    """(low, high): black and white of the model's input, in its units; and the reason in a sentence."""

    range: tuple[float, float]
    reason: str


@dataclass(frozen=True)
class Plan:
    """Every choice that training needs.

    Attributes:
        batch_size: Images (or patches) in a step.
        epochs: Maximum number of epochs of the main stage.
        learning_rate: Peak learning rate of the main stage.
        window: (low, high) in the model's units.
        units: ``"0-255"`` or ``"HU"``.
        preset: Name of the augmentation preset that is used.
        strategy: ``"features"``, ``"finetune"`` (the backbone is trained after the head) or ``"scratch"``.
        surely: Whether fine-tuning is kept only where the interval of its gain excludes 0.
        stages: How many stages of the backbone are fine-tuned, from the head down; None for all.
        head_epochs: Maximum number of epochs of the head on cached features; 0 where the linear model is all of it.
        copies: Versions of each training image in the feature cache (1: the original only).
        class_weight: Weight of each class (for multilabel of the images with each label), or None.
        head_weight: For several heads, the weight of each class of those whose classes are unequal.
        spacing_mm: Working grid of a 3D segmentation model.
        max_side: Longest side of the working grid of a 2D segmentation model.
        patch: Patch size of a model that is trained on patches.
        steps: Steps in an epoch of such a model.
        mirrors: Axes along which the augmentation mirrors the images of a segmentation model.
        why: The reasons, one sentence each.
    """

    batch_size: int
    epochs: int
    learning_rate: float
    window: tuple[float, float]
    units: str
    preset: str
    strategy: str = "scratch"
    surely: bool = False
    stages: int | None = None
    head_epochs: int = 0
    copies: int = 1
    class_weight: dict[int, float] | None = None
    head_weight: dict[str, dict[int, float]] = field(default_factory=dict)
    spacing_mm: tuple[float, ...] | None = None
    max_side: int | None = None
    patch: tuple[int, ...] | None = None
    steps: int = 0
    mirrors: tuple[str, ...] = ()
    why: tuple[str, ...] = ()

    def because(self, *sentences: str) -> Plan:
        """The plan with more reasons."""
        return replace(self, why=(*self.why, *sentences))


def choose_window(window: str | Sequence[float] | None, train: Study, values: np.ndarray) -> Window:
    """The window by name, by (low, high), or from pixel values of training images in the model's units.

    Raises:
        InputError: An unknown name, or low is not below high.
    """
    if train.units != "HU" and window is None:
        return Window((0.0, 255.0), "Images are used from 0 to 255.")
    if isinstance(window, str):
        low, high = named_window(window, train.units)
        return Window((low, high), f"The {window} window was asked for: {low:g} to {high:g} HU.")
    if window is not None:
        low, high = (float(value) for value in window)
        if not low < high:
            raise InputError(f"window={tuple(window)} is empty.", "low below high.", "Exchange the two values.")
        return Window((low, high), f"The window {low:g} to {high:g} was asked for.")
    low, high = np.percentile(values, [0.5, 99.5])
    low, high = max(-1024.0, float(np.floor(low / 10) * 10)), min(3071.0, float(np.ceil(high / 10) * 10))
    if low >= high:
        low, high = CT_WINDOWS_HU["wide"]
    return Window((low, high), f"The window {low:g} to {high:g} HU holds 99% of the training pixels.")


def named_window(name: str, units: str = "HU") -> tuple[float, float]:
    """The CT window of this name, (low, high) in HU.

    Raises:
        InputError: An unknown name, or one for images that are not CT.
    """
    if name in CT_WINDOWS_HU and units == "HU":
        return CT_WINDOWS_HU[name]
    raise unknown_name(
        f"window={name!r} is not known{'' if units == 'HU' else ': the images are not CT'}.",
        name,
        CT_WINDOWS_HU if units == "HU" else (),
        do="Choose one, or leave it out.",
        expected="for CT one of {}; otherwise (low, high)." if units == "HU" else "(low, high) in 0-255.",
    )


def described_task(metadata: ModelMetadata) -> str:
    """The task as text for MixUp and CutMix: two patients' images can be mixed, their ages and sexes cannot."""
    return f"{metadata.task} with covariates" if metadata.covariates else metadata.task


UNWEIGHTED = (
    "The rare class does not count more than its images: its probabilities would be too high. From which one on it is called present is chosen on "
    "the validation part."
)
"""Of two classes under a linear head (van den Goorbergh 2022, doi:10.1093/jamia/ocac093)."""


def plan_classifier(metadata: ModelMetadata, train: Study, settings: Settings, window: Window) -> Plan:
    """The plan for a classifier of any task."""
    n, epochs = len(train), settings.epochs
    batch = settings.batch_size or (8 if n < 64 else 16 if n < 1000 else 32)
    pretrained = bool(metadata.pretrained)
    strategy = settings.asked
    if strategy == "auto":
        strategy = "scratch" if not pretrained else "finetune" if n >= FINE_TUNE_FROM else "features"
    surely = strategy == "finetune" and settings.asked == "auto"
    exact = pretrained and _is_exact(metadata, settings)
    unheard = unheard_options(settings) if exact and strategy == "features" else []
    if pretrained:
        main = epochs or (SHORT_EPOCHS if surely else FINE_TUNE_EPOCHS)
        asked = (
            f" by gradient, as {' and '.join(settings.by_gradient)} {'ask' if len(settings.by_gradient) > 1 else 'asks'}"
            if settings.by_gradient
            else ""
        )
        head = "a linear model on them is its head" + ("." if exact else f", which is then trained further{asked}.")
        if not metadata.linear_head:
            head = "its head of soft decision trees is trained on them."
        reasons = [*_pretrained_reasons(n, strategy, settings, head), *unheard]
    else:
        main = epochs or int(np.clip(round(STEPS / -(-n // batch)), LEAST_EPOCHS, MOST_EPOCHS))
        reasons = _random_reasons(main, metadata)
    class_weight, head_weight, weight_reasons = choose_weights(_weighting(metadata, settings), train)
    if (
        class_weight
        and exact
        and settings.class_weight == "auto"
        and metadata.task == "classification"
        and len(train.classes) == 2
    ):
        class_weight, weight_reasons = None, [UNWEIGHTED]
    preset, preset_reason = settings.preset.name, settings.preset_reason
    if exact and strategy == "features" and preset != "none":
        preset_reason = f"Augmentation {preset} is not used: a linear model learns from the images as they are."
        preset = "none"
    entry = ENTRIES.get(str(metadata.arguments.get("name")))
    advised = advice(entry, n, pretrained=pretrained) if entry else None
    return Plan(
        batch_size=batch,
        epochs=main,
        strategy=strategy,
        surely=surely,
        stages=settings.stages,
        head_epochs=(epochs or HEAD_EPOCHS) if pretrained and not exact else 0,
        learning_rate=settings.rate(1e-4 if pretrained else 2e-3, main * -(-n // batch)),
        copies=1 if exact or preset == "none" else COPIES,
        window=window.range,
        units=train.units,
        class_weight=class_weight,
        preset=preset,
        head_weight=head_weight,
        why=(
            window.reason,
            preset_reason,
            *reasons,
            *settings.reasons,
            *weight_reasons,
            *([advised] if advised else []),
        ),
    )


def _is_exact(metadata: ModelMetadata, settings: Settings) -> bool:
    """Whether the linear model is the very head that is wanted: there is then nothing for epochs to add.

    Epochs are for covariates, ordered classes, mixtures of images, soft trees, and a loss, an optimizer or callbacks that
    were asked for.
    """
    tasks = [Task(head.task) for head in metadata.heads.values()] or [Task(metadata.task)]
    mixes = any(operation.mixes for operation in settings.preset.operations)
    more = metadata.covariates or mixes or any(task.ordered for task in tasks)
    return metadata.linear_head and not (settings.by_gradient or more)


def _weighting(metadata: ModelMetadata, settings: Settings) -> dict[str, float] | str | None:
    """The class weights that were asked for; labels are weighted within our own losses only."""
    given = settings.class_weight
    if isinstance(settings.loss, str) or Task(metadata.task) is not Task.MULTILABEL:
        return given
    if isinstance(given, dict):
        raise InputError(
            "class_weight was given beside an own loss for several labels.",
            "one of them: labels are weighted within easydl's own losses.",
            "Leave class_weight out, and weight the labels in your loss.",
        )
    return None


def unheard_options(settings: Settings) -> list[str]:
    """What was given and changes nothing, where the head is computed and no step is made, as a sentence."""
    given = {name: getattr(settings, name) for name in ("epochs", "batch_size", "learning_rate")}
    if settings.batch_by_memory:
        given["batch_size"] = "auto"
    named = [f"{name}={value!r}" for name, value in given.items() if value is not None]
    if not named:
        return []
    return [
        f"{' and '.join(named)} {'changes' if len(named) == 1 else 'change'} nothing here: the head is computed exactly, "
        'without steps or epochs; with strategy="finetune" the whole network is trained.'
    ]


def _pretrained_reasons(images: int, strategy: str, settings: Settings, head: str) -> list[str]:
    first = f"Strategy {strategy}: the pretrained network's features are computed once, and {head}"
    if strategy == "finetune":
        surely = (
            ", and that is kept only where it surely lowers the validation loss" if settings.asked == "auto" else ""
        )
        what = "the whole network is" if settings.stages is None else "its last stages are"
        then = f"Then {what} fine-tuned gently, with batch normalisation frozen{surely}."
        return [first, then]
    if settings.asked == "auto":
        return [first, f"With {images} training images (fewer than {FINE_TUNE_FROM}) it is left at that."]
    return [first]


def _random_reasons(epochs: int, metadata: ModelMetadata) -> list[str]:
    first = f"Strategy scratch: the network starts from random: up to {epochs} epochs, stopped early when validation stalls."
    if not metadata.covariates:
        return [first]
    return [
        first,
        "In small studies, from random, it may overfit the training images before it uses the covariates; pretrained "
        "weights avoid that.",
    ]
