"""The Verdict on a heatmap: trust, caution or do not trust, and one plain sentence. The tests live in `checks`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.explanation import checks, model_checks
from easydl.explanation.checks import Reason, Results
from easydl.explanation.targets import Target
from easydl.images import Scan
from easydl.networks.heatmap_reference import HeatmapReference

if TYPE_CHECKING:
    import pandas as pd

WORDS = {"PASS": "Trust", "CAUTION": "Caution", "FAIL": "Do not trust"}
"""What a reader sees of each level."""
TRUSTED = (
    "Hiding what is marked takes the answer away, and hiding other places does not: look there, and judge for yourself "
    "whether it is right."
)
CHANCE = ("Not shown to be better than chance", "One answer for every image")
"""How the warnings of a model begin that has nothing to explain."""


@dataclass(frozen=True)
class Verdict:
    """What the tests say of one heatmap.

    Attributes:
        level: ``"PASS"``, ``"CAUTION"`` or ``"FAIL"``; `word` says it to a reader.
        sentence: The gravest reason in plain words, and what to do.
        numbers: Every number of every test that was done, with its n.
        reasons: All reasons, the gravest first, each with its figures.

    Example:
        >>> Verdict("FAIL", "The map is empty: there is nothing to look at.").word
        'Do not trust'
    """

    level: str
    sentence: str
    numbers: dict[str, Any] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()

    @property
    def word(self) -> str:
        """``"Trust"``, ``"Caution"`` or ``"Do not trust"``."""
        return WORDS[self.level]

    @property
    def details(self) -> pd.DataFrame:
        """The reasons with what was measured, and every number: what is folded away on a page."""
        import pandas as pd

        rows = [(WORDS[one.level], one.sentence, one.figures) for one in self.reasons]
        rows += [("", name.replace("_", " "), str(value)) for name, value in self.numbers.items()]
        return pd.DataFrame(rows, columns=["level", "what", "measured"])

    def to_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        reasons = [{"level": one.level, "sentence": one.sentence, "figures": one.figures} for one in self.reasons]
        return {"level": self.level, "sentence": self.sentence, "numbers": self.numbers, "reasons": reasons}


@dataclass(frozen=True)
class About:
    """What is known beside the map: where it lies on the scan, whether the answer is right, and of the model.

    Attributes:
        scan: The image.
        heat: The map on the grid of the scan, 0..1.
        right: Whether the answer is the reference; None where it is not known.
        reference: What the table says.
        warnings: What the model's validation part says against it.
        model: The tests that were made once of the model; None where they could not be made.
    """

    scan: Scan
    heat: np.ndarray
    right: bool | None = None
    reference: str = ""
    warnings: Sequence[str] = ()
    model: HeatmapReference | None = None


def judge(target: Target, coarse: np.ndarray, fine: np.ndarray, *, method: str, seed: int, about: About) -> Verdict:
    """Test a heatmap on the image it was made for.

    It is not to be trusted when the model knows nothing, when its maps are those of untrained networks, when it lies on
    text, outside the body or in the border, or when hiding what it marks does not change the answer. The map of a wrong or
    unsure answer gets a caution at best.

    Args:
        target: What was explained.
        coarse: The map on its own grid, 0 or more.
        fine: The same on the grid of the input, 0..1.
        method: How it was made.
        seed: Of the other places that are hidden.
        about: What else is known.

    References:
        Adebayo et al. 2018, arXiv:1810.03292; Arun et al. 2021, doi:10.1148/ryai.2021200267; Petsiuk et al. 2018,
        arXiv:1806.07421.
    """
    if not np.isfinite(coarse).all() or not np.isfinite(target.logits).all():
        return Verdict("FAIL", f"The network's numbers overflow for {target.name}: train it again.")
    if target.task.has_masks and not target.region.any():
        return Verdict("FAIL", f"The network segmented no {target.name} in this image: there is nothing to look at.")
    if fine.max() <= 0:
        return Verdict(
            "FAIL", f"The map is empty, no part of the image speaks for {target.name}: there is nothing to look at."
        )
    results = Results()
    for warning in about.warnings:
        if warning.startswith(CHANCE):
            said = (
                "The model was not shown to know anything on its own validation images: ignore the map and the answer."
            )
            results.fail(said, warning)
    checks.chance(target, results)
    checks.answered_wrong(about.reference, about.right, results)
    nothing_there = checks.says_no(target) and about.model is not None and model_checks.by_the_patient(about.model)
    checks.astray(about.scan, about.heat, coarse.shape, results, nothing_there=nothing_there)
    if about.model is not None:
        model_checks.learned(target, about.model, results)
    checks.dependence(target, fine, seed, checks.BLOBS, results)
    checks.edges(target, fine, results)
    checks.resolution(coarse, results)
    if method == "gradcam":
        checks.other_class(target, coarse, results)
    reasons = tuple(sorted(results.reasons, key=lambda one: one.level != "FAIL"))
    if not reasons:
        return Verdict("PASS", TRUSTED, results.numbers)
    return Verdict(reasons[0].level, reasons[0].sentence, results.numbers, reasons)
