"""From settings to a report: load, split, check, train, test, explain, report. Every result goes into the run folder."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from easydl.errors import RESEARCH_USE, EasyDLError, InputError, LeakageError, Stopped
from easydl.fileio import csv_text, write_status, write_text
from easydl.options import FitOptions, LoadOptions, ModelOptions, SplitOptions
from easydl.reporting.record import PARTS
from easydl.runs.cases import cases_to_show
from easydl.runs.config import RunConfig, check_study
from easydl.runs.folder import locked
from easydl.tasks import Task

Progress = Callable[[str], None]
DEMO_EPOCHS, DEMO_SIDE = 16, 96
"""What two cores do in the time that the command promises; a nodule of 8 mm is two pixels wide then."""


def run(config: RunConfig, folder: str | Path, *, progress: Progress = print) -> Path:
    """Do everything a run needs, in this process, and write it into a run folder.

    A folder whose run was interrupted is gone on with: the split and the data are the same by the seed, training goes
    on from its checkpoint, and a model that is already there is not trained again. ``progress`` gets a line at each
    step. Returns the path of ``report.html``.

    Raises:
        EasyDLError: Whatever stands in the way, in three parts; it is also in status.json.
    """
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        config.save(folder)
        pipeline = _Pipeline(config, folder, progress)
        try:
            return pipeline.do()
        except (Stopped, KeyboardInterrupt):
            pipeline.status(state="stopped", message="Stopped. What was finished until then is kept.")
            raise
        except EasyDLError as problem:
            pipeline.failed(problem)
            raise
        except Exception as problem:
            with open(folder / "log.txt", "a", encoding="utf-8") as log:
                traceback.print_exc(file=log)
            unknown = InputError(
                f"Something went wrong that easydl does not know ({type(problem).__name__}).",
                "a run without surprises.",
                f"Details are in {folder / 'log.txt'}. Please report it with that file.",
            )
            pipeline.failed(unknown)
            raise unknown from problem


def demo(folder: str | Path, *, seed: int = 7, progress: Progress = print) -> Path:
    """The whole way on the embedded simulated study: made as DICOM files, then run like any other."""
    from easydl.simulation import simulate

    folder = Path(folder).resolve()
    study = folder / "simulated_study"
    if not study.exists():
        progress("Simulating CT slices of 80 patients, with and without a lung nodule (no real patient is in them)")
        simulate(study, patients=80, images_per_patient=2, seed=seed)
    config = RunConfig(
        source=str(study / "scans.csv"),
        label="label",
        model="tiny",
        seed=seed,
        epochs=DEMO_EPOCHS,
        size=DEMO_SIDE,
        name="simulated chest CT (demonstration)",
    )
    return run(config, folder, progress=progress)


class _Pipeline:
    """The steps of one run; each writes its files before the next begins."""

    def __init__(self, config: RunConfig, folder: Path, progress: Progress) -> None:
        self.config, self.folder, self.progress = config, folder, progress
        self.seconds: dict[str, float] = {}

    def status(self, **changes: Any) -> None:
        write_status(self.folder, **changes)

    def failed(self, problem: EasyDLError) -> None:
        error = {"found": problem.found, "expected": problem.expected, "do": problem.do}
        self.status(state="failed", message=problem.found, error=error)

    def go_on(self) -> None:
        """Stop here when somebody asked for it."""
        if (self.folder / "stop").exists():
            raise Stopped

    def step(self, stage: str, message: str) -> None:
        self.go_on()
        now = time.monotonic()
        self._end_stage(now)
        self.seconds[stage] = now
        self.progress(message)
        self.status(state="running", stage=stage, message=message, error=None)

    def _end_stage(self, now: float) -> None:
        """Until its end a stage's seconds are the time of its beginning."""
        if self.seconds:
            last = list(self.seconds)[-1]
            self.seconds[last] = round(now - self.seconds[last], 1)

    def do(self) -> Path:
        config = self.config
        self.progress(RESEARCH_USE)
        self.step("loading", f"Reading {config.name or config.source}")
        study = self._load()
        self.progress(repr(study).strip("<>"))
        self.step("splitting", "Splitting by patient")
        train, val, test = study.split(**config.arguments(SplitOptions))
        study = train.parent  # with the column split
        self._write_split(study, (train, val, test))
        self.step("checking", "Looking for traps")
        self._check(study, train, val, test)
        model = self._train(study, train, val)
        who = f"{test.n_patients} patients" if test.patients_known else f"{len(test)} images"
        self.step("testing", f"Testing on {who} the model has not seen")
        metrics = self._test(model, test)
        self.progress(repr(metrics).strip("<>"))
        self.step("explaining", "Drawing heatmaps of test images")
        self._explain(model, test)
        self.step("reporting", "Writing the report")
        self._write_run(model, study)
        from easydl.reporting import report

        # Written before the run is called finished, so that whoever sees it finished finds a report; and once more, so
        # that the report itself says finished.
        written = report(self.folder)
        self.status(state="finished", stage="done", message="Finished")
        return report(self.folder, written)

    def _load(self) -> Any:
        from easydl.studies import load

        study = load(self.config.source, **self.config.arguments(LoadOptions))
        check_study(self.config, study)
        return study

    def _write_split(self, study: Any, parts: tuple[Any, ...]) -> None:
        from easydl.studies.plots import counts, ranges

        write_text(self.folder / "table.csv", csv_text(study.frame))

        def facts(part: Any) -> dict[str, Any]:
            per_class = {
                row["label"]: {"images": int(row["images"]), "patients": int(row["patients"])}
                for row in counts(part.frame, part.schema).to_dict("records")
            }
            measured = ranges(part.frame, part.schema)
            counted = {"images": len(part), "patients": part.n_patients, "per_class": per_class}
            return {**counted, "numbers": measured} if measured else counted

        classes = list(study.classes)  # reads the masks, which may add notes
        split = {
            "seed": self.config.seed,
            "sizes": self.config.sizes,
            "given": self.config.time or self.config.column or self.config.split,
            "patients_known": study.patients_known,
            "notes": study.notes,
            "overrides": study.overrides,
            "classes": classes,
            "task": study.task,
            **{name: facts(part) for name, part in zip(PARTS, parts, strict=True)},
        }
        write_text(self.folder / "split.json", json.dumps(split, indent=1))

    def _check(self, study: Any, *parts: Any) -> None:
        from easydl.traps import audit

        result = audit(study, seed=self.config.seed)
        content = {**result.to_dict(), "overrides": study.overrides}
        write_text(self.folder / "audit.json", json.dumps(content, indent=1))
        for issue in result.issues:
            if issue.severity in ("BLOCK", "WARN"):
                self.progress(f"{issue.severity}: {issue.sentence}")
        if not result.blocking:
            return
        first = result.blocking[0]
        if not (self.config.override or "").strip():
            raise LeakageError(
                first.sentence, "a study without this trap.", first.fix + " Or give override='your reason'."
            )
        for one in (study, *parts):
            one.overrides.append(f"{first.sentence} Reason given: {self.config.override}")

    def _train(self, study: Any, train: Any, val: Any) -> Any:
        from easydl._tf import load_tensorflow

        load_tensorflow()
        from easydl.networks import load_network, save_model
        from easydl.training import fit

        path = self.folder / "model.keras"
        if path.exists() and (self.folder / "history.csv").exists():
            self.step("training", "The model is already trained")
            return load_network(path)
        model = build(self.config, study)
        self.step("training", f"Training {model.name} ({model.count_params():,} parameters)")
        history = fit(model, train, val, run=self.folder, **self.config.arguments(FitOptions))
        save_model(model, path)
        if history.params["stopped"]:
            raise Stopped
        return model

    def _test(self, model: Any, test: Any) -> Any:
        from easydl.evaluation import evaluate
        from easydl.prediction import predict

        if Task(test.task).has_masks:
            metrics = evaluate(model, test, seed=self.config.seed)
            cases = "" if metrics.cases is None else csv_text(metrics.cases)
            write_text(self.folder / "predictions.csv", f"# {RESEARCH_USE}\n{cases}")
        else:
            predictions = predict(model, test)
            predictions.save(self.folder / "predictions.csv")
            metrics = evaluate(predictions, seed=self.config.seed)
        metrics.save(self.folder / "metrics.json")
        return metrics

    def _explain(self, model: Any, test: Any) -> None:
        index = []
        chosen = cases_to_show(test, self._predictions, self.config.heatmaps)
        for number, (row, head) in enumerate(chosen):
            self.go_on()
            index.append(self._heatmap(model, test, row, number, head))
            self.status(message=f"Heatmap {number + 1} of {len(chosen)}")
        write_text(self.folder / "heatmaps" / "index.json", json.dumps(index, indent=1))

    def _heatmap(self, model: Any, test: Any, row: int, number: int, head: str) -> dict[str, Any]:
        """Draw one heatmap; what its index says of it."""
        from easydl.explanation import saliency

        heatmap = saliency(model, test, row=row, target=head or None, seed=self.config.seed)
        name = f"case-{number:03d}.png"
        heatmap.save(self.folder / "heatmaps" / name)
        case = test.frame.iloc[row]
        entry = {
            **heatmap.to_dict(),
            "file": name,
            "patient": str(case["patient"]),
            "label": str(case.get(head or "label", "")),
            "image": os.path.basename(test.addresses(row)[0]),
        }
        column = f"{head}: prediction" if head else "prediction"
        if column in self._predictions.columns:
            entry["prediction"] = self._predictions[column].iloc[row]
        return entry

    @cached_property
    def _predictions(self) -> Any:
        import pandas as pd

        return pd.read_csv(self.folder / "predictions.csv", skiprows=1, dtype=str, keep_default_na=False)

    def _write_run(self, model: Any, study: Any) -> None:
        from easydl.machine import device, versions
        from easydl.networks import metadata_of

        self._end_stage(time.monotonic())
        training = metadata_of(model).training
        facts = {
            "versions": versions(),
            "device": device(),
            "seed": self.config.seed,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": self.seconds,
            "parameters": int(model.count_params()),
            "training": training,
            "fingerprint": training.get("fingerprint", ""),
            "overrides": study.overrides,
            "command": shlex.join(["easydl", *sys.argv[1:]]),
            "research_use": RESEARCH_USE,
        }
        write_text(self.folder / "run.json", json.dumps(facts, indent=1))


def build(config: RunConfig, study: Any) -> Any:
    """The model that a run's settings name, built for its study.

    Raises:
        InputError: The named model does not fit the task.
    """
    from easydl.networks import classifier, models, segmenter

    options, name = config.arguments(ModelOptions), config.model
    encoder, covariates = options.pop("encoder"), options.pop("covariates")
    if Task(study.task).has_masks:
        if covariates:
            raise InputError(
                f"covariates={covariates!r} were given for a study with masks.",
                "covariates for a classifier: a segmentation model sees the image only.",
                "Leave them out.",
            )
        name = {2: "unet", 3: "unet3d"}[study.dimension] if name == "auto" else name
        return segmenter(name, study, encoder=encoder, seed=config.seed, **options)
    if encoder is not None:
        raise InputError(
            f"encoder={encoder!r} was given for a study without masks.",
            "an encoder for a segmentation model.",
            "Leave it out, or name the classifier itself with model=.",
        )
    if name in set(models(kind="segmenter")["name"]):
        raise InputError(
            f"model={name!r} needs masks.", "a mask column.", "Pass mask= its name, or choose a classifier."
        )
    if name == "auto":
        name = "tiny3d" if study.dimension == 3 else "resnet" if config.pretrained else "tiny"
    return classifier(name, study, covariates=covariates, seed=config.seed, **options)
