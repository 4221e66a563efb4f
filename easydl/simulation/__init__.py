"""The embedded simulated studies: chest CT and pelvis MR, with known truth and optional traps."""

from easydl.simulation.cohort import TRAPS
from easydl.simulation.plan import KINDS
from easydl.simulation.seal import SEALED, Seal, unseal
from easydl.simulation.study import simulate

__all__ = ["KINDS", "SEALED", "TRAPS", "Seal", "simulate", "unseal"]
