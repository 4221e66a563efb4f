"""The presets by modality with their anatomy rules, and the extras that can be joined with "+". They describe."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pandas as pd

from easydl.augmentation.artefacts import bias_field, colour, ghosting, motion, speckle, stain
from easydl.augmentation.definition import Preset
from easydl.augmentation.extras import KERAS_CV, cutmix, cutout, gridmask, mixup, randaugment
from easydl.augmentation.operations import (
    brightness,
    contrast,
    elastic,
    flip,
    gamma,
    noise,
    offset,
    rotation,
    scale,
    shift,
)
from easydl.errors import InputError, unknown_name

# fmt: off
_PRESETS = {preset.name: preset for preset in (
    Preset("none", "any image", (), ("The images are used as they are.",)),
    Preset(
        "chest_xray", "chest films, and any film whose side matters",
        (rotation(7), shift(0.05), scale(0.9, 1.1), brightness(0.08), contrast(0.8, 1.25), gamma(0.8, 1.25), noise()),
        ("No left-right mirror image: the heart is on the left; a mirrored film is situs inversus.",
         "No upside-down film: nobody reads one."),
    ),
    Preset(
        "bone_xray", "films of hands, arms, feet and legs",
        (rotation(15), flip("left-right"), shift(0.05), scale(0.85, 1.15), brightness(0.08), contrast(0.8, 1.25),
         gamma(0.8, 1.25), noise(0.02)),
        ("Mirrored left-right, because a mirrored hand is the other hand, unless a class or mask names a side.",
         "Not for chest, spine, skull or pelvis with its organs: use chest_xray, which mirrors nothing.",
         "No upside-down film: fingers and toes hang in the same direction in every archive."),
    ),
    Preset(
        "mammography", "mammograms, CC and MLO views",
        (rotation(8), flip("left-right"), shift(0.04), scale(0.92, 1.08), brightness(0.05), contrast(0.85, 1.2),
         gamma(0.85, 1.2), noise(0.015)),
        ("Mirrored left-right, because a mirrored breast is the other breast and both are hung back to back, "
         "unless a class or mask names a side.",
         "Never upside-down: a CC view is hung with its lateral side up and an MLO view with the pectoral "
         "muscle up, so the place of a finding would be false."),
    ),
    Preset(
        "ct", "CT in Hounsfield units, slices and volumes",
        (rotation(7, 3), shift(0.05), scale(0.9, 1.1), noise(0.02, 15), offset(5)),
        ("Hounsfield units stay Hounsfield units: no contrast, brightness or gamma.",
         "No mirror image: liver, heart and stomach have their side."),
    ),
    Preset(
        "mri", "MR images and volumes, whose grey values mean something only beside their neighbours",
        (rotation(10, 5), shift(0.05), scale(0.9, 1.1), bias_field(0.5, 0.5), motion(4, 0.03, 0.15),
         ghosting(0.3, (3, 6), 0.15), brightness(0.06), contrast(0.8, 1.25), gamma(0.75, 1.33), noise(0.03)),
        ("No mirror image: the halves of the brain are not the same, and neither is the abdomen.",),
    ),
    Preset(
        "ultrasound", "B-mode ultrasound",
        (rotation(8), flip("left-right"), shift(0.05), scale(0.9, 1.1), speckle(0.08), brightness(0.08),
         contrast(0.8, 1.25), gamma(0.8, 1.25)),
        ("Never upside-down: depth is attenuation, shadows and enhancement lie below what throws them.",
         "Mirrored left-right, because the probe can be held either way, unless a class or mask names a side."),
    ),
    Preset(
        "fundus", "colour photographs of the retina",
        (rotation(180), flip("left-right", "up-down"), shift(0.03), scale(0.9, 1.1), brightness(0.08),
         contrast(0.8, 1.25), gamma(0.85, 1.2), noise(0.01)),
        ("Mirrored and rotated freely, unless a class or mask names a side: mirrors exchange the eyes.",),
    ),
    Preset(
        "oct", "optical coherence tomography of the retina",
        (rotation(8), flip("left-right"), shift(0.05), scale(0.92, 1.08), speckle(0.08), brightness(0.06),
         contrast(0.8, 1.25), gamma(0.85, 1.2)),
        ("Never upside-down: the vitreous is above the retina and the choroid below it.",
         "Mirrored left-right unless a class or mask names a side: mirrors exchange the eyes."),
    ),
    Preset(
        "dermoscopy", "photographs of the skin, with or without a dermatoscope",
        (rotation(180), flip("left-right", "up-down"), shift(0.05), scale(0.85, 1.18), colour(6, (0.85, 1.18)),
         brightness(0.08), contrast(0.85, 1.2), gamma(0.85, 1.2), noise(0.01)),
        ("Mirrored and rotated freely: a lesion has no top and no side, unless a class or mask names one.",),
        mirrored=True,
    ),
    Preset(
        "histology", "stained sections under the microscope",
        (rotation(180), flip("left-right", "up-down"), shift(0.05), scale(0.9, 1.1), elastic(0.02, 0.3),
         stain(0.85, 1.18), colour(3, (0.9, 1.1)), brightness(0.05), noise(0.01)),
        ("Mirrored and rotated freely: a section lies on the slide as it fell, unless a class or mask names a side.",),
        mirrored=True,
    ),
    Preset(
        "microscopy", "fluorescence, bright-field and electron microscopy, images and stacks",
        # No brightness: a few percent of the window are all that a dim fluorescence image has.
        (rotation(180), flip("left-right", "up-down", "depth"), shift(0.05), scale(0.85, 1.18), elastic(0.03, 0.5),
         bias_field(0.3, 0.5), contrast(0.8, 1.25), gamma(0.8, 1.25), noise(0.02)),
        ("Mirrored and rotated freely: cells have no top and no side, unless a class or mask names one.",),
        mirrored=True,
    ),
    Preset(
        "endoscopy", "video endoscopy of the bowel, the stomach, the airways and joints",
        (rotation(180), flip("left-right"), shift(0.05), scale(0.85, 1.18), bias_field(0.25, 0.5),
         colour(5, (0.85, 1.18)), brightness(0.08), contrast(0.85, 1.2), gamma(0.85, 1.2), noise(0.015)),
        ("Rotated freely: the endoscope turns about its own axis.",
         "Mirrored left-right, because mucosa has no side, unless a class or mask names one."),
    ),
)}
_HIDDEN = "Not for small findings: the label (or the mask) then speaks of what cannot be seen."
_EXTRAS = {extra.name: extra for extra in (
    Preset(
        "mixup", "an extra (+mixup): images and labels of two patients are added", (mixup(),),
        ("For classes and labels only; a mixture is no anatomy.",),
    ),
    Preset(
        "cutmix", "an extra (+cutmix): a part of another patient's image is pasted in", (cutmix(),),
        ("For classes and labels only, and not where the label hangs on one small place, which may be covered.",),
    ),
    Preset("cutout", "an extra (+cutout): a square of the image is hidden", (cutout(),), (_HIDDEN,)),
    Preset("gridmask", "an extra (+gridmask): a grid of squares is hidden", (gridmask(),), (_HIDDEN,)),
    Preset(
        "randaugment", "an extra (+randaugment): two drawn changes of contrast, brightness and colour",
        (randaugment(),), ("It moves and mirrors nothing, and inverts no grey values.",),
    ),
)}
# fmt: on


def check_augment(augment: str) -> None:
    """Refuse a choice of augmentation that is neither ``"auto"`` nor a preset, alone or with extras.

    Raises:
        InputError: As `preset`.
    """
    first, *extras = str(augment).split("+")
    preset("+".join([*extras] if first.strip() == "auto" else [first, *extras]) or "none")


def preset(name: str) -> Preset:
    """The augmentation preset of this name, or a preset joined with extras.

    Args:
        name: A preset, an extra, or several joined with ``"+"``, of which at most one is a preset: ``"ct"``,
            ``"chest_xray+mixup"``, ``"histology+randaugment+cutout"``. `presets` lists them.

    Returns:
        The `Preset`; the extras' operations come after the preset's own.

    Raises:
        InputError: No preset has this name, or two presets were joined, or something is named twice.

    Example:
        >>> preset("ct").rules[0]
        'Hounsfield units stay Hounsfield units: no contrast, brightness or gamma.'
        >>> len(preset("chest_xray+mixup").operations) - len(preset("chest_xray").operations)
        1
    """
    names = [part.strip() for part in str(name).split("+")]
    known = {**_PRESETS, **_EXTRAS}
    for part in names:
        if part not in known:
            do = "Choose one of these; easydl.presets() says what each of them does."
            raise unknown_name(f'There is no augmentation preset called "{part}".', part, ("auto", *known), do=do)
    if len(set(names)) < len(names) or sum(part in _PRESETS for part in names) > 1:
        raise InputError(
            f'augment="{name}" joins two presets, or one thing with itself.',
            "at most one preset, and extras after it: " + ", ".join(f'"{one}"' for one in _EXTRAS) + ".",
            f'Write for example augment="{next((part for part in names if part in _PRESETS), "none")}+mixup".',
        )
    if len(names) == 1:
        return known[names[0]]
    parts = [known[part] for part in names if part != "none"]
    return Preset(
        "+".join(part.name for part in parts),
        "; ".join(part.purpose for part in parts),
        tuple(operation for part in parts for operation in part.operations),
        tuple(rule for part in parts for rule in part.rules),
        mirrored=any(part.mirrored for part in parts),
    )


def presets(study: Any = None) -> pd.DataFrame:
    """All augmentation presets and extras, one a row.

    Args:
        study: A `Study`, to leave out the extras that cannot work with its images, its task or what is installed.

    Returns:
        Columns ``name``, ``kind`` (``"preset"`` or ``"extra"``), ``for what``, ``what it does`` and ``anatomy rule``.

    Example:
        >>> table = presets()
        >>> list(table["name"][table["kind"] == "extra"])
        ['mixup', 'cutmix', 'cutout', 'gridmask', 'randaugment']
    """
    everything = {name: one for name, one in {**_PRESETS, **_EXTRAS}.items() if _is_installed(name)}
    if study is not None:
        everything = {name: one for name, one in everything.items() if _works(one, study)}
    return pd.DataFrame(
        {
            "name": list(everything),
            "kind": ["extra" if name in _EXTRAS else "preset" for name in everything],
            "for what": [preset.purpose for preset in everything.values()],
            "what it does": [str(preset) for preset in everything.values()],
            "anatomy rule": [" ".join(preset.rules) for preset in everything.values()],
        }
    )


def _is_installed(name: str) -> bool:
    return name not in KERAS_CV or find_spec("keras_cv") is not None


def _works(one: Preset, study: Any) -> bool:
    try:
        one.adapted(dimension=study.dimension, units=study.units, task=study.task)
    except InputError:
        return False
    return True
