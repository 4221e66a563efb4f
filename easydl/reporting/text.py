"""What a run did and how far it came, as sentences. It reads no file and draws nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from easydl.evaluation import Metrics
from easydl.networks.by_default import network_for, weights_for
from easydl.networks.registry import SOURCES
from easydl.reporting import progress
from easydl.reporting.record import PARTS, RunRecord
from easydl.tasks import Task

_NOUNS: dict[str, str] = {
    Task.MULTILABEL: "labels",
    Task.ORDINAL: "ordered classes",
    Task.REGRESSION: "values",
    Task.MULTITASK: "tasks",
}


def count(value: Any) -> int | None:
    """An integer from a file, or None when it is not one."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def many(number: int | None, thing: str) -> str:
    """A number and its noun: "1 patient", "71 patients", "an unknown number of patients"."""
    if number is None:
        return f"an unknown number of {thing}s"
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def when(text: Any) -> str:
    """A time from a file as people write it: "20 Nov 2026, 15:30 UTC"; empty when it is not one."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return ""
    return f"{moment:%d %b %Y, %H:%M} {moment.tzname() or ''}".strip()


def state(record: RunRecord) -> str:
    """Why the run has no end, in one sentence; empty when it has finished."""
    unknown = "The folder does not say whether the run finished."
    doing = progress.doing(record.status)
    stage = f" while {doing}" if doing else ""
    before = f"{stage}. What was finished before is below."
    return {
        "finished": "",
        "failed": f"The run failed{before}",
        "stopped": f"The run was stopped{before}",
        "interrupted": f"The run was interrupted{before}" if doing else unknown,
        "running": f"The run had not finished when this page was written: it was {doing or 'starting'}.",
    }.get(str(record.status["state"]), unknown)


def done(record: RunRecord) -> str:
    """What was done, in one paragraph that says only what the files say."""
    sentences = [_study_sentence(record), _split_sentence(record), _training_sentence(record)]
    metrics = record.metrics
    if metrics is not None:
        who = "" if not metrics.patients_known else f" of {many(metrics.patients, 'patient')}"
        seen = (
            f", {metrics.seen:,} of which took part in training" if metrics.seen else " that took no part in training"
        )
        sentences.append(f"It was tested on {many(metrics.images, 'image')}{who}{seen}.")
    if record.heatmaps:
        sentences.append(f"Heatmaps were drawn for {many(len(record.heatmaps), 'test image')}.")
    return " ".join(sentence for sentence in sentences if sentence)


def separation(record: RunRecord) -> str:
    """Whether the parts share patients, and how that is known."""
    if record.patients_known is False:
        return "Patients are unknown, so nobody can say whether the parts share patients."
    if record.shared_patients is None:
        return "The table of the run is missing, so this page could not check that the parts share no patient."
    if record.shared_patients:
        return f"{many(record.shared_patients, 'patient')} are in more than one part."
    return "No patient is in more than one part (checked again in table.csv when this page was written)."


def looks(metrics: Metrics | None) -> str:
    """How often the test part had been looked at; empty where nobody counted."""
    look = None if metrics is None else metrics.look
    if look is None:
        return ""
    if look.number == 1:
        return f"This was the first look at this test part on the computer of the run ({look.first})."
    return (
        f"This was look {look.number} at this test part on the computer of the run (first {look.first}); its intervals "
        "are widened for it."
    )


def _study_sentence(record: RunRecord) -> str:
    parts = [record.split.get(key) for key in PARTS]
    known = [part for part in parts if isinstance(part, dict)]
    images = [count(part.get("images")) for part in known]
    patients = [count(part.get("patients")) for part in known]
    began = when(record.status.get("started"))
    study = f"the study “{record.given_name}”" if record.given_name else "the study"
    start = f"On {began}, {study} was read" if began else f"{study[0].upper()}{study[1:]} was read"
    if not known or None in images:
        return f"This run{f' of {began}' if began else ''} is about {study if record.given_name else 'a study without a name'}."
    sentence = f"{start}: {many(sum(number or 0 for number in images), 'image')}"
    if record.patients_known is not False and None not in patients:
        sentence += f" of {many(sum(number or 0 for number in patients), 'patient')}"
    classes = record.split.get("classes")
    if isinstance(classes, list) and 0 < len(classes) <= 8:
        sentence += f", {_NOUNS.get(str(record.split.get('task')), 'classes')} {', '.join(map(str, classes))}"
    return sentence + "."


def _split_sentence(record: RunRecord) -> str:
    if not any(isinstance(record.split.get(key), dict) for key in PARTS):
        return ""
    if record.split.get("given"):
        return f"It was split by its own column “{record.split['given']}”."
    seed = record.split.get("seed")
    chance = f" at random (seed {seed})" if count(seed) is not None else " at random"
    whole = "image by image" if record.patients_known is False else "whole patients at a time"
    return f"It was split{chance} into training, validation and test, {whole}."


def _training_sentence(record: RunRecord) -> str:
    if record.history.empty:
        return ""
    config, start = record.config, start_of(record.config)
    augment = record.training.get("augment") or config.get("augment") or "none"
    model = config.get("model") or "network"
    listed = config.get("covariates")
    covariates = f" with the covariates {', '.join(map(str, listed))}" if isinstance(listed, list) and listed else ""
    return (
        f"The model “{model}”{covariates} was trained from {start} for {many(len(record.history), 'epoch')} with the "
        f"augmentation preset “{augment}”.{_resumed_sentence(record)}"
    )


def start_of(config: dict[str, Any]) -> str:
    """What a training starts from; a file is not named, for its path may name a patient."""
    weights = weights_for(config, str(config.get("encoder") or network_for(config)))
    if not isinstance(weights, str):
        return "ImageNet weights" if weights else "random weights"
    return f"the weights “{weights}”" if weights in SOURCES else "the weights of a file"


def _resumed_sentence(record: RunRecord) -> str:
    resumed, seconds = count(record.facts.get("resumed")), record.training.get("seconds")
    stopped = " The training was stopped by hand before its end." if record.training.get("stopped") else ""
    if not resumed:
        return stopped
    took = f"; the training took {seconds:,.0f} s in all" if isinstance(seconds, (int, float)) else ""
    return f"{stopped} The run was interrupted and resumed {many(resumed, 'time')}{took}."
