"""A folder, a table or a DataFrame becomes a Study: checked rows, patients, classes, splits and batches."""

from easydl.studies.inspection import inspect
from easydl.studies.loading import load
from easydl.studies.study import Study
from easydl.studies.summary import Classes, StudySummary

__all__ = ["Classes", "Study", "StudySummary", "inspect", "load"]
