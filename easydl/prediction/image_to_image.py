"""A scan through a network that makes an image of it, and the degraded scans that such a network learns from."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from easydl.errors import RESEARCH_USE, InputError
from easydl.images import Scan
from easydl.images.resampling import resize
from easydl.networks.metadata import ModelMetadata
from easydl.prediction.segmentation import window_size, working_grid
from easydl.prediction.sliding_window import slide
from easydl.studies import Study

# Deviation of the noise as a share of the range from black to white: 25.5 of 255 grey values.
NOISE = 0.1
REDUCED = 2
INVENTED = (
    "This image was made by a network: it can hold detail that was never measured, and lack detail that was. Do not read "
    "it in place of the scan."
)


@dataclass(eq=False)
class Reconstruction:
    """An image that a network made of a scan, on the scan's own grid.

    Attributes:
        array: float32 ``(*shape, channels)`` in the model's units (0-255 or HU), within its window.
        scan: The scan it was made from.
        units: ``0-255`` or ``HU``.
        window: (low, high): the darkest and brightest value the network can give.
        notes: What must be known about it, in words.
    """

    array: np.ndarray
    scan: Scan
    units: str
    window: tuple[float, float]
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.array.shape[:-1]))
        return f"<Image of {size} pixels in {self.units}, made by a network. {INVENTED} {RESEARCH_USE}>"

    @property
    def affine(self) -> np.ndarray | None:
        """The scan's affine (LPS, depth first)."""
        return self.scan.affine

    def save(self, path: str | Path) -> Path:
        """Write the image: ``.nii`` or ``.nii.gz`` in its own units (volumes), ``.png`` in 8 bits (images).

        In a PNG the window's darkest value is 0 and its brightest 255. Both carry the sentence that a network made it.

        Raises:
            InputError: The name fits neither, the scan has no position in space for NIfTI, or its channels fit no PNG.
        """
        path = Path(path)
        name, solid, channels = path.name.lower(), self.array.ndim == 4, self.array.shape[-1]
        if solid and name.endswith((".nii", ".nii.gz")):
            if self.affine is None:
                raise InputError("The scan has no position in space.", "a scan with an affine.", "Use .array instead.")
            return self._written(path, ".nii.gz" if name.endswith(".gz") else ".nii", self._nifti)
        if not solid and name.endswith(".png") and channels in (1, 3):
            return self._written(path, ".png", self._png)
        kind = "a volume: .nii.gz or .nii" if solid else "an image of one or three channels: .png"
        raise InputError(
            f"The image cannot be saved as {path.name}.", f"for {kind}.", "Choose such a name, or use .array."
        )

    def show(self, ax: Any = None) -> Any:
        """A matplotlib figure: the scan beside the image made of it (volumes: the middle slice), in the same window."""
        from matplotlib.figure import Figure

        pictures = {"made by a network": self.array}
        if ax is None:
            shown = self.scan.pixels if self.units == self.scan.units else None
            pictures = {**({"scan": shown} if shown is not None else {}), **pictures}
            axes = list(
                np.atleast_1d(Figure(figsize=(7.2, 3.9), dpi=110, layout="constrained").subplots(1, len(pictures)))
            )
        else:
            axes = [ax]
        low, high = self.window
        rows, columns = self.scan.upright
        for axis, (title, pixels) in zip(axes, pictures.items(), strict=True):
            plane = pixels[len(pixels) // 2] if pixels.ndim == 4 else pixels
            plane = np.clip((plane[::rows, ::columns] - low) / (high - low), 0, 1)
            axis.imshow(
                plane if plane.shape[-1] == 3 else plane[..., 0], cmap="gray", vmin=0, vmax=1, aspect=self.scan.aspect
            )
            axis.set_title(title, fontsize=9)
            axis.axis("off")
        figure = axes[-1].figure
        figure.text(0.5, 0.005, f"{INVENTED} {RESEARCH_USE}", ha="center", va="bottom", fontsize=4.5, color="#555555")
        return figure

    def _written(self, path: Path, suffix: str, write: Callable[[str], None]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(suffix=suffix, dir=path.parent)
        os.close(handle)
        try:
            write(temporary)
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        return path

    def _nifti(self, path: str) -> None:
        import nibabel
        from highdicom import Volume

        images = [
            Volume(
                np.ascontiguousarray(self.array[..., k]), np.asarray(self.affine, float), coordinate_system="PATIENT"
            )
            .permute_spatial_axes([2, 1, 0])
            .to_nibabel()
            for k in range(self.array.shape[-1])
        ]
        image = images[0]
        if len(images) > 1:
            image = nibabel.Nifti1Image(np.stack([np.asarray(one.dataobj) for one in images], -1), image.affine)
        image.header["descrip"] = b"easydl: made by a network, may hold invented detail. Research use only."
        image.header.set_xyzt_units("mm")
        image.to_filename(path)

    def _png(self, path: str) -> None:
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        low, high = self.window
        grey = np.rint(np.clip((self.array - low) / (high - low), 0, 1) * 255).astype(np.uint8)
        info = PngInfo()
        info.add_text("Comment", f"{INVENTED} {RESEARCH_USE}")
        Image.fromarray(grey if grey.shape[-1] == 3 else grey[..., 0]).save(path, pnginfo=info)


def translated(
    call: Callable[[Any], Any], fixed: tuple[int | None, ...], metadata: ModelMetadata, scan: Scan
) -> Reconstruction:
    """Make an image of a scan, window by window when it is large.

    Args:
        call: The compiled model.
        fixed: Its spatial input size.
        recipe: Its recipe.
        scan: The scan.
    """
    array = through(call, fixed, metadata, working_grid(metadata, scan))
    notes = [
        INVENTED,
        f"Values beyond {metadata.window[0]:g} to {metadata.window[1]:g} ({metadata.units}) are cut off.",
    ]
    if scan.units == "relative":
        notes.append(
            "The scan's values have no unit: they were brought to 0-255 by "
            + ("its 0.5th and 99.5th percentile." if metadata.normalise == "percentile" else "its mean and deviation.")
        )
    if array.shape[:-1] != scan.shape:
        array = resize(array, scan.shape)
    return Reconstruction(array, scan, metadata.units, metadata.window, notes)


def through(
    call: Callable[[Any], Any], fixed: tuple[int | None, ...], metadata: ModelMetadata, pixels: np.ndarray
) -> np.ndarray:
    """What the network makes of prepared pixels of any size: float32 of their shape, within the window."""
    patch = window_size(metadata, fixed, pixels.shape[:-1])
    return np.clip(slide(lambda batch: np.asarray(call(batch)), pixels, patch), *metadata.window).astype(np.float32)


def degrades(metadata: ModelMetadata) -> str:
    """How the scans are spoiled that a network learns from: ``noise``, ``reduced``, or nothing (autoencoders)."""
    name = str(metadata.arguments["name"]).removesuffix("3d")
    return {"denoising_autoencoder": "noise", "image_to_image": "noise", "super_resolution": "reduced"}.get(name, "")


def degraded(metadata: ModelMetadata, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A clean image spoiled in the way the network is to undo.

    Args:
        recipe: Of a translator; its window settles the strength of the noise (`NOISE` of its range).
        pixels: ``(*spatial, channels)`` in the model's units.
        rng: Draws the noise.

    Returns:
        float32 of the same shape, within the window: with Gaussian noise; reduced by 2 and enlarged again; or as it is.
    """
    low, high = metadata.window
    kind = degrades(metadata)
    if kind == "noise":
        pixels = pixels + rng.normal(0.0, NOISE * (high - low), pixels.shape)
    elif kind == "reduced":
        shape = pixels.shape[:-1]
        pixels = resize(resize(pixels, tuple(max(1, side // REDUCED) for side in shape)), shape)
    return np.clip(pixels, low, high).astype(np.float32)


@dataclass(eq=False)
class Rebuilt:
    """One scan of a study, clean, spoiled, and as the network made it again; all within the window, on its grid."""

    image: str
    patient: str
    clean: np.ndarray
    spoiled: np.ndarray
    made: np.ndarray


def rebuilt(
    call: Callable[[Any], Any], fixed: tuple[int | None, ...], metadata: ModelMetadata, study: Study, seed: int
) -> Iterator[Rebuilt]:
    """Spoil every scan of a study and let the network undo it, one at a time; the seed settles the noise."""
    for row in range(len(study)):
        clean = np.clip(working_grid(metadata, study.scan(row)), *metadata.window).astype(np.float32)
        spoiled = degraded(metadata, clean, np.random.default_rng([seed, row]))
        patient = str(study.frame["patient"].iloc[row]) if "patient" in study.frame.columns else f"image {row + 1}"
        yield Rebuilt(study.addresses(row)[0], patient, clean, spoiled, through(call, fixed, metadata, spoiled))
