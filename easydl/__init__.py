"""easydl: from a folder of scans and a spreadsheet to a trained, honestly tested, explained model.

The whole public face is this list. Everything is loaded when it is first used (PEP 562), so that ``import easydl``
takes a moment and loads no TensorFlow.

Research use only. Not a medical device. Not for diagnosis or treatment decisions. Not cleared or approved by any
regulator.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "IPython" in sys.modules:
    from easydl.notebook import show_figures

    show_figures()

_FACE = {
    # data
    "inspect": "easydl.studies",
    "load": "easydl.studies",
    "read": "easydl.images",
    "simulate": "easydl.phantoms",
    "audit": "easydl.traps",
    # models
    "classifier": "easydl.networks",
    "unet": "easydl.networks",
    "unet3d": "easydl.networks",
    "segmenter": "easydl.networks",
    "translator": "easydl.networks",
    "cascade": "easydl.prediction",
    "models": "easydl.networks",
    "save_model": "easydl.networks",
    "load_model": "easydl.prediction",
    # training
    "fit": "easydl.training",
    "preset": "easydl.augmentation",
    "presets": "easydl.augmentation",
    # results
    "predict": "easydl.prediction",
    "evaluate": "easydl.evaluation",
    "saliency": "easydl.explanation",
    "report": "easydl.reporting",
    # clinic
    "deidentify": "easydl.clinical",
    # words
    "EasyDLError": "easydl.errors",
    "RESEARCH_USE": "easydl.errors",
}

_TENSORFLOW = {
    "classifier",
    "unet",
    "unet3d",
    "segmenter",
    "translator",
    "cascade",
    "save_model",
    "load_model",
    "fit",
    "preset",
    "predict",
    "saliency",
}

__all__ = sorted(_FACE)

if TYPE_CHECKING:
    from easydl.augmentation import preset, presets
    from easydl.clinical import deidentify
    from easydl.errors import RESEARCH_USE, EasyDLError
    from easydl.evaluation import evaluate
    from easydl.explanation import saliency
    from easydl.images import read
    from easydl.networks import classifier, models, save_model, segmenter, translator, unet, unet3d
    from easydl.phantoms import simulate
    from easydl.prediction import cascade, load_model, predict
    from easydl.reporting import report
    from easydl.studies import inspect, load
    from easydl.training import fit
    from easydl.traps import audit


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("easydl-med")
        except PackageNotFoundError:
            return "0.1.0"
    if name not in _FACE:
        raise AttributeError(f"module 'easydl' has no attribute {name!r}")
    if name in _TENSORFLOW:
        from easydl.quiet import load_tensorflow

        load_tensorflow()
    value = getattr(import_module(_FACE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
