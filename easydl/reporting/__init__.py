"""A run folder becomes one page that opens anywhere, offline. It computes no number."""

from easydl.reporting.page import report
from easydl.reporting.progress import status
from easydl.reporting.record import RunRecord

__all__ = ["RunRecord", "report", "status"]
