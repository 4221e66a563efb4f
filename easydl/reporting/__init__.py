"""A run folder becomes one page that opens anywhere, offline. It computes no number of its own."""

from easydl.reporting.page import report

__all__ = ["report"]
