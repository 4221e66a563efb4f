"""`easydl.saliency`: from a model and an image to a Heatmap on the image's own grid. It computes no map itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from easydl.errors import InputError, unknown_name
from easydl.explanation.checks import upsampled
from easydl.explanation.ensembles import mean_heatmap
from easydl.explanation.heatmap import Heatmap
from easydl.explanation.model_checks import PROBES, digest_of, keep, known, measured, spread_rows
from easydl.explanation.occlusion import occlusion
from easydl.explanation.targets import Head, Target, head_of, target_of
from easydl.explanation.verdict import About, judge
from easydl.images import Scan
from easydl.networks import metadata_of
from easydl.networks.heatmap_reference import HeatmapReference
from easydl.networks.metadata import ModelMetadata
from easydl.prediction import inputs, predict
from easydl.prediction.cascades import check_paths, open_model
from easydl.prediction.covariates import case_covariates, covariate_notes, study_covariates
from easydl.prediction.predicting import as_source
from easydl.prediction.segmentation import segment_scan
from easydl.studies import Study
from easydl.studies.labels import JOIN
from easydl.tasks import Task

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
    units: str = "auto",
    verdict: bool = True,
    seed: int = 0,
) -> Heatmap:
    """Show which part of an image speaks for a class, and whether the heatmap deserves to be believed.

    For a value it is the part that makes it larger. A model with covariates is explained with these held fixed.

    Args:
        model: A model of easydl or its ``.keras`` file.
        source: A path (image, volume, DICOM series), a `Scan`, an array ``(height, width[, channel])`` or
            ``(depth, height, width[, channel])`` in the model's units, or a `Study`. The map of a path lies on the grid
            of the file, that of a `Scan` on the scan's.
        method: ``"gradcam"``, or ``"occlusion"`` (hide patches and see what the prediction depends on; slower).
        target: Class name or index, or the name of a label; the class the model chose when None (for a segmentation
            model, the class with the largest segmentation). Of several heads the name of one, ``"cancer"``, or of one
            and its class, ``"cancer: yes"``; the first when None.
        row: Which image of a Study.
        covariates: For one image and a model with covariates, as for `easydl.predict`.
        units: ``"HU"`` for CT in a file that does not say its units, as for `easydl.predict`.
        verdict: Whether to test the map. The tests of the model are made once, on at most 8 images of a Study or on this
            one, and are saved with the model.
        seed: Of the places that the verdict hides for comparison.

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
        raise unknown_name(f"`method` is {method!r}.", method, METHODS)
    check_paths(model, source)
    model, metadata = open_model(model)
    if metadata.members > 1:
        options: dict[str, Any] = {"row": row, "covariates": covariates, "units": units}

        def explained_by(member: Any, its: Any) -> Heatmap:
            return saliency(member, source, method=method, target=its, verdict=verdict, seed=seed, **options)

        def answer() -> Any:
            one = _one_row(source, row) if isinstance(source, Study) else source
            return predict(model, one, covariates=covariates, units=units)

        return mean_heatmap(model, metadata, target, answer, explained_by)
    head, index = head_of(metadata, target)

    def case(one: int) -> _Case:
        given, encoded, notes = _image(model, metadata, source, one, covariates, units)
        scan = given.oriented()
        return _Case(given, encoded, notes, scan, _shown(model, metadata, scan, index))

    given, encoded, notes, scan, shown = own = case(row)
    from easydl.explanation.gradcam import network_of  # loads TensorFlow, which a model brings with it

    network = network_of(model, shown.size, head.name)
    tested = None
    if verdict:
        others = spread_rows(len(source), PROBES) if isinstance(source, Study) else []
        cases: list[Callable[[], _Case]] = [lambda: own, *(partial(case, one) for one in others if one != row)]
        tested = _tested(model, network, method, head, index, cases[:PROBES])
    network.set_covariates(encoded)
    explained = target_of(network, metadata, head, shown.batch, index)
    if method == "gradcam":
        coarse, _ = explained.cam()
    else:
        coarse = occlusion(network, shown.batch, explained.index, explained.region)
    fine, on_scan = upsampled(coarse, shown.size), shown.on_scan(coarse, scan.shape)
    chosen = explained if index is None else target_of(network, metadata, head, shown.batch, None)
    reference = _reference(source, row, head.name, metadata)
    right = _is_right(chosen, explained, head.classes[chosen.index], reference)
    judged = None
    if verdict:
        about = About(scan, on_scan, right, reference, metadata.warnings, tested)
        judged = judge(explained, coarse, fine, method=method, seed=seed, about=about)
    return Heatmap(
        array=scan.as_in(given, on_scan),
        scan=given,
        target=explained.name,
        probability=explained.probability,
        verdict=judged,
        reference=reference,
        right=right,
        method=method,
        layer=network.layer if method == "gradcam" else "",
        task=head.task,
        window=metadata.window if scan.units == "HU" else None,
        notes=tuple(note for note in (shown.note, *notes) if note),
    )


def _image(
    model: Any,
    metadata: ModelMetadata,
    source: Any,
    row: int,
    covariates: Mapping[str, Any] | None,
    units: str,
) -> tuple[Scan, np.ndarray | None, list[str]]:
    """The scan, its encoded covariates, and what must be known about them."""
    if isinstance(source, np.ndarray) and source.ndim == metadata.dimension:
        source = source[..., None]
    from_file = isinstance(source, (str, Path))
    source = as_source(source, metadata, units)
    if isinstance(source, Scan):
        notes = covariate_notes(metadata, pd.DataFrame([dict(covariates or {})]))
        return source.on_source() if from_file else source, case_covariates(metadata, covariates), notes
    one = _one_row(source, row)
    return one.scan(0), study_covariates(model, one), covariate_notes(metadata, one.frame)


class _Case(NamedTuple):
    """An image as it was given, its encoded covariates, what must be known about them, and what the network is shown."""

    given: Scan
    encoded: np.ndarray | None
    notes: list[str]
    scan: Scan
    shown: _Shown


def _tested(
    model: Any, network: Any, method: str, head: Head, index: int | None, cases: Sequence[Callable[[], _Case]]
) -> HeatmapReference | None:
    """The tests of the model: those that it brings with it, or made now on the images that are at hand."""
    first, metadata = cases[0](), metadata_of(model)
    key, digest = f"{method} {head.name} {' x '.join(map(str, first.shown.size))}", digest_of(network)
    if (kept := known(model, key, digest, len(cases))) is not None:
        return kept

    def probes() -> Iterator[tuple[Target, np.ndarray | None]]:
        for make in cases:
            case = make()
            if case.shown.size == first.shown.size:
                network.set_covariates(case.encoded)
                yield target_of(network, metadata, head, case.shown.batch, index), case.encoded

    found = measured(probes(), method, digest)
    if found is not None:
        keep(model, key, found)
    return found


def _reference(source: Any, row: int, head: str, metadata: ModelMetadata) -> str:
    """The label of a row of a study, where there is one and it is of the model's task."""
    if not isinstance(source, Study) or source.task != metadata.task or Task(metadata.task).per_pixel:
        return ""
    column = head or "label"
    return str(source.frame[column].iloc[row]) if column in source.frame.columns else ""


def _is_right(chosen: Target, explained: Target, answer: str, reference: str) -> bool | None:
    """Whether the answer is the reference; None for values, and where it is not known."""
    task = chosen.task
    if not reference or not task.has_classes or task.has_masks:
        return None
    if task.exclusive:
        return answer == reference
    present = explained.probability >= getattr(explained, "threshold", 0.5)
    return present == (explained.name in reference.split(JOIN))


def _one_row(study: Study, row: int) -> Study:
    if not 0 <= row < len(study):
        raise InputError(
            f"There is no row {row} in a study of {len(study)} images.",
            f"a row from 0 to {len(study) - 1}.",
            "Choose another row.",
        )
    return study.rows([study.frame.index[row]])


@dataclass(frozen=True)
class _Shown:
    """What the network is shown: the whole image, or of a large scan one window.

    Attributes:
        batch: ``(1, *size, channels)``, padded where the window is larger than the grid.
        view: Where it lies on the model's grid.
        grid: How large that grid is.
        note: What must be known about it, or empty.
    """

    batch: np.ndarray
    view: tuple[slice, ...]
    grid: tuple[int, ...]
    note: str = ""

    @property
    def size(self) -> tuple[int, ...]:
        return self.batch.shape[1:-1]

    def on_scan(self, coarse: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """A map on the scan's own grid; outside the explained window there is none."""
        if self.size == self.grid:
            return upsampled(coarse, shape)
        canvas = np.zeros(self.grid, np.float32)
        canvas[self.view] = upsampled(coarse, self.size)[tuple(slice(0, part.stop - part.start) for part in self.view)]
        return upsampled(canvas, shape)


def _shown(model: Any, metadata: ModelMetadata, scan: Scan, index: int | None) -> _Shown:
    """The whole image, or for a large scan of a segmentation model the window around the segmentation."""
    batch = inputs(model, scan)
    grid = batch.shape[1:-1]
    if not Task(metadata.task).has_masks:
        return _Shown(batch, tuple(slice(0, side) for side in grid), grid)
    limits = (WIDEST[metadata.dimension],) * metadata.dimension
    patch = tuple(
        int(own) if own is not None else min(-(-limit // step), -(-side // step)) * step
        for own, limit, side, step in zip(model.input_shape[1:-1], limits, grid, metadata.multiples, strict=True)
    )
    begin, note = [0] * len(grid), ""
    if any(side > size for side, size in zip(grid, patch, strict=True)):
        begin = _centred(segment_scan(model, metadata, scan), index, grid, patch)
        note = f"Only the window of {' x '.join(map(str, patch))} around the segmentation was explained."
    view = tuple(slice(a, min(a + size, side)) for a, size, side in zip(begin, patch, grid, strict=True))
    window = batch[(slice(None), *view)]
    padding = [(0, size - have) for size, have in zip(patch, window.shape[1:-1], strict=True)]
    return _Shown(np.pad(window, [(0, 0), *padding, (0, 0)], mode="edge"), view, grid, note)


def _centred(labels: np.ndarray, index: int | None, grid: tuple[int, ...], patch: tuple[int, ...]) -> list[int]:
    """Where a window begins that has the segmentation in its middle."""
    inside = np.argwhere(labels == index if index is not None else labels > 0)
    middle = inside.mean(axis=0) if len(inside) else np.array(labels.shape) / 2
    on_grid = middle * np.array(grid) / np.array(labels.shape)
    return [
        int(np.clip(round(at - size / 2), 0, max(0, side - size)))
        for at, size, side in zip(on_grid, patch, grid, strict=True)
    ]
