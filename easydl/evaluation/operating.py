"""`easydl.operating_point`: the threshold of a trained model chosen anew, for an aim of the user's. It trains nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from easydl.errors import InputError, LeakageError
from easydl.evaluation.results import Metrics
from easydl.evaluation.tables import table_metrics
from easydl.evaluation.thresholds import Aim, chosen
from easydl.option_model import documented
from easydl.options_of_training import DecisionOptions

SAME_IMAGES = "These numbers are of the very images that the threshold was chosen on; those of the test part count."
CHOSEN_BY = (
    "The model's epoch was chosen by these images too, which makes the guarantee a little too good: a part that the model "
    "has never met gives it in full."
)


@documented(DecisionOptions)
def operating_point(
    model: Any,
    validation: Any,
    *,
    sensitivity: float | None = None,
    specificity: float | None = None,
    cost: float | None = None,
    confidence: float = 0.9,
    seed: int = 0,
    resamples: int = 2000,
) -> Metrics:
    """Choose from which probability on a model calls a class, and write that into the model.

    `predict`, `evaluate`, the reports and the app go by it from then on, and `save_model` keeps it. What is guaranteed
    holds for patients like those of the validation part, with the confidence given: of all validation parts of this
    size, 9 of 10 lead to a threshold that keeps the promise. A patient counts as found when all of his images with the
    class are called.

    Args:
        model: A model of easydl for two classes or for several labels.
        validation: A Study that the model was not trained on, with labels. Of one that it was trained on, such as the whole
            study, the validation part is used.
        {options}
        seed: Of the intervals.
        resamples: Number of bootstrap resamples.

    Returns:
        The Metrics of the validation part at this threshold, which is said in their notes.

    Raises:
        InputError: The guarantee is not reachable with these patients, which says how many are needed; several aims, no
            labels, or a model whose answers no threshold decides.
        LeakageError: The model was trained on some of these images: on them it is surer than on others.

    Example:
        >>> easydl.operating_point(model, val, sensitivity=0.95, confidence=0.9)  # doctest: +SKIP
        AUC 0.93 (95% CI 0.89-0.96), 120 patients
        nodule: threshold 0.21, chosen on 120 validation patients for a sensitivity of at least 0.95 with 90% confidence.

    References:
        Clopper CJ, Pearson ES. Biometrika 1934;26:404-413. Angelopoulos AN et al. Learn then test, arXiv:2110.01052.
    """
    from easydl.networks import attach, metadata_of
    from easydl.prediction.seen import COLUMN, sentence
    from easydl.prediction.tables import predict_study

    metadata = metadata_of(model)
    aim = Aim(sensitivity, specificity, cost, confidence).check(metadata.decided_by_threshold, metadata.task)
    if not metadata.decided_by_threshold:
        raise InputError(
            f"No threshold decides the answers of this model ({metadata.task}).",
            "a model of two classes, or of several labels.",
            "The most probable of several classes is the answer.",
        )
    if validation.task != metadata.task:
        raise InputError(
            f"The model's task is {metadata.task}; the study's is {validation.task}.",
            "a study with labels of the model's task.",
            "Give the second part of study.split().",
        )
    predictions = predict_study(model, metadata, validation)
    seen: list[str] = predictions.frame[COLUMN].tolist() if COLUMN in predictions.frame.columns else []
    predictions.notes = [note for note in predictions.notes if note != sentence(seen)]
    if any(one.startswith("training") for one in seen):
        validated = [one.startswith("validation") for one in seen]
        if not any(validated):
            raise LeakageError(
                sentence(seen),
                "images and patients that the model was not trained on: on those it is surer than on any other.",
                "Give the second part of study.split(), or images of new patients.",
            )
        # Of a whole study the validation part, so that the test part stays untouched.
        predictions = replace(predictions, frame=predictions.frame[validated])
        predictions.notes.append(
            f"Of {len(seen)} images only the {sum(validated)} of the model's validation part count."
        )
        seen = ["validation"]
    thresholds = chosen(predictions, aim=aim, seed=seed)
    missed = {name: one for name, one in thresholds.items() if aim.given and not (one.n and not one.reason)}
    if missed:
        name, one = next(iter(missed.items()))
        raise InputError(
            f"{name}: {one.reason}.",
            "patients enough for what is asked.",
            "Ask for less, or choose the threshold on more patients. The model is as it was.",
        )
    attach(model, metadata.model_copy(update={"thresholds": thresholds}))
    metrics = table_metrics(predictions.decided(thresholds), seed=seed, resamples=resamples)
    chosen_by = [CHOSEN_BY] if aim.rate and any(seen) else []
    texts = [f"{name}: {one.text}." for name, one in thresholds.items()]
    metrics.notes[:0] = [*texts, SAME_IMAGES, *chosen_by]
    metrics.summary.extend(texts)
    return metrics
