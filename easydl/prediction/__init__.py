"""A model and images become predictions: tables for classifiers, masks on the source grid for segmenters."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from easydl.prediction.results import Case, Predictions, Segmentation

if TYPE_CHECKING:
    from easydl.prediction.calls import cases, check_classes, compiled, inputs, predict, rebuilds
    from easydl.prediction.cascades import Cascade, cascade, load_model
    from easydl.prediction.translating import Translation

_WHERE = {
    **dict.fromkeys(("cases", "check_classes", "compiled", "inputs", "predict", "rebuilds"), "calls"),
    **dict.fromkeys(("Cascade", "cascade", "load_model"), "cascades"),
    "Translation": "translating",
}
__all__ = [
    "Cascade", "Case", "Predictions", "Segmentation", "Translation", "cascade", "cases", "check_classes", "compiled",
    "inputs", "load_model", "predict", "rebuilds",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
