"""Says in words what a run did, how far it came and how to repeat it. It reads no file and draws nothing."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePath
from typing import Any

from easydl.reporting import reproduce
from easydl.reporting.record import RunRecord

PARTS = (("train", "training"), ("val", "validation"), ("test", "test"))
_STAGES = {
    "loading": "reading the images",
    "checking": "looking for traps",
    "splitting": "splitting by patient",
    "training": "training",
    "testing": "testing",
    "explaining": "drawing the heatmaps",
    "reporting": "writing the report",
}


def count(value: Any) -> int | None:
    """A whole number from a file.

    Args:
        value: Whatever the file says.

    Returns:
        The number, or None when it is none.
    """
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def many(number: int | None, thing: str) -> str:
    """A number and its thing: "1 patient", "71 patients", "an unknown number of patients".

    Args:
        number: How many, or None.
        thing: The thing in the singular, with a regular plural.

    Returns:
        The words.
    """
    if number is None:
        return f"an unknown number of {thing}s"
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def when(text: Any) -> str:
    """A time from a file as people write it: "20 Nov 2026, 15:30 UTC"; empty when it is none.

    Args:
        text: An ISO time.

    Returns:
        The words.
    """
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return ""
    return f"{moment:%d %b %Y, %H:%M} {moment.tzname() or ''}".strip()


def title(record: RunRecord) -> str:
    """What the run is about: the study's name, or that of its table or folder.

    Args:
        record: The run.

    Returns:
        One line.
    """
    name = record.config.get("name") or PurePath(str(record.config.get("source") or "")).name
    return str(name or record.folder.resolve().name)


def state(record: RunRecord) -> str:
    """Why the run has no end, in one sentence; empty when it has finished.

    Args:
        record: The run.

    Returns:
        The sentence.
    """
    now = record.status.get("state")
    step = _STAGES.get(str(record.status.get("stage")), "an unknown step")
    return {
        "finished": "",
        "failed": f"The run failed while {step}. What was finished before is below.",
        "stopped": f"The run was stopped while {step}. What was finished before is below.",
        "interrupted": f"The run was interrupted while {step}. What was finished before is below.",
        "running": f"The run had not finished when this page was written: it was {step}.",
    }.get(str(now), "The folder does not say whether the run finished.")


def done(record: RunRecord) -> str:
    """What was done, in one paragraph.

    Args:
        record: The run.

    Returns:
        The paragraph; it says only what the files say.
    """
    sentences = [_study_sentence(record), _split_sentence(record), _training_sentence(record)]
    metrics = record.metrics
    if metrics is not None:
        who = "" if not metrics.patients_known else f" of {many(metrics.patients, 'patient')}"
        sentences.append(f"It was tested on {many(metrics.images, 'image')}{who} that took no part in training.")
    if record.heatmaps:
        number = len(record.heatmaps) + record.heatmaps_left_out
        sentences.append(f"Heatmaps were drawn for {many(number, 'test image')}.")
    return " ".join(sentence for sentence in sentences if sentence)


def _study_sentence(record: RunRecord) -> str:
    parts = [record.split.get(key) for key, _ in PARTS]
    known = [part for part in parts if isinstance(part, dict)]
    images = [count(part.get("images")) for part in known]
    patients = [count(part.get("patients")) for part in known]
    began = when(record.status.get("started"))
    start = f"On {began}, the study “{title(record)}” was read" if began else f"The study “{title(record)}” was read"
    if not known or None in images:
        return f"This run{f' of {began}' if began else ''} is about the study “{title(record)}”."
    sentence = f"{start}: {many(sum(number or 0 for number in images), 'image')}"
    if record.patients_known is not False and None not in patients:
        sentence += f" of {many(sum(number or 0 for number in patients), 'patient')}"
    classes = record.split.get("classes")
    if isinstance(classes, list) and 0 < len(classes) <= 8:
        what = {"multilabel": "issues", "ordinal": "grades", "regression": "measured:", "multitask": "questions"}
        sentence += f", {what.get(str(record.split.get('task')), 'classes')} {', '.join(str(name) for name in classes)}"
    return sentence + "."


def _split_sentence(record: RunRecord) -> str:
    if not any(isinstance(record.split.get(key), dict) for key, _ in PARTS):
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
    config = record.config
    weights = config.get("pretrained")
    start = "random weights"
    if weights:
        start = "ImageNet weights" if weights is True else f"the weights “{weights}”"
    augment = recorded(record).get("augment") or config.get("augment") or "none"
    model = config.get("model") or "network"
    beside = config.get("covariates")
    told = f", told {', '.join(map(str, beside))} beside the image," if isinstance(beside, list) and beside else ""
    return (
        f"The model “{model}”{told} was trained from {start} for {many(len(record.history), 'epoch')} with the "
        f"augmentation preset “{augment}”."
    )


def recorded(record: RunRecord) -> dict[str, Any]:
    """What the training recorded of itself in ``run.json``.

    Args:
        record: The run.

    Returns:
        The dictionary, empty when there is none.
    """
    training = record.facts.get("training")
    return training if isinstance(training, dict) else {}


def command(record: RunRecord) -> str:
    """The command that does the run again.

    Args:
        record: The run.

    Returns:
        The command that was given, or, where that only went on with a folder, the one its settings amount to.
    """
    given = record.facts.get("command")
    if isinstance(given, str) and given.split()[:2] in (["easydl", "train"], ["easydl", "demo"]):
        return given
    return reproduce.command(record.config)
