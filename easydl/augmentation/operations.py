"""What may happen to an image: one record for each operation, with its ranges. It describes and changes no pixel.

Here are movements and grey values; `artefacts` holds what scanners do, `extras` the general tricks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple


class Range(NamedTuple):
    """How a parameter is drawn.

    Attributes:
        how: ``"even"``; ``"ratio"``, evenly in the logarithm (0.8 as likely as 1.25); ``"coin"``, 0 or 1; or
            ``"beta"``, from the beta distribution whose two parameters are ``low`` and ``high``.
        low: Smallest value.
        high: Largest value.
        probability: How often it is drawn at all; otherwise it is 0, which must mean no change.
    """

    how: Literal["even", "ratio", "coin", "beta"]
    low: float
    high: float
    probability: float = 1.0


@dataclass(frozen=True)
class Operation:
    """One thing that may happen to an image; ``str(operation)`` says it in English.

    Attributes:
        name: Such as ``"bias field"``.
        text: What it does.
        ranges: The parameters it draws; none when it does nothing.
        values: What it was made with.
        moves: The mask rule: masks move with the image, by nearest neighbour; otherwise they stay as they are.
        units: The units of the images that it suits.
        rgb: Whether it needs red, green and blue.
        plane_only: Whether it works on two-dimensional images from 0 to 255 alone.
        mixes: Whether it mixes the images and the labels of two patients.
    """

    name: str
    text: str
    ranges: Mapping[str, Range]
    values: Mapping[str, Any] = field(default_factory=dict)
    moves: bool = False
    units: tuple[str, ...] = ("0-255", "relative", "HU")
    rgb: bool = False
    plane_only: bool = False
    mixes: bool = False

    def __str__(self) -> str:
        return self.text


GREY_UNITS = ("0-255", "relative")
"""Values without a unit; Hounsfield units are measurements, not shades."""
COLUMNS = tuple(
    """
    rotation_degrees tilt_row_degrees tilt_column_degrees shift_row shift_column scale flip_left_right flip_up_down
    flip_depth brightness contrast gamma noise offset_hu elastic bias phase_axis ghosting ghosts ghost_phase motion
    motion_time motion_turn motion_row motion_column speckle hue_degrees saturation haematoxylin eosin third_stain
    randaugment_first randaugment_first_strength randaugment_second randaugment_second_strength cutout cutout_row
    cutout_column gridmask gridmask_unit gridmask_row gridmask_column gridmask_degrees partner mixup cutmix cutmix_row
    cutmix_column
    """.split()  # noqa: SIM905 - one list reads better
)
"""Every parameter, in the order of the random numbers: one operation more never changes what the others draw."""
SPANS = 4
"""Squares along a side of the grid of an elastic deformation."""
AXES = {"left-right": "flip_left_right", "up-down": "flip_up_down", "depth": "flip_depth"}


def rotation(degrees: float = 10.0, tilt_degrees: float = 0.0) -> Operation:
    """A patient lying or standing a little crooked: evenly up to this angle either way; positive is anticlockwise.

    In volumes ``tilt_degrees`` does the same about the two axes that lie in the image plane (a nod, a lean). It needs the
    spacing, because slices are usually thicker than pixels are wide.
    """
    tilt = either_way(tilt_degrees)
    ranges = {"rotation_degrees": either_way(degrees), "tilt_row_degrees": tilt, "tilt_column_degrees": tilt}
    text = f"rotates the image by up to {degrees:g}° either way"
    text += f", tilts it by up to {tilt_degrees:g}°" if tilt_degrees else ""
    values = {"degrees": degrees, "tilt_degrees": tilt_degrees}
    return Operation("rotation", text, active(ranges), values, moves=True)


def shift(fraction: float = 0.05) -> Operation:
    """A patient not quite in the middle: up to this fraction of the image side, along rows and along columns."""
    ranges = {"shift_row": either_way(fraction), "shift_column": either_way(fraction)}
    return Operation("shift", f"shifts it by up to {fraction:.0%} of its side", active(ranges), moves=True)


def scale(low: float = 0.9, high: float = 1.1) -> Operation:
    """Larger and smaller patients, and films taken from nearer or farther: below 1 the anatomy becomes smaller."""
    ranges = {"scale": Range("ratio", low, high)}
    return Operation("scale", f"scales the anatomy to {low:.0%}-{high:.0%}", active(ranges), moves=True)


def flip(*axes: str) -> Operation:
    """A mirror image, for anatomy that has no side: ``"left-right"``, ``"up-down"``, ``"depth"``, by a coin each.

    Of a volume these are the patient's left and right, back and front, feet and head: all volumes are read in one orientation.
    """
    ranges = {AXES[axis]: Range("coin", 0.0, 1.0) for axis in axes}
    return Operation("flip", "mirrors it " + " and ".join(axes), ranges, {"axes": axes}, moves=True)


def elastic(fraction: float = 0.03, probability: float = 0.5) -> Operation:
    """Soft tissue and thin sections that stretch and wrinkle: up to this fraction of the image side in any direction.

    The field of displacements is a uniform cubic B-spline over `SPANS` x `SPANS` squares. Below 48% of a square (12% of
    the side) nothing folds over itself (Choi and Lee 2000, Graphical Models 62:411-427). All slices of a volume deform
    together. Simard 2003, 10.1109/ICDAR.2003.1227801; Ronneberger 2015 (U-Net), arXiv:1505.04597.
    """
    ranges = {"elastic": Range("even", 0.0, fraction, probability)}
    text = f"deforms it elastically by up to {fraction:.0%} of its side{often(probability)}"
    return Operation("elastic", text, active(ranges), moves=True)


def brightness(fraction: float = 0.1) -> Operation:
    """Exposure: all values move together, by up to this fraction of the window. In HU it would turn water into tissue."""
    text = f"brightens or darkens by up to {fraction:.0%} of the window"
    return Operation("brightness", text, active({"brightness": either_way(fraction)}), units=GREY_UNITS)


def contrast(low: float = 0.8, high: float = 1.25) -> Operation:
    """Tube voltage, coil and post-processing: values spread from, or draw near, the image's own mean by a factor."""
    text = f"multiplies the contrast by {low:g}-{high:g}"
    return Operation("contrast", text, active({"contrast": Range("ratio", low, high)}), units=GREY_UNITS)


def gamma(low: float = 0.8, high: float = 1.25) -> Operation:
    """The display curve of the film or the scanner: black and white stay; below 1 middle greys become brighter."""
    text = f"changes the grey curve by a gamma of {low:g}-{high:g}"
    return Operation("gamma", text, active({"gamma": Range("ratio", low, high)}), units=GREY_UNITS)


def noise(fraction: float = 0.02, hu: float = 15.0) -> Operation:
    """Dose: fewer photons, or a weaker signal. Gaussian, its standard deviation drawn evenly from 0 upwards.

    The largest is ``hu`` in Hounsfield units for CT and ``fraction`` of the window for other images.
    """
    ranges = {"noise": Range("even", 0.0, float(max(fraction, hu) > 0))}
    text = f"adds noise of up to {hu:g} HU in CT, {fraction:.0%} of the window elsewhere"
    return Operation("noise", text, active(ranges), {"fraction": fraction, "hu": hu})


def offset(hu: float = 5.0) -> Operation:
    """A CT scanner whose calibration drifts: up to so many Hounsfield units up or down.

    Water may read 0 +/- 5 HU in an accredited scanner (American College of Radiology, CT Quality Control Manual).
    """
    text = f"shifts all Hounsfield values by up to {hu:g} HU"
    return Operation("offset", text, active({"offset_hu": either_way(hu)}), units=("HU",))


def either_way(most: float) -> Range:
    """Evenly from -most to most."""
    return Range("even", -most, most)


def often(probability: float) -> str:
    """How often, as text to be added to what happens."""
    return "" if probability >= 1 else f" in {probability:.0%} of the images"


def active(ranges: dict[str, Range]) -> dict[str, Range]:
    """The ranges that hold more than one value."""
    return {name: span for name, span in ranges.items() if span.low != span.high and span.probability > 0}
