"""Which preset fits a study, said with its reason. When in doubt it takes the one that mirrors nothing."""

from __future__ import annotations

import re
from typing import Any

CAREFUL = "chest_xray"
_RETINA = re.compile(r"fundus|retina|drive_|eyepacs|optic.?dis[ck]", re.IGNORECASE)
_LOOKED_AT = 3


def suggest(study: Any) -> tuple[str, str]:
    """Suggest an augmentation preset for a study.

    Args:
        study: A `Study`.

    Returns:
        The preset's name, and one sentence that says why.

    Example:
        >>> import pandas as pd
        >>> from types import SimpleNamespace
        >>> frame = pd.DataFrame({"image": ["a.dcm"], "modality": ["DX"]})
        >>> suggest(SimpleNamespace(units="0-255", frame=frame))[0]
        'chest_xray'
    """
    if study.units == "HU":
        return "ct", "The images are CT in Hounsfield units, so the ct preset keeps their numbers."
    modalities = _said(study, "modality")
    if modalities and modalities <= {"MR", "MRI"}:
        return "mri", "The images are MR, so the mri preset varies their grey scale and mirrors nothing."
    if modalities and modalities <= {"CR", "DX", "RG", "RF"}:
        return (
            CAREFUL,
            "The images are projection films, so the chest_xray preset is used; it mirrors nothing.",
        )
    if modalities == {"OP"}:
        return "fundus", "The images are ophthalmic photographs, so the fundus preset is used."
    colour = study.channels == 3 and len(study.image_columns) == 1 if hasattr(study, "channels") else False
    texts = [str(value) for column in study.image_columns for value in study.frame[column]] if colour else []
    if texts and all(_RETINA.search(text) for text in texts):
        return (
            "fundus",
            "The images are in colour and their paths speak of the retina, so the fundus preset is used.",
        )
    kind = "colour images whose kind is not said" if colour else "images whose kind is not said"
    return CAREFUL, (
        f"These are {kind}, so the careful chest_xray preset is used: small movements, no mirror image. "
        "Name another with augment=, if it fits better."
    )


def _said(study: Any, column: str) -> set[str]:
    """What the table says of every image, or what the headers of the first few say."""
    if column in study.frame.columns:
        return {str(value).strip().upper() for value in study.frame[column]} - {"", "NAN", "NONE"}
    if not hasattr(study, "scan"):
        return set()
    headers = [study.scan(row).header for row in range(min(_LOOKED_AT, len(study)))]
    return {header[column].upper() for header in headers if header.get(column)}
