"""The pipeline and the run folder: settings, status, start in a child process, stop, resume. It draws nothing."""

from easydl.runs.config import RunConfig
from easydl.runs.folder import listing, new_folder, resume, start, status, stop
from easydl.runs.pipeline import demo, run

__all__ = ["RunConfig", "demo", "listing", "new_folder", "resume", "run", "start", "status", "stop"]
