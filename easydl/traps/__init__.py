"""The traps of medical deep-learning studies, looked for before training and described as text."""

from easydl.traps.checks import audit, model_issues, refuse_leakage
from easydl.traps.issues import Audit, Issue

__all__ = ["Audit", "Issue", "audit", "model_issues", "refuse_leakage"]
