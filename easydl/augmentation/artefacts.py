"""What scanners, probes, lamps and stains do to an image, as operations of a preset. They change no pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass

from easydl.augmentation.operations import Range, active, often


@dataclass(frozen=True)
class BiasField:
    """Uneven coil sensitivity or lighting: a smooth field multiplies the image and leaves black black.

    The logarithm of the field is a polynomial of the position with coefficients from -1 to 1, brought to mean 0 and to
    the drawn size, so the field lies within 1/(1 + strength) and 1 + strength.

    Attributes:
        strength: 0.5 means that the brightest place is at most 1.5 times what it was, the darkest 1/1.5.
        probability: Share of the images it happens to.

    References:
        Van Leemput 1999 (polynomial bias fields), 10.1109/42.811268.
    """

    strength: float = 0.5
    probability: float = 0.5

    def ranges(self) -> dict[str, Range]:
        """The parameters this operation draws, with their ranges (natural logarithm of the largest factor)."""
        return active({"bias": Range("even", 0.0, math.log1p(self.strength), self.probability)})

    def __str__(self) -> str:
        low, high = 1 / (1 + self.strength), 1 + self.strength
        return f"multiplies it by a smooth field within {low:.2f}-{high:.2f}{often(self.probability)}"


@dataclass(frozen=True)
class Ghosting:
    """Breathing and pulsation during an MR scan: pale copies of the anatomy, shifted along the phase encoding.

    A periodic movement modulates the lines of k-space one after the other; line k is multiplied by
    1 + strength cos(2 pi k / ghosts + phase), which puts a copy of half that strength a ``ghosts``-th of the field of
    view to either side. Magnitudes are taken, as the scanner does.

    Attributes:
        strength: Largest modulation, from 0 to 1.
        ghosts: Smallest and largest number of periods in the field of view (with 2 both copies fall on one place).
        probability: Share of the images it happens to.

    References:
        Wood and Henkelman 1985, 10.1118/1.595783; Axel 1986 (respiration), Radiology 160:795-801.
    """

    strength: float = 0.3
    ghosts: tuple[int, int] = (3, 6)
    probability: float = 0.2

    def ranges(self) -> dict[str, Range]:
        """The parameters this operation draws, with their ranges."""
        strength = active({"ghosting": Range("even", 0.0, self.strength, self.probability)})
        if not strength:
            return {}
        return {
            **strength,
            "phase_axis": Range("coin", 0.0, 1.0),
            # Cut down to whole numbers when it is applied.
            "ghosts": Range("even", self.ghosts[0], self.ghosts[1] + 0.999),
            "ghost_phase": Range("even", 0.0, 2 * math.pi),
        }

    def __str__(self) -> str:
        return f"ghosts of up to {self.strength / 2:.0%} of its brightness{often(self.probability)}"


@dataclass(frozen=True)
class Motion:
    """A head that moves once during an MR scan: the later lines of k-space come from another position.

    Lines are acquired from one edge of k-space to the other. The movement comes after the centre has been acquired, so
    the anatomy (and its mask) stays where it was, blurred and rung along the phase encoding.

    Attributes:
        degrees: Largest turn in the plane.
        fraction: Largest shift along rows and along columns, as a share of the image side.
        probability: Share of the images it happens to.

    References:
        Shaw 2019 (MRI k-space motion artefact augmentation), PMLR 102:427-436; Zaitsev 2015, 10.1002/jmri.24850.
    """

    degrees: float = 4.0
    fraction: float = 0.03
    probability: float = 0.2

    def ranges(self) -> dict[str, Range]:
        """The parameters this operation draws; ``motion`` is the share of the largest movement."""
        if not (self.degrees or self.fraction) or self.probability <= 0:
            return {}
        return {
            "motion": Range("even", 0.0, 1.0, self.probability),
            "phase_axis": Range("coin", 0.0, 1.0),
            "motion_time": Range("even", 0.52, 0.8),
            "motion_turn": Range("even", -self.degrees, self.degrees),
            "motion_row": Range("even", -self.fraction, self.fraction),
            "motion_column": Range("even", -self.fraction, self.fraction),
        }

    def __str__(self) -> str:
        return (
            f"a movement of up to {self.degrees:g}° and {self.fraction:.0%} of its side during the scan"
            f"{often(self.probability)}"
        )


@dataclass(frozen=True)
class Speckle:
    """The grain of coherent imaging (ultrasound, OCT), stronger where the echo is stronger; black fluid stays black.

    After log compression the grain grows as the square root of the signal: I + sqrt(I) n, with n normal and as coarse
    as the pulse (a binomial kernel of 3 pixels).

    Attributes:
        fraction: Largest standard deviation of n as a share of the window width, drawn evenly from 0 upwards.

    References:
        Loupas 1989, 10.1109/31.16577; Schmitt 1999 (OCT), 10.1117/1.429925.
    """

    fraction: float = 0.08

    def ranges(self) -> dict[str, Range]:
        """The parameters this operation draws, with their ranges."""
        return active({"speckle": Range("even", 0.0, self.fraction)})

    def __str__(self) -> str:
        return f"adds speckle of up to {self.fraction:.0%} of the window"


@dataclass(frozen=True)
class Colour:
    """Lamps, white balance and cameras: hue turns and saturation changes, luma stays. Only for red-green-blue images.

    Attributes:
        hue_degrees: Up to this angle either way, in the plane of the two colour axes of YIQ.
        saturation: Smallest and largest factor.

    References:
        Haeberli 1993 (matrix operations for image processing); ITU-R BT.601 (the luma weights of YIQ).
    """

    hue_degrees: float = 8.0
    saturation: tuple[float, float] = (0.8, 1.25)

    def ranges(self) -> dict[str, Range]:
        """The parameters this operation draws, with their ranges."""
        return active(
            {
                "hue_degrees": Range("even", -self.hue_degrees, self.hue_degrees),
                "saturation": Range("ratio", *self.saturation),
            }
        )

    def __str__(self) -> str:
        low, high = self.saturation
        return f"turns the hue up to {self.hue_degrees:g}° and multiplies the saturation by {low:g}-{high:g}"


@dataclass(frozen=True)
class Stain:
    """Thickness and staining of a section: the amount of each of three stains changes. Only for red-green-blue images.

    By the law of Beer and Lambert stains add up in optical density, where haematoxylin, eosin and a third stain are
    taken apart, multiplied and put together again.

    Attributes:
        low: Smallest factor of a stain's amount, below 1.
        high: Largest factor, above 1.

    References:
        Ruifrok and Johnston 2001 (colour deconvolution); Tellez 2019 (stain augmentation), 10.1016/j.media.2019.101544.
    """

    low: float = 0.85
    high: float = 1.18

    def ranges(self) -> dict[str, Range]:
        """The parameters this operation draws, with their ranges."""
        span = Range("ratio", self.low, self.high)
        return active({"haematoxylin": span, "eosin": span, "third_stain": span})

    def __str__(self) -> str:
        return f"multiplies the amount of each stain by {self.low:g}-{self.high:g}"
