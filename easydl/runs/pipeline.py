"""From settings to a report: load, split, check, train, test, explain, report. Every result goes into the run folder."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from easydl.errors import RESEARCH_USE, DiskFullError, EasyDLError, Stopped
from easydl.fileio import (
    csv_text,
    remove_drafts,
    write_status,
    write_text,
)
from easydl.options import LoadOptions, SplitOptions
from easydl.options_of_training import FitOptions
from easydl.options_of_use import GroupOptions
from easydl.reporting.names import Names
from easydl.reporting.record import PARTS
from easydl.runs.building import build
from easydl.runs.cases import cases_to_show
from easydl.runs.checking import Checks, refuse_seen
from easydl.runs.config import RunConfig, check_study
from easydl.runs.folder import locked
from easydl.runs.resuming import CHECKPOINT, check_same_rows, digest_of, times_resumed
from easydl.runs.together import agree, known_error, run_with
from easydl.tasks import Task
from easydl.training.workers import Workers

Progress = Callable[[str], None]
DEMO_EPOCHS, DEMO_SIDE = 16, 96
"""What two cores do in the time that the command promises; a nodule of 8 mm is two pixels wide then."""


def run(
    config: RunConfig,
    folder: str | Path,
    *,
    train: bool = True,
    progress: Progress = print,
    workers: Workers | None = None,
) -> Path | None:
    """Do everything a run needs, in this process, and write it into a run folder.

    A folder whose run was interrupted or stopped is gone on with: the split and the data are the same by the seed,
    training goes on from its checkpoint, and a model that was trained to its end is not trained again. Without ``train``
    one that was stopped is not either. ``progress`` gets a line at each step. Returns the path of ``report.html``. Of several
    ``workers``, each with the same call, the first does and writes everything; the others use no folder, and get None.

    Raises:
        RunError: The study has changed since the run was trained, or another process is at work in the folder.
        EasyDLError: Whatever stands in the way, in three parts; it is also in status.json.
    """
    return run_with(workers, config, lambda: _lead(config, Path(folder).resolve(), train, progress), progress)


def _lead(config: RunConfig, folder: Path, train: bool, progress: Progress) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        remove_drafts(folder)
        pipeline = _Pipeline(config, folder, progress, train)
        try:
            config.save(folder)
            return pipeline.do()
        except (Stopped, KeyboardInterrupt):
            pipeline.status(state="stopped", message="Stopped. What was finished until then is kept.")
            raise
        except EasyDLError as problem:
            pipeline.failed(problem)
            raise
        except Exception as problem:
            known = known_error(problem, folder)
            pipeline.failed(known)
            raise known from problem


def demo(folder: str | Path, *, seed: int = 7, progress: Progress = print) -> Path | None:
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

    def __init__(self, config: RunConfig, folder: Path, progress: Progress, train: bool) -> None:
        self.config, self.folder, self.progress, self.train = config, folder, progress, train
        self.seconds: dict[str, float] = {}
        self.resumed = times_resumed(folder)
        self.tested: Any = None

    def status(self, **changes: Any) -> None:
        write_status(self.folder, **changes)

    def failed(self, problem: EasyDLError) -> None:
        error = {"found": problem.found, "expected": problem.expected, "do": problem.do}
        with suppress(DiskFullError):
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
        self.status(resumed=self.resumed)
        self.step("loading", f"Reading {config.name or config.source}")
        study = self._load()
        self.progress(repr(study).strip("<>"))
        by = "by patient" if study.patients_known else "by image: patients are not known"
        self.step("splitting", f"Splitting {by}")
        train, val, test = study.split(**config.arguments(SplitOptions))
        study = train.parent  # with the column split
        self._write_split(study, (train, val, test))
        self.step("checking", "Looking for traps")
        checks = Checks(self.folder, self.names, self.progress, config.seed)
        checks.before(study, (train, val, test), config.override)
        model = self._train(study, train, val, test)
        who = f"{test.n_patients} patients" if test.patients_known else f"{len(test)} images"
        self.step("testing", f"Testing on {who} the model has not seen")
        metrics = self._test(model, test)
        self.progress(repr(metrics).strip("<>"))
        added = self._compare(model, study, val, metrics)
        checks.after(study, model)
        self.step("explaining", "Drawing heatmaps of test images")
        self._explain(model, test)
        self.step("reporting", "Writing the report")
        self._write_run(model, study)
        from easydl.reporting import report

        # Written before the run is called finished, so that whoever sees it finished finds a report; and once more, so
        # that the report itself says finished.
        written = report(self.folder)
        self.status(state="finished", stage="done", message="Finished")
        for sentence in added:
            self.progress(sentence)
        return report(self.folder, written)

    def _load(self) -> Any:
        from easydl.studies import load

        study = load(self.config.source, **self.config.arguments(LoadOptions))
        check_study(self.config, study)
        return study

    def _write_split(self, study: Any, parts: tuple[Any, ...]) -> None:
        from easydl.studies.plots import counts, ranges

        classes = list(study.classes)  # reads the masks, which may add notes
        known = {"patients_known": study.patients_known, "classes": classes}
        self.names = Names(study.frame, self.config.model_dump(), **known)
        write_text(self.folder / "table.csv", csv_text(self.names.table(study.frame)), mode=0o600)

        def facts(part: Any) -> dict[str, Any]:
            per_class = {
                row["label"]: {"images": int(row["images"]), "patients": int(row["patients"])}
                for row in counts(part.frame, part.schema).to_dict("records")
            }
            measured = ranges(part.frame, part.schema)
            counted = {"images": len(part), "patients": part.n_patients, "per_class": per_class}
            return {**counted, "numbers": measured} if measured else counted

        split = {
            "rows": len(study),
            "rows_digest": self._rows_digest(study),
            "seed": self.config.seed,
            "sizes": self.config.sizes,
            "given": self.config.time or self.config.column or self.config.split,
            "patients_known": study.patients_known,
            "notes": self.names.clean(study.notes, disk=True),
            "overrides": study.overrides,
            "classes": classes,
            "task": study.task,
            **{name: facts(part) for name, part in zip(PARTS, parts, strict=True)},
        }
        write_text(self.folder / "split.json", json.dumps(split, indent=1))

    def _rows_digest(self, study: Any) -> str:
        """The digest of the rows, which are those that the folder's run began with."""
        found = digest_of(study)
        check_same_rows(self.folder, found, len(study))
        return found

    def _train(self, study: Any, train: Any, val: Any, test: Any) -> Any:
        from easydl._tf import load_tensorflow

        load_tensorflow()
        from easydl.networks import load_network, metadata_of
        from easydl.training import fit

        path = self.folder / "model.keras"
        unfinished = self.train and (self.folder / CHECKPOINT).exists()
        if path.exists() and (self.folder / "history.csv").exists() and not unfinished:
            model = load_network(path)
            stopped = bool(metadata_of(model).training.get("stopped"))
            if not (stopped and self.train):
                agree(None)
                self.step("training", f"The model is already trained{', in part' if stopped else ''}")
                return model
        model = build(self.config, study)
        refuse_seen(model, test, self.config.override)
        agree(study)
        self.step("training", f"Training {model.name} ({model.count_params():,} parameters)")
        history = fit(model, train, val, run=self.folder, **self.config.arguments(FitOptions))
        if history.params["stopped"]:
            raise Stopped
        return model

    def _test(self, model: Any, test: Any) -> Any:
        from easydl.evaluation import Metrics, evaluate
        from easydl.prediction import predict

        asked = self.config.arguments(GroupOptions)
        if Task(test.task).has_masks:
            metrics = evaluate(model, test, seed=self.config.seed, override=self.config.override, **asked)
            table = "" if metrics.cases is None else csv_text(self.names.relative(metrics.cases))
        else:
            predictions: Any = predict(model, test)
            self.tested = predictions
            table = csv_text(self.names.relative(predictions.frame))
            metrics = evaluate(predictions, test, seed=self.config.seed, override=self.config.override, **asked)
            metrics.summary.extend(self._referral(metrics))
        write_text(self.folder / "predictions.csv", f"# {RESEARCH_USE}\n{table}", mode=0o600)
        Metrics.from_dict(self.names.cases(metrics.to_dict())).save(self.folder / "metrics.json")
        return metrics

    def _referral(self, metrics: Any) -> list[str]:
        """What referring the least sure cases to a reader would bring, as a sentence, where answers are right or wrong."""
        from easydl.evaluation import refer
        from easydl.evaluation.level import over_looks

        task = Task(self.tested.task)
        if task.is_multiple or not task.has_classes or metrics.table.empty:
            return []
        with over_looks(metrics.look.number if metrics.look else 1):
            return [refer(self.tested, seed=self.config.seed).sentence]

    def _compare(self, model: Any, study: Any, val: Any, metrics: Any) -> list[str]:
        """Baselines beside the network, on the predictions that the test was made of: the test part is not looked at again."""
        if self.tested is None:
            return []
        from easydl.comparison import backbone_of, compare_with_baselines
        from easydl.comparison.costs import cost_of
        from easydl.networks import metadata_of
        from easydl.networks.by_default import weights_for
        from easydl.prediction import predict

        self.step("comparing", "Comparing with baselines: metadata, a thumbnail, readable and frozen features")
        weights = weights_for(self.config.model_dump(), model.name)
        backbone = backbone_of(metadata_of(model), weights)
        predictions = {"test": self.tested, "val": predict(model, val)}
        options: dict[str, Any] = {"seed": self.config.seed, "override": self.config.override}
        looks = metrics.look.number if metrics.look else 1
        cost = cost_of(model, metadata_of(model), val)
        found = compare_with_baselines(study, predictions, backbone=backbone, looks=looks, cost=cost, **options)
        content = found.to_dict()
        for one in content["comparisons"]:
            reasons = self.names.clean(one["left_out"].values(), disk=True)
            one["left_out"] = dict(zip(one["left_out"], reasons, strict=True))
        write_text(self.folder / "baselines.json", json.dumps(content, indent=1, allow_nan=False))
        return found.sentences

    def _explain(self, model: Any, test: Any) -> None:
        from easydl.networks import metadata_of, save_model

        index, before = [], metadata_of(model).heatmaps
        chosen = cases_to_show(test, self._predictions, self.config.heatmaps)
        for number, (row, head) in enumerate(chosen):
            self.go_on()
            index.append(self._heatmap(model, test, row, number, head))
            self.status(message=f"Heatmap {number + 1} of {len(chosen)}")
        if metadata_of(model).heatmaps != before:  # what was measured of the model, so that nobody measures it again
            save_model(model, self.folder / "model.keras")
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
            "patient": self.names.patient.get(str(case["patient"]), ""),
            "label": str(case.get(head or "label", "")),
            "image": self.names.image[test.addresses(row)[0]],
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
        # A training that went on from a checkpoint took the time of all its parts.
        self.seconds["training"] = max(self.seconds["training"], training.get("seconds", 0.0))
        facts = {
            "versions": versions(),
            "device": device(),
            "seed": self.config.seed,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": self.seconds,
            "resumed": self.resumed,
            "parameters": int(model.count_params()),
            "training": training,
            "fingerprint": training.get("fingerprint", ""),
            "overrides": study.overrides,
            "command": shlex.join(["easydl", *sys.argv[1:]]),
            "research_use": RESEARCH_USE,
        }
        write_text(self.folder / "run.json", json.dumps(facts, indent=1), mode=0o600)
