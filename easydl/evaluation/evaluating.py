"""`easydl.evaluate`: one evaluator for each kind of task. It computes no metric itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from easydl.errors import InputError, ModelError
from easydl.evaluation.asked import check_prevalence
from easydl.evaluation.by_case import by_case
from easydl.evaluation.coverage import coverage_note
from easydl.evaluation.leakage import without_seen
from easydl.evaluation.looking import looked
from easydl.evaluation.overfitting import compared
from easydl.evaluation.reconstruction import reconstruction_metrics
from easydl.evaluation.results import Metrics
from easydl.evaluation.segmentation import segmentation_metrics
from easydl.evaluation.subgroups import columns_of
from easydl.evaluation.tables import table_metrics
from easydl.option_model import documented
from easydl.options_of_use import EvaluationOptions
from easydl.prediction.grid import scale_notes
from easydl.prediction.image_to_image import corruption_of
from easydl.prediction.results import Predictions
from easydl.prediction.seen import COLUMN, sentence
from easydl.tasks import Task


@documented(EvaluationOptions)
def evaluate(
    model: Any,
    test: Any = None,
    *,
    by: list[str] | str | None = None,
    prevalence: float | dict[str, float] | None = None,
    seed: int = 0,
    resamples: int = 2000,
    mirror: bool = False,
    largest_component: bool = False,
    fill_holes: bool = False,
    override: str | None = None,
) -> Metrics:
    """Test a model on images it has never seen.

    A model of easydl knows the images and patients it was trained and validated on. Those among the test images are left
    out, which the first line of the result says; where fewer than 10 patients remain, the test is refused. How good it was on
    training images is in its file, too (but for masks and images): a note compares the two, and where the training is better,
    all of the interval above 0, it is printed.

    Every test is counted in the ledger of this computer (``easydl ledger``). From the second look at a test part on, by
    another model or with other options, the first line says how often it has been looked at, and the intervals are wider:
    those of all looks hold together at 95%.

    Args:
        model: A model from easydl, or a cascade; or the Predictions of a test set.
        test: A Study with labels or masks: the third part of ``study.split()``. With Predictions it is not needed, but for
            ``by``: it holds the columns, and is the study that was predicted.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.
        {options}

    What is on of the options for masks is in the notes, for the numbers hold for masks made in the same way.

    Returns:
        Metrics: AUC, sensitivity, specificity and predictive values for classes and for each of several labels, then
        accuracy, average precision, F1, MCC, Brier score, log loss and calibration; mean absolute error, ICC, bias and
        limits of agreement for a value; weighted kappa and error in classes for ordered classes; all of these for each of
        several heads; Dice, HD95 and volume error, then IoU, surface distances and lesions for masks; PSNR and SSIM for reconstructed images, with those of the corrupted ones. Each with
        the number of patients and a patient-level 95% interval. What makes them worth nothing stands in ``warnings`` and
        before the first number: one answer for every image, or no better than chance.

    Raises:
        LeakageError: The model has seen these images, or nearly all of them.
        InputError: The test set has no labels or is missing, it has no column ``by``, an option for masks was given with a model that makes none,
            or `mirror` with a model that was trained without mirror images.
        ModelError: The model's task or classes are not the study's.

    Example:
        >>> easydl.evaluate(model, test)  # doctest: +SKIP
        AUC 0.91 (95% CI 0.84-0.96), 71 patients
    """
    from easydl.prediction.provenance import provenance
    from easydl.prediction.seen import metadata_of_all, seen_rows
    from easydl.prediction.segmentation import mask_options
    from easydl.prediction.tables import against, predict_study

    given = {"mirror": mirror, "largest_component": largest_component, "fill_holes": fill_holes}
    asked: dict[str, Any] = {"by": by, "prevalence": prevalence}
    if isinstance(model, Predictions):
        mask_options(model.task, **given)
        return _of_table(model, test, override, **asked, seed=seed, resamples=resamples)
    if test is None or isinstance(test, Predictions):
        raise InputError(
            "There is no study to test the model on.",
            "evaluate(model, study), or evaluate(predictions) alone.",
            "Give the third part of study.split().",
        )
    from easydl.prediction.cascades import open_model

    model, metadata = open_model(model)
    options = mask_options(metadata.task, **given)
    if not Task(metadata.task).makes_images and metadata.task != test.task:
        raise ModelError(
            f"The model's task is {metadata.task}; the test set's is {test.task}.",
            "the same task in both.",
            "Load the test set with task= (--task), label= or heads= as the model's training set was.",
        )
    if not Task(metadata.task).per_pixel:
        predictions = predict_study(model, metadata, test)
        return _of_table(predictions, test, _reason(override, test), **asked, seed=seed, resamples=resamples)
    if prevalence is not None:
        check_prevalence(prevalence, Task(metadata.task), metadata.classes)
    if by is not None:
        columns_of(test.frame, by)
    models = metadata_of_all(model, metadata)
    seen, notes = seen_rows(models, test)
    unseen = without_seen(seen, _units(test.frame, test.patients_known), _reason(override, test))
    if not unseen.kept.all():
        test = test.rows(test.frame.index[unseen.kept])
    measured = partial(case_metrics, model, metadata, test, options, seed=seed, resamples=resamples)
    metrics = looked(
        test.frame,
        provenance(model, metadata, test),
        measured,
        patients_known=test.patients_known,
        options=options,
    )
    metrics.notes.extend([*notes, *(note for one in models for note in against(one))])
    if by is not None:
        metrics = by_case(metrics, test, columns_of(test.frame, by), seed=seed)
    return unseen.said(metrics)


def _reason(override: str | None, test: Any) -> str:
    """Why seen images are to be counted: a reason that is given here, or was for the split."""
    return (override or "").strip() or " ".join(getattr(test, "overrides", ()))


def _units(frame: Any, patients_known: bool) -> Any:
    return frame["patient"] if patients_known else frame.index.to_series()


def _of_table(
    predictions: Predictions, test: Any, override: str | None, *, by: Any, prevalence: Any, **bootstrap: int
) -> Metrics:
    """The metrics of the images that the model has not seen."""
    frame = predictions.frame
    groups = None if by is None else columns_of(frame if test is None else _same_rows(test, frame), by)
    if COLUMN not in frame.columns:
        return _looked(predictions, groups=groups, prevalence=prevalence, **bootstrap)
    seen = frame[COLUMN].tolist()
    unseen = without_seen(seen, _units(frame, predictions.patients_known), override)
    notes = [note for note in predictions.notes if note != sentence(seen)]
    kept = replace(predictions, frame=frame[unseen.kept], notes=notes)
    rows = groups and {name: column[unseen.kept] for name, column in groups.items()}
    return unseen.said(_looked(kept, groups=rows, prevalence=prevalence, **bootstrap))


def _looked(predictions: Predictions, **options: Any) -> Metrics:
    """The metrics of a table of predictions, counted as a look; with what its sets held, and how good its training was."""
    metrics = looked(
        predictions.frame,
        predictions.provenance,
        partial(table_metrics, predictions, **options),
        patients_known=predictions.patients_known,
    )
    if note := coverage_note(predictions):
        metrics.notes.insert(0, note)
    new = COLUMN not in predictions.frame.columns or not any(predictions.frame[COLUMN])
    known = predictions.provenance.training_score if predictions.provenance is not None and new else {}
    return compared(metrics, known)


def _same_rows(test: Any, frame: Any) -> Any:
    """The table of the study that was predicted, with the rows of the predictions."""
    if len(test.frame) != len(frame) or list(test.frame["patient"]) != list(frame["patient"]):
        raise InputError(
            f"{len(frame)} predictions and a study of {len(test.frame)} images that are not the same.",
            "the study that was predicted, in the same order.",
            "Pass predictions and study of one test set, or the model and the study.",
        )
    return test.frame


def _masks(model: Any, metadata: Any, test: Any, options: dict[str, bool], **bootstrap: int) -> Metrics:
    from easydl.prediction.cases import segmented_cases
    from easydl.prediction.segmentation import option_notes

    cases = segmented_cases(model, test, **options)
    metrics = segmentation_metrics(cases, patients_known=test.patients_known, **bootstrap)
    assert metrics.cases is not None
    unknown = metrics.cases.loc[metrics.cases["hd95_unit"] != "mm", "image"].nunique()
    metrics.notes[:0] = [*option_notes(options, "The masks were"), *scale_notes(metadata, unknown, metrics.images)]
    return metrics


def _images(model: Any, metadata: Any, test: Any, options: dict[str, bool], **bootstrap: int) -> Metrics:
    from easydl.prediction.cases import reconstructed_cases

    return reconstruction_metrics(
        reconstructed_cases(model, test, seed=bootstrap["seed"]),
        window=metadata.window,
        channels=metadata.classes,
        corruption=corruption_of(metadata),
        patients_known=test.patients_known,
        **bootstrap,
    )


def case_metrics(model: Any, metadata: Any, test: Any, options: dict[str, bool], **bootstrap: int) -> Metrics:
    """The metrics of a model's masks or images, without a look at what it has seen or at the ledger.

    Args:
        model: Its task is one of the pixels.
        metadata: Its own.
        test: All rows that are tested.
        options: As `easydl.prediction.segmentation.mask_options` gives them; empty for none.
        **bootstrap: ``seed`` and ``resamples``.
    """
    return _PER_PIXEL[Task(metadata.task)](model, metadata, test, options, **bootstrap)


_PER_PIXEL: dict[Task, Callable[..., Metrics]] = {Task.SEGMENTATION: _masks, Task.RECONSTRUCTION: _images}
