"""One address becomes one Scan, whatever the format. Each format has its own module; this one chooses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from easydl.errors import InputError
from easydl.images.file_errors import file_limits, missing, unsupported
from easydl.images.limits import is_dicom, is_nifti, is_raster
from easydl.images.scan import Scan
from easydl.images.values import in_hounsfield


def read(path: str | Path, *, labels: bool = False, units: str = "auto") -> Scan:
    """Read one image or volume, whatever its format.

    Volumes come in one orientation, whatever the file's: depth from the head to the feet, rows to the back, columns to
    the left, as near as their axes allow. `Scan.on_source` gives the file's own.

    Args:
        path: A PNG, JPEG, TIFF, BMP, GIF, DICOM or NIfTI file; a folder holding one DICOM series; ``folder#key`` for
            one series of several; or ``file#3`` for the third frame, time point or page of a file that holds several.
        labels: Read it as a mask: numbers count instead of a palette's colours, and missing values are refused.
        units: ``"HU"`` says that a file that does not say its units (NIfTI, TIFF) is CT in Hounsfield units.

    Returns:
        A `Scan` with float32 pixels in real units, channels last.

    Raises:
        InputError: Nothing there, not an image, damaged, or beyond the size limit.

    Example:
        >>> scan = read("case.dcm")  # doctest: +SKIP
        >>> scan.shape, scan.units  # doctest: +SKIP
        ((512, 512), 'HU')
    """
    if units not in ("auto", "HU"):
        raise InputError(f"`units` is {units!r}.", '"auto" or "HU".', 'Say "HU" for CT, and nothing for other images.')
    with file_limits(path):
        scan = _read(str(path), labels).oriented()
        return in_hounsfield(scan) if units == "HU" else scan


def _read(address: str, labels: bool) -> Scan:
    file, _, number = address.rpartition("#")
    if file and number.isdigit() and Path(file).is_file() and not Path(address).exists():
        return replace(_read_file(file, int(number), labels), source=address)
    if Path(address).is_dir() or ("#" in address and not Path(address).exists()):
        from easydl.images.series import one_series
        from easydl.images.volumes import read_series

        series = one_series(address)
        try:
            scan = read_series(series.files, Path(address).name)
        except InputError as problem:
            if not series.notes:
                raise
            found = f"{problem.found} {'. '.join(series.notes)}."  # the missing slice may be one of these
            raise InputError(found, problem.expected, problem.do) from problem
        notes = (f"one volume of several in its series: {series.part}",) if series.part else ()
        return replace(scan, source=address, notes=(*scan.notes, *notes, *series.notes))
    return _read_file(address, None, labels)


def _read_file(address: str, frame: int | None, labels: bool) -> Scan:
    """One file, by its content and name; ``frame`` counts from 1."""
    if is_nifti(address):
        from easydl.images.nifti import read_nifti

        return read_nifti(address, frame, labels=labels)
    if is_dicom(address):
        from easydl.images.dicom import read_dicom

        return read_dicom(address, frame)
    if is_raster(address):
        from easydl.images.raster import read_raster

        return read_raster(address, frame, labels=labels)
    if not Path(address).exists():
        raise missing(address)
    raise unsupported(address)
