"""DICOM out of easydl: results for a PACS, and data sets without identities. Everything is loaded when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from easydl.clinical.account import Deidentified
    from easydl.clinical.deidentification import deidentify
    from easydl.clinical.seg import SERIES_DESCRIPTION, write_seg

_HOME = {
    "Deidentified": "easydl.clinical.account",
    "deidentify": "easydl.clinical.deidentification",
    "SERIES_DESCRIPTION": "easydl.clinical.seg",
    "write_seg": "easydl.clinical.seg",
}

__all__ = ["SERIES_DESCRIPTION", "Deidentified", "deidentify", "write_seg"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'easydl.clinical' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
