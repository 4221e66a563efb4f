"""What scanners, probes, lamps and stains do to an image, as operations of a preset. They change no pixel."""

from __future__ import annotations

import math

from easydl.augmentation.operations import GREY_UNITS, Operation, Range, active, either_way, often


def bias_field(strength: float = 0.5, probability: float = 0.5) -> Operation:
    """Uneven coil sensitivity or lighting: a smooth field multiplies the image and leaves black black.

    The logarithm of the field is a polynomial of the position with coefficients from -1 to 1, brought to mean 0 and to
    the drawn size (the natural logarithm of the largest factor), so the field lies within 1/(1 + strength) and
    1 + strength. Van Leemput 1999 (polynomial bias fields), 10.1109/42.811268.
    """
    ranges = {"bias": Range("even", 0.0, math.log1p(strength), probability)}
    text = f"multiplies it by a smooth field within {1 / (1 + strength):.2f}-{1 + strength:.2f}{often(probability)}"
    return Operation("bias field", text, active(ranges), units=GREY_UNITS)


def ghosting(strength: float = 0.3, ghosts: tuple[int, int] = (3, 6), probability: float = 0.2) -> Operation:
    """Breathing and pulsation during an MR scan: pale copies of the anatomy, shifted along the phase encoding.

    A periodic movement modulates the lines of k-space one after the other; line k is multiplied by
    1 + strength cos(2 pi k / ghosts + phase), which puts a copy of half that strength a ``ghosts``-th of the field of
    view to either side (with 2 both copies fall on one place). Magnitudes are taken, as the scanner does.
    Wood and Henkelman 1985, 10.1118/1.595783; Axel 1986 (respiration), Radiology 160:795-801.
    """
    ranges = active({"ghosting": Range("even", 0.0, strength, probability)})
    if ranges:
        ranges |= {
            "phase_axis": Range("coin", 0.0, 1.0),
            # Cut down to integers when it is applied.
            "ghosts": Range("even", ghosts[0], ghosts[1] + 0.999),
            "ghost_phase": Range("even", 0.0, 2 * math.pi),
        }
    text = f"ghosts of up to {strength / 2:.0%} of its brightness{often(probability)}"
    return Operation("ghosting", text, ranges, units=GREY_UNITS)


def motion(degrees: float = 4.0, fraction: float = 0.03, probability: float = 0.2) -> Operation:
    """A head that moves once during an MR scan: the later lines of k-space come from another position.

    Lines are acquired from one edge of k-space to the other. The movement (a rotation in the plane, and a shift as a
    fraction of the image side) comes after the centre has been acquired, so the anatomy and its mask stay where they
    were, blurred and rung along the phase encoding. ``motion`` is the drawn part of the largest movement.
    Shaw 2019 (MRI k-space motion artefact augmentation), PMLR 102:427-436; Zaitsev 2015, 10.1002/jmri.24850.
    """
    ranges = active({"motion": Range("even", 0.0, 1.0, probability)}) if degrees or fraction else {}
    if ranges:
        ranges |= {
            "phase_axis": Range("coin", 0.0, 1.0),
            "motion_time": Range("even", 0.52, 0.8),
            "motion_turn": either_way(degrees),
            "motion_row": either_way(fraction),
            "motion_column": either_way(fraction),
        }
    text = f"a movement of up to {degrees:g}° and {fraction:.0%} of its side during the scan{often(probability)}"
    return Operation("motion", text, ranges, units=GREY_UNITS)


def speckle(fraction: float = 0.08) -> Operation:
    """The grain of coherent imaging (ultrasound, OCT), stronger where the echo is stronger; black fluid stays black.

    After log compression the grain grows as the square root of the signal: I + sqrt(I) n, with n normal, as coarse as
    the pulse (a binomial kernel of 3 pixels), its standard deviation up to this fraction of the window.
    Loupas 1989, 10.1109/31.16577; Schmitt 1999 (OCT), 10.1117/1.429925.
    """
    text = f"adds speckle of up to {fraction:.0%} of the window"
    return Operation("speckle", text, active({"speckle": Range("even", 0.0, fraction)}), units=GREY_UNITS)


def colour(hue_degrees: float = 8.0, saturation: tuple[float, float] = (0.8, 1.25)) -> Operation:
    """Lamps, white balance and cameras: hue turns in the plane of YIQ's two colour axes, luma stays.

    Haeberli 1993 (matrix operations for image processing); ITU-R BT.601 (the luma weights of YIQ).
    """
    ranges = active({"hue_degrees": either_way(hue_degrees), "saturation": Range("ratio", *saturation)})
    low, high = saturation
    text = f"turns the hue up to {hue_degrees:g}° and multiplies the saturation by {low:g}-{high:g}"
    return Operation("colour", text, ranges, units=GREY_UNITS, rgb=True)


def stain(low: float = 0.85, high: float = 1.18) -> Operation:
    """Thickness and staining of a section: the amount of each of three stains is multiplied.

    By the law of Beer and Lambert stains add up in optical density, where haematoxylin, eosin and a third stain are
    separated, multiplied and put together again.
    Ruifrok and Johnston 2001 (colour deconvolution); Tellez 2019 (stain augmentation), 10.1016/j.media.2019.101544.
    """
    span = Range("ratio", low, high)
    ranges = active({"haematoxylin": span, "eosin": span, "third_stain": span})
    text = f"multiplies the amount of each stain by {low:g}-{high:g}"
    return Operation("stain", text, ranges, units=GREY_UNITS, rgb=True)
