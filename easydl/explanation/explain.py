"""`easydl.saliency`: from a model and an image to a Heatmap on the image's own grid. It computes no map itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.explanation.checks import upsampled
from easydl.explanation.ensembles import mean_heatmap
from easydl.explanation.gradients import share_of_table
from easydl.explanation.heatmap import Heatmap
from easydl.explanation.methods import method_of
from easydl.explanation.targets import Target, head_of, target_of
from easydl.explanation.verdict import judge
from easydl.figures import key_slice
from easydl.images import Scan
from easydl.images.burned_in_text import where_text
from easydl.networks.metadata import ModelMetadata, attached
from easydl.option_model import documented
from easydl.options_of_use import SaliencyOptions
from easydl.prediction import inputs, predict
from easydl.prediction.cascades import check_paths, open_model
from easydl.prediction.covariates import case_covariates, covariate_notes, study_covariates
from easydl.prediction.predicting import as_source
from easydl.prediction.segmentation import segment_scan
from easydl.studies import Study
from easydl.studies.labels import JOIN
from easydl.tasks import Task

WIDEST = {2: 512, 3: 96}


@documented(SaliencyOptions)
def saliency(
    model: Any,
    source: Any,
    *,
    method: str = "gradcam",
    samples: int | None = None,
    target: str | int | None = None,
    row: int = 0,
    covariates: Mapping[str, Any] | None = None,
    units: str = "auto",
    verdict: bool = True,
    seed: int = 0,
) -> Heatmap:
    """Show which part of an image speaks for a class, and whether the heatmap deserves to be believed.

    For a value it is the part that makes it larger. A model with covariates is explained with these held fixed, and a note
    says how much of the answer they account for.

    Args:
        model: A model of easydl or its ``.keras`` file; or any functional or sequential Keras model, such as one of
            ``keras.applications``, with other models inside it or without.
        source: A path (image, volume, DICOM series), a `Scan`, an array ``(height, width[, channel])`` or
            ``(depth, height, width[, channel])`` in the model's units, or a `Study`. The map of a path lies on the grid
            of the file, that of a `Scan` on the scan's. For a model that easydl did not make, an array or a `Scan` as its
            input layer takes it: how its images were prepared is known to you alone.
        {options}
        target: Class name or index, or the name of a label; the class the model chose when None (for a segmentation
            model, the class with the largest segmentation). Of several heads the name of one, ``"cancer"``, or of one
            and its class, ``"cancer: yes"``; the first when None.
        row: Which image of a Study.
        covariates: For one image and a model with covariates, as for `easydl.predict`.
        units: ``"HU"`` for CT in a file that does not say its units, as for `easydl.predict`.
        verdict: Whether to test the map; about as long again as the map itself times fifty.
        seed: Of the random networks and blobs the verdict uses.

    Returns:
        A `Heatmap`; ``.array`` is float32, 0..1, on the image's own grid.

    Raises:
        InputError: Unknown method, class or row, nothing readable at the path, a method that is not defined for the model
            (CAM without pooling, guided backpropagation without ReLU), or a path for a model that easydl did not make.
        ModelError: The model does not fit the image.

    Example:
        >>> easydl.saliency(model, "case.dcm").show()  # doctest: +SKIP

    References:
        Selvaraju et al. 2017, Grad-CAM, arXiv:1610.02391; Rheude et al. 2024, Seg-HiRes-Grad CAM,
        arXiv:2409.20287; those of the other methods stand in the guide.
    """
    chosen = method_of(method, samples)
    check_paths(model, source)
    model, metadata = open_model(model)
    if metadata.members > 1:
        options: dict[str, Any] = {"row": row, "covariates": covariates, "units": units}

        def explained_by(member: Any, its: Any) -> Heatmap:
            return saliency(
                member, source, method=method, samples=samples, target=its, verdict=verdict, seed=seed, **options
            )

        def answer() -> Any:
            one = _one_row(source, row) if isinstance(source, Study) else source
            return predict(model, one, covariates=covariates, units=units)

        return mean_heatmap(model, metadata, target, answer, explained_by)
    head, index = head_of(metadata, target)
    given, encoded, notes = _image(model, metadata, source, row, covariates, units)
    scan = given.oriented()
    from easydl.explanation.gradcam import network_of  # loads TensorFlow, which a model brings with it

    shown = _shown(model, metadata, scan, index)
    network = network_of(model, shown.size, head.name)
    network.set_covariates(encoded)
    explained = target_of(network, metadata, head, shown.batch, index)
    found = chosen.map(explained, samples=samples, seed=seed)
    on_scan, judged = shown.on_scan(found.map, scan.shape), None
    if verdict:
        fine = upsampled(found.map, shown.size)
        judged = judge(explained, found.map, fine, method=method, seed=seed, text=_text(scan, on_scan))
    reference = _reference(source, row, head.name, metadata)
    share = [share_of_table(explained)] if encoded is not None else []
    return Heatmap(
        array=scan.as_in(given, on_scan),
        scan=given,
        target=explained.name,
        probability=explained.probability,
        verdict=judged,
        reference=reference,
        right=_is_right(explained, head.classes, reference),
        method=method,
        layer=network.layer if chosen.needs == "layer" else "",
        task=head.task,
        window=metadata.window if scan.units == "HU" else None,
        notes=tuple(note for note in (shown.note, *notes, *found.notes, *share) if note),
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
    if attached(model) is None:
        return _own_units(metadata, source), None, []
    if isinstance(source, np.ndarray) and source.ndim == metadata.dimension:
        source = source[..., None]
    from_file = isinstance(source, (str, Path))
    source = as_source(source, metadata, units)
    if isinstance(source, Scan):
        notes = covariate_notes(metadata, pd.DataFrame([dict(covariates or {})]))
        return source.on_source() if from_file else source, case_covariates(metadata, covariates), notes
    one = _one_row(source, row)
    return one.scan(0), study_covariates(model, one), covariate_notes(metadata, one.frame)


def _own_units(metadata: ModelMetadata, source: Any) -> Scan:
    """The scan for a model that easydl did not make: its values are taken as they are."""
    if isinstance(source, Scan):
        return replace(source, units=metadata.units)
    if not isinstance(source, np.ndarray):
        size = " x ".join("any" if side is None else str(side) for side in (*metadata.size, metadata.channels))
        raise InputError(
            f"The source is a {type(source).__name__}, and easydl did not make this model.",
            f"an array or a Scan of {size} as the model's input layer takes it: nothing says how its images are prepared.",
            "Prepare the image as in the model's training, such as by preprocess_input of keras.applications, and give "
            "the array.",
        )
    pixels = source[..., None] if source.ndim == metadata.dimension else source
    return Scan(pixels.astype(np.float32), metadata.units, source="array")


def _text(scan: Scan, heat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The map and where letters are; of a volume in the slice with most evidence."""
    if scan.dimension == 2:
        return heat, where_text(scan.pixels)
    index = key_slice(scan, heat=heat)
    return heat[index], where_text(scan.pixels[index])


def _reference(source: Any, row: int, head: str, metadata: ModelMetadata) -> str:
    """The label of a row of a study, where there is one and it is of the model's task."""
    if not isinstance(source, Study) or source.task != metadata.task or Task(metadata.task).per_pixel:
        return ""
    column = head or "label"
    return str(source.frame[column].iloc[row]) if column in source.frame.columns else ""


def _is_right(explained: Target, classes: tuple[str, ...], reference: str) -> bool | None:
    """Whether the answer is the reference; None for values, and where it is not known."""
    task = explained.task
    if not reference or not task.has_classes or task.has_masks:
        return None
    if task.exclusive:
        return classes[explained.chosen] == reference
    present = explained.probability >= explained.threshold
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
