"""The runs of a workspace: begun one at a time in a process of their own, stopped, resumed, listed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import Timeout

from easydl import runs
from easydl.errors import RunError
from easydl.fileio import locked
from easydl.reporting import RunRecord
from easydl.workspace.comparisons import refuse_while_comparing
from easydl.workspace.studies import StudyEntry

_PATIENCE_SECONDS = 30.0


class Runs:
    """The runs of one workspace, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def all(self) -> list[RunRecord]:
        """Every run of the workspace, the newest first."""
        records = [RunRecord(folder) for folder in runs.listing(self.folder.parent)]
        return sorted(records, key=lambda run: (str(run.status["started"] or ""), run.id), reverse=True)

    def ranked(self) -> tuple[list[RunRecord], list[RunRecord]]:
        """The runs in progress and the finished ones; and apart those that ended before. The newest first in each."""
        every = self.all()
        good = {run.id for run in every if run.status["state"] in ("running", "finished")}
        return [run for run in every if run.id in good], [run for run in every if run.id not in good]

    def find(self, run_id: str) -> RunRecord | None:
        """One run of the workspace by its id, or None when it is not here."""
        return next((run for run in self.all() if run.id == run_id), None)

    def one(self, run_id: str) -> RunRecord:
        """One run of the workspace by its id.

        Raises:
            RunError: There is no such run.
        """
        run = self.find(run_id)
        if run is None:
            raise RunError(
                "There is no such run in the workspace.",
                "one of the runs in the list.",
                "Choose a run at the side.",
            )
        return run

    def start(self, entry: StudyEntry, **settings: Any) -> Path:
        """Begin a training in a separate process; one at a time. Asked twice for the same run, it begins one.

        Returns:
            The run folder: a new one, or that of the run with the same settings that is in progress.

        Raises:
            RunError: A training with other settings is in progress, or a setting is not valid.
        """
        given = {**entry.load.model_dump(), **settings, "override": settings.get("override") or entry.load.override}
        config = runs.RunConfig.checked(source=entry.source, name=entry.name, **given)
        with self._only_one():
            for run in self.all():
                if run.running and runs.RunConfig.open(run.folder) == config.with_absolute_paths():
                    return run.folder  # the second click of a double click
            self._refuse_while_training()
            folder = runs.new_folder(self.folder.parent, config.model)
            try:
                runs.start(config, folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return folder

    def stop(self, run_id: str) -> None:
        """Ask a run to stop; the best model so far is kept."""
        runs.stop(self.one(run_id).folder)

    def end(self, run_id: str) -> None:
        """End the process of a run that was asked to stop and does not."""
        runs.stop(self.one(run_id).folder, wait_s=0.1)

    def resume(self, run_id: str, *, train: bool = True) -> None:
        """Go on with a run that ended before it was finished; without ``train`` its model is tested as it is."""
        with self._only_one():
            runs.resume(self.one(run_id).folder, train=train)

    @contextmanager
    def none_in_progress(self) -> Iterator[None]:
        """Hold the workspace while other long work is begun.

        Raises:
            RunError: A training or a comparison is in progress.
        """
        with self._only_one():
            self._refuse_while_training()
            yield

    def _refuse_while_training(self) -> None:
        if any(run.running for run in self.all()):
            raise RunError(
                "A training is in progress already.",
                "one training or comparison at a time: two would slow each other down.",
                "Wait until it is finished, or stop it, on the page Train.",
            )

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        """Hold the workspace while a run is begun, so that clicks and windows begin one after the other.

        Raises:
            RunError: Networks are being compared, or another window has been beginning a run for half a minute.
        """
        try:
            with locked(self.folder.parent / ".starting", timeout_s=_PATIENCE_SECONDS):
                refuse_while_comparing(self.folder.parent)
                yield
        except Timeout:
            raise RunError(
                "A training is being started in another window.",
                "one training at a time.",
                "Wait a moment; it will appear in the list of runs.",
            ) from None
