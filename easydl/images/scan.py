"""The Scan: what every reader returns. It holds pixels and geometry and reads nothing itself."""

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
            (MR, CR and 16-bit images, whose values have a meaning only within the image).
        spacing_mm: Millimetres between neighbours in the order of the spatial axes, or None when unknown.
        affine: 4x4, maps the voxel index ``(depth, row, column)`` to the DICOM patient coordinate system (LPS,
            millimetres, PS3.3 C.7.6.2.1.1), or None. A 2D image has depth index 0.
        header: Safe fields only (sex, age_years, scanner, date, view, ...), never an identifier.
        patient: A pseudonym from the header, or None.
        source: The path that was read.
        notes: What was assumed or repaired while reading, as text.
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

    @property
    def upright(self) -> tuple[int, int]:
        """Steps through rows and columns that show the patient as radiologists expect: -1 mirrors the image.

        In LPS x grows to the left, y to the back and z upwards. Right belongs on the left of the image, the front on
        top of an axial slice and the head on top of any other. (1, 1) where the position is not known.
        """
        if self.affine is None:
            return 1, 1
        row, column = self.affine[:3, 1], self.affine[:3, 2]
        down = row[1] if np.abs(row).argmax() == 1 else -row[2] if np.abs(row).argmax() == 2 else 1.0
        across = column[0] if np.abs(column).argmax() == 0 else 1.0
        return (1 if down >= 0 else -1), (1 if across >= 0 else -1)

    @property
    def aspect(self) -> float:
        """Height of a pixel over its width; 1 where the spacing is not known."""
        return self.spacing_mm[-2] / self.spacing_mm[-1] if self.spacing_mm is not None else 1.0
