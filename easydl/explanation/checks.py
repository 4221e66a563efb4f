"""The tests a heatmap can fail without anybody noticing by eye: of one image. `model_checks` has those of the model.

A map may mark what the prediction does not depend on, or rest on the border, on text or outside the body, where no anatomy
is. The tests give numbers and reasons; `verdict` says what follows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import ndimage, stats
from scipy.special import logit, softmax

from easydl.explanation import places
from easydl.explanation.centres import Centres, on_image
from easydl.explanation.occlusion import blurred, filled, with_rim
from easydl.explanation.targets import Target
from easydl.images import Scan
from easydl.networks.decision import EVEN
from easydl.studies.labels import says_absence

ALIKE, SAME_MAP = 0.5, 0.9
LEVEL_P, NEAR_CHANCE = 0.05, 0.1
HIDDEN, STRONG = 0.1, 0.5
"""What is hidden is where the map has half of its maximum, at most a tenth of the image, and its rim."""
DECIDES = 0.5
"""Hiding what decides takes away this fraction of the lead over the threshold."""
BORDER, HOT, MOSTLY = 2.0, 0.3, 0.5
BLOBS = 19
"""Other places that are hidden for comparison: the smallest number that can give p = 0.05."""
FEWEST_POINTS = 7
"""A map with fewer points a side shows a region, no place."""


@dataclass(frozen=True)
class Reason:
    """Why a map is not to be trusted (FAIL), or not without care (CAUTION).

    Attributes:
        level: ``"FAIL"`` or ``"CAUTION"``.
        sentence: For a reader: what is so, and what to do.
        figures: What was measured, with its n.
    """

    level: str
    sentence: str
    figures: str = ""


@dataclass
class Results:
    """What the tests gave so far: numbers, each with its n, and reasons in the order of their weight."""

    numbers: dict[str, Any] = field(default_factory=dict)
    reasons: list[Reason] = field(default_factory=list)

    def note(self, **numbers: float) -> None:
        """Keep numbers, to four decimals."""
        self.numbers |= {
            name: value if isinstance(value, int) else round(float(value), 4) for name, value in numbers.items()
        }

    def fail(self, sentence: str, figures: str = "") -> None:
        """Not to be trusted."""
        self.reasons.append(Reason("FAIL", sentence, figures))

    def caution(self, sentence: str, figures: str = "") -> None:
        """Only with care."""
        self.reasons.append(Reason("CAUTION", sentence, figures))


def chance(target: Target, results: Results) -> None:
    """An uncertain network has nothing to explain, and a class it did not choose is not its prediction."""
    task = target.task
    if task.has_masks or not task.has_classes:
        return
    other = False
    if not task.exclusive:
        top, even = target.probability, target.threshold
        close, other = abs(top - even) < NEAR_CHANCE, top < even
    else:
        probabilities = softmax(target.logits)
        if target.chosen_by_threshold:
            top, even = float(probabilities[1]), target.threshold
            close = abs(top - even) < NEAR_CHANCE
            if even == EVEN:  # as near for either class, and the page shows the one that is explained
                top = float(probabilities[target.index])
        else:
            top, even = float(probabilities.max()), 1 / len(probabilities)
            close = top < even + NEAR_CHANCE
        other = target.index != target.chosen
    results.note(probability_top=top, chance=even)
    if other:
        results.caution(
            f"The model did not answer {target.name}: read the map as what speaks for it, not as why it answered."
        )
    if close:
        results.caution(
            "The model was unsure of this answer: decide without it.",
            f"probability {top:.2f}, {target.border} is {even:.2f}, n = 1 image",
        )


def dependence(target: Target, fine: np.ndarray, seed: int, blobs: int, results: Results) -> None:
    """Hiding what the map marks must take the answer away, and more so than hiding the same shape elsewhere."""
    top = with_rim(fine >= max(float(np.quantile(fine, 1 - HIDDEN)), STRONG * float(fine.max())), HIDDEN)
    masks = [top, *_moved(top, blobs, np.random.default_rng(seed))]
    pair = np.concatenate([target.batch, blurred(target.batch)])
    shown = ~np.stack([np.zeros_like(top), *masks])
    scores = target.network.masked_scores(pair, shown.astype(np.float32), target.index, target.region)
    drops = scores[0] - scores[1:]
    own, others = float(drops[0]), drops[1:]
    p = float((1 + np.sum(others >= own)) / (1 + blobs))
    low, high = np.percentile(own - others, [2.5, 97.5])
    results.note(deletion_drop=own, deletion_drop_elsewhere=float(np.median(others)), deletion_p=p, n_blobs=blobs)
    results.note(deletion_difference_low=low, deletion_difference_high=high, hidden_area=float(top.mean()))
    lead = lead_of(target, float(scores[0]))
    specific, decides, absent = own > 0 and p <= LEVEL_P, True, says_no(target)
    figures = f"falls by {own:.2g} (elsewhere {np.median(others):.2g}, p = {p:.2f}, n = {blobs} other places)"
    if lead is not None:
        taken = own / max(lead, 1e-6)
        decides = taken >= DECIDES
        results.note(deletion_fraction=taken)
        figures += f", {taken:.0%} of its lead"
    if absent and lead is not None and specific and decides:
        # The blur may look like a finding of its own; what is filled from its surroundings does not.
        emptied = float(target.network.scores(filled(target.batch, top), target.index, target.region)[0])
        specific = decides = float(scores[0]) - emptied >= DECIDES * lead
        results.note(filled_fraction=(float(scores[0]) - emptied) / max(lead, 1e-6))
    if specific and decides and absent and says_absence(target.name.rpartition(": ")[2]):
        results.caution(
            f"The answer {target.name} hangs on one place, and no place can show that nothing is there: look where a finding "
            "could be overlooked.",
            figures,
        )
        return
    if specific and decides:
        return
    if not specific and not decides and absent:
        results.caution(
            f"No one place decides the answer {target.name}, as is right where nothing is there: the map shows nothing to "
            "look at, so look where a finding could be overlooked.",
            figures,
        )
    elif not specific and not decides:
        results.fail(
            "Hiding what is marked does not change the answer: do not look for a finding in the map.",
            figures,
        )
    elif lead is None and own <= 0:
        results.fail("Hiding what is marked does not lower the answer: ignore the map.", figures)
    elif specific:
        results.caution("The answer rests on more than what is marked: look at the whole image.", figures)
    else:
        results.caution(
            "Hiding other places changes the answer as much: look at the whole image, not only there.", figures
        )


def says_no(target: Target) -> bool:
    """Whether the answer is the negative class: the first of two."""
    return (
        target.task.exclusive
        and target.task.per_image
        and len(target.logits) == 2
        and target.index == target.chosen == 0
    )


def _moved(top: np.ndarray, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The same shape elsewhere; it overlaps as little as there is an elsewhere."""
    found: list[np.ndarray] = []
    limit, tries = 0.0, 0
    while len(found) < count:
        step = tuple(int(rng.integers(side)) for side in top.shape)
        moved = np.roll(top, step, axis=tuple(range(top.ndim)))
        tries += 1
        if (moved & top).sum() <= limit * top.sum():
            found.append(moved)
        elif tries > 5 * count:
            limit, tries = limit + 0.25, 0
    return found


def lead_of(target: Target, score: float) -> float | None:
    """By how much the score is above what the decision asks for; None where nothing is decided, or for another class."""
    task = target.task
    if task.is_value:
        return None
    if task.has_masks:
        return score
    if not task.exclusive:
        return score - float(logit(target.threshold))
    if len(target.logits) != 2:
        # Each of the others gets a share of what the chosen class loses.
        best = np.sort(np.asarray(target.logits, float))
        return float(best[-1] - best[-2]) if target.index == target.chosen else None
    even = float(logit(np.clip(target.threshold, 1e-6, 1 - 1e-6))) / 2 if target.chosen_by_threshold else 0.0
    return score - (even if target.index == 1 else -even)


def astray(
    scan: Scan, heat: np.ndarray, points: tuple[int, ...], results: Results, *, nothing_there: bool = False
) -> None:
    """A map outside the body, on text or in the border shows markers, tubes and what somebody wrote, not what was imaged.

    ``heat`` (0..1) lies on the grid of the scan; ``points`` is the shape of the map before it was enlarged. With ``nothing_there``
    the answer is that there is no finding, and of this model what lies around the body was shown to tell no answers apart.
    """
    if heat.max() <= 0:
        return
    # A map cannot tell the two sides of the skin apart by more than half of its own points.
    reach = [2 * (side // (2 * count)) + 1 for side, count in zip(scan.shape, points, strict=True)]
    inside, written, edge = _within(places.body(scan), reach), places.text(scan, heat), places.border(scan.shape)
    peak = heat >= heat.max()
    found = (
        ("text", written, "on text in the image", "the text"),
        ("outside", ~inside, "outside the body", "markers, tubes and the table"),
        ("border", edge, "at the border of the image", "markers"),
    )
    for name, where, place, what in found:
        share, area = places.fraction(heat, where), float(where.mean())
        hottest = float(heat[where].max()) if where.any() else 0.0
        results.note(**{f"{name}_energy": share, f"{name}_area": area, f"{name}_peak": hottest})
        figures = (
            f"{share:.0%} of the map on {area:.0%} of the area, there up to {hottest:.0%} of its maximum, n = 1 map"
        )
        at_peak = bool(where[peak].any())
        most = share > (max(MOSTLY, BORDER * area) if name == "border" else MOSTLY)
        if most and nothing_there and name != "border":
            results.caution(
                f"The map lies {place}, which does not tell this model's answers apart: it shows nothing to look at, so look "
                "where a finding could be overlooked.",
                figures,
            )
        elif most and (at_peak or name != "outside"):
            results.fail(f"The model looked {place}: do not use the answer, and look at {what}.", figures)
        elif (
            (name == "text" and hottest >= HOT)
            or (name == "outside" and at_peak)
            or (name == "border" and share > BORDER * area)
        ):
            results.caution(f"A part of the map lies {place}: look whether {what} gave the answer.", figures)
        if results.reasons and results.reasons[-1].figures == figures:
            return  # the border repeats what lies outside the body


def _within(inside: np.ndarray, reach: list[int]) -> np.ndarray:
    return np.asarray(ndimage.maximum_filter(inside, size=reach))


def answered_wrong(reference: str, right: bool | None, results: Results) -> None:
    """The map of a wrong answer shows no finding."""
    if right is False:
        results.caution("Use the map only to see what misled the model.", f"the reference is {reference}")


def resolution(coarse: np.ndarray, results: Results) -> None:
    """A coarse map cannot point."""
    points = min(coarse.shape)
    results.note(points_across=points)
    if points < FEWEST_POINTS:
        shape = " x ".join(map(str, coarse.shape))
        results.caution("The map is coarse: it shows a region, so look around what is marked.", f"{shape} points")


def edges(target: Target, fine: np.ndarray, results: Results) -> None:
    """A map that looks like the edges in the image may be no more than that."""
    grey = target.batch[0].mean(axis=-1)
    gradient = ndimage.generic_gradient_magnitude(grey, ndimage.sobel)
    gradient = gradient / gradient.max() if gradient.max() > 0 else gradient
    ssim, rank = similarity(fine, gradient.astype(np.float32))
    results.note(ssim_edges=ssim, spearman_edges=rank)
    if ssim > ALIKE and rank > ALIKE:
        results.caution(
            "The map looks like the edges of the image: trust it less than other maps.",
            f"SSIM {ssim:.2f}, rank correlation {rank:.2f} with them, n = 1 map",
        )


def other_class(target: Target, coarse: np.ndarray, results: Results) -> None:
    """Another class must have another map."""
    if not (target.task.exclusive and target.task.per_image) or len(target.logits) < 3:
        return  # of two classes what speaks for one speaks against the other
    rival = next(int(k) for k in np.argsort(-target.logits) if k != target.index)
    other, _ = target.network.cam(target.batch, rival, target.region)
    varied = coarse.std() > 0 and other.std() > 0
    correlation = float(np.corrcoef(coarse.ravel(), other.ravel())[0, 1]) if varied else 0.0
    results.note(correlation_with_other_class=correlation, n_points=int(coarse.size))
    if correlation > SAME_MAP:
        results.caution(
            "Another answer has nearly the same map: it does not tell the two apart.",
            f"correlation {correlation:.2f}, n = {coarse.size} points",
        )


def similarity(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """SSIM and absolute Spearman correlation of two maps in 0..1, on at most 64 points a side (32 in 3D).

    SSIM alone calls any two maps alike that are black nearly everywhere; the ranks alone overlook contrast.
    """
    from skimage.metrics import structural_similarity

    most = 64 if first.ndim == 2 else 32
    steps = tuple(slice(None, None, -(-side // most)) for side in first.shape)
    first, second = first[steps], second[steps]
    window = min(7, *(side - 1 + side % 2 for side in first.shape))
    ssim = float(structural_similarity(first, second, data_range=1.0, win_size=window)) if window >= 3 else 0.0
    return ssim, abs(spearman(first, second))


def upsampled(coarse: np.ndarray, size: tuple[int, ...], centres: Centres | None = None) -> np.ndarray:
    """A map brought to 0..1 (negative and infinite values become 0) and to another grid, linear, float32.

    ``centres`` are where its points lie there; None where they share it evenly.
    """
    coarse = np.maximum(np.nan_to_num(coarse, nan=0.0, posinf=0.0, neginf=0.0), 0.0)
    # Divided before as well as after: the numbers of an untrained network can be too small for float32 to keep.
    coarse = (coarse / coarse.max() if coarse.max() > 0 else coarse).astype(np.float32)
    fine = on_image(coarse, size, centres)
    return (fine / fine.max() if fine.max() > 0 else fine).astype(np.float32)


def margin(target: Target, logits: np.ndarray) -> float:
    """How confident the network is, in logits: first against second class, or distance from undecided.

    For a segmentation model: the lead of the class over the best other one, inside the network's own segmentation less
    outside it.
    """
    if target.task.has_masks:
        others = np.delete(logits, target.index, axis=-1)
        lead = logits[..., target.index] - (others.max(axis=-1) if others.shape[-1] else 0.0)
        inside = lead > 0
        if not inside.any() or inside.all():
            # Every network is measured by its own segmentation, or untrained ones would be at a disadvantage.
            inside = lead > np.quantile(lead, 1 - HIDDEN)
        return float(lead[inside].mean() - lead[~inside].mean()) if inside.any() else 0.0
    if not target.task.exclusive or len(logits) < 2:
        return float(abs(logits[target.index]))
    best = np.sort(logits)
    return float(best[-1] - best[-2])


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Rank correlation; 0 where one of the two does not vary."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(stats.spearmanr(first.ravel(), second.ravel()).statistic)
