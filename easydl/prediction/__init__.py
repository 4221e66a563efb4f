"""A model and images become predictions: tables for classifiers, masks on the source grid for segmenters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from easydl.prediction.results import Case, Predictions, Segmentation

if TYPE_CHECKING:
    from easydl.prediction.calls import cases, check_classes, compiled, inputs, predict

__all__ = ["Case", "Predictions", "Segmentation", "cases", "check_classes", "compiled", "inputs", "predict"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from easydl.prediction import calls

        return getattr(calls, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
