"""The embedded simulated study: chest CT with and without a nodule, with known truth and optional traps."""

from easydl.phantoms.cohort import TRAPS
from easydl.phantoms.study import simulate

__all__ = ["TRAPS", "simulate"]
