"""Whether a heatmap deserves to be believed: numeric tests on this image, summed up in one sentence. It draws nothing.

The tests are those a map can fail without anybody noticing by eye: it may show the image instead of the model
(Adebayo 2018), point where nothing depends on it, or rest on the border where markers are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage, stats

from easydl.explanation.occlusion import blurred, occlusion, on_patches

if TYPE_CHECKING:
    from easydl.explanation.gradcam import Network

LEVELS = ("PASS", "CAUTION", "FAIL")
DRAWS, BLOBS = (19, 9), (39, 19)
"""Random networks and random blobs; the second number where a call is expensive: volumes, outlines, large images."""
ALIKE, SAME_MAP, BORDER, TOP, EDGE = 0.5, 0.9, 2.0, 0.1, 0.1
CHANCE, NOTICED = 0.1, 0.1
LARGE, UNTRAINED = 1 << 17, 0.2


@dataclass(frozen=True)
class Verdict:
    """What the tests say of one heatmap.

    Attributes:
        level: ``"PASS"``, ``"CAUTION"`` or ``"FAIL"`` (do not interpret).
        sentence: Why, in plain words, with the numbers that decided and their n.
        numbers: Every number of every test; None where a test could not be done.
    """

    level: str
    sentence: str
    numbers: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        return {"level": self.level, "sentence": self.sentence, "numbers": self.numbers}


@dataclass(frozen=True)
class Question:
    """What is explained: one image, one class, and the network's answer.

    Attributes:
        network: Compiled functions.
        batch: ``(1, *size, channels)``.
        target: Index of the class.
        region: For a segmenter the outlined pixels ``(1, *size)``, else ones ``(1,)``.
        logits: The network's answer, ``(classes,)`` or ``(*size, classes)``.
        task: The recipe's task.
        name: Of the class.
        probability: Of the class (mean over the outlined pixels); the value for a regression.
    """

    network: Network
    batch: np.ndarray
    target: int
    region: np.ndarray
    logits: np.ndarray
    task: str
    name: str
    probability: float


def judge(question: Question, coarse: np.ndarray, fine: np.ndarray, *, method: str, seed: int) -> Verdict:
    """Test a heatmap.

    Args:
        question: What was explained.
        coarse: The map on its own grid, 0 or more.
        fine: The same on the grid of the input, 0..1.
        method: ``"gradcam"`` or ``"occlusion"``.
        seed: Of the random networks and blobs.

    Returns:
        The `Verdict`.

    References:
        Adebayo et al. 2018, arXiv:1810.03292; Arun et al. 2021, doi:10.1148/ryai.2021200267; Petsiuk et al. 2018,
        arXiv:1806.07421.
    """
    if not np.isfinite(fine).all():
        return Verdict("FAIL", f"Do not interpret: the network's numbers overflow for {question.name}.")
    if question.task == "segmentation" and not question.region.any():
        return Verdict("FAIL", f"Nothing to interpret: the network outlined no {question.name} in this image.")
    if fine.max() <= 0:
        return Verdict(
            "FAIL", f"Nothing to interpret: the map is empty. No part of the image speaks for {question.name}."
        )
    rng = np.random.default_rng(seed)
    costly = int(fine.ndim == 3 or question.task == "segmentation" or fine.size > LARGE)
    numbers: dict[str, Any] = {}
    fails: list[str] = []
    cautions: list[str] = []
    _chance(question, numbers, cautions)
    _randomisation(question, fine, method, seed, DRAWS[costly], numbers, fails, cautions)
    _deletion(question, fine, rng, BLOBS[costly], numbers, cautions)
    _agreement(question, fine, method, numbers, cautions)
    # One image is little to test on: not confirmed is a caution, and only both pointing the other way is a failure.
    if numbers["deletion_p"] > 0.5 and numbers["occlusion_spearman"] <= 0:
        fails.append("the answer depends less on what it marks than on the rest of the image")
    _border(fine, numbers, cautions)
    _edges(question, fine, numbers, cautions)
    if method == "gradcam":
        _classes(question, coarse, numbers, cautions)
    return _summed(question, numbers, fails, cautions)


def alike(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """SSIM and absolute Spearman correlation of two maps in 0..1, on at most 64 points a side (32 in 3D).

    SSIM alone would call any two maps alike that are black nearly everywhere; the ranks alone overlook contrast.
    """
    from skimage.metrics import structural_similarity

    most = 64 if first.ndim == 2 else 32
    steps = tuple(slice(None, None, -(-side // most)) for side in first.shape)
    first, second = first[steps], second[steps]
    window = min(7, *(side - 1 + side % 2 for side in first.shape))
    similarity = float(structural_similarity(first, second, data_range=1.0, win_size=window)) if window >= 3 else 0.0
    return similarity, abs(_spearman(first, second))


def _randomisation(
    question: Question,
    fine: np.ndarray,
    method: str,
    seed: int,
    draws: int,
    numbers: dict[str, Any],
    fails: list[str],
    cautions: list[str],
) -> None:
    """Section 7, test 1: the map must change when what was learned is taken away, from the top down."""
    network = question.network
    # An occlusion map costs fifty calls; its answer is as clear after a few draws.
    mapped = draws if method == "gradcam" else 3
    pairs, margins = [], []
    for draw in range(draws):
        weights = network.random_weights(1000 * seed + draw)
        evidence, logits = network.cam(question.batch, question.target, question.region, weights)
        margins.append(_margin(question, logits))
        if draw < mapped:
            if method == "occlusion":
                evidence = occlusion(network, question.batch, question.target, question.region, weights)
            pairs.append(alike(fine, enlarged(evidence, fine.shape)))
    for share, name in ((0.0, "logits"), (0.5, "upper_half")):
        weights = network.random_weights(1000 * seed, share)
        similarity, correlation = alike(fine, _mapped(question, method, fine.shape, weights))
        numbers |= {f"ssim_random_{name}": _round(similarity), f"spearman_random_{name}": _round(correlation)}
    similarities, correlations = np.array(pairs).T
    similarity, correlation = float(np.median(similarities)), float(np.median(correlations))
    low, high = np.percentile(similarities, [2.5, 97.5])
    numbers |= {
        "ssim_random_all": _round(similarity),
        "ssim_random_all_low": _round(low),
        "ssim_random_all_high": _round(high),
        "spearman_random_all": _round(correlation),
        "n_random_maps": mapped,
    }
    said = f"SSIM {similarity:.2f}, rank correlation {correlation:.2f}, n = {mapped} random networks"
    if similarity > ALIKE and correlation > ALIKE:
        fails.append(f"it hardly changes when the weights are random ({said}), so it shows the image, not the model")
    elif correlation > ALIKE:
        cautions.append(f"random weights give a map of similar order ({said})")
    if question.task == "regression":
        return
    own = _margin(question, question.logits)
    beaten = int(np.sum(np.asarray(margins) >= own))
    numbers |= {
        "margin": _round(own),
        "margin_random_median": _round(float(np.median(margins))),
        "margin_p": _round((beaten + 1) / (draws + 1)),
        "n_random_networks": draws,
    }
    undecided = numbers.get("probability_top", 1.0) < numbers.get("chance", 0.0) + CHANCE
    if beaten:
        # Networks that normalise their features are decided by chance alone now and then.
        (fails if undecided or beaten > UNTRAINED * draws else cautions).append(
            f"untrained networks decide as firmly (logit margin {own:.2g}, {beaten} of {draws} random networks reach it)"
        )


def _chance(question: Question, numbers: dict[str, Any], cautions: list[str]) -> None:
    if question.task not in ("classification", "multilabel"):
        return
    classes = len(question.logits)
    if question.task == "multilabel":
        probability, chance = question.probability, 0.5
        close = abs(probability - chance) < CHANCE
    else:
        odds = np.exp(question.logits - question.logits.max())
        probability, chance = float((odds / odds.sum()).max()), 1 / classes
        close = probability < chance + CHANCE
        if question.target != int(question.logits.argmax()):
            cautions.append(f"the network did not choose {question.name}")
    numbers |= {"probability_top": _round(probability), "chance": _round(chance)}
    if close:
        cautions.append(f"the answer is close to chance ({probability:.2f}, chance is {chance:.2f})")


def _deletion(
    question: Question,
    fine: np.ndarray,
    rng: np.random.Generator,
    blobs: int,
    numbers: dict[str, Any],
    cautions: list[str],
) -> None:
    """Section 7, test 5: blurring the top tenth must cost more than blurring the same shape elsewhere."""
    top = fine >= max(float(np.quantile(fine, 1 - TOP)), np.finfo(np.float32).tiny)
    masks = [top]
    tries = 0
    while len(masks) <= blobs:
        moved = np.roll(top, tuple(rng.integers(side) for side in fine.shape), axis=tuple(range(fine.ndim)))
        tries += 1
        # The same shape elsewhere; the overlap is limited as long as there is an elsewhere.
        if (moved & top).sum() <= top.sum() / 2 or tries > 10 * blobs:
            masks.append(moved)
    hidden = blurred(question.batch)
    copies = np.where(np.stack(masks)[..., None], hidden, question.batch)
    scores = question.network.scores(np.concatenate([question.batch, copies]), question.target, question.region)
    drops = scores[0] - scores[1:]
    own, others = float(drops[0]), drops[1:]
    p = float((1 + np.sum(others >= own)) / (1 + blobs))
    low, high = np.percentile(own - others, [2.5, 97.5])
    numbers |= {
        "deletion_drop": _round(own),
        "deletion_drop_elsewhere": _round(float(np.median(others))),
        "deletion_difference_low": _round(low),
        "deletion_difference_high": _round(high),
        "deletion_p": _round(p),
        "n_blobs": blobs,
    }
    if own <= 0 or p > 0.05:
        cautions.append(
            f"blurring what it marks costs not clearly more than blurring elsewhere (p = {p:.2f}, n = {blobs} blobs)"
        )


def _agreement(question: Question, fine: np.ndarray, method: str, numbers: dict[str, Any], cautions: list[str]) -> None:
    """Section 7, test 4: the patches the map marks are those whose hiding lowers the logit."""
    marked = on_patches(fine)
    if method == "gradcam":
        reference = occlusion(question.network, question.batch, question.target, question.region)
    else:
        reference = on_patches(_mapped(question, "gradcam", fine.shape, None))
    n = marked.size
    # Most patches of most images matter to nobody; ranking their noise would drown the few that do.
    marked, reference = _noticeable(marked), _noticeable(reference)
    correlation = _spearman(marked, reference)
    # Neighbouring patches resemble each other: moving the whole map round keeps that and breaks only the agreement.
    moves = [
        _spearman(np.roll(marked, step, axis=tuple(range(marked.ndim))), reference)
        for step in np.ndindex(*marked.shape)
    ]
    p = float(np.mean(np.asarray(moves) >= correlation - 1e-12))
    reach = 1.96 * 1.03 / np.sqrt(max(n - 3, 1))
    low, high = np.tanh(np.arctanh(np.clip(correlation, -0.999, 0.999)) + np.array([-reach, reach]))
    numbers |= {
        "occlusion_spearman": _round(correlation),
        "occlusion_spearman_low": _round(low),
        "occlusion_spearman_high": _round(high),
        "occlusion_p": _round(p),
        "n_patches": n,
    }
    if low <= 0 or p > 0.05:
        other = "hiding patch after patch" if method == "gradcam" else "Grad-CAM"
        cautions.append(
            f"{other} does not confirm it (rank correlation {correlation:.2f}, p = {p:.2f}, n = {n} patches)"
        )


def _border(fine: np.ndarray, numbers: dict[str, Any], cautions: list[str]) -> None:
    """Section 7, test 7: the outer tenth of the picture, where markers, tubes and text are."""
    inner = np.zeros(fine.shape[-2:], dtype=bool)
    rows, columns = (max(1, round(side * EDGE)) for side in inner.shape)
    inner[rows:-rows, columns:-columns] = True
    share, area = float(fine[..., ~inner].sum() / fine.sum()), float(1 - inner.mean())
    numbers |= {"border_energy": _round(share), "border_area": _round(area)}
    if share > BORDER * area:
        cautions.append(f"{share:.0%} of it lies in the outer border ({area:.0%} of the area): maybe markers or text")


def _edges(question: Question, fine: np.ndarray, numbers: dict[str, Any], cautions: list[str]) -> None:
    """Section 7, test 8: a map that looks like the outlines of the image may be no more than that."""
    grey = question.batch[0].mean(axis=-1)
    outline = ndimage.generic_gradient_magnitude(grey, ndimage.sobel)
    outline = outline / outline.max() if outline.max() > 0 else outline
    similarity, correlation = alike(fine, outline.astype(np.float32))
    numbers |= {"ssim_edges": _round(similarity), "spearman_edges": _round(correlation)}
    if similarity > ALIKE and correlation > ALIKE:
        cautions.append(f"it resembles the outlines of the image (SSIM {similarity:.2f})")


def _classes(question: Question, coarse: np.ndarray, numbers: dict[str, Any], cautions: list[str]) -> None:
    """Section 7, test 9: another class must have another map."""
    if question.task != "classification" or len(question.logits) < 2:
        return
    rival = next(int(k) for k in np.argsort(-question.logits) if k != question.target)
    other, _ = question.network.cam(question.batch, rival, question.region)
    varied = coarse.std() > 0 and other.std() > 0
    correlation = float(np.corrcoef(coarse.ravel(), other.ravel())[0, 1]) if varied else 0.0
    numbers |= {"correlation_with_other_class": _round(correlation), "n_points": int(coarse.size)}
    if correlation > SAME_MAP:
        cautions.append(f"another class has nearly the same map (correlation {correlation:.2f})")


def _summed(question: Question, numbers: dict[str, Any], fails: list[str], cautions: list[str]) -> Verdict:
    if fails:
        return Verdict("FAIL", f"Do not interpret: {'; '.join(fails + cautions)}.", numbers)
    if cautions:
        return Verdict("CAUTION", f"Interpret with caution: {'; '.join(cautions)}.", numbers)
    sentence = (
        f"All tests passed on this image (n = {numbers['n_random_maps']} random networks, {numbers['n_blobs']} blobs, "
        f"{numbers['n_patches']} patches): the map depends on what was learned, and the answer depends on what it "
        f"marks. It shows where the network looked, not that it is right."
    )
    return Verdict("PASS", sentence, numbers)


def _mapped(question: Question, method: str, size: tuple[int, ...], weights: tuple[Any, ...] | None) -> np.ndarray:
    given = (question.batch, question.target, question.region, weights)
    if method == "occlusion":
        return enlarged(occlusion(question.network, *given), size)
    return enlarged(question.network.cam(*given)[0], size)


def enlarged(coarse: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """A map brought to 0..1 (negative values become 0) and to another grid, bilinear, float32."""
    from skimage.transform import resize

    coarse = np.maximum(np.nan_to_num(coarse, nan=0.0, posinf=0.0, neginf=0.0), 0.0)
    top = coarse.max()
    coarse = (coarse / top if top > 0 else coarse).astype(np.float32)
    return resize(coarse, size, order=1, mode="edge", anti_aliasing=False, preserve_range=True).astype(np.float32)


def _margin(question: Question, logits: np.ndarray) -> float:
    """How firmly the network decides, in logits: first against second class, or distance from undecided.

    For a segmenter: the class against the best other one, inside the outline, less the same outside it.
    """
    if question.task == "segmentation":
        others = np.delete(logits, question.target, axis=-1).max(axis=-1, initial=-np.inf)
        lead = logits[..., question.target] - np.where(np.isfinite(others), others, 0.0)
        inside = question.region[0] > 0
        return float(lead[inside].mean() - lead[~inside].mean()) if not inside.all() else float(lead.mean())
    if question.task == "multilabel" or len(logits) < 2:
        return float(abs(logits[min(question.target, len(logits) - 1)]))
    best = np.sort(logits)
    return float(best[-1] - best[-2])


def _noticeable(values: np.ndarray) -> np.ndarray:
    floor = max(float(values.max()), 0.0) * NOTICED
    return np.where((values >= floor) & (values > 0), values, 0.0)


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(stats.spearmanr(first.ravel(), second.ravel()).statistic)


def _round(value: float) -> float:
    return round(float(value), 4)
