"""`easydl.image_map`: every image of a study as a point, near those that the model takes for alike; islands are named."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from easydl.errors import RESEARCH_USE, InputError, unknown_name
from easydl.exploration.given import check_study
from easydl.exploration.positions import islands_of, on_map, reduced
from easydl.figures import COLOURS, GREY, literal, new_figure, sign
from easydl.option_model import documented
from easydl.options_of_use import MapOptions
from easydl.prediction import Predictions, predict
from easydl.prediction.cascades import open_model
from easydl.prediction.feature_table import features
from easydl.studies import Study
from easydl.tasks import Task
from easydl.traps.islands import Island, columns_of, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHODS = {"pca": "principal components", "tsne": "t-SNE"}
FEWEST = 10
OWN = ("image", "x", "y", "island", "error")
"""Columns of the map's own table: a study's of the same name is called otherwise in it."""
MOST_COLOURS = 6
_RIGHT, _WRONG = "right", "wrong"


@dataclass(eq=False)
class ImageMap:
    """The images of a study by what a model sees in them. Made by `easydl.image_map`.

    Attributes:
        table: One row for each image with the index of ``study.frame``: ``image``, ``x``, ``y``, ``island`` (0 for those
            between islands) and everything it can be coloured by.
        islands: The groups, the largest first, each with what explains it.
        method: How it was drawn.
        name: Of the study.
        notes: What must be known about it.
    """

    table: pd.DataFrame
    islands: list[Island]
    method: str = "pca"
    name: str = "study"
    notes: tuple[str, ...] = field(default=())

    @property
    def colours(self) -> list[str]:
        """What it can be coloured by."""
        return [str(name) for name in self.table.columns if name not in ("image", "x", "y")]

    @property
    def sentences(self) -> list[str]:
        """One for each island; one where there is none."""
        if not self.islands:
            return ["No islands: the model sees no groups of images that are apart from the others."]
        return [f"Island {island.number}: {island.sentence}" for island in self.islands]

    def show(self, colour: str | None = None, ax: Axes | None = None) -> Figure:
        """Draw it, one point for each image.

        Args:
            colour: One of ``.colours``: a column, ``"error"``, ``"island"``; the label when None, where there is one.
            ax: Draw into these axes instead of a new figure.

        Returns:
            A matplotlib figure.

        Raises:
            InputError: There is no such column.
        """
        from easydl.figures import figure_of

        colour = colour or ("label" if "label" in self.colours else "island")
        if colour not in self.colours:
            raise unknown_name(f"`colour` is {colour!r}.", colour, self.colours)
        figure = new_figure(8.6, 5.4) if ax is None else figure_of(ax)
        axes = figure.subplots() if ax is None else ax
        _points(axes, self.table, self.table[colour].astype(str).replace("", "(empty)"), literal(colour))
        for island in self.islands:
            x, y = self.table.loc[self.table["island"] == island.number, ["x", "y"]].median()
            axes.annotate(
                str(island.number), (x, y), fontsize=12, fontweight="bold", ha="center", va="center",
                bbox={"boxstyle": "circle,pad=0.25", "facecolor": "white", "edgecolor": GREY, "alpha": 0.85},
            )  # fmt: skip
        axes.set(xticks=[], yticks=[])
        for side in axes.spines.values():
            side.set_color("#d7dde2")
        axes.set_title(
            literal(f"{self.name}: {len(self.table)} images, {METHODS[self.method]}"), fontsize=11, loc="left"
        )
        if ax is None:
            sign(figure)
        return figure

    def __repr__(self) -> str:
        lines = [f"Image map of {self.name}: {len(self.table)} images, {METHODS[self.method]}", *self.sentences]
        return "\n".join([*lines, *self.notes, RESEARCH_USE])

    def _repr_html_(self) -> str:
        from easydl.figures import as_image

        sentences = "".join(f"<li>{html.escape(one)}</li>" for one in self.sentences)
        notes = "".join(f"<p>{html.escape(one)}</p>" for one in self.notes)
        picture = as_image(self.show(), "Image map")
        return f"{picture}<ul>{sentences}</ul>{notes}<p><small>{html.escape(RESEARCH_USE)}</small></p>"


@documented(MapOptions)
def image_map(model: Any, study: Study, *, method: str = "pca") -> ImageMap:
    """Show which images a model takes for alike, and which column explains each group of them.

    A model that saw only the disease puts images of one class together. Where an island is named by the scanner, the site
    or the sex, the model sees that, whether or not its answers use it (A6 of the audit says).

    Args:
        model: A model of easydl or its ``.keras`` file.
        study: The study, in training or new; best the whole, so that its parts can be compared.
        {options}

    Returns:
        An `ImageMap`: ``.show(colour="scanner")``, ``.islands``, ``.table``.

    Raises:
        InputError: An unknown method, or fewer than 10 images.
        ModelError: The model does not fit the study.

    Example:
        >>> easydl.image_map(model, study).show("scanner")  # doctest: +SKIP

    References:
        van der Maaten L, Hinton G. Visualizing data using t-SNE. J Mach Learn Res 2008;9:2579-2605.
    """
    MapOptions.checked(method=method)
    check_study(study)
    if len(study) < FEWEST:
        raise InputError(f"The study has {len(study)} images.", f"at least {FEWEST}.", "Add images.")
    model, _ = open_model(model)
    return mapped(study, features(model, study).to_numpy(), errors_of(model, study), method)


def mapped(study: Study, values: np.ndarray, errors: dict[str, np.ndarray], method: str = "pca") -> ImageMap:
    """The map of images whose features are known: see `image_map`.

    Args:
        study: At least 10 images.
        values: ``(images, features)``.
        errors: Columns beside the study's own, such as ``"error"``: whether an answer is right (`right_or_wrong`).
        method: How it is drawn.
    """
    positions = on_map(reduced(values), method)
    groups = islands_of(positions)
    islands = named(groups, study, errors)
    table = pd.DataFrame(
        {
            "image": study.frame[study.image_columns[0]],
            "x": positions[:, 0],
            "y": positions[:, 1],
            "island": groups,
            **{f"{name} (column)" if name in OWN else name: cells for name, cells in columns_of(study)},
            **errors,
        },
        index=study.frame.index,
    )
    return ImageMap(table, islands, method, study.name)


def errors_of(model: Any, study: Study) -> dict[str, np.ndarray]:
    """The column ``error`` of a map: whether a model's answers are right, where that can be said of one label."""
    task = Task(open_model(model)[1].task)
    if not task.exclusive or task.per_pixel or task.is_multiple or study.task != task or "label" not in study.frame:
        return {}
    label = study.frame["label"].astype(str).to_numpy()
    answers = predict(model, study)
    assert isinstance(answers, Predictions)
    return right_or_wrong(label, answers.frame["prediction"].astype(str).to_numpy())


def right_or_wrong(label: np.ndarray, answer: np.ndarray) -> dict[str, np.ndarray]:
    """The column ``error`` of a map: whether each answer is the reference; empty where there is none."""
    return {"error": np.where(label == "", "", np.where(answer == label, _RIGHT, _WRONG))}


def _points(axes: Any, table: pd.DataFrame, cells: pd.Series, title: str) -> None:
    counts = cells.value_counts()
    shown = sorted(counts.index[:MOST_COLOURS])
    for place, value in enumerate([*shown, None] if len(counts) > len(shown) else shown):
        chosen = cells == value if value is not None else ~cells.isin(shown)
        colour = COLOURS[place % len(COLOURS)] if value is not None else "#b9c1c8"
        name = f"{literal(value)} ({int(chosen.sum())})" if value is not None else f"others ({int(chosen.sum())})"
        axes.scatter(
            table.loc[chosen, "x"], table.loc[chosen, "y"], s=22, color=colour, alpha=0.75, linewidths=0, label=name
        )  # fmt: skip
    axes.legend(title=title, fontsize=9, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0), alignment="left")
