"""Which preset fits a study, said with its reason. When in doubt it takes the one that mirrors nothing."""

from __future__ import annotations

import re
from typing import Any

AUTO, CAREFUL = "auto", "chest_xray"
# DICOM PS3.3 C.7.3.1.1.1 (modality).
_MODALITIES = {
    "MR": ("mri", "MR, so the mri preset varies their grey scale and mirrors nothing"),
    "US": ("ultrasound", "ultrasound, so the ultrasound preset is used; it turns nothing upside-down"),
    "IVUS": (CAREFUL, "ultrasound from within a vessel, so the careful chest_xray preset is used; it mirrors nothing"),
    "MG": ("mammography", "mammograms, so the mammography preset is used; it turns nothing upside-down"),
    "OP": ("fundus", "ophthalmic photographs, so the fundus preset is used"),
    "OPT": ("oct", "ophthalmic tomography, so the oct preset is used; it turns nothing upside-down"),
    "DMS": ("dermoscopy", "dermoscopy, so the dermoscopy preset is used"),
    "XC": (
        "dermoscopy",
        "clinical photographs, so the dermoscopy preset is used, which suits skin and wounds; for faces name another "
        "with augment=",
    ),
    "SM": ("histology", "slide microscopy, so the histology preset is used"),
    "GM": ("microscopy", "microscopy, so the microscopy preset is used"),
    "ES": ("endoscopy", "endoscopy, so the endoscopy preset is used"),
}
_SAME = {"MRI": "MR"}
_FILMS = {"CR", "DX", "RG", "RF"}
# DICOM PS3.16 annex L, as they are written in the field and in tables.
_LIMBS = set(
    """ANKLE ARM CALCANEUS ELBOW EXTREMITY FEMUR FINGER FOOT FOREARM HAND HEEL HUMERUS KNEE LEG LOWERLEG PATELLA RADIUS
    RADIUSULNA SCAPHOID THIGH THUMB TIBIA TIBIAFIBULA TOE ULNA UPPERARM WRIST""".split()  # noqa: SIM905 - one word list reads better
)
_BREAST = {"BREAST", "MAMMA", "MAMMARY"}
# Only for images in colour, and only when every path says it.
_PATHS = (
    ("fundus", "the retina", r"fundus|fundoscop|retina|retinopath|drive_|eyepacs|messidor|idrid|optic.?dis[ck]"),
    ("endoscopy", "endoscopy", r"endoscop|colonoscop|gastroscop|kvasir|polyp"),
    ("dermoscopy", "dermoscopy", r"dermo|dermato|isic.?\d|ham10000|melanoma|naev|nevus"),
    ("histology", "histology", r"histolog|histopath|camelyon|pcam|haematoxylin|hematoxylin"),
    ("microscopy", "microscopy", r"microscop|nuclei|cytolog"),
)
# In colour or not: the pictures of a scanner are saved either way.
_ANY_PATHS = (("ultrasound", "ultrasound", r"ultraso(und|nic)|sonograph|(?<![a-z])busi(?![a-z])|echocardio"),)
_LOOKED_AT = 3


def suggest(study: Any, chosen: str = AUTO) -> tuple[str, str]:
    """Suggest an augmentation preset for a study.

    Args:
        study: A `Study`.
        chosen: ``"auto"``, alone or with extras (``"auto+mixup"``); anything else is taken as it is.

    Returns:
        The preset's name (with the extras), and one sentence that says why.

    Example:
        >>> import pandas as pd
        >>> from types import SimpleNamespace
        >>> frame = pd.DataFrame({"image": ["a.dcm"], "modality": ["DX"]})
        >>> study = SimpleNamespace(units="0-255", frame=frame)
        >>> suggest(study)[0], suggest(study, "auto+mixup")[0]
        ('chest_xray', 'chest_xray+mixup')

    References:
        DICOM PS3.3 C.7.3.1.1.1 (modality), PS3.16 annex L (body part examined).
    """
    first, *extras = (part.strip() for part in str(chosen).split("+"))
    if first != AUTO:
        return chosen, f"Augmentation: {chosen}, as asked."
    name, sentence = _fitting(study)
    if not extras:
        return name, sentence
    return "+".join([name, *extras]), f"{sentence} Added as asked: {', '.join(extras)}."


def is_recognised(study: Any) -> bool:
    """Whether units, headers, table or paths say what the images are; otherwise somebody has to be asked."""
    return _recognised(study) is not None


def _fitting(study: Any) -> tuple[str, str]:
    found = _recognised(study)
    if found is not None:
        return found
    modalities = {_SAME.get(code, code) for code in _recorded(study, "modality")}
    kind = "colour images whose kind is not said" if _in_colour(study) else "images whose kind is not said"
    if modalities:
        kind = f"images of the modality {', '.join(sorted(modalities))}, for which there is no preset"
    return CAREFUL, (
        f"These are {kind}, so the preset that assumes least is used, the one for chest films (chest_xray): "
        "small movements, no mirror image. Name another with augment=, if it fits better."
    )


def _in_colour(study: Any) -> bool:
    return study.channels == 3 and len(study.image_columns) == 1 if hasattr(study, "channels") else False


def _recognised(study: Any) -> tuple[str, str] | None:
    if study.units == "HU":
        return "ct", "The images are CT in Hounsfield units, so the ct preset keeps their numbers."
    modalities = {_SAME.get(code, code) for code in _recorded(study, "modality")}
    if len(modalities) == 1 and modalities <= set(_MODALITIES):
        name, reason = _MODALITIES[modalities.pop()]
        return name, f"The images are {reason}."
    if modalities and modalities <= _FILMS:
        return _film({re.sub(r"[^A-Z]", "", part) for part in _recorded(study, "body_part")})
    colour = _in_colour(study)
    texts = [str(value) for column in study.image_columns for value in study.frame[column]]
    for name, what, pattern in (*_ANY_PATHS, *(_PATHS if colour else ())):
        if texts and all(re.search(pattern, text, re.IGNORECASE) for text in texts):
            seen = (
                "The images are in colour and their paths" if (name, what, pattern) in _PATHS else "The images' paths"
            )
            return name, f"{seen} speak of {what}, so the {name} preset is used."
    return None


def _film(parts: set[str]) -> tuple[str, str]:
    if parts and parts <= _LIMBS:
        return "bone_xray", "The images are films of limbs, so the bone_xray preset is used."
    if parts and parts <= _BREAST:
        return "mammography", "The images are films of the breast, so the mammography preset is used."
    return CAREFUL, "The images are projection films, so the chest_xray preset is used; it mirrors nothing."


def _recorded(study: Any, column: str) -> set[str]:
    """The values of a column of the table, or those in the headers of the first few images."""
    if column in study.frame.columns:
        return {str(value).strip().upper() for value in study.frame[column]} - {"", "NAN", "NONE"}
    if not hasattr(study, "scan"):
        return set()
    headers = [study.scan(row).header for row in range(min(_LOOKED_AT, len(study)))]
    return {header[column].upper() for header in headers if header.get(column)}
