"""How good is the model: numbers on a test set, each with n and a 95% interval. It trains nothing."""

from __future__ import annotations

from typing import Any, TypedDict

from easydl.errors import InputError
from easydl.evaluation.classification import classification_metrics
from easydl.evaluation.results import Metrics
from easydl.evaluation.segmentation import segmentation_metrics

__all__ = ["Metrics", "classification_metrics", "evaluate", "segmentation_metrics"]


class _Options(TypedDict):
    patients_known: bool
    seed: int
    resamples: int


def evaluate(model: Any, test: Any, *, seed: int = 0, resamples: int = 2000) -> Metrics:
    """Test a model on images it has never seen.

    Args:
        model: A model from easydl. Not used, and may be None, when ``test`` holds predictions already.
        test: A Study with labels or masks (the third part of ``study.split()``), or the Predictions of one.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.

    Returns:
        Metrics: AUC, sensitivity, specificity, accuracy and predictive values for a classifier; Dice, HD95
        and volume error for a segmenter. Each with the number of patients and a patient-level 95% interval.

    Raises:
        InputError: The test set has no labels, or the task has no test here.
        ModelError: The model's classes are not the study's.

    Example:
        >>> easydl.evaluate(model, test)  # doctest: +SKIP
        AUC 0.91 (95% CI 0.84-0.96), 71 patients
    """
    options: _Options = {
        "patients_known": bool(getattr(test, "patients_known", True)),
        "seed": seed,
        "resamples": resamples,
    }
    task = getattr(test, "task", "classification")
    if task == "segmentation":
        from easydl.prediction import cases

        return segmentation_metrics(cases(model, test), **options)
    if task != "classification":
        raise InputError(
            f"The test set's task is {task}.",
            "classification (one label per image) or segmentation (a mask per image).",
            "Take the predictions from easydl.predict(model, test).frame and test them with scikit-learn.",
        )
    if "prediction" in getattr(test, "frame", ()):
        predictions = test
    else:
        from easydl.prediction import predict

        predictions = predict(model, test)
    return classification_metrics(predictions.frame, predictions.classes, **options)
