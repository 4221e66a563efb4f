"""The tests of a heatmap that ask about the model: made once, kept in the model file, made again when its weights change.

A map must not be that of an untrained network (Adebayo 2018), and an untrained network must not be as sure.
"""

from __future__ import annotations

import hashlib
import weakref
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from easydl.explanation import places
from easydl.explanation.cases import Case
from easydl.explanation.checks import (
    ALIKE,
    BLOBS,
    NEAR_CHANCE,
    Results,
    astray,
    dependence,
    lead_of,
    margin,
    similarity,
    spearman,
)
from easydl.explanation.methods import METHODS, map_of, placed
from easydl.explanation.occlusion import occlusion, patch_means
from easydl.explanation.targets import Target
from easydl.networks.heatmap_reference import HeatmapReference
from easydl.networks.metadata import attach, attached
from easydl.studies import Study

PROBES, AGREEMENTS, MORE = 8, 3, 32
"""Images on which the model is tested, on which its maps are compared with hiding patch after patch, and further ones that
are only asked until it is clear what the model does."""
DRAWS, FEW_DRAWS = (19, 9), 3
"""Random networks; the second number where a call is expensive: volumes, masks, large images."""
LARGE = 1 << 17
NOTICED = 0.1
FEWEST, MOST = 3, 2 / 3
"""A model that fails on this number of images, and on this fraction of them, is not to be trusted on any."""
KEPT = 0.5
"""The distance between two answers may not shrink below this fraction when all around the body is hidden."""
UNTRAINED = 0.2
_measured: weakref.WeakKeyDictionary[Any, dict[str, HeatmapReference]] = weakref.WeakKeyDictionary()


class Hidden(NamedTuple):
    """What an answer became when all around the body was hidden.

    Attributes:
        turned: Whether it is another one.
        before: Log odds of the second of two classes; None of more classes.
        after: The same when it was hidden.
    """

    turned: bool
    before: float | None = None
    after: float | None = None


def known(model: Any, key: str, digest: str, images: int) -> HeatmapReference | None:
    """What was measured of these very weights, on as many images as there are now (at most `PROBES`), or on more."""
    metadata = attached(model)
    kept = (metadata.heatmaps if metadata else _measured.get(model, {})).get(key)
    enough = kept is not None and kept.weights == digest and kept.images >= min(images, PROBES // 2)
    return kept if enough else None


def keep(model: Any, key: str, reference: HeatmapReference) -> None:
    """Remember it with the model; what is known of other weights goes."""
    metadata = attached(model)
    before = metadata.heatmaps if metadata else _measured.get(model, {})
    now = {name: one for name, one in before.items() if one.weights == reference.weights} | {key: reference}
    if metadata:
        attach(model, metadata.model_copy(update={"heatmaps": now}))
    else:
        _measured[model] = now


def probe_rows(study: Study) -> list[int]:
    """`PROBES` rows, evenly over the study in the order of its labels, so that every frequent label is among them; then `MORE`."""
    frame = study.frame
    order = frame["label"].astype(str).to_numpy().argsort(kind="stable") if "label" in frame else np.arange(len(frame))

    def evenly(count: int) -> list[int]:
        return sorted({int(order[int(place)]) for place in np.linspace(0, len(order) - 1, min(len(order), count))})

    first = evenly(PROBES)
    return first + [row for row in evenly(PROBES + MORE) if row not in first][:MORE]


def learned(target: Target, reference: HeatmapReference, results: Results) -> None:
    """The maps of the model must change when what it learned is taken away, and it must be surer than untrained ones."""
    ssim, rank, mapped = reference.ssim_random, reference.spearman_random, reference.random_maps
    results.note(ssim_random_all=ssim, spearman_random_all=rank, n_random_maps=mapped, n_images=reference.images)
    measured = f"SSIM {ssim:.2f} and rank correlation {rank:.2f} with the maps of n = {mapped} untrained networks"
    if ssim > ALIKE and rank > ALIKE:
        results.fail(
            "The map hardly changes when all that the model learned is erased, so it shows the image and not the model: "
            "ignore it.",
            measured,
        )
    elif rank > ALIKE:
        results.caution(
            "Models that learned nothing give a similar map: look at the whole image, not only there.", measured
        )
    failed, positive = reference.positive_failed, reference.positive
    if _mostly(failed, positive):
        results.note(n_positive=positive, positive_failed=failed)
        results.fail(
            "On other images this model looked at what is no part of the patient, or at what did not decide its answer: "
            "do not use it, and look for what gives the answer away.",
            f"{failed} of n = {positive} images that it called positive",
        )
    kept, of = reference.separation_kept, reference.separation_of
    if kept is not None:
        results.note(separation_kept=kept, n_separation=of)
        if kept < KEPT:
            results.fail(
                "What tells this model's answers apart is, for the most part, not the patient: do not use it, and look for "
                "markers, text and other differences around the patient.",
                f"{max(kept, 0):.0%} of the distance between its answers is left when all around the body is hidden, n = {of} images",
            )
    elif _mostly(reference.turned, reference.turned_of):
        results.note(n_turned=reference.turned, n_turned_of=reference.turned_of)
        results.fail(
            "This model changes its answer when what is no part of the patient is hidden: do not use it, and look for markers, "
            "text and other differences around the patient.",
            f"{reference.turned} of n = {reference.turned_of} images with the same answer",
        )
    if reference.occlusion_spearman is not None:
        results.note(occlusion_spearman=reference.occlusion_spearman, n_patches=reference.patches)
    if target.task.is_value or not reference.random_margins:
        return
    own, margins = margin(target, target.logits), np.asarray(reference.random_margins)
    reached, draws = int(np.sum(margins >= own)), len(margins)
    results.note(margin=own, margin_random_median=float(np.median(margins)), margin_p=(reached + 1) / (draws + 1))
    results.note(n_random_networks=draws)
    uncertain = results.numbers.get("probability_top", 1.0) < results.numbers.get("chance", 0.0) + NEAR_CHANCE
    if not reached:
        return
    figures = f"lead of {own:.2g} in logits, reached by {reached} of n = {draws} untrained networks"
    # Networks that normalise their features are confident by luck now and then; a few of them prove little.
    if uncertain or reached > UNTRAINED * draws:
        results.fail(
            "Models that learned nothing are as sure as this one: ignore the map, and doubt the answer.", figures
        )
    else:
        results.caution("A model that learned nothing was as sure as this one by luck: doubt the answer.", figures)


def by_the_patient(reference: HeatmapReference) -> bool:
    """Whether it was shown that the model's two answers are not told apart by what is around the patient."""
    return reference.separation_kept is not None and reference.separation_kept >= KEPT


def digest_of(network: Any) -> str:
    """Of the weights as they are now."""
    found = hashlib.blake2b(digest_size=16)
    for variable in network.variables:
        found.update(np.ascontiguousarray(np.asarray(variable.value)).data)
    return found.hexdigest()


def measured(targets: Iterable[tuple[Target, Case]], method: str, digest: str) -> HeatmapReference | None:
    """Test the model on the first `PROBES` images, and on as many more as it takes until two things are clear.

    These are whether the maps of its positive answers fail, and whether what is around the patient tells its answers apart. None
    when nothing is marked in any of them.
    """
    pairs, margins = [], []
    failed: list[bool] = []
    around: dict[int, list[Hidden]] = {}  # by the answer
    asked: Counter[int] = Counter()
    probes = []
    quick = not METHODS[method].samples and method != "occlusion"
    for number, (one, case) in enumerate(targets, 1):
        two = len(one.logits) == 2 and one.task.exclusive and one.task.per_image
        if (fine := _own(one, method)) is not None:
            if two and one.index == one.chosen == 1 and not _is_clear(failed):
                failed.append(_fails(one, case, fine))
            if asked[one.index] < PROBES and (hidden := _hidden(one, case, fine)) is not None:
                around.setdefault(one.index, []).append(hidden)  # only of the class that was chosen
            asked[one.index] += 1  # also where nothing lies around the body
            if number <= PROBES:
                probes.append((one, case.encoded, fine))
        if two:
            clear = min(asked[0], asked[1]) >= PROBES // 2 and _is_clear(failed)
        else:
            clear = all(_is_clear([had.turned for had in some]) for some in around.values())
        if number >= PROBES and (clear or not quick):
            break
    if not probes:
        return None
    first, _, fine = probes[0]
    draws = DRAWS[int(fine.ndim == 3 or first.task.has_masks or fine.size > LARGE)]
    # A map of fifty calls is as clear after a few draws.
    mapped = draws if quick else FEW_DRAWS
    for draw in range(draws):
        target, encoded, fine = probes[draw % len(probes)]
        target.network.set_covariates(encoded)
        weights = target.network.random_weights(draw)
        evidence, logits = target.cam(weights)
        margins.append(margin(target, logits))
        if draw < mapped:
            other = evidence if method == "gradcam" else map_of(method, target, weights)
            pairs.append(similarity(fine, placed(method, target, other)))
    agreements, patches = [], 0
    for target, encoded, fine in probes[:AGREEMENTS] if method != "occlusion" else ():
        target.network.set_covariates(encoded)
        rank, patches = agreement(target, fine)
        agreements.append(rank)
    ssims, ranks = np.array(pairs).T
    most, (kept, separated) = _most_turned(around), _separation(around)
    return HeatmapReference(
        weights=digest,
        images=min(len(probes), draws),
        ssim_random=round(float(np.median(ssims)), 4),
        spearman_random=round(float(np.median(ranks)), 4),
        random_maps=mapped,
        random_margins=() if first.task.is_value else tuple(round(one, 5) for one in margins),
        occlusion_spearman=round(float(np.median(agreements)), 4) if agreements else None,
        patches=patches,
        positive=len(failed),
        positive_failed=sum(failed),
        turned=sum(most),
        turned_of=len(most),
        separation_kept=kept,
        separation_of=separated,
    )


def _mostly(hits: int, images: int) -> bool:
    return images >= FEWEST and hits >= MOST * images


def _is_clear(said: list[bool]) -> bool:
    """Whether further images can no longer change what is said of `PROBES` of them."""
    enough = int(np.ceil(MOST * PROBES))
    return len(said) >= PROBES or sum(said) >= enough or len(said) - sum(said) > PROBES - enough


def _fails(target: Target, case: Case, fine: np.ndarray) -> bool:
    results = Results()
    astray(case.scan, case.shown.on_scan(fine, case.scan.shape), fine.shape, results)
    dependence(target, fine, 0, BLOBS, results)
    return any(one.level == "FAIL" for one in results.reasons)


def _hidden(target: Target, case: Case, fine: np.ndarray) -> Hidden | None:
    """What the model answers when all around the body, and text, gets the grey value that is usual there.

    None where there is nothing to hide, or no one class was chosen.
    """
    size = case.shown.size
    if (
        not (target.task.exclusive and target.task.per_image and target.index == target.chosen)
        or size != case.shown.grid
    ):
        return None
    around = ~places.body(case.scan)
    given = around | places.text(case.scan, case.shown.on_scan(fine, case.scan.shape))
    if not given.any():
        return None
    at = np.ix_(*(np.arange(side) * have // side for side, have in zip(size, given.shape, strict=True)))
    where, batch = given[at], target.batch.copy()
    usual = around[at] if around[at].any() else ~where
    batch[0][where] = np.median(target.batch[0][usual], axis=0)
    logits = target.network.answer(batch, target.index, target.region).logits
    if len(logits) != 2:
        return Hidden(int(np.argmax(logits)) != target.chosen)
    lead = lead_of(target, float(logits[target.index] - logits.mean()))
    return Hidden(lead is not None and lead <= 0, float(np.diff(target.logits)[0]), float(np.diff(logits)[0]))


def _most_turned(around: Mapping[int, list[Hidden]]) -> list[bool]:
    """Of the answer that changed most when all around the body was hidden."""
    said = [[one.turned for one in some] for some in around.values()]
    return max(said, key=lambda one: (len(one) >= FEWEST, np.mean(one), len(one)), default=[])


def _separation(around: Mapping[int, list[Hidden]]) -> tuple[float | None, int]:
    """How far apart two answers still are when all around the body is hidden, as a fraction of before, and of how many images.

    What hides may speak for one of the answers by itself. That moves both alike, and tells nothing apart; a marker does. None
    where fewer than `FEWEST` images have one of the answers.
    """
    sides = [
        np.array([(one.before, one.after) for one in around.get(answer, []) if one.before is not None], float)
        for answer in (0, 1)
    ]
    images = sum(map(len, sides))
    if min(map(len, sides)) < FEWEST:
        return None, images
    before, after = np.median(sides[1], axis=0) - np.median(sides[0], axis=0)
    return round(float(after / max(before, 1e-6)), 4), images


def agreement(target: Target, fine: np.ndarray) -> tuple[float, int]:
    """Rank correlation of a map with how far the answer falls when a patch is hidden, and the number of patches."""
    marked = patch_means(fine)
    hidden = occlusion(target.network, target.batch, target.index, target.region)
    # Most patches of most images matter to nobody; ranking their noise would drown the few that do.
    return spearman(_noticeable(marked), _noticeable(hidden)), marked.size


def _own(target: Target, method: str) -> np.ndarray | None:
    if not np.isfinite(target.logits).all() or (target.task.has_masks and not target.region.any()):
        return None
    fine = placed(method, target, map_of(method, target))
    return fine if fine.max() > 0 else None


def _noticeable(values: np.ndarray) -> np.ndarray:
    floor = max(float(values.max()), 0.0) * NOTICED
    return np.where((values >= floor) & (values > 0), values, 0.0)
