"""The README.txt of a simulated study. It tells of no sealed trap."""

from __future__ import annotations

from easydl.errors import RESEARCH_USE
from easydl.simulation.cohort import TRAPS
from easydl.simulation.plan import Settings

_CHEST = """How it was made: a chest of ellipsoids with HU values, different in every patient; exact parallel-beam
projections at one energy (70 keV); {dose:.0f} photons per ray with Poisson noise; filtered back-projection
(scikit-image iradon). Vessels cut across look like small nodules in both classes. Nodules measure
{low:.0f} to {high:.0f} mm."""
_PELVIS = """How it was made: a pelvis of ellipsoids of tissue, different in every patient; the signal of a T2-weighted
spin echo (TR 4000 ms, TE 100 ms); finite k-space, Rician noise, uneven coil. Every patient has a mass of
{low:.0f} to {high:.0f} mm in the muscles of the hip or the fat beside them: malignant ones are lobed, uneven and of
intermediate signal, benign ones are cysts: smooth, even, bright. Men have a prostate gland that grows with
age, women a vagina and a uterus."""


def readme(plan: Settings, patients: int, images: int) -> str:
    """What a person who opens the folder has to know."""
    kind = plan.shows
    low, high = kind.lesion_mm
    made = (_CHEST if kind.region == "chest" else _PELVIS).format(dose=plan.dose, low=low, high=high)
    what = "chest CT" if kind.region == "chest" else "pelvis MR"
    if plan.sealed:
        traps = "sealed. One of these, or none:\n" + "\n".join(f"- {name}: {text}" for name, text in TRAPS.items())
        traps += "\nTo open the seal: easydl simulate FOLDER --unseal"
    else:
        traps = "\n".join(f"- {name}: {TRAPS[name]}" for name in plan.traps) or "none"
    return f"""SIMULATED {what} study. No patient was ever scanned. {RESEARCH_USE}

{patients} simulated patients, {images} {"volumes" if kind.volumes else "slices"}, seed {plan.seed}.

{made} Results on these images say nothing about real patients.

scans.csv   one row per image: image, label, mask, patient and facts about the patient.
truth.csv   the mean diameter of the {kind.organs[0]} in each image (empty without): never give it to a model.
images/     DICOM files in a folder per class.
masks/      {_masks(plan)}

Traps planted on purpose: {traps}
"""


def _masks(plan: Settings) -> str:
    if len(plan.organs) == 1:
        organ = plan.organs[0]
        return f"the {organ} in each image, on its grid (PNG: 255 is {organ}; NIfTI: 1 is {organ})."
    values = ", ".join(f'"{organ}": {value}' for value, organ in enumerate(plan.organs, 1))
    return f'organs by value, on the grid of the image: load(..., mask_labels={{"background": 0, {values}}}).'
