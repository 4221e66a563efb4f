"""What the images of a study are, asked once where no header says it: it decides preset, window and weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from easydl.studies import Study


@dataclass(frozen=True)
class Kind:
    """One answer to "What are these images?".

    Attributes:
        name: How it is remembered.
        title: What a person chooses.
        preset: Of augmentation.
        window: Of CT, as `easydl.fit` takes it; None is chosen from the images.
        weights: The source of pretrained weights that learnt from such images.
    """

    name: str
    title: str
    preset: str = "auto"
    window: str | None = None
    weights: Literal["imagenet", "radimagenet"] = "imagenet"


# RadImageNet holds CT, MR and ultrasound (Mei et al. 2022, 10.1148/ryai.210315); ImageNet holds photographs.
_PICTURES = (
    Kind("chest", "films of the chest", "chest_xray"),
    Kind("limb", "films of hands, arms, feet or legs", "bone_xray"),
    Kind("film", "other films", "chest_xray"),
    Kind("breast", "mammograms", "mammography"),
    Kind("ultrasound", "ultrasound", "ultrasound", weights="radimagenet"),
    Kind("mr", "MR", "mri", weights="radimagenet"),
    Kind("ct", "CT saved as images", "chest_xray", weights="radimagenet"),
    Kind("fundus", "photographs of the retina", "fundus"),
    Kind("oct", "OCT of the retina", "oct"),
    Kind("skin", "photographs of the skin or of wounds", "dermoscopy"),
    Kind("endoscopy", "endoscopy", "endoscopy"),
    Kind("histology", "stained sections (histology)", "histology"),
    Kind("microscopy", "other microscopy", "microscopy"),
    Kind("other", "something else"),
)
_CT = (
    Kind("lungs", "CT of the lungs", "ct", "lung", "radimagenet"),
    Kind("abdomen", "CT of the abdomen", "ct", "abdomen", "radimagenet"),
    Kind("brain", "CT of the brain", "ct", "brain", "radimagenet"),
    Kind("bones", "CT of bones", "ct", "bone", "radimagenet"),
    Kind("tissue", "CT of other soft tissue", "ct", "soft_tissue", "radimagenet"),
    Kind("several", "CT of several of these", "ct", None, "radimagenet"),
)
KINDS = {kind.name: kind for kind in (*_PICTURES, *_CT)}


def question(study: Study) -> tuple[str, tuple[Kind, ...]]:
    """What to ask about a study and the answers, or no answers where its headers say enough."""
    from easydl.augmentation.suggestion import is_recognised

    if study.units == "HU":
        return "What do these CT images show?", _CT
    return ("What are these images?", ()) if is_recognised(study) else ("What are these images?", _PICTURES)


def pretrained(name: str, kind: Kind | None) -> bool | Literal["radimagenet"]:
    """The weights that suit the images: True for ImageNet; RadImageNet where they are on this computer."""
    from easydl.networks.listing import ENTRIES
    from easydl.networks.pretrained.sources import folders

    file = ENTRIES[name].radimagenet_file if name in ENTRIES else ""
    suits = kind is not None and kind.weights == "radimagenet" and bool(file)
    return "radimagenet" if suits and any((folder / file).is_file() for folder in folders()) else True
