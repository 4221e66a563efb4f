"""What a run knows of itself, fact by fact, as sentences for checklists and model cards. Every number is the run record's.

A fact that the run does not know is an empty text, and stays with the author. It writes no page.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pandas as pd

from easydl.errors import RESEARCH_USE
from easydl.reporting import reproduce, study_facts, text
from easydl.reporting.figures import best_epoch
from easydl.reporting.record import RunRecord
from easydl.reporting.study_facts import listed
from easydl.tasks import Task

_TASKS: dict[str, str] = {
    Task.CLASSIFICATION: "distinguishes classes",
    Task.MULTILABEL: "says which of several labels an image has",
    Task.ORDINAL: "places an image on an ordered scale",
    Task.REGRESSION: "measures a value",
    Task.MULTITASK: "does several tasks at once",
    Task.SEGMENTATION: "segments structures",
    Task.RECONSTRUCTION: "reconstructs images",
}
_ACCURACY = re.compile(
    r"sensitivity|specificity|predictive|accuracy|recall|Dice|mean absolute error|AUC", re.IGNORECASE
)
_CALIBRATION = re.compile(r"calibration|Brier|ECE|log.loss", re.IGNORECASE)


def facts(record: RunRecord) -> dict[str, str]:
    """Every fact by its name, as text; empty where the run does not know it."""
    return {name: fact(record) for name, fact in FACTS.items()}


def _technology(record: RunRecord) -> str:
    model = record.metadata.get("arguments", {}).get("name") or record.config.get("model")
    return f"Deep learning: the convolutional network “{model}”, trained by supervision (Keras)." if model else ""


def _task(record: RunRecord) -> str:
    does = _TASKS.get(str(record.split.get("task")))
    classes = record.split.get("classes")
    named = f" ({listed(classes)})" if isinstance(classes, list) and classes else ""
    return f"A model that {does}{named} is trained and tested internally." if does else ""


def _headline(record: RunRecord) -> str:
    return "" if record.metrics is None else f"On the test part: {record.metrics.headline}."


def _numbers(record: RunRecord, wanted: re.Pattern[str] | None = None) -> str:
    metrics = record.metrics
    if metrics is None:
        return ""
    rows = [metrics.sentence(k) for k, row in enumerate(metrics.rows) if wanted is None or wanted.search(row.name)]
    return f"On the test part: {'; '.join(rows)}." if rows else ""


def _preprocessing(record: RunRecord) -> str:
    known = record.metadata
    if not known:
        return ""
    low, high = known.get("window") or (0, 255)
    units = "Hounsfield units" if known.get("units") == "HU" else "grey values from 0 to 255"
    said = [f"Images are read in {units}; {low:g} to {high:g} become the network's input range, inside the model."]
    if known.get("units") != "HU":
        how = "mean and standard deviation" if known.get("normalise") == "z-score" else "0.5th and 99.5th percentile"
        said.append(f"Values without units of their own are scaled by the {how} of each image.")
    size = [side for side in known.get("size") or () if side]
    if size:
        said.append(f"Every image is resized to {' x '.join(map(str, size))} pixels.")
    if known.get("spacing_mm"):
        said.append(f"Scans are resampled to {' x '.join(f'{mm:g}' for mm in known['spacing_mm'])} mm.")
    return " ".join(said)


def _model(record: RunRecord) -> str:
    count, known = text.count(record.facts.get("parameters")), record.metadata
    said = [f"{count:,} trainable and fixed parameters."] if count is not None else []
    if known:
        side = " x ".join("any" if one is None else str(one) for one in known.get("size") or ())
        said.insert(0, f"Input {side or 'of any size'}, {text.many(int(known.get('channels', 1)), 'channel')};")
    return " ".join([*said, "Every layer is in model.keras (model.summary() lists them)."]) if said else ""


def _inputs(record: RunRecord) -> str:
    covariates = record.config.get("covariates")
    more = f" and the covariates {listed(covariates)}" if isinstance(covariates, list) and covariates else ""
    return f"The model is given the image{more}, and nothing else." if record.config else ""


def _software(record: RunRecord) -> str:
    versions = record.facts.get("versions")
    if not isinstance(versions, dict) or not versions:
        return ""
    device = f"; {record.facts['device']}" if record.facts.get("device") else ""
    return f"{', '.join(f'{name} {version}' for name, version in versions.items())}{device}."


def _weights(record: RunRecord) -> str:
    if not record.config:
        return ""
    start = record.metadata.get("pretrained") or text.start_of(record.config)
    return f"Training starts from {start}, seed {record.config.get('seed')}."


def _training(record: RunRecord) -> str:
    plan = record.training.get("plan")
    said = [str(one) for one in plan] if isinstance(plan, list) else []
    return " ".join([f"{text.many(len(record.history), 'epoch')}.", *said]) if len(record.history) else ""


def _augmentation(record: RunRecord) -> str:
    preset = record.training.get("augment")
    return f"Augmentation preset “{preset}”, in training only." if preset else ""


def _selection(record: RunRecord) -> str:
    best = best_epoch(record.history)
    if best is None:
        return ""
    return f"The weights of the epoch with the lowest validation loss: epoch {best[0]} of {len(record.history)} ({best[1]:.3f})."


def _ensemble(record: RunRecord) -> str:
    members = text.count(record.config.get("members"))
    if not record.config:
        return ""
    return f"{members} networks answer together." if (members or 1) > 1 else "One network; none were joined."


def _metrics(record: RunRecord) -> str:
    return "" if record.metrics is None else f"{listed([row.name for row in record.metrics.rows])}."


def _intervals(record: RunRecord) -> str:
    metrics = record.metrics
    if metrics is None:
        return ""
    unit = "patients" if metrics.patients_known else "images (patients are unknown)"
    return f"95% intervals from {metrics.resamples:,} bootstrap resamples of {unit}, seed {metrics.seed}."


def _threshold(record: RunRecord) -> str:
    metrics = record.metrics
    found = [] if metrics is None else [note for note in metrics.notes if re.search(r"threshold|own decision", note)]
    return " ".join(found)


def _outputs(record: RunRecord) -> str:
    task, classes = str(record.split.get("task")), record.split.get("classes")
    if task not in _TASKS or not isinstance(classes, list):
        return ""
    kind = {
        Task.REGRESSION: "A value of",
        Task.SEGMENTATION: "A mask with",
        Task.RECONSTRUCTION: "An image with the channels",
    }
    return f"{kind.get(Task(task), 'Probabilities of')} {listed(classes)}."


def _heatmaps(record: RunRecord) -> str:
    levels = pd.Series(
        [str((one.get("verdict") or {}).get("level") or "none") for one in record.heatmaps], dtype=str
    ).value_counts()
    if levels.empty:
        return ""
    said = ", ".join(f"{name} {count}" for name, count in levels.items())
    return f"{text.many(len(record.heatmaps), 'heatmap')} of test images, each with a verdict from a weight-randomisation check: {said}."


def _internal(record: RunRecord) -> str:
    if record.metrics is None:
        return ""
    metrics = record.metrics
    who = f" of {text.many(metrics.patients, 'patient')}" if metrics.patients_known else ""
    return f"Tested on the test part of the same study: {text.many(metrics.images, 'image')}{who}."


def _failures(record: RunRecord) -> str:
    metrics = record.metrics
    if metrics is None:
        return ""
    said = []
    if metrics.confusion is not None:
        cells = metrics.confusion.to_numpy()
        said.append(
            f"{int(cells.sum() - np.trace(cells))} of {text.many(int(cells.sum()), 'test image')} were called wrongly."
        )
    if metrics.cases is not None and "dice" in metrics.cases.columns:
        worst = metrics.cases["dice"].dropna().nsmallest(3)
        said.append(f"The lowest Dice are {listed([f'{one:.2f}' for one in worst])}, n = {len(metrics.cases)} cases.")
    return " ".join([*said, "The worst cases are in the report, by number."]) if said else ""


def _crosstab(record: RunRecord) -> str:
    metrics = record.metrics
    if metrics is None or metrics.confusion is None:
        return ""
    said = [
        f"{name} called {', '.join(f'{other} {count}' for other, count in row.items())}"
        for name, row in metrics.confusion.iterrows()
    ]
    return f"Images of reference {'; '.join(said)} (n = {int(metrics.confusion.to_numpy().sum())})."


def _limits(record: RunRecord) -> str:
    said = list(record.warnings)
    if record.patients_known is False:
        said.append("Patients are unknown: every image counted as a patient.")
    said += [f"Overridden: {one}" for one in record.names.clean(record.overrides)]
    said += record.names.clean(str(one.get("sentence")) for one in record.issues if one.get("severity") == "UNTESTED")
    if record.metrics is not None:
        said += [note for note in record.metrics.notes if note.startswith(("Too few", "Read with", "The interval"))]
    return " ".join(said)


def _unlike(record: RunRecord) -> str:
    known = (record.training.get("likeness") or record.metadata.get("training", {}).get("likeness")) or {}
    if not known.get("n"):
        return ""
    return (
        f"A new image is compared with {known['n']} training images (modality, size, spacing, grey values); what is unlike "
        "them is said with the answer."
    )


def _repeat(record: RunRecord) -> str:
    command = reproduce.command(reproduce.without_places(record.config))
    return f"The run is repeated by: {command}" if command else ""


def _files(record: RunRecord) -> str:
    if record.file("model.keras") is None:
        return ""
    data = f" Fingerprint of the data: {record.facts['fingerprint']}." if record.facts.get("fingerprint") else ""
    return f"The trained model is model.keras, which plain Keras opens too.{data}"


FACTS: dict[str, Callable[[RunRecord], str]] = {
    "accuracy": lambda record: _numbers(record, _ACCURACY),
    "acquisition": study_facts.acquisition,
    "augmentation": _augmentation,
    "calibration": lambda record: _numbers(record, _CALIBRATION),
    "centres": study_facts.centres,
    "counts": study_facts.counts,
    "crosstab": _crosstab,
    "dates": study_facts.dates,
    "demographics": study_facts.demographics,
    "disjoint": study_facts.disjoint,
    "ensemble": _ensemble,
    "excluded": study_facts.excluded,
    "failures": _failures,
    "files": _files,
    "flow": study_facts.flow,
    "headline": _headline,
    "heatmaps": _heatmaps,
    "imbalance": study_facts.imbalance,
    "inputs": _inputs,
    "internal": _internal,
    "intervals": _intervals,
    "labels": study_facts.labels,
    "limits": _limits,
    "looks": lambda record: text.looks(record.metrics),
    "metrics": _metrics,
    "missing": study_facts.missing,
    "model": _model,
    "n_test": study_facts.n_test,
    "numbers": _numbers,
    "outputs": _outputs,
    "preprocessing": _preprocessing,
    "repeat": _repeat,
    "research": lambda record: RESEARCH_USE,
    "selection": _selection,
    "software": _software,
    "source": study_facts.source,
    "split": study_facts.division,
    "task": _task,
    "technology": _technology,
    "threshold": _threshold,
    "training": _training,
    "traps": study_facts.traps,
    "unlike": _unlike,
    "weights": _weights,
}
"""Each fact of a run, by the name that the checklists ask for."""
