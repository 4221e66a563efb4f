"""Networks by name, as plain flat Keras models, and their files. Nothing is loaded until it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_WHERE = {
    "Recipe": "recipe",
    "Covariate": "recipe",
    "Head": "recipe",
    "attach": "recipe",
    "backbone_layers": "parts",
    "classifier": "classifiers",
    "encode_covariates": "parts",
    "feature_extractor": "parts",
    "freeze_backbone": "parts",
    "head": "parts",
    "load_model": "opening",
    "models": "catalogue",
    "recipe_of": "recipe",
    "save_model": "files",
    "segmenter": "segmenters",
    "set_classes": "parts",
    "set_covariates": "parts",
    "set_target_scale": "parts",
    "set_window": "parts",
    "supervised": "supervision",
    "translator": "translators",
    "unet": "segmenters",
    "unet3d": "segmenters",
    "unfreeze": "parts",
}

__all__ = [
    "Covariate",
    "Head",
    "Recipe",
    "attach",
    "backbone_layers",
    "classifier",
    "encode_covariates",
    "feature_extractor",
    "freeze_backbone",
    "head",
    "load_model",
    "models",
    "recipe_of",
    "save_model",
    "segmenter",
    "set_classes",
    "set_covariates",
    "set_target_scale",
    "set_window",
    "supervised",
    "translator",
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
        encode_covariates,
        feature_extractor,
        freeze_backbone,
        head,
        set_classes,
        set_covariates,
        set_target_scale,
        set_window,
        unfreeze,
    )
    from easydl.networks.recipe import Covariate, Head, Recipe, attach, recipe_of
    from easydl.networks.segmenters import segmenter, unet, unet3d
    from easydl.networks.supervision import supervised
    from easydl.networks.translators import translator


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
