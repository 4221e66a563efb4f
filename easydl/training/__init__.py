"""Training: `fit` makes the choices that were not made, explains them, watches for stop, and can resume."""

from easydl.training.fitting import fit

__all__ = ["fit"]
