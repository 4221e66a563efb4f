"""The training images that are nearest to a case, found once and kept with it: labels, distances, small images. No names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easydl.errors import RESEARCH_USE, RunError
from easydl.fileio import replacing, write_text
from easydl.reporting.names import IMAGE
from easydl.workspace.background import REQUEST, Work, begin, read

if TYPE_CHECKING:
    from easydl.exploration.neighbours import Nearest
    from easydl.reporting import RunRecord
    from easydl.runs.kept_features import KeptFeatures

FOLDER, INDEX, SIDE_PX = "nearest", "index.json", 240
KEPT_APART = "None of these is of the same patient: the split keeps patients apart."
NOT_YET = (
    "look for the nearest training images of its heatmaps once, on the page Heatmaps; then they are shown here, too."
)


@dataclass(frozen=True)
class Near:
    """One of the nearest training images.

    Attributes:
        name: Its numbered name.
        label: Its reference, as text.
        distance: 0 for the same features, 1 for unrelated ones.
        path: A small PNG of it; None where that is gone.
    """

    name: str
    label: str
    distance: float
    path: Path | None


@dataclass(frozen=True)
class NearestImages:
    """What is kept of the nearest training images of one case.

    Attributes:
        images: The nearest first.
        sentence: What they are, and how far is far.
        same_patient: Whether one of them may be of the same patient.
        missing: Why there are none; empty where there are.
    """

    images: tuple[Near, ...] = ()
    sentence: str = ""
    same_patient: str = ""
    missing: str = ""


def from_kept(content: Mapping[str, Any], folder: Path) -> NearestImages | None:
    """What a file says of them; None where it says nothing. Only images in its own folder are shown."""
    if content.get("missing"):
        return NearestImages(missing=str(content["missing"]))
    images = []
    for one in content.get("images") or ():
        path = folder / str(one.get("file"))
        there = path.parent == folder and path.is_file()
        distance = one.get("distance")
        known = float(distance) if isinstance(distance, int | float) else float("nan")
        images.append(Near(str(one.get("name")), str(one.get("label")), known, path if there else None))
    said = (str(content.get("sentence") or ""), str(content.get("same_patient") or ""))
    return NearestImages(tuple(images), *said) if images else None


def of_heatmaps(run: RunRecord) -> dict[str, NearestImages]:
    """Those of each heatmap of a run, by the heatmap's file name; empty where nobody has looked since they were drawn."""
    folder = run.folder / FOLDER
    try:
        drawn = (run.folder / "heatmaps" / "index.json").stat().st_mtime
        if (folder / INDEX).stat().st_mtime < drawn:
            return {}
    except OSError:
        return {}
    found = {name: from_kept(one, folder) for name, one in read(folder / INDEX).items() if isinstance(one, dict)}
    return {name: one for name, one in found.items() if one is not None}


def search(run: RunRecord) -> Work | None:
    """The process that looks, or has looked, for those of a run; None where nobody has asked."""
    folder = run.folder / FOLDER
    return Work(folder) if (folder / REQUEST).is_file() else None


def begin_search(run: RunRecord) -> None:
    """Look for the nearest training images of every heatmap of a run, in another process; asked twice, it is one."""
    work = search(run)
    if work is None or not work.running:
        folder = run.folder / FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        begin(folder, {"work": "nearest"})


def find_for_heatmaps(asked: Mapping[str, Any], home: Path) -> None:
    """Find them and keep them in the run folder; where the model's features are not kept, they are computed once.

    Raises:
        RunError: The study of the run is gone or another, or no image of a heatmap is in its table.
    """
    from easydl.fileio import write_status
    from easydl.reporting import RunRecord
    from easydl.runs.kept_features import kept
    from easydl.runs.resuming import study_of

    run = RunRecord(home.parent)
    write_status(home, message="Reading the study")
    study = study_of(run.folder)
    rows = {str(entry.get("file")): _row(run, entry) for entry in run.heatmaps}
    wanted = {name: row for name, row in rows.items() if row is not None}
    if not wanted:
        raise RunError(
            "The table of the run does not name the images of its heatmaps.",
            "a run of this version of easydl.",
            "Train it again.",
        )
    known = kept(run.folder, study)
    if known is None or any(known.direction(row) is None for row in wanted.values()):
        write_status(home, message="Asking the model for the features of the training images")
        _compute(run, study, sorted(set(wanted.values())))
        known = kept(run.folder, study)
    if known is None:
        raise RunError("The features of the training images could not be kept.", "room on the disk.", "Try it again.")
    content = {}
    for number, (name, row) in enumerate(wanted.items()):
        write_status(home, message=f"Image {number + 1} of {len(wanted)}")
        direction = known.direction(row)
        patient = str(study.frame["patient"].iloc[row])
        near = _among(known, direction, study.scan(row), patient, run)
        said = KEPT_APART if study.patients_known else near.same_patient
        content[name] = _kept(near, home, Path(name).stem, _names(run, known), said)
    write_text(home / INDEX, json.dumps(content), mode=0o600)


def find_for_case(model: Path, source: str, folder: Path) -> dict[str, Any]:
    """Those of a new case, where its model is that of a run whose features are kept.

    Returns:
        As it is kept for `from_kept`; empty for a model that is in no run.

    Raises:
        EasyDLError: The study of the run cannot be read, or the case does not fit.
    """
    from easydl.prediction import features
    from easydl.prediction.cascades import open_model
    from easydl.prediction.predicting import as_source
    from easydl.reporting import RunRecord
    from easydl.runs.kept_features import FEATURES, kept
    from easydl.runs.resuming import study_of
    from easydl.studies import Study

    run = RunRecord(model.parent)
    if run.file("config.json") is None or run.file("table.csv") is None:
        return {}
    known = kept(run.folder, study_of(run.folder)) if (run.folder / FEATURES).is_file() else None
    if known is None:
        return {"missing": f"For the training images of this model that are nearest to the case, {NOT_YET}"}
    opened, metadata = open_model(model)
    case = as_source(source, metadata)
    scan = case.scan(0) if isinstance(case, Study) else case
    direction = known.space.directions_of(features(opened, scan).to_numpy(float))[0]
    near = _among(known, direction, scan, scan.patient or "", run)
    return _kept(near, folder, "near", _names(run, known), near.same_patient)


def _row(run: RunRecord, entry: Mapping[str, Any]) -> int | None:
    """The row of the study that a heatmap is of."""
    if IMAGE not in run.table.columns:
        return None
    found = run.table.index[run.table[IMAGE] == str(entry.get("image"))]
    return int(found[0]) if len(found) else None


def _compute(run: RunRecord, study: Any, rows: list[int]) -> None:
    import numpy as np

    from easydl.prediction import features
    from easydl.runs.kept_features import keep

    training = np.flatnonzero(study.frame["split"].to_numpy(str) == "train")
    both = np.concatenate([training, np.setdiff1d(rows, training)])
    values = features(run.folder / "model.keras", study.rows(study.frame.index[both]))
    keep(run.folder, study, values.to_numpy(), both)


def _among(known: KeptFeatures, direction: Any, scan: Any, patient: str, run: RunRecord) -> Nearest:
    from easydl.exploration.neighbours import among
    from easydl.options_of_use import NearestOptions

    most = min(NearestOptions().k, max(1, len(known.training) - 1))
    window = run.metadata.get("window") if scan.units == "HU" else None
    return among(
        known.training, known.space, direction, scan, patient, k=most, window=tuple(window) if window else None
    )


def _names(run: RunRecord, known: KeptFeatures) -> list[str]:
    """The numbered name of every training image."""
    table, names = run.table, []
    if {"split", IMAGE} <= set(table.columns):
        names = table.loc[table["split"] == "train", IMAGE].tolist()
    return names if len(names) == len(known.training) else [f"image {k + 1}" for k in range(len(known.training))]


def _kept(near: Nearest, folder: Path, start: str, names: list[str], same_patient: str) -> dict[str, Any]:
    images = []
    for place, (row, label, distance) in enumerate(_lines(near)):
        file = f"{start}-{place + 1}.png"
        with replacing(folder / file, mode=0o600) as path:
            _draw(near, place, path)
        images.append({"file": file, "name": names[row], "label": label, "distance": round(distance, 4)})
    sentence = near.sentence.removesuffix(near.same_patient).strip()
    return {"images": images, "sentence": sentence, "same_patient": same_patient, "research_use": RESEARCH_USE}


def _lines(near: Nearest) -> Iterator[tuple[int, str, float]]:
    own = ("row", "image", "patient", "distance")
    columns = [str(name) for name in near.table.columns if name not in own]
    for line in near.table.to_dict("records"):
        cells = [(name, line[name]) for name in columns]
        texts = [f"{cell:.3g}" if isinstance(cell, float) else str(cell) for _, cell in cells]
        labels = [text if name == "label" else f"{name}: {text}" for (name, _), text in zip(cells, texts, strict=True)]
        yield int(line["row"]), ", ".join(labels), float(line["distance"])


def _draw(near: Nearest, place: int, path: Path) -> None:
    """One image, upright and in its window, of a volume the slice that is shown first; all of one size, so that they line up."""
    from easydl.figures import new_figure, panel

    figure = new_figure(SIDE_PX / 100, SIDE_PX / 100, layout=None)
    figure.set_facecolor("black")
    panel(figure.add_axes((0, 0, 1, 1)), near.scans[place], window=near.window)
    figure.savefig(path, format="png", dpi=100)
