"""A run by several workers: the first does it all and writes, the others help it to train and write nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from easydl.errors import EasyDLError, InputError, RunError, frames_of
from easydl.fileio import disk_full, is_disk_full, private_log
from easydl.options import LoadOptions
from easydl.options_of_training import FitOptions
from easydl.runs.building import build
from easydl.runs.config import RunConfig, check_study
from easydl.studies.mask_labels import LabelMap
from easydl.training.workers import Workers, check_several, joined, team, who_was_lost

if TYPE_CHECKING:
    from easydl.studies import Study

MUST_AGREE = ("easydl-med", "tensorflow", "keras")
OWN = {"source", "root", "pretrained"}
"""Settings that may name another path on every computer."""
LABELS = TypeAdapter(LabelMap)
_agreed: list[bool] = []
"""Whether the others know what to train on."""


def run_with(
    workers: Workers | None, config: RunConfig, lead: Callable[[], Path], progress: Callable[[str], None]
) -> Path | None:
    """Do a run as one of several workers: the first leads, as it would alone; the others help. Returns its report.

    Raises:
        InputError: An option for which several workers cannot train together.
        RunError: Not all workers came, one was lost, or a worker sees another study.
        EasyDLError: Whatever stands in the way of the run.
    """
    if workers is None:
        return lead()
    check_several(len(workers.addresses), config.arguments(FitOptions))  # before anybody waits or reads
    progress(f"Waiting for {len(workers.addresses)} workers; this is worker {workers.number}.")
    settings = {name: value for name, value in config.model_dump().items() if name not in OWN}
    with joined(workers, settings | {name: version(name) for name in MUST_AGREE}):
        if not workers.is_first:
            _help(config, progress)
            return None
        _agreed.clear()
        try:
            return lead()
        except EasyDLError as problem:
            if not _agreed:
                # They still wait to hear what to train on.
                with suppress(Exception):  # whatever becomes of the message, the refusal counts
                    team().from_first(partial(_refuse, problem))
            raise
    return None


def agree(study: Study | None) -> None:
    """Say to the other workers which rows are trained on, and what their masks hold; None where nothing is left to train.

    Alone, do nothing.
    """
    if team().count > 1:
        _agreed.append(True)
        team().from_first(lambda: None if study is None else _said(study))


def _said(study: Study) -> dict[str, Any]:
    masks = LABELS.dump_python(study.label_map, mode="json") if study.task.has_masks else None
    return {"rows": _rows(study), "split": [*study.frame["split"]], "masks": masks}


def _refuse(problem: EasyDLError) -> None:
    raise problem


def _help(config: RunConfig, progress: Callable[[str], None]) -> None:
    from easydl.studies import load
    from easydl.training import fit

    study: Any = load(config.source, **config.arguments(LoadOptions))
    check_study(config, study)
    progress("Waiting for the first worker, which splits and checks the study.")
    agreed = team().from_first(lambda: None)
    if agreed is None:
        progress("Nothing is left to train.")
        return
    if agreed["rows"] != _rows(study):
        raise RunError(
            "The study on this computer is not that of the first worker.",
            "the same table and images on all computers.",
            "Copy the study again, or use a folder that all computers share.",
        )
    study = replace(study, frame=study.frame.assign(split=agreed["split"]))
    if agreed["masks"] is not None:
        # Known from the first worker, so that nobody else has to read the masks of all.
        study.__dict__["label_map"] = LABELS.validate_python(agreed["masks"])
    history = fit(
        build(config, study), study.part("train"), study.part("val"), **config.arguments(FitOptions), verbose=False
    )
    progress(f"Trained: {len(history.epoch)} epochs. The first worker tests, explains and writes the report.")


def _rows(study: Study) -> str:
    """What tells one study from another, wherever its images lie."""
    facts = study.frame.drop(columns=[*study.image_columns, *study.mask_columns, "split"], errors="ignore").astype(str)
    return hashlib.sha256(facts.to_csv(index=False).encode()).hexdigest()


def known_error(problem: Exception, folder: Path) -> EasyDLError:
    """Any error of a run in three parts; the frames of one that nobody foresaw are in its log."""
    if is_disk_full(problem):
        return disk_full(folder / "report.html")
    lost = who_was_lost(problem) if team().count > 1 else None
    if lost is not None:
        return lost
    with suppress(OSError), private_log(folder / "log.txt") as log:
        log.write(frames_of(problem))
    return InputError(
        f"Something went wrong that easydl does not know ({type(problem).__name__}).",
        "a run without surprises.",
        f"Details are in {folder / 'log.txt'}. Please report it with that file.",
    )
