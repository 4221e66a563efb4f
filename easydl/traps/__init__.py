"""The traps of medical deep-learning studies, looked for before training and described as text."""

from easydl.traps.after_training import Seen, look
from easydl.traps.checks import audit, model_issues, refuse_leakage
from easydl.traps.issues import Audit, Issue

__all__ = ["Audit", "Issue", "Seen", "audit", "look", "model_issues", "refuse_leakage"]
