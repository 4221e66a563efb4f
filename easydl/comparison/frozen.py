"""Features of a pretrained backbone that is never trained here, one row for each image. Weights are used, not fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from easydl.studies import Study

SAMPLE = 50
"""Images from which the window of CT is chosen, as in training."""


@dataclass(frozen=True)
class Backbone:
    """A pretrained network, and how it is shown the images.

    Attributes:
        network: A classifier from `easydl.models`.
        source: Where its weights are from, as ``pretrained=`` takes it.
        size: Side of its input, or each side; None for that of the builder.
        window: (low, high) in the study's units; None to choose it as training does.
        normalise: How values without units of their own are brought to 0-255.
    """

    network: str
    source: bool | str
    size: int | tuple[int, ...] | None = None
    window: tuple[float, float] | None = None
    normalise: str = "percentile"

    @property
    def text(self) -> str:
        """Which weights they are, as text."""
        named = isinstance(self.source, str) and self.source.isidentifier()
        return f"{self.network}, {self.source if named else 'ImageNet' if self.source is True else 'own weights'}"


def backbone_here(study: Study) -> Backbone | None:
    """The network whose weights come with easydl, or else the smallest one whose weights are on this computer, or None."""
    from easydl.networks.pretrained.inventory import available
    from easydl.networks.pretrained.sources import SHIPPED
    from easydl.networks.registry import ENTRIES

    known = available()
    known = known[known["here"]]
    fitting = [name for name in known["network"] if ENTRIES[name].dimension == study.dimension]
    known = known[known["network"].isin(fitting)].sort_values(["megabytes", "network"], kind="stable")
    if known.empty:
        return None
    known = known.sort_values("network", key=lambda names: names != SHIPPED, kind="stable")
    return Backbone(str(known["network"].iloc[0]), str(known["source"].iloc[0]))


def frozen_features(study: Study, backbone: Backbone) -> np.ndarray:
    """What the backbone makes of every image: one pass, no augmentation, nothing trained.

    Returns:
        float32 ``(images, features)``.

    Raises:
        WeightsError: The weights are neither here nor to be had.
        InputError: Images cannot be read, or the network does not take them.
    """
    from easydl._tf import load_tensorflow

    load_tensorflow()
    from easydl.networks import classifier, metadata_of, set_window
    from easydl.studies.dataset import decode
    from easydl.training import known_features
    from easydl.training.classification import features
    from easydl.training.plan import choose_window

    size = list(backbone.size) if isinstance(backbone.size, tuple) else backbone.size
    model = classifier(backbone.network, study.summary, pretrained=backbone.source, size=size)
    metadata = metadata_of(model)
    images = decode(
        study,
        size=tuple(int(side) for side in metadata.size if side is not None),
        channels=metadata.channels,
        units=study.units,
        normalise=backbone.normalise,
    )
    sample = np.asarray(images[:: max(1, len(images) // SAMPLE)], np.float32)
    chosen = backbone.window or choose_window(None, study, sample).range
    model = set_window(model, chosen, study.units)
    return known_features.frozen_features(model, study, lambda rows: features(model, images, rows))
