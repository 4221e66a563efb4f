"""`easydl.fragility`: how small a change of the image changes the answer, made against the model and at random."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from easydl.errors import RESEARCH_USE, ModelError
from easydl.evaluation.formatting import number, unit_of
from easydl.evaluation.intervals import PatientBootstrap, mean_interval, wilson
from easydl.exploration.given import check_study
from easydl.networks import members_of
from easydl.option_model import documented
from easydl.options_of_use import FragilityOptions
from easydl.prediction import compiled, inputs
from easydl.prediction.calling import check_classes, with_covariates
from easydl.prediction.cascades import open_model
from easydl.prediction.covariates import study_covariates
from easydl.prediction.seen import seen_rows
from easydl.studies import Study
from easydl.tasks import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BATCH, MOST = 16, 200
STRENGTHS = FragilityOptions.model_fields["strengths"].default
AGAINST, NOISE = "against the model", "noise"


@dataclass(eq=False)
class Fragility:
    """How often small changes change a model's answers. Made by `easydl.fragility`.

    Attributes:
        table: One row for each strength and kind: ``strength`` (fraction of the range from black to white), ``kind``
            (``"against the model"`` or ``"noise"``), ``value`` (fraction of the answers that change; of a value the mean
            change), ``low``, ``high`` (95% interval by patient), ``n``, ``images``.
        unit: Of a value; empty for answers.
        unit_of_n: ``patients``, or ``images`` where patients are unknown.
        notes: What must be known, such as that images of the training were used.
        agreement: Of an ensemble the fraction of images for which all members give one answer, with its interval; else None.
    """

    table: pd.DataFrame
    unit: str = ""
    unit_of_n: str = "patients"
    notes: tuple[str, ...] = ()
    agreement: tuple[float, float, float] | None = None
    is_value: bool = False

    def _text(self, strength: float, kind: str) -> str:
        row = self.table[(self.table["strength"] == strength) & (self.table["kind"] == kind)].iloc[0]
        value, low, high = (self._number(row[name]) for name in ("value", "low", "high"))
        return f"{value} (95% CI {low}-{high})" if not self.is_value else f"{value} (95% CI {low} to {high})"

    def _number(self, value: float) -> str:
        return number(float(value), self.unit) if self.is_value else f"{value:.0%}"

    @property
    def sentence(self) -> str:
        """What changes at the middle strength."""
        strengths = sorted(self.table["strength"].unique())
        strength = strengths[len(strengths) // 2]
        n = f"{int(self.table['n'].iloc[0])} {self.unit_of_n}"
        what = "changes the value by" if self.is_value else "changes"
        end = "" if self.is_value else " of the answers"
        text = (
            f"A pattern of {strength:.2%} of the range from black to white, made against the model, {what} "
            f"{self._text(strength, AGAINST)}{end}; noise of the same size {self._text(strength, NOISE)} ({n})."
        )
        if self.agreement is not None:
            value, low, high = self.agreement
            text += f" All members of the ensemble agree on {value:.0%} of the images (95% CI {low:.0%}-{high:.0%})."
        return text

    def show(self, ax: Axes | None = None) -> Figure:
        """Both curves with their intervals.

        Args:
            ax: Draw into these axes instead of a new figure.

        Returns:
            A matplotlib figure.
        """
        from easydl.figures import BLUE, ORANGE, figure_of, frame, new_figure, sign

        own = new_figure(6.5, 4.2) if ax is None else None
        ax = own.subplots() if own is not None else ax
        assert ax is not None
        scale = 1 if self.is_value else 100
        for kind, colour in ((AGAINST, ORANGE), (NOISE, BLUE)):
            rows = self.table[self.table["kind"] == kind]
            x = 100 * rows["strength"]
            ax.plot(x, scale * rows["value"], "o-", color=colour, linewidth=1.8, markersize=5, label=kind)
            ax.fill_between(x, scale * rows["low"], scale * rows["high"], color=colour, alpha=0.15, linewidth=0)
        said = f"mean change{f' ({self.unit})' if self.unit else ''}" if self.is_value else "answers that change (%)"
        ax.set(xlabel="size of the change, % of the range from black to white", ylabel=said, xscale="log")
        ticks = sorted(100 * self.table["strength"].unique())
        ax.set_xticks(ticks, [f"{one:g}" for one in ticks])
        ax.minorticks_off()
        if not self.is_value:
            ax.set_ylim(-3, 103)
        frame(ax, "y")
        ax.legend(frameon=False, fontsize=9.5)
        if own is not None:
            sign(own)
        return figure_of(ax)

    def __repr__(self) -> str:
        return "\n".join([self.sentence, *self.notes, RESEARCH_USE])

    def _repr_html_(self) -> str:
        from easydl.figures import as_image

        lines = "".join(f"<p>{html.escape(one)}</p>" for one in (self.sentence, *self.notes))
        return f"{as_image(self.show(), self.sentence)}{lines}<p><small>{html.escape(RESEARCH_USE)}</small></p>"


@documented(FragilityOptions)
def fragility(model: Any, study: Study, *, strengths: Sequence[float] = STRENGTHS, seed: int = 0) -> Fragility:
    """Ask how small a change of the image changes a model's answer.

    Two changes of the same size are made to every image: one step against the model along the sign of the gradient (FGSM),
    and a random pattern. Every network can be fooled by the first; one that noise changes as easily is not ready for another
    scanner.

    Args:
        model: A model of easydl with one answer for an image, or its ``.keras`` file; an ensemble too.
        study: Images, best those of the test part; up to 200 that the model has not seen are drawn.
        {options}

    Returns:
        A `Fragility`.

    Raises:
        InputError: A strength that is not above 0 and at most 1.
        ModelError: The model makes masks or images, or has several heads.

    Example:
        >>> print(easydl.fragility(model, test))  # doctest: +SKIP

    References:
        Goodfellow et al. 2015, Explaining and harnessing adversarial examples, arXiv:1412.6572; Finlayson et al.
        Adversarial attacks on medical machine learning. Science 2019;363:1287-1289.
    """
    check_study(study)
    sizes = sorted(set(FragilityOptions.checked(strengths=strengths, seed=seed).strengths))
    model, metadata = open_model(model)
    task = Task(metadata.task)
    if task.per_pixel or task.is_multiple:
        raise ModelError(
            f"The model's task is {task}.", "a model with one answer for an image.", "Use easydl.saliency."
        )
    check_classes(metadata, study)
    rows, notes = _unseen(metadata, study, seed)
    part = study.rows(study.frame.index[rows])
    changed, agreeing = _changes(model, metadata, part, sizes, seed)
    patients = part.frame["patient"].astype(str).to_numpy() if part.patients_known else np.arange(len(part)).astype(str)
    n = len(np.unique(patients))
    lines = []
    for kind, of_sizes in changed.items():
        for size, values in zip(sizes, of_sizes, strict=True):
            value, low, high = _mean(values, patients) if task.is_value else _rate(values, n)
            lines.append((size, kind, value, low, high, n, len(part)))
    table = pd.DataFrame(lines, columns=["strength", "kind", "value", "low", "high", "n", "images"])
    return Fragility(
        table,
        unit_of(metadata.classes[0]) if task.is_value else "",
        "patients" if part.patients_known else "images",
        notes,
        None if agreeing is None else _rate(agreeing, n),
        task.is_value,
    )


def _unseen(metadata: Any, study: Study, seed: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """The rows to use: at most 200, of those the model has not seen where there are any."""
    seen, _ = seen_rows([metadata], study)
    fresh = np.flatnonzero([not one for one in seen])
    notes = () if len(fresh) else ("The model was trained on all of these images: on new ones it may be less sure.",)
    rows = fresh if len(fresh) else np.arange(len(study))
    drawn = np.random.default_rng(seed).permutation(rows)[:MOST]
    return np.sort(drawn), notes


def _changes(
    model: Any, metadata: Any, study: Study, sizes: list[float], seed: int
) -> tuple[dict[str, list[np.ndarray]], np.ndarray | None]:
    """For each kind and size what every image's answer became: whether it changed, or by how much; and where members agree."""
    task, decision, call = Task(metadata.task), metadata.decision(), compiled(model)
    low, high = metadata.window or (0.0, 255.0)
    covariates = study_covariates(model, study)
    rng = np.random.default_rng(seed)
    found: dict[str, list[list[np.ndarray]]] = {AGAINST: [[] for _ in sizes], NOISE: [[] for _ in sizes]}
    agreeing: list[np.ndarray] = []
    members = members_of(model)

    def answers(batch: np.ndarray, table: Any, by: Any = call) -> np.ndarray:
        outputs = np.asarray(by(with_covariates(batch, table)))
        if task.is_value:
            return outputs[:, 0]
        return decision.classes_of(outputs) if task.exclusive else decision.labels(outputs)

    for begin in range(0, len(study), BATCH):
        rows = list(range(begin, min(begin + BATCH, len(study))))
        batch = np.concatenate(study.each(lambda row: inputs(model, study.scan(row)), rows))
        table = None if covariates is None else covariates[rows]
        own = answers(batch, table)
        if len(members) > 1 and not task.is_value:
            each = [answers(batch, table, compiled(member)) for member in members]
            agreeing.append(np.all([_same(one, each[0]) for one in each], axis=0))
        pattern = {AGAINST: _against(members, metadata, batch, table, own), NOISE: rng.choice([-1.0, 1.0], batch.shape)}
        for kind, direction in pattern.items():
            for place, size in enumerate(sizes):
                moved = batch + (size * (high - low) * direction).astype(np.float32)
                moved = np.clip(moved, 0, 255) if metadata.units == "0-255" else moved
                new = answers(moved, table)
                found[kind][place].append(np.abs(new - own) if task.is_value else ~_same(new, own))
    joined = {kind: [np.concatenate(one).astype(float) for one in of_sizes] for kind, of_sizes in found.items()}
    return joined, np.concatenate(agreeing).astype(float) if agreeing else None


def _same(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether two answers to each image are one: the class, or all labels."""
    return np.asarray((one == other).reshape(len(one), -1).all(axis=1))


def _against(members: list[Any], metadata: Any, batch: np.ndarray, table: Any, own: np.ndarray) -> np.ndarray:
    """The signs of the step that makes each image's answer less: of a class, of all labels' side, or a value more."""
    from easydl.explanation.gradcam import network_of

    task, total = Task(metadata.task), np.zeros(batch.shape, np.float32)
    classes = range(1 if task.is_value else len(metadata.classes))
    for member in members:
        network = network_of(member, batch.shape[1:-1])
        for target in classes:
            chosen = np.arange(len(batch)) if task.is_value or not task.exclusive else np.flatnonzero(own == target)
            if not len(chosen):
                continue
            given = None if table is None else np.asarray(table)[chosen]
            step, _, _ = network.gradients(batch[chosen], target, np.ones(1, np.float32), covariates=given)
            if task.is_value:
                total[chosen] += step
            else:
                # A class that was chosen, or a label that is called, is to become less; a label that is not, more.
                side = np.ones(len(chosen)) if task.exclusive else np.where(own[chosen, target], 1.0, -1.0)
                total[chosen] -= step * side.reshape(-1, *[1] * (batch.ndim - 1))
    return np.sign(total)


def _rate(values: np.ndarray, n: int) -> tuple[float, float, float]:
    value = float(values.mean())
    interval = wilson(value, n)
    return value, interval.low, interval.high


def _mean(values: np.ndarray, patients: np.ndarray) -> tuple[float, float, float]:
    plan = PatientBootstrap(patients, content=values[:, None])
    sums, counts = np.bincount(plan.index, values), np.bincount(plan.index)
    drawn = plan.run(lambda weights: ((weights @ sums) / (weights @ counts))[:, None])[:, 0]
    interval = mean_interval(drawn, len(plan.names))
    return float(values.mean()), interval.low, interval.high
