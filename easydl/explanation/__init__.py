"""Heatmaps of what a model looked at, in 2D and 3D, each with a verdict on whether to believe it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from easydl.explanation.heatmap import Heatmap
from easydl.explanation.verdict import Verdict

if TYPE_CHECKING:
    from easydl.explanation.explain import saliency

__all__ = ["Heatmap", "Verdict", "saliency"]


def __getattr__(name: str) -> Any:
    # TensorFlow is loaded by the first heatmap, not by looking at one.
    if name == "saliency":
        from easydl.explanation.explain import saliency

        return saliency
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
