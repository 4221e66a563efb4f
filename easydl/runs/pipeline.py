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
from pathlib import Path
from typing import Any

from easydl.errors import RESEARCH_USE, EasyDLError, InputError, LeakageError, Stopped
from easydl.fileio import csv_text, write_status, write_text
from easydl.runs.config import RunConfig
from easydl.runs.folder import locked

Progress = Callable[[str], None]


def run(config: RunConfig, folder: str | Path, *, progress: Progress = print) -> Path:
    """Do everything a run needs, in this process, and write it into a run folder.

    A folder whose run was interrupted is gone on with: the split and the data are the same by the seed, training goes
    on from its checkpoint, and a model that is already there is not trained again.

    Args:
        config: The settings.
        folder: The run folder; made when missing.
        progress: Called with a line of words at each step.

    Returns:
        The path of ``report.html``.

    Raises:
        EasyDLError: Whatever stands in the way, in three parts; it is also in status.json.
    """
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        config.save(folder)
        work = _Work(config, folder, progress)
        try:
            return work.do()
        except (Stopped, KeyboardInterrupt):
            work.status(state="stopped", message="Stopped. What was finished until then is kept.")
            raise
        except EasyDLError as problem:
            work.status(state="failed", message=problem.found, error={
                "found": problem.found, "expected": problem.expected, "do": problem.do})  # fmt: skip
            raise
        except Exception as problem:
            with open(folder / "log.txt", "a", encoding="utf-8") as log:
                traceback.print_exc(file=log)
            unknown = InputError(
                f"Something went wrong that easydl does not know ({type(problem).__name__}).",
                "a run without surprises.",
                f"Details are in {folder / 'log.txt'}. Please report it with that file.",
            )
            work.status(state="failed", message=unknown.found, error={
                "found": unknown.found, "expected": unknown.expected, "do": unknown.do})  # fmt: skip
            raise unknown from problem


def demo(folder: str | Path, *, seed: int = 7, progress: Progress = print) -> Path:
    """The whole way on the embedded simulated study: made as DICOM files, then run like any other.

    Args:
        folder: The run folder; the study is made inside it.
        seed: Of the simulation, the split and the training.
        progress: Called with a line of words at each step.

    Returns:
        The path of ``report.html``.
    """
    from easydl.simulation import simulate

    folder = Path(folder).resolve()
    study = folder / "simulated_study"
    if not study.exists():
        progress("Simulating CT slices of 80 patients, with and without a lung nodule (no real patient is in them)")
        simulate(study, patients=80, images_per_patient=2, seed=seed)
    config = RunConfig(
        source=str(study / "scans.csv"), label="label", model="tiny", seed=seed, epochs=DEMO_EPOCHS, heatmaps=6,
        name="simulated chest CT (demonstration)",
    )  # fmt: skip
    return run(config, folder, progress=progress)


DEMO_EPOCHS = 24


class _Work:
    """The steps of one run; each writes its files before the next begins."""

    def __init__(self, config: RunConfig, folder: Path, progress: Progress) -> None:
        self.config, self.folder, self.progress = config, folder, progress
        self.seconds: dict[str, float] = {}

    def status(self, **changes: Any) -> None:
        write_status(self.folder, **changes)

    def step(self, stage: str, words: str) -> None:
        if (self.folder / "stop").exists():
            raise Stopped
        now = time.monotonic()
        if self.seconds:
            last = list(self.seconds)[-1]
            self.seconds[last] = round(now - self.seconds[last], 1)
        self.seconds[stage] = now
        self.progress(words)
        self.status(state="running", stage=stage, message=words, error=None)

    def do(self) -> Path:
        config = self.config
        self.progress(RESEARCH_USE)
        self.step("loading", f"Reading {config.name or config.source}")
        study = self._load()
        self.progress(repr(study).strip("<>"))
        self.step("splitting", "Splitting by patient")
        train, val, test = study.split(config.sizes, seed=config.seed)
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

        return load(self.config.source, **self.config.reading())

    def _write_split(self, study: Any, parts: tuple[Any, ...]) -> None:
        from easydl.studies.plots import counts, ranges

        write_text(self.folder / "table.csv", csv_text(study.frame))

        def facts(part: Any) -> dict[str, Any]:
            per_class = {
                row["label"]: {"images": int(row["images"]), "patients": int(row["patients"])}
                for row in counts(part.frame, part.schema).to_dict("records")
            }
            measured = ranges(part.frame, part.schema)
            found = {"images": len(part), "patients": part.n_patients, "per_class": per_class}
            return {**found, **({"numbers": measured} if measured else {})}

        classes = list(study.classes)  # reads the masks, which may add notes
        split = {
            "seed": self.config.seed, "sizes": self.config.sizes, "given": self.config.split,
            "patients_known": study.patients_known, "notes": study.notes, "overrides": study.overrides,
            "classes": classes, "task": study.task,
            **{name: facts(part) for name, part in zip(("train", "val", "test"), parts, strict=True)},
        }  # fmt: skip
        write_text(self.folder / "split.json", json.dumps(split, indent=1))

    def _check(self, study: Any, *parts: Any) -> None:
        from easydl.traps import audit

        found = audit(study, seed=self.config.seed)
        write_text(
            self.folder / "audit.json",
            json.dumps({**found.to_dict(), "overrides": study.overrides}, indent=1),
        )
        for one in found.issues:
            if one.severity in ("BLOCK", "WARN"):
                self.progress(f"{one.severity}: {one.sentence}")
        if found.blocking and not (self.config.override or "").strip():
            first = found.blocking[0]
            raise LeakageError(
                first.sentence, "a study without this trap.", first.fix + " Or give override='your reason'."
            )
        if found.blocking:
            for one in (study, *parts):
                one.overrides.append(f"{found.blocking[0].sentence} Reason given: {self.config.override}")

    def _train(self, study: Any, train: Any, val: Any) -> Any:
        from easydl._tf import load_tensorflow

        load_tensorflow()
        from easydl.networks import load_model, save_model
        from easydl.training import fit

        path = self.folder / "model.keras"
        if path.exists() and (self.folder / "history.csv").exists():
            self.step("training", "The model is already trained")
            return load_model(path)
        model = build(self.config, study)
        self.step("training", f"Training {model.name} ({model.count_params():,} parameters)")
        config = self.config
        history = fit(
            model, train, val, augment=config.augment, epochs=config.epochs, batch_size=config.batch_size,
            learning_rate=config.learning_rate, fine_tune=config.fine_tune, window=config.window, normalise=config.normalise,
            spacing_mm=config.spacing_mm, loss=config.loss, seed=config.seed, run=self.folder, override=config.override,
        )  # fmt: skip
        save_model(model, path)
        if history.params["stopped"]:
            raise Stopped
        return model

    def _test(self, model: Any, test: Any) -> Any:
        from easydl.evaluation import evaluate
        from easydl.prediction import predict

        if test.task == "segmentation":
            metrics = evaluate(model, test, seed=self.config.seed)
            write_text(self.folder / "predictions.csv", f"# {RESEARCH_USE}\n{_csv(metrics.cases)}")
        else:
            predictions = predict(model, test)
            predictions.save(self.folder / "predictions.csv")
            metrics = evaluate(predictions, seed=self.config.seed)
        metrics.save(self.folder / "metrics.json")
        return metrics

    def _explain(self, model: Any, test: Any) -> None:
        from easydl.explanation import saliency

        index = []
        frame, called = test.frame.reset_index(drop=True), self._predictions()
        questions = list(test.heads) or [""]
        for number, row in enumerate(_spread(test)[: self.config.heatmaps]):
            if (self.folder / "stop").exists():
                raise Stopped
            # Several questions take turns.
            head = questions[number % len(questions)]
            heatmap = saliency(model, test, row=row, target=head or None, seed=self.config.seed)
            name = f"case-{number:03d}.png"
            heatmap.save(self.folder / "heatmaps" / name)
            label, prediction = head or "label", f"{head}: prediction" if head else "prediction"
            entry = {
                **heatmap.to_dict(), "file": name, "patient": str(frame["patient"].iloc[row]),
                "label": str(frame[label].iloc[row]) if label in frame else "",
                "image": os.path.basename(test.addresses(row)[0]),
                **({"prediction": called[prediction].iloc[row]} if prediction in called.columns else {}),
            }  # fmt: skip
            index.append(entry)
            self.status(message=f"Heatmap {number + 1} of {min(self.config.heatmaps, len(frame))}")
        write_text(self.folder / "heatmaps" / "index.json", json.dumps(index, indent=1))

    def _predictions(self) -> Any:
        import pandas as pd

        return pd.read_csv(self.folder / "predictions.csv", skiprows=1, dtype=str, keep_default_na=False)

    def _write_run(self, model: Any, study: Any) -> None:
        from easydl.machine import device, versions
        from easydl.networks import metadata_of

        last = list(self.seconds)[-1]
        self.seconds[last] = round(time.monotonic() - self.seconds[last], 1)
        facts = {
            "versions": versions(), "device": device(), "seed": self.config.seed,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"), "seconds": self.seconds,
            "parameters": int(model.count_params()), "training": metadata_of(model).training,
            "fingerprint": metadata_of(model).training.get("fingerprint", ""), "overrides": study.overrides,
            "command": shlex.join(["easydl", *sys.argv[1:]]), "research_use": RESEARCH_USE,
        }  # fmt: skip
        write_text(self.folder / "run.json", json.dumps(facts, indent=1))


def _spread(test: Any) -> list[int]:
    """Rows of a test set such that the first of them are of different classes, or numbers far apart."""
    import pandas as pd

    task, labels = test.schema.stratified_by(test.frame)
    labels = labels.reset_index(drop=True)
    if task == "segmentation" or not len(labels):
        return list(range(len(test)))
    if task == "regression":
        order = pd.to_numeric(labels).sort_values(kind="stable").index
        # The lowest, the highest, the middle, then the quarters: always the middle of the widest gap.
        places = [0.0, 1.0, *((2 * k + 1) / 2**depth for depth in range(1, 8) for k in range(2 ** (depth - 1)))]
        chosen = [int(order[round(place * (len(order) - 1))]) for place in places]
        return list(dict.fromkeys([*chosen, *map(int, order)]))
    return [int(row) for row in labels.groupby(labels).cumcount().sort_values(kind="stable").index]


def _csv(table: Any) -> str:
    return "" if table is None else csv_text(table)


def build(config: RunConfig, study: Any) -> Any:
    """The model that a run's settings name, built for its study.

    Raises:
        InputError: The named model does not fit the task.
    """
    from easydl.networks import classifier, models, segmenter

    name = config.model
    if study.task == "segmentation":
        name = {2: "unet", 3: "unet3d"}[study.dimension] if name == "auto" else name
        if config.covariates:
            raise InputError(
                f"covariates={config.covariates!r} were given for a study with masks.",
                "covariates for a classifier: a network that outlines sees the image only.",
                "Leave them out.",
            )
        return segmenter(
            name, study, encoder=config.encoder, pretrained=config.pretrained, size=config.size, seed=config.seed,
        )  # fmt: skip
    if config.encoder is not None:
        raise InputError(
            f"encoder={config.encoder!r} was given for a study without masks.",
            "an encoder for a model that outlines.",
            "Leave it out, or name the classifier itself with model=.",
        )
    if name in set(models(kind="segmenter")["name"]):
        raise InputError(
            f"model={name!r} needs masks.", "a mask column.", "Pass mask= its name, or choose a classifier."
        )
    if name == "auto":
        name = "tiny3d" if study.dimension == 3 else "resnet" if config.pretrained else "tiny"
    return classifier(
        name, study, covariates=config.covariates, pretrained=config.pretrained, size=config.size, seed=config.seed
    )
