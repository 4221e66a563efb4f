"""The tests of a heatmap that ask about the model: made once, kept in the model file, made again when its weights change.

A map must not be that of an untrained network (Adebayo 2018), and an untrained network must not be as sure.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

from easydl.explanation.checks import margin, similarity, spearman, upsampled
from easydl.explanation.occlusion import occlusion, patch_means
from easydl.explanation.targets import Target
from easydl.networks.heatmap_reference import HeatmapReference
from easydl.networks.metadata import attach, attached

PROBES, AGREEMENTS = 8, 3
"""Images on which the model is tested, and on which its maps are compared with hiding patch after patch."""
DRAWS, OCCLUSION_DRAWS = (19, 9), 3
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


def spread_rows(count: int, most: int) -> list[int]:
    """At most so many rows, evenly over all."""
    return sorted({int(one) for one in np.linspace(0, count - 1, min(count, most))})


def digest_of(network: Any) -> str:
    """Of the weights as they are now."""
    found = hashlib.blake2b(digest_size=16)
    for variable in network.variables:
        found.update(np.ascontiguousarray(np.asarray(variable.value)).data)
    return found.hexdigest()


def measured(targets: Iterable[tuple[Target, np.ndarray | None]], method: str, digest: str) -> HeatmapReference | None:
    """Test the model on images, each with its encoded covariates; None when nothing is marked in any of them."""
    pairs, margins = [], []
    probes = [(one, encoded, fine) for one, encoded in targets if (fine := _own(one, method)) is not None]
    if not probes:
        return None
    first, _, fine = probes[0]
    draws = DRAWS[int(fine.ndim == 3 or first.task.has_masks or fine.size > LARGE)]
    # An occlusion map costs fifty calls; the result is as clear after a few draws.
    mapped = draws if method == "gradcam" else OCCLUSION_DRAWS
    for draw in range(draws):
        target, encoded, fine = probes[draw % len(probes)]
        target.network.set_covariates(encoded)
        weights = target.network.random_weights(draw)
        evidence, logits = target.cam(weights)
        margins.append(margin(target, logits))
        if draw < mapped:
            other = (
                _map_of(target, method, fine.shape, weights) if method != "gradcam" else upsampled(evidence, fine.shape)
            )
            pairs.append(similarity(fine, other))
    agreements, patches = [], 0
    for target, encoded, fine in probes[:AGREEMENTS] if method != "occlusion" else ():
        target.network.set_covariates(encoded)
        rank, patches = agreement(target, fine)
        agreements.append(rank)
    ssims, ranks = np.array(pairs).T
    return HeatmapReference(
        weights=digest,
        images=min(len(probes), draws),
        ssim_random=round(float(np.median(ssims)), 4),
        spearman_random=round(float(np.median(ranks)), 4),
        random_maps=mapped,
        random_margins=() if first.task.is_value else tuple(round(one, 5) for one in margins),
        occlusion_spearman=round(float(np.median(agreements)), 4) if agreements else None,
        patches=patches,
    )


def agreement(target: Target, fine: np.ndarray) -> tuple[float, int]:
    """Rank correlation of a map with how far the answer falls when a patch is hidden, and the number of patches."""
    marked = patch_means(fine)
    hidden = occlusion(target.network, target.batch, target.index, target.region)
    # Most patches of most images matter to nobody; ranking their noise would drown the few that do.
    return spearman(_noticeable(marked), _noticeable(hidden)), marked.size


def _own(target: Target, method: str) -> np.ndarray | None:
    if not np.isfinite(target.logits).all() or (target.task.has_masks and not target.region.any()):
        return None
    fine = _map_of(target, method, target.batch.shape[1:-1], None)
    return fine if fine.max() > 0 else None


def _noticeable(values: np.ndarray) -> np.ndarray:
    floor = max(float(values.max()), 0.0) * NOTICED
    return np.where((values >= floor) & (values > 0), values, 0.0)


def _map_of(target: Target, method: str, size: tuple[int, ...], weights: tuple[Any, ...] | None) -> np.ndarray:
    if method == "occlusion":
        return upsampled(occlusion(target.network, target.batch, target.index, target.region, weights), size)
    return upsampled(target.cam(weights)[0], size)
