"""The tests a heatmap can fail without anybody noticing by eye. They give numbers; `verdict` says what follows.

A map may show the image instead of the model (Adebayo 2018), mark what the prediction does not depend on, or rest on the
border, where markers and text are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import ndimage, stats
from scipy.special import softmax

from easydl.explanation.methods import map_of
from easydl.explanation.occlusion import blurred, occlusion, patch_means
from easydl.explanation.targets import Target
from easydl.networks.decision import EVEN

ALIKE, SAME_MAP, NOTICED = 0.5, 0.9, 0.1
TOP, LEVEL_P, UNTRAINED, NEAR_CHANCE = 0.1, 0.05, 0.2, 0.1
EDGE, BORDER = 0.1, 2.0
HOT, MOSTLY = 0.3, 0.5
OCCLUSION_DRAWS = 3


@dataclass
class Results:
    """What the tests gave so far: numbers, each with its n, and parts of sentences why not to interpret the map."""

    numbers: dict[str, Any] = field(default_factory=dict)
    fails: list[str] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)

    def note(self, **numbers: float) -> None:
        """Keep numbers, to four decimals."""
        self.numbers |= {
            name: value if isinstance(value, int) else round(float(value), 4) for name, value in numbers.items()
        }


def chance(target: Target, results: Results) -> None:
    """An uncertain network has nothing to explain, and a class it did not choose is not its prediction."""
    task = target.task
    if task.has_masks or not task.has_classes:
        return
    if not task.exclusive:
        top, even = target.probability, target.threshold
        close = abs(top - even) < NEAR_CHANCE
        if top < even:
            results.cautions.append(f"the network did not find {target.name}")
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
        if target.index != target.chosen:
            results.cautions.append(f"the network did not choose {target.name}")
    results.note(probability_top=top, chance=even)
    if close:
        results.cautions.append(
            f"the prediction is close to {target.border} ({top:.2f}, {target.border} is {even:.2f})"
        )


def randomisation(target: Target, fine: np.ndarray, method: str, seed: int, draws: int, results: Results) -> None:
    """The map must change when what was learned is taken away, from the logits down to all weights.

    Also, the network must be more confident than untrained ones, or there is nothing learned to show.
    """
    network = target.network
    # An occlusion map costs fifty calls; the result is as clear after a few draws.
    mapped = draws if method == "gradcam" else OCCLUSION_DRAWS
    pairs, margins = [], []
    for draw in range(draws):
        weights = network.random_weights(1000 * seed + draw)
        evidence, logits = target.cam(weights)
        margins.append(margin(target, logits))
        if draw < mapped:
            if method != "gradcam":
                evidence = map_of(method, target, weights)
            pairs.append(similarity(fine, upsampled(evidence, fine.shape)))
    for fraction, name in ((0.0, "logits"), (0.5, "upper_half")):
        weights = network.random_weights(1000 * seed, fraction)
        ssim, rank = similarity(fine, _map_of(target, method, fine.shape, weights))
        results.note(**{f"ssim_random_{name}": ssim, f"spearman_random_{name}": rank})
    ssims, ranks = np.array(pairs).T
    ssim, rank = float(np.median(ssims)), float(np.median(ranks))
    low, high = np.percentile(ssims, [2.5, 97.5])
    results.note(ssim_random_all=ssim, ssim_random_all_low=low, ssim_random_all_high=high)
    results.note(spearman_random_all=rank, n_random_maps=mapped)
    measured = f"SSIM {ssim:.2f}, rank correlation {rank:.2f}, n = {mapped} random networks"
    if ssim > ALIKE and rank > ALIKE:
        results.fails.append(
            f"it hardly changes when the weights are random ({measured}), so it shows the image, not the model"
        )
    elif rank > ALIKE:
        results.cautions.append(f"random weights give a map of similar order ({measured})")
    if target.task.is_value:
        return
    own = margin(target, target.logits)
    reached = int(np.sum(np.asarray(margins) >= own))
    results.note(margin=own, margin_random_median=float(np.median(margins)), margin_p=(reached + 1) / (draws + 1))
    results.note(n_random_networks=draws)
    uncertain = results.numbers.get("probability_top", 1.0) < results.numbers.get("chance", 0.0) + NEAR_CHANCE
    if reached:
        # Networks that normalise their features are confident by luck now and then; a few of them prove little.
        grave = uncertain or reached > UNTRAINED * draws
        (results.fails if grave else results.cautions).append(
            f"untrained networks are as confident (logit margin {own:.2g}, reached by {reached} of {draws})"
        )


def deletion(target: Target, fine: np.ndarray, seed: int, blobs: int, results: Results) -> None:
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
    copies = np.where(np.stack(masks)[..., None], blurred(target.batch), target.batch)
    scores = target.network.scores(np.concatenate([target.batch, copies]), target.index, target.region)
    drops = scores[0] - scores[1:]
    own, others = float(drops[0]), drops[1:]
    p = float((1 + np.sum(others >= own)) / (1 + blobs))
    low, high = np.percentile(own - others, [2.5, 97.5])
    results.note(deletion_drop=own, deletion_drop_elsewhere=float(np.median(others)), deletion_p=p, n_blobs=blobs)
    results.note(deletion_difference_low=low, deletion_difference_high=high)
    if own <= 0 or p > LEVEL_P:
        results.cautions.append(
            f"blurring what it marks does not clearly cost more than blurring elsewhere (p = {p:.2f}, n = {blobs} blobs)"
        )


def agreement(target: Target, fine: np.ndarray, method: str, results: Results) -> None:
    """The patches the map marks must be those whose hiding lowers the logit."""
    marked = patch_means(fine)
    if method != "occlusion":
        reference = occlusion(target.network, target.batch, target.index, target.region)
    else:
        reference = patch_means(_map_of(target, "gradcam", fine.shape, None))
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
    results.note(occlusion_spearman=rank, occlusion_spearman_low=low, occlusion_spearman_high=high)
    results.note(occlusion_p=p, n_patches=n)
    if low <= 0 or p > LEVEL_P:
        other = "hiding patch after patch" if method != "occlusion" else "Grad-CAM"
        results.cautions.append(
            f"{other} does not confirm it (rank correlation {rank:.2f}, p = {p:.2f}, n = {n} patches)"
        )


def faithfulness(results: Results) -> None:
    """Both tests of what the prediction depends on pointing the other way is more than a caution."""
    if results.numbers["deletion_p"] > 0.5 and results.numbers["occlusion_spearman"] <= 0:
        results.fails.append("the prediction depends less on what it marks than on the rest of the image")


def border(fine: np.ndarray, results: Results) -> None:
    """The outer tenth of the image is where markers, tubes and text are."""
    height, width = fine.shape[-2:]
    inner = np.zeros((height, width), dtype=bool)
    rows, columns = max(1, round(height * EDGE)), max(1, round(width * EDGE))
    inner[rows:-rows, columns:-columns] = True
    fraction, area = float(fine[..., ~inner].sum() / fine.sum()), float(1 - inner.mean())
    results.note(border_energy=fraction, border_area=area)
    if fraction > BORDER * area:
        results.cautions.append(
            f"{fraction:.0%} of it lies in the outer border ({area:.0%} of the area), so it may be looking at markers"
        )


def text(heat: np.ndarray, written: np.ndarray, results: Results) -> None:
    """A map that is hot on letters shows what somebody wrote on the image, not what was imaged.

    ``heat`` (0..1) and ``written`` (bool) lie on the grid of the scan's plane, where letters can be recognised.
    """
    if not written.any() or heat.sum() <= 0:
        return
    peak, fraction, area = float(heat[written].max()), float(heat[written].sum() / heat.sum()), float(written.mean())
    results.note(text_peak=peak, text_energy=fraction, text_area=area)
    if fraction > MOSTLY:
        results.fails.append(f"{fraction:.0%} of it lies on text in the image ({area:.0%} of the area)")
    elif peak >= HOT:
        results.cautions.append(f"it is hot on text in the image ({peak:.0%} of its maximum), which is no anatomy")


def edges(target: Target, fine: np.ndarray, results: Results) -> None:
    """A map that looks like the edges in the image may be no more than that."""
    grey = target.batch[0].mean(axis=-1)
    gradient = ndimage.generic_gradient_magnitude(grey, ndimage.sobel)
    gradient = gradient / gradient.max() if gradient.max() > 0 else gradient
    ssim, rank = similarity(fine, gradient.astype(np.float32))
    results.note(ssim_edges=ssim, spearman_edges=rank)
    if ssim > ALIKE and rank > ALIKE:
        results.cautions.append(f"it resembles the edges in the image (SSIM {ssim:.2f}, rank correlation {rank:.2f})")


def other_class(target: Target, coarse: np.ndarray, results: Results) -> None:
    """Another class must have another map."""
    if not (target.task.exclusive and target.task.per_image) or len(target.logits) < 2:
        return
    rival = next(int(k) for k in np.argsort(-target.logits) if k != target.index)
    other, _ = target.network.cam(target.batch, rival, target.region)
    varied = coarse.std() > 0 and other.std() > 0
    correlation = float(np.corrcoef(coarse.ravel(), other.ravel())[0, 1]) if varied else 0.0
    results.note(correlation_with_other_class=correlation, n_points=int(coarse.size))
    if correlation > SAME_MAP:
        results.cautions.append(f"another class has nearly the same map (correlation {correlation:.2f})")


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


def upsampled(coarse: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """A map brought to 0..1 (negative and infinite values become 0) and to another grid, bilinear, float32."""
    from skimage.transform import resize

    coarse = np.maximum(np.nan_to_num(coarse, nan=0.0, posinf=0.0, neginf=0.0), 0.0)
    # Divided before as well as after: the numbers of an untrained network can be too small for float32 to keep.
    coarse = (coarse / coarse.max() if coarse.max() > 0 else coarse).astype(np.float32)
    fine = resize(coarse, size, order=1, mode="edge", anti_aliasing=False, preserve_range=True)
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
            inside = lead > np.quantile(lead, 1 - TOP)
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


def _noticeable(values: np.ndarray) -> np.ndarray:
    floor = max(float(values.max()), 0.0) * NOTICED
    return np.where((values >= floor) & (values > 0), values, 0.0)


def _map_of(target: Target, method: str, size: tuple[int, ...], weights: tuple[Any, ...] | None) -> np.ndarray:
    return upsampled(map_of(method, target, weights), size)
