"""The Verdict on a heatmap: which tests it failed, and what that means, in one sentence. The tests live in `checks`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from easydl.explanation import checks
from easydl.explanation.checks import Results
from easydl.explanation.targets import Target

DRAWS, BLOBS = (19, 9), (39, 19)
"""Random networks and random blobs; the second number where a call is expensive: volumes, masks, large images."""
LARGE = 1 << 17


@dataclass(frozen=True)
class Verdict:
    """What the tests say of one heatmap.

    Attributes:
        level: ``"PASS"``, ``"CAUTION"`` or ``"FAIL"`` (do not interpret).
        sentence: Why, in plain words, with the numbers that decided and their n.
        numbers: Every number of every test that was done, with its n.
    """

    level: str
    sentence: str
    numbers: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        return {"level": self.level, "sentence": self.sentence, "numbers": self.numbers}


def judge(
    target: Target,
    coarse: np.ndarray,
    fine: np.ndarray,
    *,
    method: str,
    seed: int,
    text: tuple[np.ndarray, np.ndarray] | None = None,
) -> Verdict:
    """Test a heatmap on the image it was made for.

    A map fails when it hardly changes under random weights, when untrained networks are as confident, when the prediction
    depends less on what it marks than on the rest, or when there is nothing to explain. What is merely not confirmed
    is a caution: one image is little to test on.

    Args:
        target: What was explained.
        coarse: The map on its own grid, 0 or more.
        fine: The same on the grid of the input, 0..1.
        method: ``"gradcam"`` or ``"occlusion"``.
        seed: Of the random networks and blobs.
        text: The map and where letters are, both on the scan's plane.

    References:
        Adebayo et al. 2018, arXiv:1810.03292; Arun et al. 2021, doi:10.1148/ryai.2021200267; Petsiuk et al. 2018,
        arXiv:1806.07421.
    """
    if not np.isfinite(coarse).all() or not np.isfinite(target.logits).all():
        return Verdict("FAIL", f"Do not interpret: the network's numbers overflow for {target.name}.")
    if target.task.has_masks and not target.region.any():
        return Verdict("FAIL", f"Nothing to interpret: the network segmented no {target.name} in this image.")
    if fine.max() <= 0:
        return Verdict(
            "FAIL", f"Nothing to interpret: the map is empty, no part of the image speaks for {target.name}."
        )
    costly = int(fine.ndim == 3 or target.task.has_masks or fine.size > LARGE)
    results = Results()
    checks.chance(target, results)
    checks.randomisation(target, fine, method, seed, DRAWS[costly], results)
    checks.deletion(target, fine, seed, BLOBS[costly], results)
    checks.agreement(target, fine, method, results)
    checks.faithfulness(results)
    checks.border(fine, results)
    if text is not None:
        checks.text(*text, results)
    checks.edges(target, fine, results)
    if method == "gradcam":
        checks.other_class(target, coarse, results)
    if results.fails:
        return Verdict("FAIL", f"Do not interpret: {'; '.join(results.fails + results.cautions)}.", results.numbers)
    if results.cautions:
        return Verdict("CAUTION", f"Interpret with caution: {'; '.join(results.cautions)}.", results.numbers)
    done = results.numbers
    sentence = (
        f"All tests passed on this image (n = {done['n_random_maps']} random networks, {done['n_blobs']} blobs, "
        f"{done['n_patches']} patches): the map depends on what was learned, and the prediction depends on what it marks. "
        "It shows where the network looked, not that it is right."
    )
    return Verdict("PASS", sentence, results.numbers)
