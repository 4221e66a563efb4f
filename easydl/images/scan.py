"""The Scan: what every reader returns. It holds pixels and geometry and reads nothing itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from easydl.images.geometry import Order, after, inverse, orientation, turned, turned_affine

UNITS = ("0-255", "HU", "relative")
FRAME = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
"""The one orientation of volumes, in LPS: depth runs from the head to the feet, rows to the back, columns to the left.

It is how plain axial series are stored, and how slices are looked at: the patient's right on the left, the front on top.
"""
_AS_IT_IS = ((0, 1), (1, 1), (2, 1))
_PLANES = {0: np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]), 1: np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]])}
"""How sagittal (slices along x) and coronal slices (along y) are looked at: the head on top, the front or right first."""
_THICK = 1.5
"""A volume is looked at in its own plane when slices lie this many times as far apart as pixels."""


@dataclass(frozen=True)
class SourceGrid:
    """The voxel grid of the file or series that a volume was read from: masks are written back on it.

    Attributes:
        affine: Of the source's array (slice, row, column) in LPS and millimetres.
        order: How its axes became those of the `Scan`; see `easydl.images.geometry`.
        forms: Of a NIfTI file: both of its affines as the header has them, with codes and unit of length.
        other: Where the sform or qform that was not used places the source's array, when that is elsewhere.
    """

    affine: np.ndarray
    order: Order = _AS_IT_IS
    forms: dict[str, Any] | None = None
    other: np.ndarray | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values, for the cache."""
        other = None if self.other is None else self.other.tolist()
        return {"affine": self.affine.tolist(), "order": list(self.order), "forms": self.forms, "other": other}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> SourceGrid:
        """From `to_json`."""
        other = None if values["other"] is None else np.array(values["other"])
        return cls(np.array(values["affine"]), values["order"], values["forms"], other)


@dataclass(frozen=True)
class Scan:
    """One image or volume in real units, with its geometry and a header without identifiers.

    Attributes:
        pixels: float32, channels last: ``(height, width, channel)`` or ``(depth, height, width, channel)``. Volumes with
            a position in space are read in one orientation, whatever the file's: see `FRAME`.
        units: ``"0-255"`` (8-bit photographs and films), ``"HU"`` (CT, Hounsfield units) or ``"relative"``
            (MR, CR and 16-bit images, whose values have a meaning only within the image).
        spacing_mm: Millimetres between neighbours in the order of the spatial axes, or None when unknown.
        affine: 4x4, maps the voxel index ``(depth, row, column)`` to the DICOM patient coordinate system (LPS,
            millimetres, PS3.3 C.7.6.2.1.1), or None. A 2D image has depth index 0.
        header: Safe fields only (sex, age_years, scanner, date, view, ...), never an identifier.
        patient: A pseudonym from the header, or None.
        source: The path that was read.
        notes: What was assumed or repaired while reading, as text.
        grid: The grid of the source of a volume, or None.
    """

    pixels: np.ndarray
    units: str
    spacing_mm: tuple[float, ...] | None = None
    affine: np.ndarray | None = None
    header: dict[str, str] = field(default_factory=dict)
    patient: str | None = None
    source: str = ""
    notes: tuple[str, ...] = ()
    grid: SourceGrid | None = None

    @property
    def dimension(self) -> int:
        """2 for an image, 3 for a volume."""
        return self.pixels.ndim - 1

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape, without the channel."""
        return self.pixels.shape[:-1]

    def oriented(self) -> Scan:
        """A volume in the one orientation of volumes (`FRAME`); images, and volumes of unknown position, as they are."""
        return self._along(FRAME)

    def in_its_plane(self) -> Scan:
        """A volume as it is looked at, slice by slice: in the plane of its slices when they are thick, else axial."""
        if self.dimension == 2 or self.affine is None or self.spacing_mm is None:
            return self
        thickest = int(np.argmax(self.spacing_mm))
        others = max(mm for axis, mm in enumerate(self.spacing_mm) if axis != thickest)
        across = int(np.abs(self.affine[:3, thickest]).argmax())
        return self._along(_PLANES.get(across, FRAME) if self.spacing_mm[thickest] > _THICK * others else FRAME)

    def on_source(self) -> Scan:
        """A volume in the orientation of the file or series that it was read from."""
        if self.grid is None:
            return self
        back = self._turned(inverse(self.grid.order))
        return replace(back, affine=self.grid.affine.copy())  # the very numbers, without the rounding of two turns

    def to_source(self, array: np.ndarray) -> np.ndarray:
        """An array of the scan's spatial shape in the axes of its source; further axes stay the last."""
        return array if self.grid is None else np.ascontiguousarray(turned(array, inverse(self.grid.order)))

    def from_source(self, array: np.ndarray) -> np.ndarray:
        """An array in the axes of the scan's source in those of the scan."""
        return array if self.grid is None else np.ascontiguousarray(turned(array, self.grid.order))

    def as_in(self, other: Scan, array: np.ndarray) -> np.ndarray:
        """An array in this scan's axes in those of the same scan in another orientation."""
        return other.from_source(self.to_source(array))

    @property
    def other_affine(self) -> np.ndarray | None:
        """Where the sform or qform that was not used places the scan's voxels, when that is elsewhere."""
        if self.grid is None or self.grid.other is None:
            return None
        return turned_affine(self.grid.other, self.grid.order, [self.shape[axis] for axis, _ in self.grid.order])

    @property
    def says_position(self) -> bool:
        """Whether the file says where it lies: a NIfTI without sform and qform does not, and is given an affine."""
        forms = None if self.grid is None else self.grid.forms
        return self.affine is not None and (forms is None or any(forms["codes"]))

    def _along(self, directions: np.ndarray) -> Scan:
        if self.dimension == 2 or self.affine is None:
            return self
        target = np.eye(4)
        target[:3, :3] = directions
        return self._turned(orientation(self.affine, target))

    def _turned(self, order: Order) -> Scan:
        assert self.affine is not None
        grid = self.grid or SourceGrid(self.affine.copy())
        spacing = self.spacing_mm
        return replace(
            self,
            pixels=np.ascontiguousarray(turned(self.pixels, order)),
            spacing_mm=None if spacing is None else tuple(spacing[axis] for axis, _ in inverse(order)),
            affine=turned_affine(self.affine, order, self.shape),
            grid=replace(grid, order=after(grid.order, order)),
        )

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
