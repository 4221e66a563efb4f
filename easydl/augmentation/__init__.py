"""Realistic variation of training images by modality, image and mask together, with anatomy rules."""

from easydl.augmentation.catalogue import check_augment, preset, presets
from easydl.augmentation.definition import Preset
from easydl.augmentation.laterality import sided_names
from easydl.augmentation.own_layers import own_augmentation
from easydl.augmentation.suggestion import suggest

__all__ = ["Preset", "check_augment", "own_augmentation", "preset", "presets", "sided_names", "suggest"]
