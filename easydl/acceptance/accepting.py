"""`easydl.accept`: a hospital's own cases against a model and what it was trained on. It writes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from easydl.acceptance.cases import COLUMNS, mask_cases, table_cases
from easydl.acceptance.result import Acceptance, now
from easydl.acceptance.shift import Shift, shifts
from easydl.errors import InputError
from easydl.evaluation import Metrics, evaluate
from easydl.evaluation.intervals import PatientBootstrap, mean_interval
from easydl.option_model import documented
from easydl.options_of_use import AcceptOptions
from easydl.tasks import Task

NO_PROFILE = (
    "The model does not say how its training images were spread (it is of an earlier version, or was not trained by "
    "easydl): whether these cases are like them is not known."
)
NO_LABELS = (
    "These cases have no reference for the model's task: only what they are like can be compared, not whether the answers "
    "are right."
)


@documented(AcceptOptions)
def accept(
    model: Any,
    cases: Any,
    folder: str | Path | None = None,
    *,
    k: int = 12,
    override: str | None = None,
    seed: int = 0,
    resamples: int = 2000,
) -> Acceptance:
    """Ask whether a model is ready for a hospital's own cases.

    Four questions: are the cases like those it was trained on (header fields and images); do its answers hold here, at the
    threshold it came with; are its probabilities right here; which cases should a reader look at. Without labels only the
    first is answered. Every call counts as a look at these cases (``easydl ledger``).

    Args:
        model: A model of easydl or its ``.keras`` file; a cascade or its folder.
        cases: A Study, or what `easydl.load` takes: a table, class folders, a folder of DICOM, a DataFrame.
        folder: Write the sheet there, and add this call to those before; nothing is written when not given
            (`Acceptance.save` does it later).
        {options}
        seed: Seed of the intervals and shuffles.
        resamples: Number of bootstrap resamples.

    Returns:
        Acceptance: what was found, as sentences and tables; it shows itself in a notebook.

    Raises:
        InputError: Nothing readable there, or no case; the folder holds another model's acceptance.
        ModelError: The model does not fit the images or their classes.
        LeakageError: The model has seen these images.

    Example:
        >>> easydl.accept("model.keras", "our_cases.csv", "acceptance")  # doctest: +SKIP

    References:
        Allen B et al. Evaluation and real-world performance monitoring of AI models in clinical practice. J Am Coll Radiol
        2021;18:1489-1496.
    """
    from easydl.prediction import predict
    from easydl.prediction.cascades import check_paths, open_model
    from easydl.prediction.provenance import fingerprint
    from easydl.studies import Study, load

    AcceptOptions.checked(k=k, override=override)
    check_paths(model, cases if isinstance(cases, (str, Path)) else None)
    network, metadata = open_model(model)
    study = cases if isinstance(cases, Study) else load(cases)
    if not len(study):
        raise InputError("There is no case.", "at least one image.", "Give a table or folder with images.")
    task = Task(metadata.task)
    labelled = task.makes_images or (study.task == task and _has_labels(study, task))
    predictions: Any = None
    metrics, looked = None, pd.DataFrame(columns=COLUMNS)
    if not task.per_pixel:
        predictions = predict(network, study)
        looked = table_cases(predictions, k)
    if labelled:
        given: dict[str, Any] = {"seed": seed, "resamples": resamples, "override": override}
        metrics = evaluate(predictions, **given) if predictions is not None else evaluate(network, study, **given)
        if task.has_masks and metrics.cases is not None:
            looked = mask_cases(metrics.cases, k)
    likeness = metadata.training.get("likeness") or {}
    compared, notes = _compared(likeness, study, seed)
    notes += [] if labelled else [NO_LABELS]
    result = Acceptance(
        model=str(metadata.arguments.get("name") or "model"),
        fingerprint=fingerprint(network, metadata),
        date=now(),
        images=len(study),
        patients=study.n_patients if study.patients_known else None,
        shifts=compared,
        metrics=metrics,
        calibration=_calibration(predictions, metrics, seed, resamples) if labelled else None,
        called=_called(predictions),
        labels=(likeness.get("profile") or {}).get("labels") or {},
        cases=looked,
        notes=notes,
    )
    if folder is not None:
        result.save(folder)
    return result


def _has_labels(study: Any, task: Task) -> bool:
    if task.has_masks:
        return True
    columns = list(study.heads) or ["label"]
    return any(column in study.frame.columns and (study.frame[column].astype(str) != "").any() for column in columns)


def _compared(likeness: dict[str, Any], study: Any, seed: int) -> tuple[list[Shift], list[str]]:
    """The shifts, and notes on what cannot be compared."""
    from easydl.prediction.likeness import Likeness

    known = Likeness.model_validate(likeness) if likeness else None
    if known is None or known.profile is None:
        return [], [NO_PROFILE]
    if study.units != known.units:
        units = {"HU": "Hounsfield units", "0-255": "grey values from 0 to 255", "relative": "values without a unit"}
        said = f"These images hold {units[study.units]}; the training images hold {units[known.units]}."
        grey = {name: points for name, points in known.profile.quantiles.items() if name not in known.values}
        return shifts(known.profile.model_copy(update={"quantiles": grey}), study, seed=seed), [said]
    return shifts(known.profile, study, seed=seed), []


def _called(predictions: Any) -> dict[str, float]:
    """The fraction of images called each class; empty for values and several heads."""
    if predictions is None or "prediction" not in predictions.frame.columns:
        return {}
    called = predictions.frame["prediction"].astype(str)
    if Task(predictions.task).exclusive:
        return {name: float((called == name).mean()) for name in predictions.classes}
    parts = called.str.split("; ")
    return {name: float(parts.map(lambda one, name=name: name in one).mean()) for name in predictions.classes}


def _calibration(predictions: Any, metrics: Metrics | None, seed: int, resamples: int) -> dict[str, Any] | None:
    """Of two classes: mean probability less observed fraction, by patient, with its interval.

    References:
        Van Calster B et al. Calibration: the Achilles heel of predictive analytics. BMC Med 2019;17:230.
    """
    if predictions is None or metrics is None or metrics.positive is None:
        return None
    frame = predictions.frame[predictions.frame["label"].astype(str) != ""]
    frame = frame if "seen" not in frame.columns or metrics.seen else frame[frame["seen"] == ""]
    excess = frame[f"p({metrics.positive})"].to_numpy(float) - (
        frame["label"].astype(str) == metrics.positive
    ).to_numpy(float)
    patients = frame["patient"].astype(str) if predictions.patients_known else pd.Series(range(len(frame))).astype(str)
    bootstrap = PatientBootstrap(patients.to_numpy(), resamples=resamples, seed=seed)
    sums, counts = (np.bincount(bootstrap.index, each, len(bootstrap.names)) for each in (excess, np.ones(len(excess))))
    drawn = bootstrap.run(lambda weights: ((weights @ sums) / (weights @ counts))[:, None])[:, 0]
    interval = mean_interval(drawn, len(bootstrap.names))
    return {
        "positive": metrics.positive,
        "value": float(excess.mean()),
        "low": interval.low,
        "high": interval.high,
        "n": len(bootstrap.names),
        "unit_of_n": "patients" if predictions.patients_known else "images",
        "predicted": float(frame[f"p({metrics.positive})"].mean()),
        "observed": float((frame["label"].astype(str) == metrics.positive).mean()),
    }
