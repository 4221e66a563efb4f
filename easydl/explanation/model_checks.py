"""The tests of a heatmap that ask about the model: made once, kept in the model file, made again when its weights change.

A map must not be that of an untrained network (Adebayo 2018), and an untrained network must not be as sure.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

from easydl.explanation import places
from easydl.explanation.cases import Case
from easydl.explanation.checks import (
    BLOBS,
    FEWEST,
    MOST,
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
_measured: weakref.WeakKeyDictionary[Any, dict[str, HeatmapReference]] = weakref.WeakKeyDictionary()


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


def digest_of(network: Any) -> str:
    """Of the weights as they are now."""
    found = hashlib.blake2b(digest_size=16)
    for variable in network.variables:
        found.update(np.ascontiguousarray(np.asarray(variable.value)).data)
    return found.hexdigest()


def measured(targets: Iterable[tuple[Target, Case]], method: str, digest: str) -> HeatmapReference | None:
    """Test the model on the first `PROBES` images, and on as many more as it takes until two things are clear.

    These are whether the maps of its positive answers fail, and whether its answers change with what is around the patient. None
    when nothing is marked in any of them.
    """
    pairs, margins = [], []
    failed: list[bool] = []
    turned: dict[int, list[bool]] = {}
    probes = []
    quick = not METHODS[method].samples and method != "occlusion"
    for number, (one, case) in enumerate(targets):
        can_be_positive = len(one.logits) == 2 and one.task.exclusive and one.task.per_image
        open_questions = [*turned.values(), *([failed] if can_be_positive else [])]
        if number >= PROBES and (not quick or all(_is_clear(said) for said in open_questions)):
            break
        if (fine := _own(one, method)) is None:
            continue
        if can_be_positive and one.index == one.chosen == 1 and not _is_clear(failed):
            failed.append(_fails(one, case, fine))
        said = turned.get(one.index, [])
        if not _is_clear(said) and (changes := _turned(one, case, fine)) is not None:
            turned[one.index] = [*said, changes]  # only of the class that was chosen
        if number < PROBES:
            probes.append((one, case.encoded, fine))
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
    most = max(turned.values(), key=lambda one: (len(one) >= FEWEST, np.mean(one), len(one)), default=[])
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
    )


def _is_clear(said: list[bool]) -> bool:
    """Whether further images can no longer change what is said of `PROBES` of them."""
    enough = int(np.ceil(MOST * PROBES))
    return len(said) >= PROBES or sum(said) >= enough or len(said) - sum(said) > PROBES - enough


def _fails(target: Target, case: Case, fine: np.ndarray) -> bool:
    results = Results()
    astray(case.scan, case.shown.on_scan(fine, case.scan.shape), fine.shape, results)
    dependence(target, fine, 0, BLOBS, results)
    return any(one.level == "FAIL" for one in results.reasons)


def _turned(target: Target, case: Case, fine: np.ndarray) -> bool | None:
    """Whether the answer changes when what lies around the body, and text, gets the grey value that is usual there.

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
    where, hidden = given[at], target.batch.copy()
    usual = around[at] if around[at].any() else ~where
    hidden[0][where] = np.median(target.batch[0][usual], axis=0)
    logits = target.network.answer(hidden, target.index, target.region).logits
    if len(logits) == 2:
        lead = lead_of(target, float(logits[target.index] - logits.mean()))
        return lead is not None and lead <= 0
    return int(np.argmax(logits)) != target.chosen


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
