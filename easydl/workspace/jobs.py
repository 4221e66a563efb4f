"""The runs of a workspace: begun one at a time in a process of their own, stopped, resumed, listed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from easydl.errors import RunError
from easydl.workspace.cards import StudyCard
from easydl.workspace.view import RunView

_STALE_LOCK_SECONDS = 60


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

    def start(self, card: StudyCard, **settings: Any) -> Path:
        """Begin a training in a process of its own; one at a time.

        Args:
            card: The study.
            settings: Further fields of `easydl.runs.RunConfig`: model, pretrained, preset, epochs, seed, ...

        Returns:
            The run folder.

        Raises:
            RunError: A training is in progress already, or another window is starting one.
        """
        from easydl import runs

        with self._only_one():
            if any(run.running for run in self.all()):
                raise RunError(
                    "A training is in progress already.",
                    "one training at a time: two would slow each other down.",
                    "Wait until it is finished, or stop it, on the page Train.",
                )
            config = runs.RunConfig(source=card.source, name=card.name, **card.columns(), **settings)
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
        """Hold the workspace while a run is begun, so that a double click or a second window begins one only.

        Raises:
            RunError: Another window is beginning a run at this moment.
        """
        lock = self.folder / ".starting"
        if lock.exists() and time.time() - lock.stat().st_mtime > _STALE_LOCK_SECONDS:
            lock.unlink(missing_ok=True)  # left by a process that died between two lines
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError as problem:
            raise RunError(
                "A training is being started in another window.",
                "one training at a time.",
                "Wait a moment; it will appear in the list of runs.",
            ) from problem
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
