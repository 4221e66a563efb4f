"""What the heatmaps of a model are held against: measured once, kept in the model file. It measures nothing."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class HeatmapReference(BaseModel):
    """The tests of a heatmap that ask about the model and not about one image.

    Attributes:
        weights: Digest of the weights that were tested: of changed weights this says nothing.
        images: How many images the tests were made on.
        ssim_random: Median similarity of maps to those of untrained networks.
        spearman_random: Median absolute rank correlation with them.
        random_maps: How many of these maps were compared.
        random_margins: How sure each untrained network is, in logits; empty for values.
        occlusion_spearman: Median rank correlation with hiding patch after patch; None where that is the method.
        patches: Patches of an image that were hidden for it.
        positive: Of the images, of a model with two classes, those it called the second; 0 for other models.
        turned: Of the images with the answer for which this happened most: those whose answer changed when all was hidden
            that is no part of the patient.
        turned_of: How many images had that answer, and something to hide.
        separation_kept: How far apart the two answers still were then, in median log odds, as a fraction of before; None where
            too few images had one of them, and of more classes.
        separation_of: How many images that was measured on.
        positive_failed: For how many of them the map lay astray, or hiding what it marks did not change the answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: str
    images: int = Field(ge=1)
    ssim_random: float
    spearman_random: float
    random_maps: int = Field(ge=1)
    random_margins: tuple[float, ...] = ()
    occlusion_spearman: float | None = None
    patches: int = 0
    positive: int = 0
    positive_failed: int = 0
    turned: int = 0
    turned_of: int = 0
    separation_kept: float | None = None
    separation_of: int = 0
