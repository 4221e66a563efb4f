"""The general tricks of deep learning that a preset can be joined with, such as "chest_xray+mixup". They describe.

They come after the preset's own operations. They know no anatomy, so none of them is ever chosen by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from easydl.augmentation.operations import Range, active, often


@dataclass(frozen=True)
class RandAugment:
    """Two changes of values, drawn from five: auto-contrast, equalisation, colour, contrast and brightness.

    Of the published policy, shears and shifts are left out, because the preset moves the anatomy by its own rules
    (and the masks with it); so are solarisation and posterisation, which turn bone dark or make steps no scanner makes.
    Auto-contrast and equalisation are blended in by at most half.

    Attributes:
        strength: Largest change: the contrast factor lies within 1 - strength and 1 + strength, colour fades by up to
            that share (images without three channels stay as they are then), and brightness moves by up to half that
            share of the window.

    References:
        Cubuk 2020 (RandAugment), arXiv 1909.13719.
    """

    strength: float = 0.2

    def ranges(self) -> dict[str, Range]:
        """The parameters this operation draws: twice which of the five, and how much of the strength, with its sign."""
        if not self.strength:
            return {}
        # Cut down to whole numbers when it is applied.
        which, much = Range("even", 0.0, 4.999), Range("even", -1.0, 1.0)
        return {
            "randaugment_first": which,
            "randaugment_first_strength": much,
            "randaugment_second": which,
            "randaugment_second_strength": much,
        }

    def __str__(self) -> str:
        return f"draws two of five changes of contrast, brightness and colour, of up to {self.strength:.0%}"


@dataclass(frozen=True)
class Cutout:
    """One square of the image is hidden, so that the model cannot lean on a single place.

    Attributes:
        fraction: Largest side of the square as a share of the image side.
        probability: Share of the images it happens to.

    References:
        DeVries and Taylor 2017, arXiv 1708.04552.
    """

    fraction: float = 0.3
    probability: float = 0.5

    def ranges(self) -> dict[str, Range]:
        """The parameters this operation draws, with their ranges."""
        hidden = active({"cutout": Range("even", 0.0, self.fraction, self.probability)})
        place = Range("even", 0.0, 1.0)
        return {**hidden, "cutout_row": place, "cutout_column": place} if hidden else {}

    def __str__(self) -> str:
        return f"hides a square of up to {self.fraction:.0%} of its side{often(self.probability)}"


@dataclass(frozen=True)
class GridMask:
    """A turned grid of squares is hidden: more places than Cutout hides, each of them smaller.

    Attributes:
        ratio: Largest side of a hidden square as a share of the grid's unit.
        probability: Share of the images it happens to.

    References:
        Chen 2020, arXiv 2001.04086.
    """

    ratio: float = 0.5
    probability: float = 0.5

    def ranges(self) -> dict[str, Range]:
        """The parameters this operation draws, with their ranges."""
        hidden = active({"gridmask": Range("even", 0.0, self.ratio, self.probability)})
        if not hidden:
            return {}
        offset = Range("even", 0.0, 1.0)
        return {
            **hidden,
            "gridmask_unit": Range("even", 0.2, 0.5),
            "gridmask_row": offset,
            "gridmask_column": offset,
            "gridmask_degrees": Range("even", -45.0, 45.0),
        }

    def __str__(self) -> str:
        return f"hides a grid of squares, up to {self.ratio**2:.0%} of the image{often(self.probability)}"


@dataclass(frozen=True)
class MixUp:
    """Two images of a batch are added with weights that sum to 1, and so are their labels.

    Attributes:
        alpha: The weight is drawn from the beta distribution with both parameters alpha: mostly near 0 or 1 below 1.

    References:
        Zhang 2018, arXiv 1710.09412.
    """

    alpha: float = 0.2

    def ranges(self) -> dict[str, Range]:
        """The parameters this operation draws; ``mixup`` is the weight of the partner."""
        return {"partner": Range("even", 0.0, 1.0), "mixup": Range("beta", self.alpha, self.alpha)}

    def __str__(self) -> str:
        return "adds another image of the batch with a drawn weight, and its label with the same weight"


@dataclass(frozen=True)
class CutMix:
    """A rectangle of another image of the batch is pasted in; the label is shared by area.

    Attributes:
        share: Largest share of the area.

    References:
        Yun 2019, arXiv 1905.04899 (alpha = 1: the share is drawn evenly).
    """

    share: float = 1.0

    def ranges(self) -> dict[str, Range]:
        """The parameters this operation draws; ``cutmix`` is the share of the area before it is cut at the border."""
        place = Range("even", 0.0, 1.0)
        pasted = active({"cutmix": Range("even", 0.0, self.share)})
        return {"partner": place, **pasted, "cutmix_row": place, "cutmix_column": place} if pasted else {}

    def __str__(self) -> str:
        return "pastes a rectangle of another image of the batch, and shares the label by area"


MIXING = (MixUp, CutMix)
PICTURES_ONLY = (RandAugment, Cutout, GridMask)
