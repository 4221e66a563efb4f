"""`easydl.ablation`: one kind of information removed from every image of a test part, and what is left of the result."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from scipy.stats import rankdata

from easydl.comparison.results import ComparedModel, Comparison
from easydl.comparison.trained import on_unseen
from easydl.errors import RESEARCH_USE, ModelError
from easydl.exploration.given import check_labels, check_study
from easydl.option_model import documented
from easydl.options_of_use import AblationOptions
from easydl.prediction.cascades import open_model
from easydl.prediction.tables import predict_study
from easydl.prediction.views import without_border
from easydl.studies import Study
from easydl.tasks import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AS_IT_IS = "as they are"
BLUR, MEDIAN, PARTS = 0.02, 0.03, 4
"""Of each side: the standard deviation that takes edges away, and the window that takes texture and leaves edges."""


def _each(work: Callable[[np.ndarray], np.ndarray], batch: np.ndarray) -> np.ndarray:
    """Something done to every channel of every image."""
    made = np.stack([[work(channel) for channel in np.moveaxis(image, -1, 0)] for image in batch])
    return np.moveaxis(made, 1, -1).astype(np.float32)


def _grey(batch: np.ndarray) -> np.ndarray:
    return np.repeat(batch.mean(axis=-1, keepdims=True), batch.shape[-1], axis=-1).astype(np.float32)


def _without_edges(batch: np.ndarray) -> np.ndarray:
    return _each(lambda one: ndimage.gaussian_filter(one, [BLUR * side for side in one.shape], mode="nearest"), batch)


def _without_texture(batch: np.ndarray) -> np.ndarray:
    def smooth(one: np.ndarray) -> np.ndarray:
        return ndimage.median_filter(
            one, [2 * max(1, round(MEDIAN * side / 2)) + 1 for side in one.shape], mode="nearest"
        )

    return _each(smooth, batch)


def _without_grey_levels(batch: np.ndarray) -> np.ndarray:
    """Every image gets the same histogram: only which pixel is brighter than which is left."""

    def levelled(one: np.ndarray) -> np.ndarray:
        return (rankdata(one).reshape(one.shape) - 0.5) / one.size

    ranks = _each(levelled, batch)
    low, high = np.percentile(batch, [1, 99])
    return (low + ranks * (high - low)).astype(np.float32)


def _without_arrangement(batch: np.ndarray, seed: int) -> np.ndarray:
    """The parts of a grid of 4 (of a volume 2) along each side in another order: textures stay, shapes go."""
    parts = PARTS if batch.ndim == 4 else 2
    step = [side // parts for side in batch.shape[1:-1]]
    places = [
        tuple(slice(k * size, (k + 1) * size) for k, size in zip(corner, step, strict=True))
        for corner in product(range(parts), repeat=len(step))
    ]
    order = np.random.default_rng(seed).permutation(len(places))
    made = batch.copy()
    for place, other in zip(places, order, strict=True):
        made[(slice(None), *place)] = batch[(slice(None), *places[other])]
    return made


CHANGES: dict[str, str] = {
    "colour": "every image grey",
    "edges": f"blurred by {BLUR:.0%} of the side: no edges, no fine texture",
    "texture": f"a median over {MEDIAN:.0%} of the side: edges stay",
    "grey levels": "the same histogram for every image",
    "arrangement": "a grid of parts in another order: texture stays, shapes go",
    "border": "the outer tenth replaced by the mirrored inside",
}


@dataclass(eq=False)
class Ablation:
    """What is left of a result without one kind of information. Made by `easydl.ablation`.

    Attributes:
        comparison: Every number with its interval, and its paired difference from the images as they are.
    """

    comparison: Comparison

    @property
    def sentences(self) -> list[str]:
        """One for each kind of information, the largest loss first."""
        rows = [row for row in self.comparison.rows if row.name != AS_IT_IS]
        return [self._said(row) for row in sorted(rows, key=self._loss, reverse=True)]

    def _loss(self, row: ComparedModel) -> float:
        loss = -row.difference if self.comparison.lower_is_better else row.difference
        return loss if np.isfinite(loss) else -np.inf

    def _said(self, row: ComparedModel) -> str:
        found = self.comparison
        lost = (row.difference_high < 0) if found.lower_is_better else (row.difference_low > 0)
        text = f"{row.name} ({row.text}): {found.measure.split(',')[0]} {found.value_text(row)}, difference {found.gap_text(row)}"
        return f"{text}. {'The model uses it.' if lost else 'No loss can be shown.'}"

    def show(self, ax: Axes | None = None) -> Figure:
        """A forest plot of all numbers with their intervals."""
        figure = self.comparison.show(ax)
        (ax or figure.axes[0]).set_title("What is left without ...", fontsize=10, loc="left")
        return figure

    def __repr__(self) -> str:
        first = next(row for row in self.comparison.rows if row.name == AS_IT_IS)
        head = f"{self.comparison.measure} of {self.comparison.where}, images {AS_IT_IS}: {self.comparison.value_text(first)}"
        return "\n".join([head, *(f"  {one}" for one in self.sentences), *self.comparison.notes, RESEARCH_USE])

    def _repr_html_(self) -> str:
        lines = html.escape(repr(self)).split("\n")
        return f"<p><b>{lines[0]}</b></p><ul>{''.join(f'<li>{line.strip()}</li>' for line in lines[1:-1])}</ul><p><small>{lines[-1]}</small></p>"


@documented(AblationOptions)
def ablation(model: Any, study: Study, *, without: Sequence[str] | None = None, seed: int = 0) -> Ablation:
    """Remove one kind of information from every image of a test part, and measure again.

    A model of lung nodules that loses nothing without edges and all without the border goes by what is printed there. An
    image without some information is unlike any it was trained on: a loss says that the model uses the information or is
    disturbed by its absence, no loss says that it does not need it.

    Args:
        model: A model of easydl with one answer for an image, or its ``.keras`` file.
        study: The test part, or a study with one: images that the model has seen are left out.
        {options}

    Returns:
        An `Ablation`. It counts as one look at the test part.

    Raises:
        InputError: An unknown kind of information.
        ModelError: The model makes masks or images, or has several heads.
        LeakageError: The model has seen all images.

    Example:
        >>> print(easydl.ablation(model, test))  # doctest: +SKIP

    References:
        Geirhos et al. 2019, ImageNet-trained CNNs are biased towards texture, arXiv:1811.12231.
    """
    AblationOptions.checked(without=without, seed=seed)
    check_study(study)
    model, metadata = open_model(model)
    task = Task(metadata.task)
    if task.per_pixel or task.is_multiple:
        raise ModelError(
            f"The model's task is {task}.", "a model with one answer for an image.", "Use easydl.saliency for others."
        )
    chosen = (
        list(without) if without is not None else [one for one in CHANGES if one != "colour" or metadata.channels == 3]
    )
    changes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "colour": _grey,
        "edges": _without_edges,
        "texture": _without_texture,
        "grey levels": _without_grey_levels,
        "arrangement": partial(_without_arrangement, seed=seed),
        "border": without_border,
    }

    def answers(unseen: Study) -> dict[str, Any]:
        check_labels(unseen.frame, task)
        made = {f"without {name}": predict_study(model, metadata, unseen, change=changes[name]) for name in chosen}
        return {AS_IT_IS: predict_study(model, metadata, unseen), **made}

    texts = {AS_IT_IS: "images as they are", **{f"without {name}": CHANGES[name] for name in chosen}}
    return Ablation(on_unseen({AS_IT_IS: (model, metadata)}, study, answers, texts, seed, reference=AS_IT_IS))
