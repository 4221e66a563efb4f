"""How good is the model: numbers on a test set, each with n and a 95% interval. It trains nothing."""

from __future__ import annotations

from typing import Any, TypedDict

from easydl.errors import ModelError
from easydl.evaluation.classification import classification_metrics
from easydl.evaluation.multilabel import multilabel_metrics
from easydl.evaluation.multitask import metrics_of
from easydl.evaluation.ordinal import ordinal_metrics
from easydl.evaluation.regression import regression_metrics
from easydl.evaluation.results import Metrics
from easydl.evaluation.segmentation import segmentation_metrics
from easydl.prediction.results import Predictions
from easydl.prediction.segmentation import chosen, how_made, unknown_scale

__all__ = [
    "Metrics",
    "classification_metrics",
    "evaluate",
    "multilabel_metrics",
    "ordinal_metrics",
    "regression_metrics",
    "segmentation_metrics",
]


class _Options(TypedDict):
    patients_known: bool
    seed: int
    resamples: int


def evaluate(
    model: Any,
    test: Any,
    *,
    seed: int = 0,
    resamples: int = 2000,
    mirror: bool = False,
    largest_component: bool = False,
    fill_holes: bool = False,
) -> Metrics:
    """Test a model on images it has never seen.

    Args:
        model: A model from easydl, or a cascade. Not used, and may be None, when ``test`` holds predictions already.
        test: A Study with labels or masks (the third part of ``study.split()``), or the Predictions of one.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.
        mirror: For a model that outlines: average over the mirror images that it was trained with, as in
            `easydl.predict`. What is on is in the notes, for the numbers hold for masks made in the same way.
        largest_component: For a model that outlines: keep only the largest connected piece of every structure.
        fill_holes: For a model that outlines: fill background that a structure encloses.

    Returns:
        Metrics: AUC, sensitivity, specificity, accuracy and predictive values for classes; AUC, average precision,
        sensitivity and specificity for each finding; mean absolute error, bias and limits of agreement for a number;
        weighted kappa and error in grades for ordered classes; all of these for each of several questions; Dice, HD95
        and volume error for outlines; PSNR and SSIM for made images, beside those of the spoiled ones. Each with the number
        of patients and a patient-level 95% interval.

    Raises:
        InputError: The test set has no labels, an option for outlines was given with a model that makes none, or `mirror`
            with a model that was trained without mirror images.
        ModelError: The model's task or classes are not the study's.

    Example:
        >>> easydl.evaluate(model, test)  # doctest: +SKIP
        AUC 0.91 (95% CI 0.84-0.96), 71 patients
    """
    options: _Options = {
        "patients_known": bool(getattr(test, "patients_known", True)),
        "seed": seed,
        "resamples": resamples,
    }
    asked = {"mirror": mirror, "largest_component": largest_component, "fill_holes": fill_holes}
    if isinstance(test, Predictions):
        chosen(test.task, **asked)
        return metrics_of(test, **options)
    from easydl.prediction import cases, predict
    from easydl.prediction.predicting import opened, rebuilds

    model, metadata = opened(model)
    on = chosen(metadata.task, **asked)
    if metadata.task == "reconstruction":
        from easydl.evaluation.reconstruction import reconstruction_metrics
        from easydl.prediction.image_to_image import degrades

        made = rebuilds(model, test, seed=seed)
        return reconstruction_metrics(
            made, window=metadata.window, channels=metadata.classes, spoiled_by=degrades(metadata), **options
        )
    if metadata.task != test.task:
        raise ModelError(
            f"The model's task is {metadata.task}; the test set's is {test.task}.",
            "the same task in both.",
            "Load the test set with task= (--task), label= or heads= as the model's training set was.",
        )
    if test.task == "segmentation":
        metrics = segmentation_metrics(cases(model, test, **on), **options)
        assert metrics.cases is not None
        unknown = metrics.cases.loc[metrics.cases["hd95_unit"] != "mm", "image"].nunique()
        metrics.notes[:0] = unknown_scale(metadata, unknown, metrics.images)
        metrics.notes[:0] = how_made(on, "The masks were")
        return metrics
    found = predict(model, test)
    assert isinstance(found, Predictions)  # the model's task is neither outlining nor making images
    return metrics_of(found, **options)
