"""`easydl.saliency`: from a model and an image to a Heatmap on the image's own grid. It computes no map itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from easydl.explanation.cases import Case, case_of, one_row
from easydl.explanation.ensembles import mean_heatmap
from easydl.explanation.gradients import share_of_table
from easydl.explanation.heatmap import Heatmap
from easydl.explanation.methods import method_of, placed
from easydl.explanation.model_checks import digest_of, keep, known, measured, probe_rows
from easydl.explanation.targets import Head, Target, head_of, target_of
from easydl.explanation.verdict import About, judge
from easydl.networks import metadata_of
from easydl.networks.heatmap_reference import HeatmapReference
from easydl.networks.metadata import ModelMetadata
from easydl.option_model import documented
from easydl.options_of_use import SaliencyOptions
from easydl.prediction import predict
from easydl.prediction.cascades import check_paths, open_model
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
        verdict: Whether to test the map. The tests of the model are made once, on 8 images of a Study (and on up to
            32 more, until it is clear what the model looks at) or on this one, and are saved with the model.
        seed: Of the places that the verdict hides for comparison.

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
            one = one_row(source, row) if isinstance(source, Study) else source
            return predict(model, one, covariates=covariates, units=units)

        return mean_heatmap(model, metadata, target, answer, explained_by)
    head, index = head_of(metadata, target)

    def case(one: int) -> Case:
        return case_of(model, metadata, source, one, index, covariates=covariates, units=units)

    given, encoded, notes, scan, shown = own = case(row)
    from easydl.explanation.gradcam import network_of  # loads TensorFlow, which a model brings with it

    network = network_of(model, shown.size, head.name)
    tested = None
    if verdict:
        others = probe_rows(source) if isinstance(source, Study) else []
        cases: list[Callable[[], Case]] = [lambda: own, *(partial(case, one) for one in others if one != row)]
        tested = _tested(model, network, method, head, index, cases)
    network.set_covariates(encoded)
    explained = target_of(network, metadata, head, shown.batch, index)
    found = chosen.map(explained, samples=samples, seed=seed)
    fine = placed(method, explained, found.map)
    on_scan = shown.on_scan(fine, scan.shape)
    reference = _reference(source, row, head.name, metadata)
    right = _is_right(explained, head.classes, reference)
    judged = None
    if verdict:
        about = About(scan, on_scan, right, reference, metadata.warnings, tested)
        judged = judge(explained, found.map, fine, method=method, seed=seed, about=about)
    share = [share_of_table(explained)] if encoded is not None else []
    return Heatmap(
        array=scan.as_in(given, on_scan),
        scan=given,
        target=explained.name,
        probability=explained.probability,
        verdict=judged,
        reference=reference,
        right=right,
        method=method,
        layer=network.layer if chosen.needs == "layer" else "",
        task=head.task,
        window=metadata.window if scan.units == "HU" else None,
        notes=tuple(note for note in (shown.note, *notes, *found.notes, *share) if note),
    )


def _tested(
    model: Any, network: Any, method: str, head: Head, index: int | None, cases: Sequence[Callable[[], Case]]
) -> HeatmapReference | None:
    """The tests of the model: those that it brings with it, or made now on the images that are at hand."""
    first, metadata = cases[0](), metadata_of(model)
    key, digest = f"{method} {head.name} {' x '.join(map(str, first.shown.size))}", digest_of(network)
    if (kept := known(model, key, digest, len(cases))) is not None:
        return kept

    def probes() -> Iterator[tuple[Target, Case]]:
        for make in cases:
            case = make()
            if case.shown.size == first.shown.size:
                network.set_covariates(case.encoded)
                yield target_of(network, metadata, head, case.shown.batch, index), case

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


def _is_right(explained: Target, classes: tuple[str, ...], reference: str) -> bool | None:
    """Whether the answer is the reference; None for values, and where it is not known."""
    task = explained.task
    if not reference or not task.has_classes or task.has_masks:
        return None
    if task.exclusive:
        return classes[explained.chosen] == reference
    present = explained.probability >= explained.threshold
    return present == (explained.name in reference.split(JOIN))
