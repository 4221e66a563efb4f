"""Realistic variation of training images by modality, image and mask together, with anatomy rules."""

from easydl.augmentation.catalogue import preset, presets
from easydl.augmentation.definition import Preset
from easydl.augmentation.laterality import sided_names
from easydl.augmentation.suggestion import suggest

__all__ = ["Preset", "preset", "presets", "sided_names", "suggest"]
