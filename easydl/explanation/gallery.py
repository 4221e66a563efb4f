"""Heatmaps of a study side by side, by one method or several: the surest errors first. It computes no map itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.explanation.explain import saliency
from easydl.explanation.heatmap import Heatmap
from easydl.explanation.methods import METHODS, method_of
from easydl.explanation.verdict import WORDS
from easydl.figures import key_slice, literal, new_figure, panel, sign
from easydl.option_model import documented
from easydl.options_of_use import GalleryOptions
from easydl.prediction import predict
from easydl.prediction.cascades import open_model
from easydl.studies import Study
from easydl.tasks import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL, ROW = 2.6, 3.1


@documented(GalleryOptions)
def gallery(
    model: Any,
    study: Study,
    *,
    methods: str | Sequence[str] = "gradcam",
    most: int = 4,
    target: str | int | None = None,
    verdict: bool = True,
    seed: int = 0,
) -> Figure:
    """Heatmaps of the images of a study in one figure, a row for each image and a column for each method.

    Wrong answers come first, the surest of them at the top; then the others in the order of the study.

    Args:
        model: A model of easydl or its ``.keras`` file.
        study: Images, with labels where errors shall come first.
        {options}
        target: As for `easydl.saliency`.

    Returns:
        A matplotlib figure.

    Raises:
        InputError: An unknown method or none, or ``most`` outside its range.

    Example:
        >>> easydl.gallery(model, test, methods=["gradcam", "occlusion"])  # doctest: +SKIP
    """
    chosen = [methods] if isinstance(methods, str) else list(methods)
    GalleryOptions.checked(methods=chosen, most=most, verdict=verdict, seed=seed)
    for name in chosen:
        method_of(name, None)
    if not chosen:
        raise InputError("`methods` is empty.", "one method of easydl.saliency or several.", 'Such as ["gradcam"].')
    model, _ = open_model(model)
    rows = surest_errors_first(model, study)[:most]
    figure = new_figure(PANEL * (1 + len(chosen)), ROW * len(rows) + 0.3)
    axes = figure.subplots(len(rows), 1 + len(chosen), squeeze=False)
    for row, line in zip(rows, axes, strict=True):
        options: dict[str, Any] = {"row": row, "target": target, "verdict": verdict, "seed": seed}
        maps = [saliency(model, study, method=name, **options) for name in chosen]
        _draw_line(line, maps)
    sign(figure)
    return figure


def surest_errors_first(model: Any, study: Study) -> list[int]:
    """Rows of a study: wrong answers by their confidence, then the others in their order."""
    task = Task(study.task)
    if task.has_masks or task.is_value or study.heads or "label" not in study.frame.columns:
        return list(range(len(study)))
    table: pd.DataFrame = getattr(predict(model, study), "frame", pd.DataFrame())
    if not {"prediction", "confidence"} <= set(table.columns):
        return list(range(len(study)))
    labels = study.frame["label"].astype(str).to_numpy()
    right = (table["prediction"].astype(str).to_numpy() == labels) | (labels == "")
    sure = np.where(right, 0.0, -table["confidence"].to_numpy(float))
    return [int(row) for row in np.lexsort((np.arange(len(study)), sure, right))]


def _draw_line(line: Sequence[Axes], maps: Sequence[Heatmap]) -> None:
    first = maps[0]
    scan = first.scan.in_its_plane()
    arrays = [first.scan.as_in(scan, one.array) for one in maps]
    # One slice for all methods, or they could not be compared.
    index = key_slice(scan, heat=arrays[0]) if scan.dimension == 3 else None
    panel(line[0], scan, index=index, window=first.window)
    about = [first.prediction(), f"reference {first.reference}" if first.reference else ""]
    about.append({True: "right", False: "WRONG", None: ""}[first.right])
    where = f"slice {index + 1} of {scan.shape[0]}" if index is not None else ""
    line[0].set_title(literal("\n".join([about[0], ", ".join(one for one in (*about[1:], where) if one)])), fontsize=8)
    for ax, one, array in zip(line[1:], maps, arrays, strict=True):
        panel(ax, scan, heat=array, index=index, window=one.window)
        said = WORDS[one.verdict.level] if one.verdict else "not tested"
        ax.set_title(f"{METHODS[one.method].title}\n{said}", fontsize=8)
