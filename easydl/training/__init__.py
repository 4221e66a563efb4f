"""Training: `fit` chooses what it was not told, explains the choice, watches for stop, and can resume."""

from easydl.training.fitting import fit

__all__ = ["fit"]
