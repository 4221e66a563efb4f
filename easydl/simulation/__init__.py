"""The embedded simulated studies: chest CT and pelvis MR, with known truth and optional traps."""

from easydl.simulation.cohort import TRAPS
from easydl.simulation.plan import KINDS
from easydl.simulation.seal import Seal, unseal
from easydl.simulation.study import simulate

__all__ = ["KINDS", "TRAPS", "Seal", "simulate", "unseal"]
