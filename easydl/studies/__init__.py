"""A folder, a table or a DataFrame becomes a Study: checked rows, patients, classes, splits and batches."""

from easydl.studies.inspection import inspect
from easydl.studies.loading import load
from easydl.studies.study import Study
from easydl.studies.summary import StudySummary

__all__ = ["Study", "StudySummary", "inspect", "load"]
