"""How right a model is when a reader takes the cases it is least sure of: accuracy against the fraction referred."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import logit

from easydl.errors import RESEARCH_USE, InputError, unknown_name
from easydl.evaluation.intervals import logit_interval
from easydl.evaluation.level import level
from easydl.networks.decision import EVEN, Decision
from easydl.prediction.results import Predictions
from easydl.studies.labels import JOIN
from easydl.tasks import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FRACTIONS = tuple(np.round(np.arange(0, 0.55, 0.05), 2))
MEASURES = ("margin", "spread")


@dataclass(frozen=True, eq=False)
class Referral:
    """What `refer` found.

    Attributes:
        table: One row for each fraction: ``referred`` (0 to 1), ``accuracy`` of the rest with ``low`` and ``high`` (95%
            interval, by patient), ``n`` patients and ``images`` left, ``gain`` over none referred with its interval
            ``gain_low``, ``gain_high``.
        by: What says how sure the model is: ``margin`` or ``spread``.
        unit_of_n: What ``n`` counts.
    """

    table: pd.DataFrame
    by: str
    unit_of_n: str = "patients"
    notes: list[str] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        """What referring 20% does."""
        row = self.table.iloc[(self.table["referred"] - 0.2).abs().argmin()]
        none = self.table.iloc[0]
        return (
            f"Without referral the accuracy is {none['accuracy']:.2f} (95% CI {none['low']:.2f}-{none['high']:.2f}), "
            f"{none['n']:.0f} {self.unit_of_n}; with the least sure {100 * row['referred']:.0f}% referred it is "
            f"{row['accuracy']:.2f} (95% CI {row['low']:.2f}-{row['high']:.2f}), {row['n']:.0f} {self.unit_of_n} "
            f"(difference {row['gain']:+.2f}, 95% CI {row['gain_low']:+.2f} to {row['gain_high']:+.2f})."
        )

    def __repr__(self) -> str:
        return f"{self.sentence} {RESEARCH_USE}"

    def _repr_html_(self) -> str:
        table = self.table.to_html(index=False, border=0, float_format="{:.2f}".format)
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return f"<p>{html.escape(self.sentence)}</p>{table}{notes}<p><small>{html.escape(RESEARCH_USE)}</small></p>"

    def show(self, ax: Axes | None = None) -> Figure:
        """Accuracy of what is not referred, with its band, against the fraction referred.

        Args:
            ax: Draw on these matplotlib axes.

        Returns:
            The matplotlib Figure.
        """
        from matplotlib.ticker import PercentFormatter

        from easydl.figures import figure_of, new_figure

        ax = new_figure(4.8, 4.2).subplots() if ax is None else ax
        x = self.table["referred"]
        ax.fill_between(x, self.table["low"], self.table["high"], alpha=0.2, lw=0, label="95% CI")
        ax.plot(x, self.table["accuracy"], marker="o", ms=4)
        ax.axhline(self.table["accuracy"].iloc[0], color="0.6", lw=1, ls="--", label="none referred")
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.set(xlabel=f"referred to a reader (least sure first, by {self.by})", ylabel="accuracy of the rest")
        ax.set_title(f"Referral, {self.table['n'].iloc[0]:.0f} {self.unit_of_n}")
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, loc="lower right")
        return figure_of(ax)


def refer(predictions: Predictions, *, by: str = "margin", seed: int = 0, resamples: int = 1000) -> Referral:
    """Ask how right a model is on what it is surest of, when the rest goes to a reader.

    Args:
        predictions: Of a test set with labels, from `easydl.predict`.
        by: ``"margin"`` (how far the probability lies from the threshold, or above the next class), or ``"spread"`` (how
            far several answers disagree; for an ensemble, or after ``uncertainty=``).
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples of the patients.

    Returns:
        A `Referral`: ``.table``, ``.show()``.

    Raises:
        InputError: No labels, values instead of classes, several heads, or no column ``spread``.

    Example:
        >>> easydl.refer(easydl.predict(model, test)).show()  # doctest: +SKIP

    References:
        Leibig C et al. Leveraging uncertainty information from deep neural networks for disease detection. Sci Rep
        2017;7:17816; Geifman Y, El-Yaniv R. Selective classification, NIPS 2017, arXiv:1705.08500.
    """
    if by not in MEASURES:
        raise unknown_name(f"`by` is {by!r}.", by, MEASURES)
    frame, task = _labelled(predictions), Task(predictions.task)
    if by == "spread" and "spread" not in frame.columns:
        raise InputError(
            "The predictions have no column spread.",
            "an ensemble, or predictions with uncertainty=.",
            'Use easydl.predict(model, test, uncertainty="mc_dropout"), or by="margin".',
        )
    right = _right(frame, task)
    sure = -frame["spread"].to_numpy(float) if by == "spread" else margins(predictions, frame)
    unit = "patients" if predictions.patients_known else "images"
    groups = (
        np.unique(frame["patient"].astype(str), return_inverse=True)[1] if unit == "patients" else np.arange(len(frame))
    )
    members = [np.flatnonzero(groups == one) for one in range(groups.max() + 1)]
    rng = np.random.default_rng(seed)
    drawn = np.stack(
        [
            _accuracies(np.concatenate([members[k] for k in rng.integers(0, len(members), len(members))]), sure, right)
            for _ in range(resamples)
        ]
    )
    order, found = np.argsort(-sure, kind="stable"), _accuracies(np.arange(len(sure)), sure, right)
    rows, limits = [], ((1 - level()) / 2, (1 + level()) / 2)
    for place, fraction in enumerate(FRACTIONS):
        kept = order[: _kept(len(order), fraction)]
        n = len(np.unique(groups[kept]))
        interval = logit_interval(found[place], drawn[:, place], n)
        low, high = (interval.low, interval.high) if interval.computable else np.quantile(drawn[:, place], limits)
        gains = np.quantile(drawn[:, place] - drawn[:, 0], limits)
        rows.append((float(fraction), found[place], low, high, n, len(kept), found[place] - found[0], *gains))
    names = ["referred", "accuracy", "low", "high", "n", "images", "gain", "gain_low", "gain_high"]
    return Referral(pd.DataFrame(rows, columns=names), by, unit, list(predictions.notes))


def margins(predictions: Predictions, frame: pd.DataFrame) -> np.ndarray:
    """How far the answer lies from another one, in logits: the smaller, the less sure; of labels that of the least sure."""
    decision = Decision(Task(predictions.task), tuple(predictions.classes), predictions.thresholds)
    probabilities = frame[[f"p({name})" for name in decision.classes]].to_numpy(float).clip(1e-9, 1 - 1e-9)
    if not decision.task.exclusive:
        return np.asarray(np.abs(logit(probabilities) - logit(decision.values)).min(axis=1))
    if decision.positive is not None:
        return np.asarray(
            np.abs(logit(probabilities[:, 1]) - logit(decision.values[1] if decision.thresholds else EVEN))
        )
    ordered = np.sort(probabilities, axis=1)
    return np.asarray(np.log(ordered[:, -1] / ordered[:, -2]))


def _labelled(predictions: Predictions) -> pd.DataFrame:
    task, frame = Task(predictions.task), predictions.frame
    if task.is_multiple or not task.has_classes:
        raise InputError(
            f"The predictions are of the task {task}.",
            "classes or labels, of one task.",
            "Choose a head: predictions.head(name)." if task.is_multiple else "Look at the spread of the values.",
        )
    if "label" not in frame.columns:
        raise InputError(
            "The predictions have no labels.", "a labelled test set.", "Predict a study with a label column."
        )
    return frame[frame["label"].astype(str).str.strip() != ""] if task.exclusive else frame


def _right(frame: pd.DataFrame, task: Task) -> np.ndarray:
    """Whether the answer is the label; for several labels, whether all are."""
    pairs = zip(frame["prediction"].astype(str), frame["label"].astype(str), strict=True)
    if task.exclusive:
        return np.array([answer == label.strip() for answer, label in pairs], float)
    return np.array([set(answer.split(JOIN)) == set(label.split(JOIN)) for answer, label in pairs], float)


def _kept(images: int, fraction: float) -> int:
    return max(1, images - round(images * fraction))


def _accuracies(rows: np.ndarray, sure: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The accuracy of what is left, for each fraction."""
    ordered = right[rows[np.argsort(-sure[rows], kind="stable")]]
    running = np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
    return running[[_kept(len(ordered), fraction) - 1 for fraction in FRACTIONS]]
