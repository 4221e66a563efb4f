"""Which network and which weights the settings of a run amount to where they leave it open. It builds nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from easydl.networks.pretrained.sources import SHIPPED


def network_for(settings: Mapping[str, Any], dimension: int = 2) -> str:
    """The classifier of a run: as named, else by its weights and the dimension of its images.

    Example:
        >>> network_for({"model": "auto", "pretrained": "auto"}), network_for({"pretrained": False})
        ('efficientnetlite0', 'tiny')
    """
    named = settings.get("model") or "auto"
    if named != "auto":
        return str(named)
    if dimension == 3:
        return "tiny3d"
    weights = settings.get("pretrained", "auto")
    if weights is False or (weights == "auto" and settings.get("strategy") == "scratch"):
        return "tiny"
    if weights == "radimagenet":
        return "resnet50"
    return SHIPPED if weights in (True, "auto", "imagenet") else "resnet"


def weights_for(settings: Mapping[str, Any], network: str) -> bool | str:
    """``pretrained`` as the builders take it: ``"auto"`` is the weights that come with easydl, where they fit.

    Example:
        >>> weights_for({"pretrained": "auto"}, "efficientnetlite0"), weights_for({"pretrained": "auto"}, "resnet")
        (True, False)
    """
    weights = settings.get("pretrained", "auto")
    if weights != "auto":
        return weights
    return network == SHIPPED and settings.get("strategy") != "scratch"
