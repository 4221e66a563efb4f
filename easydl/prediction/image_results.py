"""What a model makes of one scan, on the scan's own grid: a mask or an image, shown and saved. It computes neither."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from easydl.errors import RESEARCH_USE, InputError
from easydl.figures import figure_of, key_slice, new_figure, panel, sign
from easydl.fileio import replacing
from easydl.images import Scan

INVENTED = (
    "This image was made by a network: it can hold detail that was never measured, and lack detail that was. Do not read "
    "it in place of the scan."
)


class ImageResult(ABC):
    """What a mask and a reconstructed image share: their place in space, files and figure.

    Attributes:
        scan: The scan it was made from.
        notes: What must be known about it, as text.
    """

    scan: Scan
    notes: list[str]
    _warning = RESEARCH_USE
    """Written into every file and under every figure."""
    _png_kind = "an image"

    @property
    def affine(self) -> np.ndarray | None:
        """The scan's affine (LPS, depth first)."""
        return self.scan.affine

    def save(self, path: str | Path) -> Path:
        """Write a volume as ``.nii`` or ``.nii.gz`` on the scan's grid, an image as ``.png``.

        A mask holds its label values. A reconstruction is in its own units in NIfTI; in a PNG the darkest value of its
        window is 0 and the brightest 255. Every file carries the research-use sentence.

        Args:
            path: The file; one that is there is replaced as a whole.

        Returns:
            The path written.

        Raises:
            InputError: The ending fits neither, the scan has no position in space for NIfTI, or its channels do not
                fit a PNG.
        """
        path = Path(path)
        name, volume = path.name.lower(), self.scan.dimension == 3
        if volume and name.endswith((".nii", ".nii.gz")):
            if self.affine is None:
                raise InputError("The scan has no position in space.", "a scan with an affine.", "Use .array instead.")
            self._write_nifti(path)
        elif not volume and name.endswith(".png") and self._fits_png():
            self._write_png(path)
        else:
            raise InputError(
                f"The result cannot be saved as {path.name}.",
                "for a volume: .nii.gz or .nii." if volume else f"for {self._png_kind}: .png.",
                "Choose such a name, or use .array.",
            )
        return path

    def show(self, ax: Any = None) -> Any:
        """Draw the scan beside the result, in one grey scale; of a volume one slice.

        Args:
            ax: Draw the result alone, on these matplotlib axes.

        Returns:
            The matplotlib Figure.
        """
        before = [] if ax is not None else self._sources()
        if ax is None:
            figure = new_figure(7.2, 3.9)
            axes = list(np.atleast_1d(figure.subplots(1, len(before) + 1)))
        else:
            figure, axes = figure_of(ax), [ax]
        for axis, (title, source, options) in zip(axes, [*before, self._drawn()], strict=True):
            panel(axis, source, **options)
            axis.set_title(title, fontsize=9)
        sign(figure, self._warning)
        return figure

    def _fits_png(self) -> bool:
        return True

    @abstractmethod
    def _sources(self) -> list[tuple[str, Scan, dict[str, Any]]]:
        """Title, scan and options of `panel` for what is drawn before the result."""

    @abstractmethod
    def _drawn(self) -> tuple[str, Scan, dict[str, Any]]:
        """The same for the result."""

    @abstractmethod
    def _write_nifti(self, path: Path) -> None:
        """Write the volume whole."""

    def _write_png(self, path: Path) -> None:
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_text("Comment", self._warning)
        with replacing(path) as draft:
            Image.fromarray(self._png_values()).save(draft, pnginfo=info)

    @abstractmethod
    def _png_values(self) -> np.ndarray:
        """uint8 ``(height, width)`` or ``(height, width, 3)``."""


@dataclass(eq=False)
class Segmentation(ImageResult):
    """A predicted mask on the grid of its scan.

    Attributes:
        mask: int32 class indices, the scan's spatial shape; 0 is the background.
        scan: The scan it was made from.
        classes: Class names, background first.
        label_values: The number of each class in a saved file; None counts up from 0.
        notes: What must be known about it, as text.
        unlike: In what the scan is unlike the training images; empty when it is not.
    """

    mask: np.ndarray
    scan: Scan
    classes: tuple[str, ...]
    label_values: tuple[int, ...] | None = None
    notes: list[str] = field(default_factory=list)
    unlike: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {value:.2f} {unit}" for name, (value, unit) in self.sizes().items())
        return f"<Segmentation of one scan (n = 1, no interval): {parts}. {RESEARCH_USE}>"

    @property
    def array(self) -> np.ndarray:
        """The mask as the numbers that a saved file holds."""
        values = np.asarray(self.label_values or range(len(self.classes)))
        return values[self.mask]

    def sizes(self) -> dict[str, tuple[float, str]]:
        """Volume (mL), area (mm2), or a count of pixels when the spacing is not known, of every structure."""
        spacing = self.scan.spacing_mm
        pixel, unit = (1.0, "pixels") if spacing is None else (float(np.prod(spacing)), "mm2")
        if spacing is not None and self.mask.ndim == 3:
            pixel, unit = pixel / 1000.0, "mL"
        return {name: (float((self.mask == k).sum()) * pixel, unit) for k, name in enumerate(self.classes) if k}

    def to_dicom(self, path: str | Path) -> Path:
        """Write the mask as a DICOM Segmentation that refers to its source series, for PACS viewers (PS3.3 A.51).

        Args:
            path: Where to write, ending in ``.dcm``.

        Returns:
            The path written. Patient and study are the source's; the series is new; one segment per structure.

        Raises:
            InputError: The scan was not read from DICOM, the mask is empty, or the source lacks the identifiers that a
                segmentation must repeat.
        """
        from easydl.prediction.dicom_seg import write_seg

        return write_seg(self, path)

    def _sources(self) -> list[tuple[str, Scan, dict[str, Any]]]:
        scan, mask = self._shown
        return [("original", scan, {"index": _index(scan, mask)})]

    def _drawn(self) -> tuple[str, Scan, dict[str, Any]]:
        scan, mask = self._shown
        options = {"mask": mask, "classes": self.classes, "index": _index(scan, mask)}
        return "predicted segmentation", scan, options

    @property
    def _shown(self) -> tuple[Scan, np.ndarray]:
        shown = self.scan.in_its_plane()
        return shown, self.scan.as_in(shown, self.mask)

    def _write_nifti(self, path: Path) -> None:
        from easydl.images.nifti import write_nifti

        write_nifti(self.array, self.scan, path)

    def _png_values(self) -> np.ndarray:
        values = self.array
        return values.astype(np.uint8 if values.max() < 256 else np.uint16)


def _index(scan: Scan, mask: np.ndarray) -> int | None:
    return key_slice(scan, mask) if mask.ndim == 3 else None


@dataclass(eq=False)
class Reconstruction(ImageResult):
    """An image that a network made of a scan, on the scan's own grid.

    Attributes:
        array: float32 ``(*shape, channels)`` in the model's units (0-255 or HU), within its window.
        scan: The scan it was made from.
        units: ``0-255`` or ``HU``.
        window: (low, high): the darkest and brightest value the network can give.
        notes: What must be known about it, as text.
        unlike: In what the scan is unlike the training images; empty when it is not.
    """

    array: np.ndarray
    scan: Scan
    units: str
    window: tuple[float, float]
    notes: list[str] = field(default_factory=list)
    unlike: list[str] = field(default_factory=list)
    _warning = f"{INVENTED} {RESEARCH_USE}"
    _png_kind = "an image of one or three channels"

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.array.shape[:-1]))
        return f"<Image of {size} pixels in {self.units}, made by a network. {self._warning}>"

    def _sources(self) -> list[tuple[str, Scan, dict[str, Any]]]:
        if self.units != self.scan.units:
            return []
        return [("scan", self.scan.in_its_plane(), {"window": self.window})]

    def _drawn(self) -> tuple[str, Scan, dict[str, Any]]:
        made = replace(self.scan, pixels=self.array, units=self.units)
        return "made by a network", made.in_its_plane(), {"window": self.window}

    def _fits_png(self) -> bool:
        return self.array.shape[-1] in (1, 3)

    def _write_nifti(self, path: Path) -> None:
        from easydl.images.nifti import write_voxels

        array = self.array if self.array.shape[-1] > 1 else self.array[..., 0]
        write_voxels(array, self.scan, path, "easydl: made by a network, may hold invented detail. Research use only.")

    def _png_values(self) -> np.ndarray:
        low, high = self.window
        grey = np.rint(np.clip((self.array - low) / (high - low), 0, 1) * 255).astype(np.uint8)
        return grey if grey.shape[-1] == 3 else grey[..., 0]
