"""The general tricks of deep learning that a preset can be joined with, such as "chest_xray+mixup". They describe.

They come after the preset's own operations. They know no anatomy, so none of them is ever chosen by itself.
"""

from __future__ import annotations

from easydl.augmentation.operations import Operation, Range, active, either_way, often

KERAS_CV = frozenset({"randaugment", "cutout", "cutmix"})
"""The extras whose pixel functions are those of keras-cv."""
_PLACE = Range("even", 0.0, 1.0)


def randaugment(strength: float = 0.2) -> Operation:
    """Two changes of values, drawn from five: auto-contrast, equalisation, colour, contrast and brightness.

    The contrast factor lies within 1 - strength and 1 + strength, colour fades by up to that fraction (images without
    three channels stay as they are then), and brightness moves by up to half that fraction of the window.
    Of the published policy (Cubuk 2020, arXiv:1909.13719), shears and shifts are left out, because the preset moves the
    anatomy by its own rules (and the masks with it); so are solarisation and posterisation, which turn bone dark or make
    steps no scanner makes. Auto-contrast and equalisation are blended in by at most half.
    """
    # Which of the five (cut down to integers when it is applied), and how much of the strength, with its sign.
    each = {"": Range("even", 0.0, 4.999), "_strength": either_way(1.0)} if strength else {}
    ranges = {f"randaugment_{place}{what}": span for place in ("first", "second") for what, span in each.items()}
    text = f"draws two of five changes of contrast, brightness and colour, of up to {strength:.0%}"
    return Operation("randaugment", text, ranges, {"strength": strength}, plane_only=True)


def cutout(fraction: float = 0.3, probability: float = 0.5) -> Operation:
    """One square of the image is hidden, its side up to this fraction, so that the model cannot lean on one place.

    DeVries and Taylor 2017, arXiv:1708.04552.
    """
    ranges = active({"cutout": Range("even", 0.0, fraction, probability)})
    ranges |= {"cutout_row": _PLACE, "cutout_column": _PLACE} if ranges else {}
    text = f"hides a square of up to {fraction:.0%} of its side{often(probability)}"
    return Operation("cutout", text, ranges, plane_only=True)


def gridmask(ratio: float = 0.5, probability: float = 0.5) -> Operation:
    """A rotated grid of squares is hidden: more places than Cutout hides, each of them smaller.

    ``ratio`` is the largest side of a square as a fraction of the grid's unit. Chen 2020, arXiv:2001.04086.
    """
    ranges = active({"gridmask": Range("even", 0.0, ratio, probability)})
    if ranges:
        ranges |= {"gridmask_unit": Range("even", 0.2, 0.5), "gridmask_row": _PLACE, "gridmask_column": _PLACE}
        ranges |= {"gridmask_degrees": either_way(45.0)}
    text = f"hides a grid of squares, up to {ratio**2:.0%} of the image{often(probability)}"
    return Operation("gridmask", text, ranges, plane_only=True)


def mixup(alpha: float = 0.2) -> Operation:
    """Two images of a batch are added with weights that sum to 1, and so are their labels.

    The partner's weight is drawn from the beta distribution with both parameters alpha: below 1 mostly near 0 or 1.
    Zhang 2018, arXiv:1710.09412.
    """
    text = "adds another image of the batch with a drawn weight, and its label with the same weight"
    return Operation("mixup", text, {"partner": _PLACE, "mixup": Range("beta", alpha, alpha)}, mixes=True)


def cutmix(fraction: float = 1.0) -> Operation:
    """A rectangle of another image of the batch is pasted in, up to this fraction of the area before the border cuts it.

    The label is shared by area. Yun 2019, arXiv:1905.04899 (alpha = 1: the area is drawn evenly).
    """
    ranges = active({"cutmix": Range("even", 0.0, fraction)})
    ranges |= {"partner": _PLACE, "cutmix_row": _PLACE, "cutmix_column": _PLACE} if ranges else {}
    text = "pastes a rectangle of another image of the batch, and shares the label by area"
    return Operation("cutmix", text, ranges, mixes=True)
