"""Networks by name, as plain flat Keras models, and their files. Nothing is loaded until it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_WHERE = {
    "Recipe": "recipe",
    "attach": "recipe",
    "backbone_layers": "parts",
    "classifier": "classifiers",
    "feature_extractor": "parts",
    "freeze_backbone": "parts",
    "head": "parts",
    "load_model": "opening",
    "models": "catalogue",
    "recipe_of": "recipe",
    "save_model": "files",
    "set_classes": "parts",
    "set_window": "parts",
    "unet": "segmenters",
    "unet3d": "segmenters",
    "unfreeze": "parts",
}

__all__ = [
    "Recipe",
    "attach",
    "backbone_layers",
    "classifier",
    "feature_extractor",
    "freeze_backbone",
    "head",
    "load_model",
    "models",
    "recipe_of",
    "save_model",
    "set_classes",
    "set_window",
    "unet",
    "unet3d",
    "unfreeze",
]

if TYPE_CHECKING:
    from easydl.networks.catalogue import models
    from easydl.networks.classifiers import classifier
    from easydl.networks.files import save_model
    from easydl.networks.opening import load_model
    from easydl.networks.parts import (
        backbone_layers,
        feature_extractor,
        freeze_backbone,
        head,
        set_classes,
        set_window,
        unfreeze,
    )
    from easydl.networks.recipe import Recipe, attach, recipe_of
    from easydl.networks.segmenters import unet, unet3d


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
