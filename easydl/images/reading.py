"""One address becomes one Scan, whatever the format. Each format has its own file; this one only chooses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from easydl.errors import InputError
from easydl.images.limits import is_dicom, is_nifti, is_raster
from easydl.images.scan import Scan


def read(path: str | Path) -> Scan:
    """Read one image or volume, whatever its format.

    Args:
        path: A PNG, JPEG, TIFF, BMP, GIF, DICOM or NIfTI file, a folder holding one DICOM series, or
            ``folder#key`` for one series of several.

    Returns:
        A `Scan` with float32 pixels in real units, channels last.

    Raises:
        InputError: Nothing there, not an image, damaged, or beyond the size limit.

    Example:
        >>> scan = read("case.dcm")  # doctest: +SKIP
        >>> scan.shape, scan.units  # doctest: +SKIP
        ((512, 512), 'HU')
    """
    address = str(path)
    if Path(address).is_dir() or ("#" in address and not Path(address).exists()):
        from easydl.images.dicom import read_series
        from easydl.images.series import series_files

        return replace(read_series(series_files(address), Path(address).name), source=address)
    if is_nifti(address):
        from easydl.images.nifti import read_nifti

        return read_nifti(address)
    if is_dicom(address):
        from easydl.images.dicom import read_dicom

        return read_dicom(address)
    if is_raster(address):
        from easydl.images.raster import read_raster

        return read_raster(address)
    if not Path(address).exists():
        raise InputError(f"The file {address} does not exist.", "a file at this path.", "Correct the path.")
    raise InputError(
        f"{Path(address).name} is of no kind that easydl reads.",
        "a PNG, JPEG, TIFF, DICOM or NIfTI file, or a folder of DICOM slices.",
        "Export the image in one of these formats.",
    )
