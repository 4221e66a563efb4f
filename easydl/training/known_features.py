"""What frozen layers made of images, kept while the process runs: another head, fold or member on them begins at once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from easydl.networks import metadata_of
from easydl.networks.surgery import backbone_layers
from easydl.studies import Study

MOST_BYTES = 256 << 20
"""Of all that is kept; the network that was asked for longest ago goes first."""
HEAD = ("classes", "covariates", "head", "heads", "seed", "task")
"""Arguments of a builder that change nothing before the last layer."""

_known: OrderedDict[str, dict[str, np.ndarray]] = OrderedDict()


def frozen_features(model: Any, study: Study, compute: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The features of every image of a study, of which those that are known are not computed again.

    Args:
        model: A classifier, whose weights up to the layer ``features`` are what the features belong to.
        study: The images: they are known by what their files hold, whatever part or study they are in.
        compute: From the positions of images to their features, ``(positions, features)``.

    Returns:
        float32 ``(images, features)``.
    """
    network, images = _network(model), study.keys()
    known = _known.pop(network, {})
    missing = np.array([place for place, one in enumerate(images) if one not in known], int)
    fresh = np.asarray(compute(missing), np.float32) if len(missing) else np.zeros((0, 0), np.float32)
    if len(missing) == len(images):
        found = fresh
    else:
        new = dict(zip((images[place] for place in missing), fresh, strict=True))
        found = np.stack([known[one] if one in known else new[one] for one in images])
    if found.nbytes > MOST_BYTES:
        return found
    known.update(zip((images[place] for place in missing), fresh.copy(), strict=True))
    _known[network] = known
    while _known and sum(len(rows) * next(iter(rows.values())).nbytes for rows in _known.values() if rows) > MOST_BYTES:
        _known.popitem(last=False)
    return found


def _network(model: Any) -> str:
    """A digest of all that features depend on but the image: layers, weights, and how values come in."""
    metadata = metadata_of(model)
    built = {name: value for name, value in metadata.arguments.items() if name not in HEAD}
    given = (metadata.size, metadata.channels, metadata.units, metadata.normalise, metadata.window)
    digest = hashlib.sha256(repr((sorted(built.items(), key=str), given)).encode())
    for layer in backbone_layers(model):
        digest.update(layer.compute_dtype.encode())
        for weight in layer.weights:
            digest.update(np.asarray(weight.value).tobytes())
    return digest.hexdigest()
