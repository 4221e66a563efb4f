"""A tree as sentences, a table and a figure, with how far it agrees with the model. It fits nothing."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from easydl.errors import RESEARCH_USE
from easydl.evaluation.formatting import interval_text, number
from easydl.evaluation.intervals import wilson
from easydl.exploration.inputs import Input
from easydl.fileio import write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REFUSED = "This tree does not explain the model"
Side = tuple[bool, Input, float]
"""Whether a number is above (or a category is there), of what, and the threshold."""


@dataclass(frozen=True)
class Fidelity:
    """How far a tree agrees with a model on patients that it has not seen.

    Attributes:
        value: The fraction of images with the same answer, or the R² of a value.
        low: Lower end of its 95% interval, by patient.
        high: Upper end.
        n: Patients (images where patients are not known).
        images: Images.
        measure: ``agreement`` or ``R²``.
        baseline: What always giving the commonest answer (of a value: the mean) has.
        commonest: That answer.
        gain: What the tree has more than the baseline, with its interval: value, low, high.
    """

    value: float
    low: float
    high: float
    n: int
    images: int
    measure: str
    baseline: float
    commonest: str
    gain: tuple[float, float, float]

    @property
    def shown(self) -> bool:
        """Whether it is shown to be more than the baseline: only then it says anything."""
        return self.gain[1] > 0

    @property
    def text(self) -> str:
        """As in ``0.92 (95% CI 0.89-0.95)``."""
        cells = {"value": self.value, "low": self.low, "high": self.high, "unit": ""}
        return f"{number(self.value)} (95% CI {interval_text(cells)})"


@dataclass(frozen=True)
class Node:
    """A question of the tree, or an answer.

    Attributes:
        answer: What the model says most often here; of a value its mean.
        right: The number of images of which the model says so.
        images: Images that come here.
        patients: Their patients.
        spread: Of a value its standard deviation here; NaN otherwise.
        input: What is asked; None for an answer.
        threshold: From which number on the answer is yes.
        no: Where images at or below it go.
        yes: Where those above it go.
    """

    answer: str
    right: int
    images: int
    patients: int
    spread: float = math.nan
    input: Input | None = None
    threshold: float = math.nan
    no: Node | None = None
    yes: Node | None = None

    def leaves(self, sides: tuple[Side, ...] = ()) -> Iterator[tuple[tuple[Side, ...], Node]]:
        """Every answer with what leads to it, from the top of the figure down."""
        if self.input is None or self.no is None or self.yes is None:
            yield sides, self
            return
        yield from self.yes.leaves((*sides, (True, self.input, self.threshold)))
        yield from self.no.leaves((*sides, (False, self.input, self.threshold)))


@dataclass(frozen=True, repr=False)
class TreeExplanation:
    """A decision tree that imitates a model, and how well it does.

    Attributes:
        root: Its first question.
        fidelity: How far it agrees with the model, on patients that it has not seen.
        target: The class, label or task that is explained; empty for all classes.
        value: The name of a value; empty for classes.
        unit_of_n: ``patients``, or ``images`` where patients are not known.
        notes: What must be read with it.
    """

    root: Node
    fidelity: Fidelity
    target: str = ""
    value: str = ""
    unit_of_n: str = "patients"
    notes: tuple[str, ...] = ()

    @property
    def explains(self) -> bool:
        """Whether the tree says anything about the model: its fidelity is shown to be above the commonest answer's."""
        return self.fidelity.shown

    @property
    def sentence(self) -> str:
        """How far the tree agrees with the model, beside what the commonest answer alone has."""
        one = self.fidelity
        on = (
            f"on {one.images} images of {one.n} patients" if self.unit_of_n == "patients" else f"on {one.images} images"
        )
        of = f" [{self.target}]" if self.target else ""
        if one.measure == "R²":
            has = f"its R² with the model's values is {one.text} {on} that it has not seen"
            base = f"always saying {one.commonest}, the mean, has 0"
        else:
            has = f"it agrees with the model in {one.text} {on} that it has not seen"
            base = f"always saying {one.commonest} agrees in {number(one.baseline)}"
        if self.explains:
            return f"{has[0].upper()}{has[1:]}; {base}{of}.".replace("It agrees", "The tree agrees", 1).replace(
                "Its R²", "The tree's R²", 1
            )
        return f"{REFUSED}: {has}, which is not shown to be more than the commonest answer; {base}{of}."

    @property
    def rules(self) -> tuple[str, ...]:
        """If-then sentences, one for each answer of the tree; none where the tree does not explain the model."""
        return tuple(self._rule(sides, leaf) for sides, leaf in self.root.leaves()) if self.explains else ()

    def _rule(self, sides: tuple[Side, ...], leaf: Node) -> str:
        said = self._said(leaf)
        return f"If {conditions(sides)}, the model says {said}." if sides else f"The model says {said}."

    def _said(self, leaf: Node) -> str:
        who = f", {leaf.patients} patients" if self.unit_of_n == "patients" else ""
        if self.value:
            return f"{leaf.answer} on average (standard deviation {leaf.spread:.2g}; {leaf.images} images{who})"
        return f"{leaf.answer} ({leaf.right} of {leaf.images} images{who})"

    @property
    def table(self) -> pd.DataFrame:
        """One row for each answer: rule, answer, images, patients, fraction (of the images the model says so), low, high."""
        rows = []
        for sides, leaf in self.root.leaves():
            fraction = math.nan if self.value else leaf.right / leaf.images
            interval = wilson(fraction, leaf.patients) if not self.value else None
            limits = {"low": interval.low, "high": interval.high} if interval else {"low": math.nan, "high": math.nan}
            named = {"rule": conditions(sides) or "always", "answer": leaf.answer}
            counted = {"images": leaf.images, "patients": leaf.patients, "fraction": fraction}
            rows.append({**named, **counted, **limits, "standard deviation": leaf.spread})
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        return "\n".join([self.sentence, *self.rules, *self.notes, RESEARCH_USE])

    def _repr_html_(self) -> str:
        rules = "".join(f"<li>{html.escape(rule)}</li>" for rule in self.rules)
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return (
            f"<p><b>{html.escape(self.sentence)}</b></p>{f'<ul>{rules}</ul>' if rules else ''}{notes}"
            f"<p><small>{html.escape(RESEARCH_USE)}</small></p>"
        )

    def show(self, ax: Axes | None = None) -> Figure:
        """The tree from left to right, with what the model says at each end; of one that does not explain the sentence alone.

        Args:
            ax: Draw into these axes instead of a new figure.

        Returns:
            A matplotlib figure.
        """
        from easydl.exploration.tree_figure import draw_tree

        return draw_tree(self, ax)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found = {key: None if isinstance(cell, float) and math.isnan(cell) else cell
                 for key, cell in asdict(self.fidelity).items()}  # fmt: skip
        own = {"target": self.target, "value": self.value, "unit_of_n": self.unit_of_n, "notes": list(self.notes)}
        said = {"explains": self.explains, "sentence": self.sentence, "rules": list(self.rules)}
        return {"research_use": RESEARCH_USE, **said, "fidelity": found, **own}

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, all or nothing. Returns the path."""
        return write_text(path, json.dumps(self.to_dict(), indent=1, allow_nan=False))


def conditions(sides: tuple[Side, ...]) -> str:
    """What leads to an answer, as text; several thresholds of one number become one."""
    above: dict[str, float] = {}
    below: dict[str, float] = {}
    inputs: dict[str, Input] = {}
    for is_above, asked, threshold in sides:
        inputs[asked.name] = asked
        if is_above:
            above[asked.name] = max(threshold, above.get(asked.name, -math.inf))
        else:
            below[asked.name] = min(threshold, below.get(asked.name, math.inf))
    return " and ".join(_condition(asked, above.get(name), below.get(name)) for name, asked in inputs.items())


def _condition(asked: Input, low: float | None, high: float | None) -> str:
    if asked.category:
        return asked.phrase if low is not None else asked.phrase.replace(" is ", " is not ", 1)
    if low is None:
        assert high is not None
        return f"{asked.phrase} is at most {asked.number(high)}"
    if high is None:
        return f"{asked.phrase} is above {asked.number(low)}"
    return f"{asked.phrase} is above {asked.number(low)} and at most {asked.number(high)}"
