"""The Scan: what every reader returns. It holds pixels and geometry; it reads nothing itself."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

UNITS = ("0-255", "HU", "relative")


@dataclass(frozen=True)
class Scan:
    """One image or volume in real units, with its geometry and a header without identifiers.

    Attributes:
        pixels: float32, channels last: ``(height, width, channel)`` or ``(depth, height, width, channel)``.
        units: ``"0-255"`` (8-bit photographs and films), ``"HU"`` (CT, Hounsfield units) or ``"relative"``
            (MR, CR and 16-bit images, whose numbers mean something only beside their neighbours).
        spacing_mm: Millimetres between neighbours in the order of the spatial axes, or None when unknown.
        affine: 4x4, maps the voxel index ``(depth, row, column)`` to the DICOM patient coordinate system (LPS,
            millimetres, PS3.3 C.7.6.2.1.1), or None. A 2D image has depth index 0.
        header: Safe fields only (sex, age_years, scanner, date, view, ...), never an identifier.
        patient: A pseudonym from the header, or None.
        source: The path that was read.
        notes: What was assumed or repaired while reading, in words.
    """

    pixels: np.ndarray
    units: str
    spacing_mm: tuple[float, ...] | None = None
    affine: np.ndarray | None = None
    header: dict[str, str] = field(default_factory=dict)
    patient: str | None = None
    source: str = ""
    notes: tuple[str, ...] = ()

    @property
    def dimension(self) -> int:
        """2 for an image, 3 for a volume."""
        return self.pixels.ndim - 1

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape, without the channel."""
        return self.pixels.shape[:-1]
