"""Predicted masks as DICOM Segmentations of their source series, for PACS viewers. Geometry is highdicom's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.errors import RESEARCH_USE, InputError
from easydl.fileio import replacing
from easydl.images.headers import open_dicom
from easydl.images.quiet import quiet_libraries

if TYPE_CHECKING:
    from easydl.prediction.image_results import Segmentation

SERIES_DESCRIPTION = "RESEARCH ONLY - easydl segmentation"
"""At most 64 characters, as the value representation LO demands (PS3.5 section 6.2)."""


@quiet_libraries()
def write_seg(segmentation: Segmentation, path: str | Path) -> Path:
    """Write a predicted mask as a binary DICOM Segmentation (PS3.3 A.51, C.8.20); see `Segmentation.to_dicom`."""
    import highdicom
    from highdicom.sr.coding import CodedConcept
    from pydicom.uid import generate_uid

    source = segmentation.scan.source
    files = source_files(source)
    if not (segmentation.mask > 0).any():
        raise InputError(
            "The predicted mask is empty.", "at least one segmented structure.", "There is nothing to write."
        )
    scan = segmentation.scan.on_source()  # Its frames are then those of the source series.
    if scan.affine is None:
        raise InputError(
            "The scan has no position in space.", "a series with positions.", "Save the mask as .png instead."
        )
    tissue = CodedConcept("85756007", "SCT", "Tissue")
    present = [k for k in range(1, len(segmentation.classes)) if (segmentation.mask == k).any()]
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=segmentation.classes[k],
            segmented_property_category=tissue,
            segmented_property_type=tissue,
            algorithm_type="AUTOMATIC",
            algorithm_identification=highdicom.AlgorithmIdentificationSequence(
                name="easydl", version=_version(), family=CodedConcept("123109", "DCM", "Artificial Intelligence")
            ),
        )
        for number, k in enumerate(present, 1)
    ]
    mask = segmentation.scan.as_in(scan, segmentation.mask)
    numbered = np.zeros(mask.shape, np.uint8)
    for number, k in enumerate(present, 1):
        numbered[mask == k] = number
    try:
        sources = [open_dicom(file) for file in files]
        _one_orientation(sources, scan.affine)
        volume = highdicom.Volume(numbered, scan.affine, coordinate_system="PATIENT")
        written = highdicom.seg.Segmentation(
            source_images=sources,
            pixel_array=volume,
            segmentation_type="BINARY",
            segment_descriptions=descriptions,
            series_instance_uid=generate_uid(),
            series_number=9000,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="easydl",
            manufacturer_model_name="easydl",
            software_versions=_version(),
            device_serial_number="none",
            series_description=SERIES_DESCRIPTION,
            content_description=RESEARCH_USE[:60],
        )
        written.ImageComments = RESEARCH_USE
    except (AttributeError, TypeError, ValueError) as problem:
        # An AttributeError names the element that is missing; what else is said may quote a value of the header.
        why = str(problem).splitlines()[0] if isinstance(problem, AttributeError) else type(problem).__name__
        raise InputError(
            f"The source series cannot carry a segmentation: {why}.",
            "a series with study, series and instance identifiers and a frame of reference (PS3.3 A.51).",
            "Save the mask as .nii.gz instead.",
        ) from problem
    path = Path(path)
    with replacing(path) as draft:
        written.save_as(draft)
    return path


def _one_orientation(sources: list[Any], affine: np.ndarray) -> None:
    """Give slices that differ in the last decimals the one orientation that they were read with; in memory only."""
    directions = [affine[:3, axis] / np.linalg.norm(affine[:3, axis]) for axis in (2, 1)]
    for dataset in sources:
        if "ImageOrientationPatient" in dataset:
            dataset.ImageOrientationPatient = [f"{value:.9g}" for value in np.concatenate(directions)]


def source_files(source: str, what: str = "mask") -> list[Path]:
    """The DICOM files that a scan was read from."""
    from easydl.images.limits import is_dicom
    from easydl.images.series import one_series

    if Path(source).is_file() and is_dicom(source):
        return [Path(source)]
    if Path(source).is_dir() or "#" in source:
        return one_series(source).files
    raise InputError(
        "The scan was not read from DICOM.",
        "a DICOM series as the source.",
        f"Save the {what} as .nii.gz or .png instead.",
    )


def _version() -> str:
    from importlib.metadata import version

    return version("easydl-med")
