"""What `fit` chooses when it was not told, and the reason in words. It trains nothing and needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.errors import InputError
from easydl.images.ct_windows import CT_WINDOWS_HU
from easydl.networks.cost import advice
from easydl.networks.metadata import ModelMetadata
from easydl.networks.registry import ENTRIES
from easydl.studies import Study

if TYPE_CHECKING:
    from easydl.augmentation import Preset
    from easydl.training.callbacks import Watch

STEPS, LEAST_EPOCHS, MOST_EPOCHS = 3000, 12, 60
HEAD_EPOCHS, FINE_TUNE_EPOCHS, FINE_TUNE_FROM = 80, 15, 60
COPIES = 4
MOST_WEIGHT = 10.0
# Whole films of the eye (584 high) and camera images keep their own grid: thin vessels do not survive a reduction.
SIDE_2D = 640


@dataclass(frozen=True)
class Asked:
    """What was asked of `easydl.fit`; None and ``"auto"`` leave the choice to the plan.

    Attributes:
        preset: The augmentation and why it is used.
        window: As for `choose_window`.
        epochs: At most so many.
        batch_size: Images in a step.
        learning_rate: Its peak.
        loss: ``"auto"``, or a name that the task knows.
        fine_tune: Whether a pretrained backbone is trained too.
        class_weight: Weights of the classes.
        seed: Of the order, the augmentation and the dropout.
        watch: Progress and stop.
        show: Keras' ``verbose``.
    """

    preset: tuple[Preset, str]
    window: Any
    epochs: int | None
    batch_size: int | None
    learning_rate: float | None
    loss: str
    fine_tune: bool | str
    class_weight: Any
    seed: int
    watch: Watch
    show: int


@dataclass(frozen=True)
class Plan:
    """Every choice that training needs.

    Attributes:
        batch_size: Images (or patches) in a step.
        epochs: At most so many epochs of the main phase.
        head_epochs: At most so many epochs of the head on cached features; 0 without a pretrained backbone.
        learning_rate: Peak learning rate of the main phase.
        fine_tune: Whether the backbone is trained after the head.
        copies: Versions of each training image in the feature cache (1: the original only).
        window: (low, high) in the model's units.
        units: ``"0-255"`` or ``"HU"``.
        class_weight: Weight of each class (for multilabel of the images with each finding), or None.
        head_weight: For several questions, the weight of each class of those whose classes are unequal.
        preset: Name of the augmentation preset.
        spacing_mm: Working grid of a 3D segmenter.
        max_side: Longest side of a 2D segmenter's working grid.
        patch: Patch size of a segmenter.
        steps: Steps in an epoch of a segmenter.
        mirrors: Axes along which the augmentation mirrors a segmenter's images.
        why: The reasons, one sentence each.
    """

    batch_size: int
    epochs: int
    head_epochs: int
    learning_rate: float
    fine_tune: bool
    copies: int
    window: tuple[float, float]
    units: str
    class_weight: dict[int, float] | None
    preset: str
    head_weight: dict[str, dict[int, float]] = field(default_factory=dict)
    spacing_mm: tuple[float, ...] | None = None
    max_side: int | None = None
    patch: tuple[int, ...] | None = None
    steps: int = 0
    mirrors: tuple[str, ...] = ()
    why: tuple[str, ...] = field(default=())


def choose_window(
    window: str | Sequence[float] | None, train: Study, values: np.ndarray
) -> tuple[tuple[float, float], str]:
    """Black and white of the model's input, and why.

    Args:
        window: A name of `CT_WINDOWS_HU`, (low, high), or None to choose.
        train: The training part.
        values: Pixel values of training images, in the model's units.

    Returns:
        (low, high) in the model's units, and a sentence.

    Raises:
        InputError: An unknown name, or low is not below high.
    """
    if train.units != "HU" and window is None:
        return (0.0, 255.0), "Images are used from 0 to 255."
    if isinstance(window, str):
        if window not in CT_WINDOWS_HU or train.units != "HU":
            raise InputError(
                f"window={window!r} is not known for this study.",
                f"for CT one of {', '.join(CT_WINDOWS_HU)}; otherwise (low, high).",
                "Choose one, or leave it out.",
            )
        low, high = CT_WINDOWS_HU[window]
        return (low, high), f"The {window} window was asked for: {low:g} to {high:g} HU."
    if window is not None:
        low, high = (float(number) for number in window)
        if not low < high:
            raise InputError(f"window={tuple(window)} is empty.", "low below high.", "Exchange the two numbers.")
        return (low, high), f"The window {low:g} to {high:g} was asked for."
    low, high = np.percentile(values, [0.5, 99.5])
    low, high = max(-1024.0, float(np.floor(low / 10) * 10)), min(3071.0, float(np.ceil(high / 10) * 10))
    if low >= high:
        low, high = CT_WINDOWS_HU["wide"]
    return (low, high), f"The window {low:g} to {high:g} HU holds 99% of the training pixels."


def mixed_task(metadata: ModelMetadata) -> str:
    """The task in words for MixUp and CutMix: two patients' images can be mixed, their ages and sexes cannot."""
    return f"{metadata.task} with covariates" if metadata.covariates else metadata.task


def plan_classifier(
    metadata: ModelMetadata, train: Study, asked: Asked, window: tuple[tuple[float, float], str]
) -> Plan:
    """The plan for a classifier, with the window that was chosen and why."""
    epochs, learning_rate, fine_tune = asked.epochs, asked.learning_rate, asked.fine_tune
    n = len(train)
    why = [window[1], asked.preset[1]]
    batch = asked.batch_size or (8 if n < 64 else 16 if n < 1000 else 32)
    pretrained = bool(metadata.pretrained)
    tune = fine_tune is True or (fine_tune == "auto" and n >= FINE_TUNE_FROM) if pretrained else False
    if pretrained:
        main = epochs or FINE_TUNE_EPOCHS
        why.append(
            "The pretrained backbone stays as it is first: its features are computed once and a head is trained on them."
        )
        if tune:
            why.append("Then the whole network is fine-tuned gently, with its batch normalisation frozen.")
        elif fine_tune == "auto":
            why.append(f"With {n} training images (fewer than {FINE_TUNE_FROM}) it is left at that.")
    else:
        main = epochs or int(np.clip(round(STEPS / -(-n // batch)), LEAST_EPOCHS, MOST_EPOCHS))
        why.append(f"The network starts from random: up to {main} epochs, stopped early when validation stalls.")
        if metadata.covariates:
            why.append(
                "Small studies: from random, it may learn the training images by heart before it heeds the table; pretrained "
                "weights avoid that."
            )
    weights, by_head, reasons = _weights(asked.class_weight, train)
    why += reasons
    if known := ENTRIES.get(str(metadata.arguments.get("name"))):
        why += [sentence] if (sentence := advice(known, n, pretrained=pretrained)) else []
    return Plan(
        batch_size=batch, epochs=main, head_epochs=(epochs or HEAD_EPOCHS) if pretrained else 0,
        learning_rate=learning_rate or (1e-4 if pretrained else 2e-3), fine_tune=tune,
        copies=1 if asked.preset[0].name == "none" else COPIES, window=window[0], units=train.units, class_weight=weights,
        preset=asked.preset[0].name, head_weight=by_head, why=tuple(why),
    )  # fmt: skip


def _weights(
    given: dict[str, float] | str | None, train: Study
) -> tuple[dict[int, float] | None, dict[str, dict[int, float]], list[str]]:
    """The weights of classes or findings, those of several questions, and the reasons."""
    if isinstance(given, str) and given != "auto":
        raise InputError(f"class_weight={given!r}.", '"auto", None or a dict from class to weight.', "Choose one.")
    if isinstance(given, dict) and train.task in ("regression", "multitask"):
        what = "a number" if train.task == "regression" else "several questions"
        raise InputError(
            f"class_weight was given, and the model learns {what}.", 'classes to weigh; "auto" or None otherwise.',
            "Leave class_weight out.",
        )  # fmt: skip
    if train.task == "multitask":
        by_head, reasons = {}, []
        for name, asked in train.heads.items():
            weights, reason = _class_weight(given, train.head(name)) if asked != 1 else (None, "")
            if weights:
                by_head[name] = weights
                reasons.append(f"{name}: {reason[0].lower()}{reason[1:]}")
        return None, by_head, reasons
    weights, reason = (None, "") if train.task == "regression" else _class_weight(given, train)
    return weights, {}, [reason] if reason else []


def _class_weight(given: dict[str, float] | str | None, train: Study) -> tuple[dict[int, float] | None, str]:
    classes = train.classes
    if given is None:
        return None, ""
    if isinstance(given, dict):
        unknown = sorted(set(given) - set(classes))
        if unknown:
            raise InputError(
                f"class_weight names {unknown[0]!r}.",
                f"the classes {', '.join(classes)}.",
                "Correct the name.",
            )
        return {k: float(given.get(name, 1.0)) for k, name in enumerate(classes)}, "Class weights were given."
    held = dict(zip(classes, train.targets().sum(axis=0), strict=True))
    counts = {name: int(count) for name, count in held.items() if count}
    if train.task == "multilabel":
        weights = {k: _more(len(train), counts.get(name, 0)) for k, name in enumerate(classes)}
    else:
        weights = {k: len(train) / (len(counts) * counts[name]) for k, name in enumerate(classes) if name in counts}
    if max(weights.values()) / min(weights.values()) < 1.2 and (
        train.task != "multilabel" or max(weights.values()) < 1.2
    ):
        return None, ""
    listing = ", ".join(f"{classes[k]} {weight:.2f}" for k, weight in weights.items())
    what = (
        "Images with a finding count more than those without it"
        if train.task == "multilabel"
        else "Rare classes count more"
    )
    return {k: weights.get(k, 1.0) for k in range(len(classes))}, f"{what}: {listing}."


def _more(images: int, positive: int) -> float:
    """How much more an image with a rare finding counts: up to as much as all without it, and ten times at most."""
    return float(np.clip((images - positive) / max(1, positive), 1.0, MOST_WEIGHT))
