"""What the training images were like, kept with the model, and in what a new image is unlike them. It calls no model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from easydl.images.resampling import stretch
from easydl.prediction.appearance import Appearance, appearance_of, looks_of
from easydl.prediction.profile import Profile, profile_of

if TYPE_CHECKING:
    from easydl.images import Scan
    from easydl.studies import Study

LOOKED_AT = {2: 100, 3: 12}
"""Training images that are described, spread over the study."""
FEWEST = 5
"""With fewer there is no range to compare with."""
BEYOND = 0.5
"""How far beyond the range a value may lie, as a fraction of its width: the range of a few images is too narrow."""
LEAST = 0.06
"""And at least this fraction of the span of grey values."""
SPAN = {"HU": 1000.0, "0-255": 255.0, "relative": 1.0}
RATIO = 1.6
"""By which factor a side or the spacing may be larger or smaller than any of the training's."""
VALUES = {
    "dark": "the darkest grey values",
    "middle": "the middle grey value",
    "bright": "the brightest grey values",
    "contrast": "the spread of the grey values",
    "colour": "the difference between red and blue",
}

MODALITIES = set("BMD CR CT DMS DX ES GM IO IVUS MG MR NM OP OPT PT PX RF RG SM US XA XC".split())  # noqa: SIM905
"""The codes of DICOM PS3.3 C.7.3.1.1.1 that may be repeated; anything else in that field counts as not known."""


class Likeness(BaseModel):
    """What a sample of training images is like: nothing of a single image or patient.

    Attributes:
        n: Images that were looked at.
        modalities: DICOM modalities; empty where no file or table says one.
        units: As of a `Scan`.
        sides: Lowest and highest of each spatial axis, in pixels.
        spacing_mm: The same of the spacing; None where it is not known.
        values: Lowest and highest of each statistic of `VALUES`.
        profile: How all of it was spread, for `easydl.accept`; None in a model of an earlier version.
        appearance: What they look like as a whole; None where they were too few.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    n: int
    modalities: tuple[str, ...] = ()
    units: str
    sides: tuple[tuple[int, int], ...]
    spacing_mm: tuple[tuple[float, float], ...] | None = None
    values: dict[str, tuple[float, float]]
    profile: Profile | None = None
    appearance: Appearance | None = None


def likeness_of(study: Study) -> Likeness:
    """Describe a study by some of its images."""
    rows = sorted({int(row) for row in np.linspace(0, len(study) - 1, LOOKED_AT[study.dimension])})
    scans = study.each(lambda row: described(study.scan(row), looks=True), rows)
    spacings = [one["spacing_mm"] for one in scans]
    column = study.frame["modality"] if "modality" in study.frame.columns else ()
    return Likeness(
        n=len(rows),
        modalities=tuple(sorted({*map(_modality, column), *(one["modality"] for one in scans)} - {""})),
        units=study.units,
        sides=_ranges(one["shape"] for one in scans),
        spacing_mm=None if None in spacings else _ranges(spacings),
        values={name: _ranges([(one["values"][name],) for one in scans])[0] for name in VALUES},
        profile=profile_of(study, scans),
        appearance=appearance_of([one["looks"] for one in scans]),
    )


def unlike(training: Any, scan: Scan, *, sides: bool = True) -> list[str]:
    """In what an image is unlike the training images: a sentence each, or none.

    ``training`` is the model's record of its training; one without a `Likeness` cannot tell, and says nothing. Without
    ``sides`` the size in pixels is no matter, as where masks are made window by window.
    """
    stored = training.get("likeness") if isinstance(training, dict) else None
    if not stored or (known := Likeness.model_validate(stored)).n < FEWEST:
        return []
    one, found = described(scan), []
    if known.modalities and one["modality"] and one["modality"] not in known.modalities:
        found.append(f"Its modality is {one['modality']}; the training images are {', '.join(known.modalities)}.")
    if sides and len(one["shape"]) == len(known.sides) and _apart(one["shape"], known.sides):
        shape = " x ".join(map(str, one["shape"]))
        found.append(f"It has {shape} pixels; the training images have {_listed(known.sides)}.")
    if known.spacing_mm is not None and one["spacing_mm"] is None:
        found.append("Its spacing in mm is not known; that of the training images is.")
    elif known.spacing_mm is not None and _apart(one["spacing_mm"], known.spacing_mm):
        own = " x ".join(f"{mm:.2g}" for mm in one["spacing_mm"])
        found.append(f"Its spacing is {own} mm; that of the training images is {_listed(known.spacing_mm)} mm.")
    if scan.units != known.units:
        units = {"HU": "Hounsfield units", "0-255": "grey values from 0 to 255", "relative": "values without a unit"}
        return [*found, f"It holds {units[scan.units]}; the training images hold {units[known.units]}."]
    if known.appearance is not None and (times := known.appearance.distance(scan)) > 1:
        found.append(
            f"It looks unlike the training images: it is {times:.1f} times as far from them as 97 of 100 of them are from the "
            f"others (n = {known.appearance.n} images)."
        )
    return found + [
        f"{VALUES[name].capitalize()} ({_number(value, scan.units)}) lie outside those of the training images "
        f"({_number(low, scan.units)} to {_number(high, scan.units)}, n = {known.n} images)."
        for name, value in one["values"].items()
        if name in known.values
        for low, high in [known.values[name]]
        if not low - _room(low, high, scan.units) <= value <= high + _room(low, high, scan.units)
    ]


def unlike_note(found: list[list[str]]) -> list[str]:
    """How many of some images are unlike the training images; of a single one in what."""
    strange = [one for one in found if one]
    if not strange:
        return []
    if len(found) == 1:
        return [f"Not like the training images, so the answer may mean nothing: {' '.join(strange[0])}"]
    return [
        f"{len(strange)} of these {len(found)} images are unlike the training images, so their answers may mean nothing: the "
        "column unlike says in what."
    ]


def described(scan: Scan, *, looks: bool = False) -> dict[str, Any]:
    """Modality, shape, spacing and the statistics of `VALUES` of one image; with its looks where asked."""
    pixels = scan.pixels[tuple(slice(None, None, max(1, side // 128)) for side in scan.shape)]
    # Values without a unit are compared after the stretch that the network sees, as fractions.
    pixels = stretch(pixels) / 255 if scan.units == "relative" else pixels
    dark, middle, bright = np.percentile(pixels, [1, 50, 99])
    colour = float(np.abs(pixels[..., 0] - pixels[..., 2]).mean()) if pixels.shape[-1] == 3 else 0.0
    values = {"dark": dark, "middle": middle, "bright": bright, "contrast": pixels.std(), "colour": colour}
    return {
        "modality": _modality(scan.header.get("modality", "")),
        "shape": scan.shape,
        "spacing_mm": scan.spacing_mm,
        "values": {name: round(float(value), 4) for name, value in values.items()},
        "looks": looks_of(scan) if looks else None,
    }


def _modality(value: Any) -> str:
    code = str(value).strip().upper()
    return code if code in MODALITIES else ""


def _ranges(rows: Iterable[Any]) -> tuple[tuple[Any, Any], ...]:
    """Lowest and highest of each axis."""
    return tuple((min(axis), max(axis)) for axis in zip(*rows, strict=True))


def _apart(own: Iterable[float], ranges: Iterable[tuple[float, float]]) -> bool:
    return any(not low / RATIO <= one <= high * RATIO for one, (low, high) in zip(own, ranges, strict=True))


def _room(low: float, high: float, units: str) -> float:
    return max(BEYOND * (high - low), LEAST * SPAN[units])


def _listed(ranges: Iterable[tuple[float, float]]) -> str:
    return " x ".join(f"{low:g}" if low == high else f"{low:.3g}-{high:.3g}" for low, high in ranges)


def _number(value: float, units: str) -> str:
    return f"{value:.2f}" if units == "relative" else f"{value:.0f}"
