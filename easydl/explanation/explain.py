"""`easydl.saliency`: from a model and an image to a Heatmap on the image's own grid. Methods and tests live beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from easydl.errors import InputError, ModelError
from easydl.explanation.checks import Question, enlarged
from easydl.explanation.gradcam import network_of
from easydl.explanation.heatmap import Heatmap
from easydl.explanation.occlusion import occlusion
from easydl.explanation.verdict import Verdict, judge
from easydl.images import Scan
from easydl.networks.metadata import ModelMetadata
from easydl.prediction import inputs
from easydl.prediction.covariates import beside, beside_case, unknown
from easydl.prediction.predicting import as_source, opened, segment_scan
from easydl.prediction.results import median_grade
from easydl.studies import Study

METHODS = ("gradcam", "occlusion")
WIDEST = {2: 512, 3: 96}


def saliency(
    model: Any,
    source: Any,
    *,
    method: str = "gradcam",
    target: str | int | None = None,
    row: int = 0,
    covariates: Mapping[str, Any] | None = None,
    verdict: bool = True,
    seed: int = 0,
) -> Heatmap:
    """Show which part of an image speaks for a class, and whether the picture deserves to be believed.

    For a number it is the part that makes it larger. A model that is told more than the image is explained with that
    held fixed.

    Args:
        model: A model of easydl or its ``.keras`` file.
        source: A path (image, volume, DICOM series), a `Scan`, an array ``(height, width[, channel])`` or
            ``(depth, height, width[, channel])`` in the model's units, or a `Study`.
        method: ``"gradcam"``, or ``"occlusion"`` (hide patches and see what the answer depends on; slower).
        target: Class name or index, or the name of a finding; the class the model chose when None (for a segmenter, the
            class with the largest outline). Of several questions the name of one, ``"cancer"``, or of one and its
            class, ``"cancer: yes"``; the first when None.
        row: Which image of a Study.
        covariates: For one image and a model with covariates, as for `easydl.predict`.
        verdict: Whether to test the map; about as long again as the map itself times fifty.
        seed: Of the random networks and blobs the verdict uses.

    Returns:
        A `Heatmap`; ``.array`` is float32, 0..1, on the image's own grid.

    Raises:
        InputError: Unknown method, class or row, or nothing readable at the path.
        ModelError: The model does not fit the image, or has no layer ``logits``.

    Example:
        >>> easydl.saliency(model, "case.dcm").show()  # doctest: +SKIP

    References:
        Selvaraju et al. 2017, Grad-CAM, arXiv:1610.02391; Rheude et al. 2024, Seg-HiRes-Grad CAM,
        arXiv:2409.20287; Zeiler and Fergus 2014, arXiv:1311.2901.
    """
    if method not in METHODS:
        raise InputError(
            f"`method` must be one of {METHODS}. Received: method={method!r}.",
            " or ".join(METHODS) + ".",
            'Use method="gradcam".',
        )
    model, metadata = opened(model)
    found = _source(source, row, metadata)
    scan = found if isinstance(found, Scan) else found.scan(0)
    told = beside_case(metadata, covariates) if isinstance(found, Scan) else beside(model, found)
    notes = unknown(metadata, None if isinstance(found, Scan) else found.frame, covariates)
    head, target = _head(metadata, target)
    task, classes = (
        (metadata.heads[head].task, metadata.heads[head].classes) if head else (metadata.task, metadata.classes)
    )
    asked = _index(task, classes, target)
    batch, place, note = _batch(model, metadata, scan, asked)
    network = network_of(model, batch.shape[1:-1], head)
    network.tell(told)
    logits = network.logits(batch)[0]
    question = _question(network, metadata, (head, task, classes), batch, logits, asked)
    if method == "gradcam":
        coarse, _ = network.cam(batch, question.target, question.region)
    else:
        coarse = occlusion(network, batch, question.target, question.region)
    fine = enlarged(coarse, batch.shape[1:-1])
    said: Verdict | None = judge(question, coarse, fine, method=method, seed=seed) if verdict else None
    return Heatmap(
        array=_on_scan(coarse, batch.shape[1:-1], place, scan.shape),
        scan=scan,
        target=question.name,
        probability=question.probability,
        verdict=said,
        method=method,
        layer=network.layer if method == "gradcam" else "",
        task=task,
        window=metadata.window if scan.units == "HU" else None,
        notes=tuple(one for one in (note, *notes) if one),
    )


def _source(source: Any, row: int, metadata: ModelMetadata) -> Scan | Study:
    """The scan, or the study of the one row."""
    if isinstance(source, np.ndarray) and source.ndim == metadata.dimension:
        source = source[..., None]
    found = as_source(source, metadata)
    if isinstance(found, Scan):
        return found
    if not 0 <= row < len(found):
        raise InputError(
            f"There is no row {row} in a study of {len(found)} images.",
            f"a row from 0 to {len(found) - 1}.",
            "Choose another row.",
        )
    return found.rows([found.frame.index[row]])


def _head(metadata: ModelMetadata, target: str | int | None) -> tuple[str, str | int | None]:
    """Which of several questions is meant, and which of its classes."""
    if not metadata.heads:
        return "", target
    if target is None or target in metadata.heads:
        return str(target or next(iter(metadata.heads))), None
    for name in metadata.heads:
        if isinstance(target, str) and target.startswith(f"{name}: "):
            return name, target.removeprefix(f"{name}: ")
    raise InputError(
        f"The model answers no question {target!r}.",
        f"one of {', '.join(metadata.heads)}, or one with a class, such as 'cancer: yes'.",
        "Choose one of these, or leave target out for the first.",
    )


def _index(task: str, classes: tuple[str, ...], target: str | int | None) -> int | None:
    if target is None:
        return 0 if task == "regression" else None
    if isinstance(target, str) and target in classes:
        return classes.index(target)
    if isinstance(target, (int, np.integer)) and 0 <= target < len(classes):
        return int(target)
    raise InputError(
        f"The model has no class {target!r}.",
        "one of " + ", ".join(classes) + f", or a number from 0 to {len(classes) - 1}.",
        "Choose one of these, or leave target out for the class the model chose.",
    )


Place = tuple[tuple[slice, ...], tuple[int, ...]]
"""Where the explained window lies on the model's grid, and how large that grid is."""


def _batch(model: Any, metadata: ModelMetadata, scan: Scan, asked: int | None) -> tuple[np.ndarray, Place, str]:
    """What the network is shown: the whole image, or for a large scan the window with most of the outline."""
    batch = inputs(model, scan)
    grid = batch.shape[1:-1]
    whole = tuple(slice(0, side) for side in grid)
    if metadata.task != "segmentation":
        return batch, (whole, grid), ""
    fixed = model.input_shape[1:-1]
    most = (WIDEST[metadata.dimension],) * metadata.dimension
    patch = tuple(
        int(own) if own is not None else min(-(-limit // step), -(-side // step)) * step
        for own, limit, side, step in zip(fixed, most, grid, metadata.multiples, strict=True)
    )
    begin, note = [0] * len(grid), ""
    if any(side > size for side, size in zip(grid, patch, strict=True)):
        begin = _centred(model, metadata, scan, asked, grid, patch)
        note = f"Only the window of {' x '.join(map(str, patch))} around the outline was explained."
    view = tuple(slice(a, min(a + size, side)) for a, size, side in zip(begin, patch, grid, strict=True))
    window = batch[(slice(None), *view)]
    padding = [(0, size - have) for size, have in zip(patch, window.shape[1:-1], strict=True)]
    return np.pad(window, [(0, 0), *padding, (0, 0)], mode="edge"), (view, grid), note


def _centred(
    model: Any, metadata: ModelMetadata, scan: Scan, asked: int | None, grid: tuple[int, ...], patch: tuple[int, ...]
) -> list[int]:
    labels = segment_scan(model, metadata, scan)
    inside = np.argwhere(labels == asked if asked is not None else labels > 0)
    middle = inside.mean(axis=0) if len(inside) else np.array(scan.shape) / 2
    on_grid = middle * np.array(grid) / np.array(scan.shape)
    return [
        int(np.clip(round(at - size / 2), 0, max(0, side - size)))
        for at, size, side in zip(on_grid, patch, grid, strict=True)
    ]


def _question(
    network: Any, metadata: ModelMetadata, answer: tuple[str, str, tuple[str, ...]], batch: np.ndarray, logits: np.ndarray,
    asked: int | None,
) -> Question:  # fmt: skip
    head, task, classes = answer
    if metadata.task == "segmentation":
        if logits.shape[-1] != len(metadata.classes):
            raise ModelError(
                f"The model has {logits.shape[-1]} outputs and {len(metadata.classes)} class names.",
                "one name for each output.",
                "Load the model with easydl.load_model.",
            )
        chosen = logits.argmax(axis=-1)
        counts = np.bincount(chosen.ravel(), minlength=logits.shape[-1])
        index = asked if asked is not None else 1 + int(counts[1:].argmax())
        region = (chosen == index).astype(np.float32)[None]
        odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
        share = (odds / odds.sum(axis=-1, keepdims=True))[..., index]
        probability = float(share[region[0] > 0].mean()) if region.any() else float(share.max())
        return Question(network, batch, index, region, logits, metadata.task, metadata.classes[index], probability)
    odds = np.exp(logits - logits.max())
    odds = odds / odds.sum()
    chosen = int(median_grade(odds[None])[0]) if task == "ordinal" else int(logits.argmax())
    index = asked if asked is not None else chosen
    if task == "regression":
        mean, std = metadata.target.get(head, (0.0, 1.0))
        probability = float(logits[0]) * std + mean
    elif task == "multilabel":
        probability = float(1 / (1 + np.exp(-logits[index])))
    else:
        probability = float(odds[index])
    name = classes[index] if not head or task == "regression" else f"{head}: {classes[index]}"
    region = np.ones((1,), np.float32)
    return Question(network, batch, index, region, logits, task, name, probability)


def _on_scan(coarse: np.ndarray, size: tuple[int, ...], place: Place, shape: tuple[int, ...]) -> np.ndarray:
    """The map on the scan's own grid; outside the explained window there is none."""
    view, grid = place
    if size == grid:
        return enlarged(coarse, shape)
    canvas = np.zeros(grid, np.float32)
    canvas[view] = enlarged(coarse, size)[tuple(slice(0, part.stop - part.start) for part in view)]
    return enlarged(canvas, shape)
