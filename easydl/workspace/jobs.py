"""The runs of a workspace: begun one at a time in a process of their own, stopped, resumed, listed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from easydl.errors import RunError
from easydl.workspace.studies import StudyEntry
from easydl.workspace.view import RunView

_PATIENCE_SECONDS = 30.0
_STALE_SECONDS = 20.0


class Runs:
    """The runs of one workspace.

    Args:
        folder: Where the run folders lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def all(self) -> list[RunView]:
        """Every run of the workspace, the newest first."""
        from easydl.runs import listing

        views = [RunView(folder) for folder in listing(self.folder.parent)]
        return sorted(views, key=lambda run: (str(run.status["started"] or ""), run.id), reverse=True)

    def one(self, run_id: str) -> RunView:
        """One run of the workspace by its id.

        Raises:
            RunError: There is no such run.
        """
        found = next((run for run in self.all() if run.id == run_id), None)
        if found is None:
            raise RunError(
                "There is no such run in the workspace.",
                "one of the runs in the list.",
                "Choose a run at the side.",
            )
        return found

    def start(self, entry: StudyEntry, **settings: Any) -> Path:
        """Begin a training in a process of its own; one at a time. Asked twice for the same run, it begins one.

        Args:
            card: The study.
            settings: Further fields of `easydl.runs.RunConfig`: model, pretrained, augment, epochs, seed, ...

        Returns:
            The run folder: a new one, or that of the run with the same settings that is in progress.

        Raises:
            RunError: A training with other settings is in progress.
        """
        from easydl import runs

        config = runs.RunConfig(source=entry.source, name=entry.name, **entry.columns(), **settings)
        with self._only_one():
            for run in self.all():
                if run.running and runs.RunConfig.open(run.folder) == config:
                    return run.folder  # the second click of a double click
                if run.running:
                    raise RunError(
                        "A training is in progress already.",
                        "one training at a time: two would slow each other down.",
                        "Wait until it is finished, or stop it, on the page Train.",
                    )
            folder = runs.new_folder(self.folder.parent, config.model)
            try:
                runs.start(config, folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return folder

    def stop(self, run_id: str) -> None:
        """Ask a run to stop; the best model so far is kept."""
        from easydl.runs import stop

        stop(self.one(run_id).folder)

    def end(self, run_id: str) -> None:
        """End the process of a run that was asked to stop and does not."""
        from easydl.runs import stop

        stop(self.one(run_id).folder, wait_s=0.1)

    def resume(self, run_id: str) -> None:
        """Go on with a run that ended before it was finished."""
        from easydl.runs import resume

        with self._only_one():
            resume(self.one(run_id).folder)

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        """Hold the workspace while a run is begun, so that clicks and windows begin one after the other.

        Raises:
            RunError: Another window has been beginning a run for half a minute.
        """
        lock = self.folder / ".starting"
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                break
            except FileExistsError as problem:
                if time.monotonic() > until:
                    raise RunError(
                        "A training is being started in another window.",
                        "one training at a time.",
                        "Wait a moment; it will appear in the list of runs.",
                    ) from problem
            with suppress(FileNotFoundError):
                if time.time() - lock.stat().st_mtime > _STALE_SECONDS:
                    lock.unlink()  # left by a process that died between two lines
            time.sleep(0.1)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
