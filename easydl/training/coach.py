"""The coach: what the curves and counts of a training say is wrong with it, and what to do. It trains nothing.

Where nothing is wrong it says nothing; the limits are those with which it was silent on healthy trainings
(`benchmarks/coach.py`, docs/decisions/0029).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from easydl.evaluation.findings import ONE_ANSWER
from easydl.evaluation.formatting import interval_text, number

JUMP, STUCK, HIGH, LEARNT, AT_CHANCE = 3.0, 0.05, 0.75, 0.5, 0.97
"""Losses as fractions of that of knowing nothing: a rate too high is above, a loss that moves less does not move, ..."""
SMALL_RATE, VANISHED = 2e-5, 1e-3
LEAST_EPOCHS, FEW_EPOCHS, AFTER = 6, 3, 4
RISE, RISE_OF_LOWEST, FALL, NOISE, NOISES = 0.1, 0.25, 0.1, 0.15, 3.0
WIDE, NARROW = 0.8, 0.5
"""Of the way from chance to perfect: an interval too wide to tell, and the end of one that is surely near chance."""

UNITS = 1.0
"""The loss of knowing nothing where it cannot be computed: those of masks, values and pixels are scaled to about this."""


@dataclass(frozen=True)
class Finding:
    """What is wrong with a training.

    Attributes:
        code: Such as ``"overfitting"``.
        sentence: What was found, with its numbers.
        advice: What to do.
        grave: Whether it is said at once, and not at the end: nothing that follows will be of use.
    """

    code: str
    sentence: str
    advice: str
    grave: bool = False

    @property
    def text(self) -> str:
        """What was found and what to do."""
        return f"{self.sentence} {self.advice}"

    def facts(self) -> dict[str, str]:
        """For the record of the training."""
        return {key: value for key, value in asdict(self).items() if key != "grave"}


@dataclass(frozen=True)
class Curve:
    """One stage of training as it was measured.

    Attributes:
        training: The loss of every epoch ``(epochs,)``.
        validation: The same of the validation part.
        epochs: The maximum number that was planned.
        learning_rate: Its peak.
        first: The loss of the first step, before anything was learnt; NaN where it is not known.
        chance: The losses, in training and validation, of the best answer that is the same for every image; or None.
        kept: Whether the weights of one of its epochs are kept, and not those it began with.
        gradients: Of the first layer, of the last layer, and how large the one's gradient is as a fraction of the other's.
    """

    training: np.ndarray
    validation: np.ndarray
    epochs: int
    learning_rate: float
    first: float = float("nan")
    chance: tuple[float, float] | None = None
    kept: bool = True
    gradients: tuple[str, str, float] | None = None

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], **facts: Any) -> Curve:
        """From rows as those of history.csv."""
        training, validation = (
            np.array([row.get(name, np.nan) for row in rows], float) for name in ("loss", "val_loss")
        )
        return cls(training, validation, **facts)

    @property
    def scale(self) -> float:
        """The training loss of knowing nothing."""
        known = self.chance[0] if self.chance else UNITS
        return max(known, self.first) if np.isfinite(self.first) else known

    @property
    def validation_scale(self) -> float:
        """The validation loss of knowing nothing."""
        return self.chance[1] if self.chance else self.scale

    @property
    def ended(self) -> float:
        """The training loss of the last third."""
        return float(np.mean(_third(self.training, 2)))

    @property
    def moved(self) -> bool:
        """Whether the training loss moved at all, beyond its noise."""
        fall = abs(float(np.mean(_third(self.training, 0))) - self.ended)
        allowed = 2 * _noise(self.training) / np.sqrt(max(1, len(self.training) // 3))
        return fall >= max(STUCK * self.scale, allowed)

    @property
    def stuck(self) -> bool:
        """Whether the loss is high and does not move, so that the gradients are worth a look."""
        long = len(self.training) >= FEW_EPOCHS and bool(np.isfinite(self.training).all())
        return long and not self.moved and self.ended > HIGH * self.scale

    @property
    def learnt(self) -> bool:
        """Whether the training images are known, whatever that is worth on others."""
        return len(self.training) > 0 and self.ended < LEARNT * self.scale


def coached(curve: Curve) -> list[Finding]:
    """What is wrong with a stage; of several causes the first that explains the others.

    References:
        Bengio 2012 (arXiv:1206.5533) on learning rates; Glorot and Bengio 2010 on gradients that vanish.
    """
    looks: list[Callable[[Curve], Finding | None]] = [not_finite, rate_too_high]
    looks += [rate_too_low, vanishing, underfitting] if curve.stuck else [overfitting, noisy, underfitting]
    first = next((found for look in looks if (found := look(curve))), None)
    return [first] if first else []


def not_finite(curve: Curve) -> Finding | None:
    """A loss that is no number any more."""
    lost = np.flatnonzero(~np.isfinite(curve.training))
    if not len(lost):
        return None
    return Finding(
        "not finite",
        f"The training diverged in epoch {lost[0] + 1}: its loss is not finite any more; the best epoch before is kept.",
        f"Choose a learning_rate below {curve.learning_rate:g}, and look for images or values that are far off "
        "(easydl.audit).",
        grave=True,
    )


def rate_too_high(curve: Curve) -> Finding | None:
    """A loss that jumps up in the first epochs."""
    training = curve.training[np.isfinite(curve.training)]
    if not len(training) or training.max() <= JUMP * curve.scale:
        return None
    epoch = int(training.argmax())
    began = f"from {curve.first:.3g} at its first step " if np.isfinite(curve.first) else ""
    return Finding(
        "learning rate too high",
        f"Learning rate too high: with {curve.learning_rate:g} the training loss rose {began}to {training[epoch]:.3g} in "
        f"epoch {epoch + 1}; knowing nothing has {curve.scale:.3g}.",
        f"Stop, and choose a learning_rate of {curve.learning_rate / 10:.1g} or less, or leave it out.",
        grave=True,
    )


def rate_too_low(curve: Curve) -> Finding | None:
    """A loss that does not move because the weights do not."""
    if curve.learning_rate >= SMALL_RATE:
        return None
    return Finding(
        "learning rate too low",
        f"Learning rate too low: with {curve.learning_rate:g} the training loss hardly moved in {len(curve.training)} epochs "
        f"({curve.training[0]:.3f} in the first, {curve.training[-1]:.3f} in the last).",
        "Choose a learning_rate ten to a hundred times as large, or leave it out.",
    )


def vanishing(curve: Curve) -> Finding | None:
    """A loss that does not move because nothing of it arrives at the first layers."""
    if curve.gradients is None or not curve.gradients[2] < VANISHED:
        return None
    first, last, ratio = curve.gradients
    return Finding(
        "vanishing gradients",
        f"Vanishing gradients: the training loss stays at {curve.ended:.3f}, and on one batch the gradient of the first layer "
        f"({first}) is {ratio:.1g} of that of the last ({last}): the first layers do not learn.",
        "Use ReLU in the place of sigmoid or tanh, batch normalisation, a residual network, or fewer layers.",
    )


def overfitting(curve: Curve) -> Finding | None:
    """Training falls while validation rises, by more than the noise between epochs."""
    training, validation = curve.training, curve.validation
    if not curve.kept or len(validation) < LEAST_EPOCHS or not np.isfinite(validation).all():
        return None
    smooth = _smooth(validation)
    best = int(smooth.argmin())
    after = validation[best + 1 :]
    if len(after) < AFTER:
        return None
    rise, noise = float(np.median(after[-max(3, len(after) // 2) :])) - float(smooth[best]), _noise(validation)
    fall = float(training[best]) - float(np.mean(training[best + 1 :][-3:]))
    enough = max(NOISES * noise, RISE_OF_LOWEST * float(smooth[best]), RISE * curve.validation_scale)
    if rise <= enough or fall <= 0:
        return None
    return Finding(
        "overfitting",
        f"Overfitting: in the {len(after)} epochs after epoch {best + 1} of this stage the validation loss rose by {rise:.3f} "
        f"(from {smooth[best]:.3f}; {noise:.3f} is the noise between epochs) while the training loss fell by {fall:.3f}: the network "
        "memorises the training images. The best epoch is kept.",
        "More patients help most; then a stronger augment=, pretrained weights, or a smaller network.",
    )


def noisy(curve: Curve) -> Finding | None:
    """A validation loss that jumps by more than training changed it, so that no epoch is surely the best."""
    validation = curve.validation
    if len(validation) < LEAST_EPOCHS or not np.isfinite(validation).all():
        return None
    noise = _noise(validation)
    gain = float(np.median(_third(validation, 0)) - np.median(_third(validation, 2)))
    if noise <= max(NOISE * curve.validation_scale, gain):
        return None
    return Finding(
        "noisy validation",
        f"The validation loss is noisier than its differences: it jumps by {noise:.3f} from epoch to epoch and fell by "
        f"{max(0.0, gain):.3f} in {len(validation)} epochs, so which epoch is the best is not known.",
        "Put more patients into the validation part, or choose a smaller learning_rate or a larger batch_size.",
    )


def underfitting(curve: Curve) -> Finding | None:
    """Both losses are high at the end: as if the images were not looked at, or still falling."""
    training, validation = curve.training, curve.validation
    if len(training) < LEAST_EPOCHS or not np.isfinite(validation).all():
        return None
    lowest = float(_smooth(validation).min())
    if curve.chance and curve.ended >= AT_CHANCE * curve.chance[0] and lowest >= AT_CHANCE * curve.chance[1]:
        return Finding(
            "underfitting",
            f"Underfitting: after {len(training)} epochs the training loss is {curve.ended:.3f} and the validation loss at best "
            f"{lowest:.3f}; one answer for every image has {curve.chance[0]:.3f} and {curve.chance[1]:.3f}.",
            "Look whether the images show what is asked (at this size and window); then a larger network, pretrained "
            "weights, or a larger learning_rate.",
        )
    falls = [float(np.mean(_third(one, 1)) - np.mean(_third(one, 2))) for one in (training, validation)]
    limits = [max(NOISES * _noise(one), FALL * curve.scale) for one in (training, validation)]
    falling = all(fall > limit for fall, limit in zip(falls, limits, strict=True))
    high = curve.ended > HIGH * curve.scale and lowest > HIGH * curve.validation_scale
    if len(training) < curve.epochs or not (falling and high):
        return None
    return Finding(
        "underfitting",
        f"Underfitting: after all {len(training)} epochs both losses are high ({training[-1]:.3f} in training, {validation[-1]:.3f} "
        "in validation) and still falling.",
        "Train for more epochs, or with a larger learning_rate.",
    )


def judged_findings(learnt: bool, headline: Mapping[str, Any], warnings: Iterable[str]) -> list[Finding]:
    """What the answers on the validation part say of the training.

    Args:
        learnt: Whether the training images are known.
        headline: The first line of the test's table (name, value, low, high, n, unit_of_n); empty without one.
        warnings: What the test said, such as one answer for every image.
    """
    found = [
        Finding(
            "one answer",
            one,
            'Look at the counts of the classes, leave class_weight at "auto", and train for more epochs or from pretrained weights.',
        )
        for one in warnings
        if one.startswith(ONE_ANSWER)
    ][:1]
    level = _chance_level(str(headline.get("name", "")))
    if level is None or not np.isfinite(headline["value"]):
        return found
    who = f"{headline['n']} {headline['unit_of_n']}"
    said = f"{headline['name']} {number(headline['value'])} (95% CI {interval_text(headline)}), {who}"
    low, high = float(headline["low"]), float(headline["high"])
    if not high - low <= WIDE * (1 - level):
        found.append(
            Finding(
                "too few patients",
                f"Too few {headline['unit_of_n']} in the validation part to tell how good the model is: {said}.",
                "Add patients, or let every patient be tested once: study.folds() and easydl.compare.",
            )
        )
    elif learnt and low <= level and high < level + NARROW * (1 - level):
        found.append(
            Finding(
                "shuffled labels",
                f"The model knows the training images alone (overfitting), and others stay at chance: {said}. The labels look shuffled.",
                "Compare some images with their labels (study.show()): a table sorted anew, a wrong column, or nothing to see "
                "in these images.",
            )
        )
    return found


def settled(findings: Sequence[Finding]) -> list[Finding]:
    """Each code once, and of two findings of which one explains the other the cause alone."""
    once = list({one.code: one for one in reversed(findings)}.values())[::-1]
    codes = {one.code for one in once}
    explained = {"overfitting"} if "shuffled labels" in codes else set()
    if codes & {"learning rate too high", "learning rate too low", "vanishing gradients", "underfitting", "not finite"}:
        explained |= {"one answer"}
    return [one for one in once if one.code not in explained]


def of_member(finding: Finding, member: str) -> Finding:
    """The finding with the number of its member, of an ensemble."""
    return replace(finding, sentence=f"Member {member}: {finding.sentence}") if member else finding


def chance_losses(targets: np.ndarray, weights: Mapping[int, float] | None = None) -> tuple[float, float]:
    """The cross-entropy of the best answer that is the same for every image: weighted as in training, and unweighted.

    Args:
        targets: One-hot ``(images, classes)``.
        weights: Of each class; None for equal ones.
    """
    shares = targets.mean(axis=0)
    by_class = np.array([(weights or {}).get(k, 1.0) for k in range(len(shares))])
    answer = shares * by_class / (shares * by_class).sum()
    lost = -np.log(np.maximum(answer, 1e-7))
    return float((shares * by_class * lost).sum()), float((shares * lost).sum())


def chance_of_labels(targets: np.ndarray) -> float:
    """The mean binary cross-entropy of answering every label with how common it is; targets ``(images, labels)`` of 0 and 1."""
    pairs = [np.stack([1 - label, label], axis=1) for label in np.asarray(targets, float).T]
    return float(np.mean([chance_losses(pair)[1] for pair in pairs]))


def _chance_level(name: str) -> float | None:
    """The value of guessing; None for measures that have none."""
    return 0.5 if name.startswith("AUC") else 0.0 if "kappa" in name else None


def _third(values: np.ndarray, number: int) -> np.ndarray:
    """The first, second or last third; never empty."""
    size = max(1, len(values) // 3)
    return values[-size:] if number == 2 else values[number * size : (number + 1) * size]


def _smooth(values: np.ndarray) -> np.ndarray:
    """The median of every epoch and its neighbours."""
    padded = np.concatenate([values[:1], values, values[-1:]])
    return np.median(np.stack([padded[:-2], values, padded[2:]]), axis=0)


def _noise(values: np.ndarray) -> float:
    """The standard deviation between epochs about any trend: from second differences (Gasser 1986), robust."""
    if len(values) < FEW_EPOCHS:
        return 0.0
    second = values[:-2] - 2 * values[1:-1] + values[2:]
    return float(np.median(np.abs(second)) * 1.4826 / np.sqrt(6))
