"""The workspace: one folder of this user that keeps studies, uploads and runs. It shows nothing."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from easydl.errors import RunError, frames_of
from easydl.fileio import private_log
from easydl.fileio import workspace as default_folder
from easydl.workspace.cases import Cases
from easydl.workspace.comparisons import Comparisons
from easydl.workspace.incoming import Incoming
from easydl.workspace.jobs import Runs
from easydl.workspace.studies import Studies


class Workspace:
    """A folder of this user: ``studies/`` (uploads and where studies lie), ``runs/`` (one folder a training).

    Attributes:
        folder: The folder.
        studies: The remembered `Studies`.
        runs: The `Runs`.
        cases: The `Cases`.
        comparisons: The `Comparisons`.
        incoming: The `Incoming` files of a folder.

    Args:
        folder: The folder; by default ``EASYDL_WORKSPACE`` or ``~/easydl``. Made when it is missing.

    Raises:
        RunError: The folder cannot be made or written.

    Example:
        >>> from tempfile import mkdtemp
        >>> workspace = Workspace(mkdtemp())
        >>> entry = workspace.studies.open(workspace.folder, name="films")
        >>> workspace.studies.one(entry.id).name
        'films'
        >>> workspace.studies.forget(entry.id)
        >>> workspace.studies.all(), workspace.runs.all()
        ([], [])
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        chosen = Path(folder or default_folder())
        self.folder = chosen.expanduser().resolve()
        self.studies, self.runs = Studies(self.folder / "studies"), Runs(self.folder / "runs")
        self.cases, self.incoming = Cases(self.folder / "cases"), Incoming(self.folder / "incoming")
        self.comparisons = Comparisons(self.folder, self.runs.none_in_progress)
        try:
            for place in (self.studies.folder, self.runs.folder):
                place.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=self.folder):
                return
        except OSError as problem:
            raise RunError(
                f"The workspace {self.folder} cannot be written.",
                "a folder of yours with free space.",
                "Set EASYDL_WORKSPACE to such a folder and start the app again.",
            ) from problem

    def note_error(self, error: BaseException, where: str) -> Path:
        """Write where an unexpected error arose to ``error.txt`` in the workspace, for whoever helps the user."""
        path = self.folder / "error.txt"
        with private_log(path) as file:
            file.write(f"\n{datetime.now(UTC).isoformat(timespec='seconds')} {where}\n{frames_of(error)}")
        return path
