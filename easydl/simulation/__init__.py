"""The embedded simulated study: chest CT with and without a nodule, with known truth and optional traps."""

from easydl.simulation.cohort import TRAPS
from easydl.simulation.study import simulate

__all__ = ["TRAPS", "simulate"]
