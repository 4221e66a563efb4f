"""The operations a preset is made of, each with its physical range. They describe; they change no pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol


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


class Operation(Protocol):
    """One thing that may happen to an image: ``str(operation)`` says it in English."""

    def ranges(self) -> dict[str, Range]:
        """The parameters it draws, with their ranges; none when it does nothing."""
        ...


COLUMNS = (
    "rotation_degrees",
    "tilt_row_degrees",
    "tilt_column_degrees",
    "shift_row",
    "shift_column",
    "scale",
    "flip_left_right",
    "flip_up_down",
    "flip_depth",
    "brightness",
    "contrast",
    "gamma",
    "noise",
    "offset_hu",
    "elastic",
    "bias",
    "phase_axis",
    "ghosting",
    "ghosts",
    "ghost_phase",
    "motion",
    "motion_time",
    "motion_turn",
    "motion_row",
    "motion_column",
    "speckle",
    "hue_degrees",
    "saturation",
    "haematoxylin",
    "eosin",
    "third_stain",
    "randaugment_first",
    "randaugment_first_strength",
    "randaugment_second",
    "randaugment_second_strength",
    "cutout",
    "cutout_row",
    "cutout_column",
    "gridmask",
    "gridmask_unit",
    "gridmask_row",
    "gridmask_column",
    "gridmask_degrees",
    "partner",
    "mixup",
    "cutmix",
    "cutmix_row",
    "cutmix_column",
)
"""Every parameter, in the order of the random numbers: one operation more never changes what the others draw."""

SPANS = 4
"""Squares along a side of the grid that an elastic deformation bends."""

AXES = {"left-right": "flip_left_right", "up-down": "flip_up_down", "depth": "flip_depth"}


@dataclass(frozen=True)
class Rotation:
    """A patient lying or standing a little crooked.

    Attributes:
        degrees: In the image plane, evenly up to this angle either way; positive is anticlockwise on screen.
        tilt_degrees: Volumes only: the same about the two axes that lie in the image plane (a nod, a lean).
            It needs the spacing, because slices are usually thicker than pixels are wide.
    """

    degrees: float = 10.0
    tilt_degrees: float = 0.0

    def ranges(self) -> dict[str, Range]:
        """The parameters this operation draws, with their ranges."""
        tilt = Range("even", -self.tilt_degrees, self.tilt_degrees)
        return active(
            {
                "rotation_degrees": Range("even", -self.degrees, self.degrees),
                "tilt_row_degrees": tilt,
                "tilt_column_degrees": tilt,
            }
        )

    def __str__(self) -> str:
        tilt = f", tilts it up to {self.tilt_degrees:g}°" if self.tilt_degrees else ""
        return f"turns the image up to {self.degrees:g}° either way{tilt}"


@dataclass(frozen=True)
class Shift:
    """A patient not quite in the middle.

    Attributes:
        fraction: Up to this share of the image side, along rows and along columns.
    """

    fraction: float = 0.05

    def ranges(self) -> dict[str, Range]:
        """The parameters this operation draws, with their ranges."""
        span = Range("even", -self.fraction, self.fraction)
        return active({"shift_row": span, "shift_column": span})

    def __str__(self) -> str:
        return f"moves it up to {self.fraction:.0%} of its side"


@dataclass(frozen=True)
class Scale:
    """Larger and smaller patients, and films taken from nearer or farther.

    Attributes:
        low: Smallest factor, below 1: the anatomy becomes smaller.
        high: Largest factor, above 1.
    """

    low: float = 0.9
    high: float = 1.1

    def ranges(self) -> dict[str, Range]:
        """The parameters this operation draws, with their ranges."""
        return active({"scale": Range("ratio", self.low, self.high)})

    def __str__(self) -> str:
        return f"resizes the anatomy to {self.low:.0%}-{self.high:.0%}"


@dataclass(frozen=True)
class Flip:
    """A mirror image, for anatomy that has no side.

    Attributes:
        axes: Any of ``"left-right"`` (columns), ``"up-down"`` (rows), ``"depth"`` (slices), by a coin each.
    """

    axes: tuple[str, ...] = ("left-right",)

    def ranges(self) -> dict[str, Range]:
        """The parameters this operation draws, with their ranges."""
        return {AXES[axis]: Range("coin", 0.0, 1.0) for axis in self.axes}

    def __str__(self) -> str:
        return "mirrors it " + " and ".join(self.axes)


@dataclass(frozen=True)
class Elastic:
    """Soft tissue and thin sections that stretch and wrinkle: a smooth field of displacements, image and mask alike.

    The field is a uniform cubic B-spline over `SPANS` x `SPANS` squares; its control points move evenly in any
    direction of the plane. Below 48% of a square (12% of the side) nothing folds over itself. In volumes all
    slices bend together.

    Attributes:
        fraction: Up to this share of the image side, along rows and along columns.
        probability: Share of the images it happens to.

    References:
        Simard 2003, 10.1109/ICDAR.2003.1227801; Ronneberger 2015 (U-Net, arXiv 1505.04597); Choi and Lee 2000 (no
        folding), Graphical Models 62:411-427.
    """

    fraction: float = 0.03
    probability: float = 0.5

    def ranges(self) -> dict[str, Range]:
        """The parameters this operation draws, with their ranges."""
        return active({"elastic": Range("even", 0.0, self.fraction, self.probability)})

    def __str__(self) -> str:
        return f"bends it smoothly by up to {self.fraction:.0%} of its side{often(self.probability)}"


@dataclass(frozen=True)
class Brightness:
    """Exposure: all values move together. Never on Hounsfield units, where it would turn water into tissue.

    Attributes:
        fraction: Up to this share of the window width, up or down.
    """

    fraction: float = 0.1

    def ranges(self) -> dict[str, Range]:
        """The parameters this operation draws, with their ranges."""
        return active({"brightness": Range("even", -self.fraction, self.fraction)})

    def __str__(self) -> str:
        return f"brightens or darkens by up to {self.fraction:.0%} of the window"


@dataclass(frozen=True)
class Contrast:
    """Tube voltage, coil and post-processing: values spread from, or draw near, the image's own mean.

    Attributes:
        low: Smallest factor, below 1.
        high: Largest factor, above 1.
    """

    low: float = 0.8
    high: float = 1.25

    def ranges(self) -> dict[str, Range]:
        """The parameters this operation draws, with their ranges."""
        return active({"contrast": Range("ratio", self.low, self.high)})

    def __str__(self) -> str:
        return f"multiplies the contrast by {self.low:g}-{self.high:g}"


@dataclass(frozen=True)
class Gamma:
    """The display curve of the film or the scanner: middle greys move, black and white stay.

    Attributes:
        low: Smallest exponent, below 1: middle greys become brighter.
        high: Largest exponent, above 1.
    """

    low: float = 0.8
    high: float = 1.25

    def ranges(self) -> dict[str, Range]:
        """The parameters this operation draws, with their ranges."""
        return active({"gamma": Range("ratio", self.low, self.high)})

    def __str__(self) -> str:
        return f"bends the grey curve by a gamma of {self.low:g}-{self.high:g}"


@dataclass(frozen=True)
class Noise:
    """Dose: fewer photons, or a weaker signal. Gaussian, its standard deviation drawn evenly from 0 upwards.

    Attributes:
        fraction: Largest standard deviation as a share of the window width, for 0-255 and relative values.
        hu: Largest standard deviation in Hounsfield units, for CT.
    """

    fraction: float = 0.02
    hu: float = 15.0

    def ranges(self) -> dict[str, Range]:
        """The parameters this operation draws, with their ranges (as a share of the largest deviation)."""
        return active({"noise": Range("even", 0.0, float(max(self.fraction, self.hu) > 0))})

    def __str__(self) -> str:
        return f"adds noise of up to {self.hu:g} HU in CT, {self.fraction:.0%} of the window elsewhere"


@dataclass(frozen=True)
class Offset:
    """A CT scanner whose calibration drifts a little; only for Hounsfield units.

    Attributes:
        hu: Up to this many Hounsfield units, up or down. Water may read 0 +/- 5 HU in an accredited scanner.

    References:
        American College of Radiology, CT Quality Control Manual: water CT number 0 +/- 5 HU.
    """

    hu: float = 5.0

    def ranges(self) -> dict[str, Range]:
        """The parameters this operation draws, with their ranges."""
        return active({"offset_hu": Range("even", -self.hu, self.hu)})

    def __str__(self) -> str:
        return f"shifts all Hounsfield values by up to {self.hu:g} HU"


def often(probability: float) -> str:
    """How often, in words, to be added to what happens."""
    return "" if probability >= 1 else f" in {probability:.0%} of the images"


def active(ranges: dict[str, Range]) -> dict[str, Range]:
    """The ranges that hold more than one value."""
    return {name: span for name, span in ranges.items() if span.low != span.high and span.probability > 0}
