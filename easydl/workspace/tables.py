"""A study as it may be shown on a screen: patients numbered, files without their folders. It changes no study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easydl.fileio import inert
from easydl.reporting.record import PARTS
from easydl.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

    from easydl.reporting import RunRecord
    from easydl.studies import Study


def numbered(study: Study) -> Study:
    """A copy of a study whose patients are called ``patient 1``, ``patient 2``, ... in the order of the rows.

    Where the patients are not known, nobody is called anything.
    """
    if not study.patients_known:
        return replace(study, frame=study.frame.assign(patient=""))
    names = {name: f"patient {n}" for n, name in enumerate(dict.fromkeys(study.frame["patient"]), start=1)}
    return replace(study, frame=study.frame.assign(patient=study.frame["patient"].map(names)))


def table(study: Study, rows: int) -> pd.DataFrame:
    """The first rows of a study's table with numbered patients and bare file names."""
    frame = numbered(study).frame.head(rows)
    for column in [*study.image_columns, *(name for name in study.mask_columns if name in frame.columns)]:
        frame = frame.assign(**{column: [Path(address.split("#")[0]).name for address in frame[column]]})
    frame = frame if study.patients_known else frame.drop(columns="patient")
    return frame.map(inert)  # the table on the screen can be downloaded as CSV


def classes(study: Study) -> pd.DataFrame:
    """Images and, when they are known, patients of each class or label, with several tasks of each; empty for values."""
    from easydl.studies.plots import counts

    table = counts(study.frame, study.schema).rename(columns={"label": "class"})
    return table if study.patients_known else table.drop(columns="patients")


def numbers(study: Study) -> list[str]:
    """The range of each value, as text; empty for classes."""
    from easydl.studies.plots import ranges

    return [
        f"{name}: {measured['lowest']:g} to {measured['highest']:g}, median {measured['median']:g}"
        for name, measured in ranges(study.frame, study.schema).items()
    ]


def split(parts: tuple[Study, Study, Study]) -> pd.DataFrame:
    """Patients (when known) and images in each part of a split, in all and of each class."""
    import pandas as pd

    rows = []
    for part, name in zip(parts, PARTS.values(), strict=True):
        row: dict[str, object] = {"part": name, "patients": part.n_patients, "images": len(part)}
        counted = classes(part)
        counts = {name: int(count) for name, count in zip(counted["class"], counted["images"], strict=True)}
        row |= {f"images of {name}": counts.get(name, 0) for name in _named(parts[0])}
        rows.append(row)
    frame = pd.DataFrame(rows)
    return frame if parts[0].patients_known else frame.drop(columns="patients")


def wrong(run: RunRecord) -> tuple[str, pd.DataFrame]:
    """The cases of the test to look at first: the wrong answers, the surest of them first; nothing before the test.

    Values and masks are not right or wrong: theirs are the farthest from the reference.

    Returns:
        A sentence, and the cases with bare file names.
    """
    import pandas as pd

    path = run.file("predictions.csv")
    if path is None:
        return "", pd.DataFrame()
    try:
        with open(path, encoding="utf-8") as file:
            has_note = file.readline().startswith("# ")
        frame = pd.read_csv(path, skiprows=int(has_note), dtype=str, keep_default_na=False)
    except (OSError, ValueError):
        return "", pd.DataFrame()
    frame = frame.assign(image=[Path(str(address).split("#")[0]).name for address in frame.get("image", "")])
    if "dice" in frame.columns:
        order = pd.to_numeric(frame["dice"], errors="coerce").sort_values(kind="stable").index
        kept = [name for name in ("image", "class", "dice", "note") if name in frame.columns]
        return "The masks that fit the reference least.", frame.loc[order, kept]
    if {"value", "label"} <= set(frame.columns):
        off = (pd.to_numeric(frame["value"], errors="coerce") - pd.to_numeric(frame["label"], errors="coerce")).abs()
        shown = pd.DataFrame({"image": frame["image"], "reference": frame["label"], "answer": frame["value"]})
        return "The answers farthest from the reference.", shown.loc[off.sort_values(ascending=False).index]
    parts, answered = [], 0
    for task in [name.removesuffix("label") for name in frame.columns if name.endswith("label")]:
        columns = [f"{task}label", f"{task}prediction", f"{task}confidence"]
        if not {*columns} <= set(frame.columns):
            continue
        known = frame[frame[columns[0]].ne("") | (run.split.get("task") == Task.MULTILABEL)]  # there it means no label
        answered += len(known)
        part = known.loc[known[columns[0]] != known[columns[1]], ["image", *columns]]
        part = part.set_axis(["image", "reference", "answer", "confidence"], axis=1)
        parts.append(part.assign(task=task.removesuffix(": ")) if task else part)
    if not parts:
        return "", pd.DataFrame()
    every = pd.concat(parts)
    every = every.assign(confidence=pd.to_numeric(every["confidence"], errors="coerce"))
    every = every.sort_values("confidence", ascending=False, kind="stable")
    sentence = f"{len(every)} of {answered} answers differ from the reference; the surest first."
    return sentence, every.assign(confidence=[f"{one:.2f}" for one in every["confidence"]])


def by_error(heatmaps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The heatmaps with those of wrong answers first, the surest of them at the head."""

    def place(entry: dict[str, Any]) -> tuple[bool, float]:
        sure = entry.get("probability")
        wrong = is_right(entry) is False
        return not wrong, -float(sure) if wrong and isinstance(sure, int | float) else 0.0

    return sorted(heatmaps, key=place)


def is_right(entry: dict[str, Any]) -> bool | None:
    """Whether the answer that a heatmap explains is the reference; None where there is no one answer."""
    if isinstance(entry.get("right"), bool):
        return bool(entry["right"])
    answer, reference = entry.get("prediction"), entry.get("label")
    return str(answer) == str(reference) if answer and reference else None


def _named(study: Study) -> list[str]:
    """The classes in their order; with several tasks, with the task's name before them."""
    if study.heads:
        heads = study.heads.items()
        return [f"{name}: {label}" for name, labels in heads if not isinstance(labels, int) for label in labels]
    task = Task(study.task)
    return list(study.classes) if task.has_classes and not task.has_masks else []
