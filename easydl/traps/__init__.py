"""The traps of medical deep-learning studies, looked for before training and said in words."""

from easydl.traps.checks import audit, refuse_leakage
from easydl.traps.findings import Audit, Finding

__all__ = ["Audit", "Finding", "audit", "refuse_leakage"]
