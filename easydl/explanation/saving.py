"""A heatmap as a file, by the ending of its name: figure, array, NIfTI volume or DICOM. It draws nothing."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from easydl.errors import RESEARCH_USE, InputError
from easydl.fileio import replacing
from easydl.images.headers import open_dicom
from easydl.images.quiet import quiet_libraries
from easydl.prediction.dicom_seg import source_files

if TYPE_CHECKING:
    from easydl.explanation.heatmap import Heatmap

SERIES_DESCRIPTION = "RESEARCH ONLY - easydl heatmap"


def save(heatmap: Heatmap, path: str | Path) -> Path:
    """See `Heatmap.save`."""
    path = Path(path)
    if not path.suffix:
        path = path.with_name(f"{path.name}.png")
    ending = next((one for one in WRITERS if path.name.lower().endswith(one)), "")
    if not ending:
        raise InputError(
            f"A heatmap cannot be saved as {path.name}.",
            f"a name that ends in {', '.join(list(WRITERS)[:-1])} or {list(WRITERS)[-1]}.",
            "Choose one of these endings; without an ending it becomes a PNG.",
        )
    WRITERS[ending](heatmap, path)
    return path


def _png(heatmap: Heatmap, path: Path) -> None:
    with replacing(path) as draft:
        draft.write_bytes(heatmap._repr_png_())


def _npy(heatmap: Heatmap, path: Path) -> None:
    with replacing(path) as draft, open(draft, "wb") as file:
        np.save(file, heatmap.array)


def _nifti(heatmap: Heatmap, path: Path) -> None:
    from easydl.images.nifti import write_voxels

    if heatmap.scan.affine is None:
        raise InputError(
            "The image has no position in space.", "an image with an affine for NIfTI.", "Save it as .npy or .png."
        )
    array = heatmap.array if heatmap.array.ndim == 3 else heatmap.array[None]
    write_voxels(array, heatmap.scan, path, "easydl heatmap, 0..1. Research use only, not for diagnosis.")


@quiet_libraries()
def _dicom(heatmap: Heatmap, path: Path) -> None:
    """The figure with its verdict as a secondary capture of the source's study (PS3.3 A.8): every viewer shows it."""
    from highdicom.sc import SCImage
    from PIL import Image
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    source = open_dicom(source_files(heatmap.scan.source, "heatmap")[0])
    with Image.open(BytesIO(heatmap._repr_png_())) as figure:
        pixels = np.asarray(figure.convert("RGB"))
    said = heatmap.verdict.sentence if heatmap.verdict else "Not tested."
    try:
        written = SCImage.from_ref_dataset(
            source,
            pixel_array=pixels,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=("L", "P"),
            series_instance_uid=generate_uid(),
            series_number=9001,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="easydl",
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
        written.SeriesDescription = SERIES_DESCRIPTION
        written.ImageComments = f"{heatmap.prediction()}. {said} {RESEARCH_USE}"
        written.BurnedInAnnotation = "YES"
        written.Laterality = source.get("Laterality", "")  # a type 2C element that highdicom leaves out
        written["PatientOrientation"].value = None  # the panels of a figure have none of their own
    except (AttributeError, TypeError, ValueError) as problem:
        # An AttributeError names the element that is missing; what else is said may quote a value of the header.
        why = str(problem).splitlines()[0] if isinstance(problem, AttributeError) else type(problem).__name__
        raise InputError(
            f"The source cannot carry a heatmap: {why}.",
            "DICOM with study and series identifiers.",
            "Save it as .png, .npy or .nii.gz.",
        ) from problem
    with replacing(path) as draft:
        written.save_as(draft)


WRITERS: dict[str, Callable[[Heatmap, Path], None]] = {
    ".png": _png,
    ".npy": _npy,
    ".nii.gz": _nifti,
    ".nii": _nifti,
    ".dcm": _dicom,
}
