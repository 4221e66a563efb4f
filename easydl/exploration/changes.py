"""`easydl.explain`: hide a part of an image, or insert one of another, and see what the answer becomes."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from easydl.errors import RESEARCH_USE, InputError, unknown_name
from easydl.explanation.cases import image_of
from easydl.exploration.regions import body, hidden, inserted, moved, region_of
from easydl.figures import literal, new_figure, panel, sign
from easydl.images import Scan
from easydl.networks.metadata import attached
from easydl.prediction import Predictions, predict
from easydl.prediction.cascades import open_model
from easydl.prediction.predicting import as_source
from easydl.studies import Study
from easydl.tasks import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONTROLS = 20
MATTERS = 0.05
"""A smaller change of a probability is none worth a sentence, however certain."""


@dataclass(eq=False)
class Change:
    """What an answer becomes when the image is changed. Made by `easydl.explain`.

    Attributes:
        target: The class, label or value that is looked at.
        before: Its probability (or value) for the image as it is.
        after: The same for the changed image.
        controls: The same when as large a part elsewhere is changed, one number for each place.
        table: Every output before and after: ``output``, ``before``, ``after``.
        scan: The image.
        changed: The changed image.
        mask: bool: which pixels were changed.
        kind: ``"hidden"`` or ``"inserted"``.
        window: (low, high) in HU that black and white stand for in figures, or None.
        is_value: Whether the target is a value, not a probability.
    """

    target: str
    before: float
    after: float
    controls: np.ndarray
    table: pd.DataFrame
    scan: Scan
    changed: Scan
    mask: np.ndarray
    kind: str
    window: tuple[float, float] | None = None
    is_value: bool = False

    @property
    def p(self) -> float:
        """How often a change elsewhere does as much or more (with one counted for it); NaN without controls."""
        if not len(self.controls):
            return float("nan")
        own = abs(self.after - self.before)
        return float((1 + (np.abs(self.controls - self.before) >= own).sum()) / (1 + len(self.controls)))

    @property
    def sentence(self) -> str:
        """What happened, with the numbers."""
        share = self.mask.mean()
        what = f"with {share:.1%} of the image {self.kind}"
        text = f"{self.target}: {self._text(self.before)} becomes {self._text(self.after)} {what}."
        if not len(self.controls):
            return f"{text} There is no other place for a part of this shape to compare with."
        low, high = self.controls.min(), self.controls.max()
        place = (
            "As large a part hidden elsewhere"
            if self.kind == "hidden"
            else "Parts from elsewhere, inserted at this place,"
        )
        verb = "gives" if self.kind == "hidden" else "give"
        if not self.is_value and abs(self.after - self.before) < MATTERS:
            answer = "The answer hardly changes."
        elif self.p <= 1 / (1 + len(self.controls)) + 1e-9:
            answer = "The answer depends on this part."
        else:
            answer = "Other places do as much: the answer does not depend on this part alone."
        return f"{text} {place} {verb} {self._text(low)} to {self._text(high)} (n = {len(self.controls)}). {answer}"

    def _text(self, value: float) -> str:
        """A probability in two decimals; a value in three digits that mean something."""
        return f"{value:.3g}" if self.is_value else f"{value:.2f}"

    def show(self) -> Figure:
        """The image and what was made of it, with the answers.

        Returns:
            A matplotlib figure.
        """
        figure = new_figure(7.4, 4.3)
        before, after = figure.subplots(1, 2)
        index = int(self.mask.sum(axis=(1, 2)).argmax()) if self.scan.dimension == 3 else None
        panel(before, self.scan, self.mask.astype(int), index=index, window=self.window)
        panel(after, self.changed, index=index, window=self.window)
        before.set_title(literal(f"{self.target}: {self._text(self.before)}"), fontsize=10.5)
        after.set_title(literal(f"{self.kind}: {self._text(self.after)}"), fontsize=10.5)
        sign(figure, f"{self.sentence} {RESEARCH_USE}")
        return figure

    def __repr__(self) -> str:
        return f"{self.sentence}\n{RESEARCH_USE}"

    def _repr_html_(self) -> str:
        from easydl.figures import as_image

        return f"{as_image(self.show(), self.sentence)}<p><small>{html.escape(RESEARCH_USE)}</small></p>"


def explain(
    model: Any,
    case: Any,
    *,
    hide: Any = None,
    insert: tuple[Any, Any] | None = None,
    at: tuple[int, ...] | None = None,
    target: str | None = None,
    row: int = 0,
    covariates: Mapping[str, Any] | None = None,
    units: str = "auto",
    seed: int = 0,
) -> Change:
    """Hide a part of an image, or insert a part of another, and see what the answer becomes.

    A heatmap says where to look; this is the experiment. Up to 20 parts of the same shape are changed in the same way, hidden
    elsewhere in the image or taken from elsewhere in the other, so that a change is compared with what any change does.

    Args:
        model: A model of easydl with one answer for an image, or its ``.keras`` file.
        case: An image: a path, a `Scan`, an array; or a `Study` and its ``row``.
        hide: What to hide: a mask of the image's shape, the file of one, or a box ``(top, bottom, left, right)`` in pixels
            (of a volume ``(front, back, top, bottom, left, right)``). It is replaced by the blurred image.
        insert: ``(other, part)``: an image and what to take from it, given as ``hide``. It is as bright against its
            surroundings as it was there, and keeps its size in mm where both spacings are known.
        at: Where the inserted part begins, ``(row, column)``; where it was in the other image when None.
        target: A class or label; of several heads ``"cancer: yes"``. What the model answers when None.
        row: Which image, where ``case`` is a study.
        covariates: As for `easydl.predict`; those of the row where ``case`` is a study and none are given.
        units: As for `easydl.predict`.
        seed: Of the places that are compared.

    Returns:
        A `Change`.

    Raises:
        InputError: Neither or both of ``hide`` and ``insert``, a region that does not fit, or a model of masks.

    Example:
        >>> easydl.explain(model, "case.png", hide=(10, 40, 10, 40))  # doctest: +SKIP
        nodule: 0.91 becomes 0.34 with 1.4% of the image hidden. ...

    References:
        Zeiler and Fergus 2014, arXiv:1311.2901; Erickson BJ et al. Toolkits and libraries for deep learning. J Digit
        Imaging 2017;30:400-405 ("placing features into an image, or removing them").
    """
    if (hide is None) == (insert is None):
        raise InputError(
            f"{'Neither' if hide is None else 'Both'} of hide= and insert= was given.",
            "one of them.",
            "Give hide=(top, bottom, left, right), or insert=(other image, its part).",
        )
    if insert is not None and not (isinstance(insert, (tuple, list)) and len(insert) == 2):
        raise InputError(
            f"`insert` is a {type(insert).__name__}.",
            "two things: an image and its part.",
            "Give insert=(other image, (top, bottom, left, right)).",
        )
    model, metadata = open_model(model)
    if Task(metadata.task).per_pixel:
        raise InputError(
            f"The model's task is {metadata.task}.", "a model with one answer for an image.", "Use easydl.saliency."
        )
    scan, own = _case(model, metadata, case, row, units)
    covariates = covariates if covariates is not None else own
    inside = body(scan)
    if hide is not None:
        mask = region_of(hide, scan)
        changed = hidden(scan, mask)
        others = [hidden(scan, one) for one in moved(mask, inside, CONTROLS, seed)]
    else:
        source, part = insert  # type: ignore[misc]
        other, _ = _case(model, metadata, source, 0, units)
        region = region_of(part, other, "insert")
        changed, mask = inserted(scan, other, region, at)
        corner = tuple(int(side) for side in np.argwhere(mask).min(axis=0))
        others = [inserted(scan, other, one, corner)[0] for one in moved(region, body(other), CONTROLS, seed)]
    first, called = _answers(model, scan, covariates)
    if target is not None and target not in first:
        raise unknown_name(f"`target` is {target!r}.", target, first)
    outputs = [first] + [
        _answers(model, replace(scan, pixels=pixels), covariates)[0] for pixels in (changed, *others)
    ]  # fmt: skip
    name = target or called
    values = np.array([one[name] for one in outputs])
    table = pd.DataFrame({"output": list(outputs[0]), "before": outputs[0].values(), "after": outputs[1].values()})
    return Change(
        name, float(values[0]), float(values[1]), values[2:], table, scan, replace(scan, pixels=changed), mask,
        "hidden" if hide is not None else "inserted", metadata.window if scan.units == "HU" else None,
        _is_value(metadata, name),
    )  # fmt: skip


def _case(model: Any, metadata: Any, case: Any, row: int, units: str) -> tuple[Scan, dict[str, str] | None]:
    """The image as it lies in its file, and of a row of a study its covariates, as far as the model knows their values."""
    if isinstance(case, (str, Path)) and attached(model) is not None:
        case = as_source(case, metadata, units)
    scan = image_of(model, metadata, case, row, covariates=None, units=units)[0].on_source()
    if not isinstance(case, Study):
        return scan, None
    cells = {
        one.name: (one, str(case.frame[one.name].iloc[row]).strip())
        for one in metadata.covariates
        if one.name in case.frame
    }
    return scan, {name: cell for name, (one, cell) in cells.items() if one.categories is None or cell in one.categories}


def _answers(model: Any, scan: Scan, covariates: Mapping[str, Any] | None) -> tuple[dict[str, float], str]:
    """Every probability or value by what it is called (``nodule``, ``cancer: yes``, ``age``), and which of them is the answer."""
    answers = predict(model, scan, covariates=covariates)
    assert isinstance(answers, Predictions)
    found: dict[str, float] = {}
    called = ""
    for head in answers.heads or [""]:
        one, start = (answers.head(head), f"{head}: ") if head else (answers, "")
        task, row = Task(one.task), one.frame.iloc[0]
        if task.is_value:
            found[str(one.classes[0])] = float(row["value"])
            called = called or str(one.classes[0])
            continue
        own = {f"{start}{name}": float(row[f"p({name})"]) for name in one.classes}
        found |= own
        called = called or (f"{start}{row['prediction']}" if task.exclusive else max(own, key=lambda name: own[name]))
    return found, called


def _is_value(metadata: Any, target: str) -> bool:
    head = metadata.heads.get(target)
    return Task(head.task if head is not None else metadata.task).is_value
