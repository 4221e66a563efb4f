"""The tests a heatmap can fail without anybody noticing by eye. They find numbers; `verdict` says what follows.

A map may show the image instead of the model (Adebayo 2018), mark what the answer does not depend on, or rest on the
border, where markers and text are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage, stats

from easydl.explanation.occlusion import blurred, occlusion, on_patches
from easydl.prediction.results import median_grade

if TYPE_CHECKING:
    from easydl.explanation.gradcam import Network

ALIKE, SAME_MAP, NOTICED = 0.5, 0.9, 0.1
TOP, LEVEL_P, UNTRAINED, NEAR_CHANCE = 0.1, 0.05, 0.2, 0.1
EDGE, BORDER = 0.1, 2.0
OCCLUSION_DRAWS = 3


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


@dataclass
class Findings:
    """What the tests found so far.

    Attributes:
        numbers: Every number, with the n it rests on beside it.
        fails: Reasons not to interpret the map, as parts of a sentence.
        cautions: Reasons to be careful.
    """

    numbers: dict[str, Any] = field(default_factory=dict)
    fails: list[str] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)

    def note(self, **numbers: float) -> None:
        """Keep numbers, to four decimals."""
        self.numbers |= {
            name: value if isinstance(value, int) else round(float(value), 4) for name, value in numbers.items()
        }


def chance(question: Question, found: Findings) -> None:
    """An undecided network has nothing to explain, and a class it did not choose is not its answer."""
    if question.task == "multilabel":
        top, even = question.probability, 0.5
        close = abs(top - even) < NEAR_CHANCE
        if top < even:
            found.cautions.append(f"the network did not find {question.name}")
    elif question.task in ("classification", "ordinal"):
        odds = np.exp(question.logits - question.logits.max())
        odds = odds / odds.sum()
        top, even = float(odds.max()), 1 / len(odds)
        close = top < even + NEAR_CHANCE
        chosen = median_grade(odds[None])[0] if question.task == "ordinal" else odds.argmax()
        if question.target != int(chosen):
            found.cautions.append(f"the network did not choose {question.name}")
    else:
        return
    found.note(probability_top=top, chance=even)
    if close:
        found.cautions.append(f"the answer is close to chance ({top:.2f}, chance is {even:.2f})")


def randomisation(question: Question, fine: np.ndarray, method: str, seed: int, draws: int, found: Findings) -> None:
    """The map must change when what was learned is taken away, from the logits down to all weights.

    Also, the network must decide more firmly than untrained ones, or there is nothing learned to show.
    """
    network = question.network
    # An occlusion map costs fifty calls; its answer is as clear after a few draws.
    mapped = draws if method == "gradcam" else OCCLUSION_DRAWS
    pairs, margins = [], []
    for draw in range(draws):
        weights = network.random_weights(1000 * seed + draw)
        evidence, logits = network.cam(question.batch, question.target, question.region, weights)
        margins.append(margin(question, logits))
        if draw < mapped:
            if method == "occlusion":
                evidence = occlusion(network, question.batch, question.target, question.region, weights)
            pairs.append(alike(fine, enlarged(evidence, fine.shape)))
    for share, name in ((0.0, "logits"), (0.5, "upper_half")):
        weights = network.random_weights(1000 * seed, share)
        ssim, rank = alike(fine, _mapped(question, method, fine.shape, weights))
        found.note(**{f"ssim_random_{name}": ssim, f"spearman_random_{name}": rank})
    ssims, ranks = np.array(pairs).T
    ssim, rank = float(np.median(ssims)), float(np.median(ranks))
    low, high = np.percentile(ssims, [2.5, 97.5])
    found.note(ssim_random_all=ssim, ssim_random_all_low=low, ssim_random_all_high=high)
    found.note(spearman_random_all=rank, n_random_maps=mapped)
    said = f"SSIM {ssim:.2f}, rank correlation {rank:.2f}, n = {mapped} random networks"
    if ssim > ALIKE and rank > ALIKE:
        found.fails.append(
            f"it hardly changes when the weights are random ({said}), so it shows the image, not the model"
        )
    elif rank > ALIKE:
        found.cautions.append(f"random weights give a map of similar order ({said})")
    if question.task == "regression":
        return
    own = margin(question, question.logits)
    reached = int(np.sum(np.asarray(margins) >= own))
    found.note(margin=own, margin_random_median=float(np.median(margins)), margin_p=(reached + 1) / (draws + 1))
    found.note(n_random_networks=draws)
    undecided = found.numbers.get("probability_top", 1.0) < found.numbers.get("chance", 0.0) + NEAR_CHANCE
    if reached:
        # Networks that normalise their features are firm by luck now and then; a few of them prove little.
        grave = undecided or reached > UNTRAINED * draws
        (found.fails if grave else found.cautions).append(
            f"untrained networks decide as firmly (logit margin {own:.2g}, reached by {reached} of {draws})"
        )


def deletion(question: Question, fine: np.ndarray, seed: int, blobs: int, found: Findings) -> None:
    """Blurring the top tenth must cost more than blurring the same shape elsewhere."""
    rng = np.random.default_rng(seed)
    top = fine >= max(float(np.quantile(fine, 1 - TOP)), float(np.finfo(np.float32).tiny))
    masks, tries = [top], 0
    while len(masks) <= blobs:
        step = tuple(int(rng.integers(side)) for side in fine.shape)
        moved = np.roll(top, step, axis=tuple(range(fine.ndim)))
        tries += 1
        # The same shape elsewhere; the overlap is limited as long as there is an elsewhere.
        if (moved & top).sum() <= top.sum() / 2 or tries > 10 * blobs:
            masks.append(moved)
    copies = np.where(np.stack(masks)[..., None], blurred(question.batch), question.batch)
    scores = question.network.scores(np.concatenate([question.batch, copies]), question.target, question.region)
    drops = scores[0] - scores[1:]
    own, others = float(drops[0]), drops[1:]
    p = float((1 + np.sum(others >= own)) / (1 + blobs))
    low, high = np.percentile(own - others, [2.5, 97.5])
    found.note(deletion_drop=own, deletion_drop_elsewhere=float(np.median(others)), deletion_p=p, n_blobs=blobs)
    found.note(deletion_difference_low=low, deletion_difference_high=high)
    if own <= 0 or p > LEVEL_P:
        found.cautions.append(
            f"blurring what it marks costs not clearly more than blurring elsewhere (p = {p:.2f}, n = {blobs} blobs)"
        )


def agreement(question: Question, fine: np.ndarray, method: str, found: Findings) -> None:
    """The patches the map marks must be those whose hiding lowers the logit."""
    marked = on_patches(fine)
    if method == "gradcam":
        reference = occlusion(question.network, question.batch, question.target, question.region)
    else:
        reference = on_patches(_mapped(question, "gradcam", fine.shape, None))
    n = marked.size
    # Most patches of most images matter to nobody; ranking their noise would drown the few that do.
    marked, reference = _noticeable(marked), _noticeable(reference)
    rank = spearman(marked, reference)
    # Neighbouring patches resemble each other: moving the whole map keeps that and breaks only the agreement.
    axes = tuple(range(marked.ndim))
    moves = [spearman(np.roll(marked, step, axis=axes), reference) for step in np.ndindex(*marked.shape)]
    p = float(np.mean(np.asarray(moves) >= rank - 1e-12))
    # Fieller, Hartley and Pearson 1957: Fisher's z of a rank correlation has a variance of 1.06 / (n - 3).
    reach = 1.96 * np.sqrt(1.06 / max(n - 3, 1))
    low, high = np.tanh(np.arctanh(np.clip(rank, -0.999, 0.999)) + np.array([-reach, reach]))
    found.note(occlusion_spearman=rank, occlusion_spearman_low=low, occlusion_spearman_high=high)
    found.note(occlusion_p=p, n_patches=n)
    if low <= 0 or p > LEVEL_P:
        other = "hiding patch after patch" if method == "gradcam" else "Grad-CAM"
        found.cautions.append(
            f"{other} does not confirm it (rank correlation {rank:.2f}, p = {p:.2f}, n = {n} patches)"
        )


def faithfulness(found: Findings) -> None:
    """Both tests of what the answer depends on pointing the other way is more than a caution."""
    if found.numbers["deletion_p"] > 0.5 and found.numbers["occlusion_spearman"] <= 0:
        found.fails.append("the answer depends less on what it marks than on the rest of the image")


def border(fine: np.ndarray, found: Findings) -> None:
    """The outer tenth of the picture is where markers, tubes and text are."""
    height, width = fine.shape[-2:]
    inner = np.zeros((height, width), dtype=bool)
    rows, columns = max(1, round(height * EDGE)), max(1, round(width * EDGE))
    inner[rows:-rows, columns:-columns] = True
    share, area = float(fine[..., ~inner].sum() / fine.sum()), float(1 - inner.mean())
    found.note(border_energy=share, border_area=area)
    if share > BORDER * area:
        found.cautions.append(
            f"{share:.0%} of it lies in the outer border ({area:.0%} of the area), so it may be looking at markers"
        )


def edges(question: Question, fine: np.ndarray, found: Findings) -> None:
    """A map that looks like the outlines of the image may be no more than that."""
    grey = question.batch[0].mean(axis=-1)
    segment = ndimage.generic_gradient_magnitude(grey, ndimage.sobel)
    segment = segment / segment.max() if segment.max() > 0 else segment
    ssim, rank = alike(fine, segment.astype(np.float32))
    found.note(ssim_edges=ssim, spearman_edges=rank)
    if ssim > ALIKE and rank > ALIKE:
        found.cautions.append(f"it resembles the outlines of the image (SSIM {ssim:.2f}, rank correlation {rank:.2f})")


def other_class(question: Question, coarse: np.ndarray, found: Findings) -> None:
    """Another class must have another map."""
    if question.task not in ("classification", "ordinal") or len(question.logits) < 2:
        return
    rival = next(int(k) for k in np.argsort(-question.logits) if k != question.target)
    other, _ = question.network.cam(question.batch, rival, question.region)
    varied = coarse.std() > 0 and other.std() > 0
    correlation = float(np.corrcoef(coarse.ravel(), other.ravel())[0, 1]) if varied else 0.0
    found.note(correlation_with_other_class=correlation, n_points=int(coarse.size))
    if correlation > SAME_MAP:
        found.cautions.append(f"another class has nearly the same map (correlation {correlation:.2f})")


def alike(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
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


def enlarged(coarse: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """A map brought to 0..1 (negative and infinite values become 0) and to another grid, bilinear, float32."""
    from skimage.transform import resize

    coarse = np.maximum(np.nan_to_num(coarse, nan=0.0, posinf=0.0, neginf=0.0), 0.0)
    # Divided before as well as after: the numbers of an untrained network can be too small for float32 to keep.
    coarse = (coarse / coarse.max() if coarse.max() > 0 else coarse).astype(np.float32)
    fine = resize(coarse, size, order=1, mode="edge", anti_aliasing=False, preserve_range=True)
    return (fine / fine.max() if fine.max() > 0 else fine).astype(np.float32)


def margin(question: Question, logits: np.ndarray) -> float:
    """How firmly the network decides, in logits: first against second class, or distance from undecided.

    For a segmenter: the lead of the class over the best other one, inside the network's own outline less outside it.
    """
    if question.task == "segmentation":
        others = np.delete(logits, question.target, axis=-1)
        lead = logits[..., question.target] - (others.max(axis=-1) if others.shape[-1] else 0.0)
        inside = lead > 0
        if not inside.any() or inside.all():
            # Every network is measured by an outline of its own, or untrained ones would be at a disadvantage.
            inside = lead > np.quantile(lead, 1 - TOP)
        return float(lead[inside].mean() - lead[~inside].mean()) if inside.any() else 0.0
    if question.task == "multilabel" or len(logits) < 2:
        return float(abs(logits[question.target]))
    best = np.sort(logits)
    return float(best[-1] - best[-2])


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Rank correlation; 0 where one of the two does not vary."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(stats.spearmanr(first.ravel(), second.ravel()).statistic)


def _noticeable(values: np.ndarray) -> np.ndarray:
    floor = max(float(values.max()), 0.0) * NOTICED
    return np.where((values >= floor) & (values > 0), values, 0.0)


def _mapped(question: Question, method: str, size: tuple[int, ...], weights: tuple[Any, ...] | None) -> np.ndarray:
    given = (question.batch, question.target, question.region, weights)
    if method == "occlusion":
        return enlarged(occlusion(question.network, *given), size)
    return enlarged(question.network.cam(*given)[0], size)
