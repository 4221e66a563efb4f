"""Writes the simulated images as CT files and the masks beside them. It draws nothing and decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from easydl.errors import RESEARCH_USE
from easydl.simulation.cohort import SCANNERS, Shot
from easydl.simulation.physics import pixel_mm

_ORIENTATION = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def corner(size: int, height_mm: float) -> list[float]:
    """Position of the first pixel's centre in mm (LPS); the middle pixel ``size // 2`` lies at x = y = 0."""
    first = -(size // 2) * pixel_mm(size)
    return [round(first, 6), round(first, 6), round(height_mm, 6)]


def write_slice(
    path: Path, pixels_hu: np.ndarray, shot: Shot, *, seed: int, height_mm: float, thickness_mm: float,
    photons: float, instance: int = 1, kind: str = "slices",
) -> None:  # fmt: skip
    """Writes one slice as a DICOM file of the class CT Image Storage.

    Args:
        path: Where to write.
        pixels_hu: int16 ``(height, width)`` in HU.
        shot: The patient and the image it belongs to.
        seed: Of the study; all unique identifiers follow from it.
        height_mm: Position along the table.
        thickness_mm: Slice thickness.
        photons: Photons per ray, for the description.
        instance: Number of the slice in its series.
        kind: ``"slices"`` or ``"volumes"``, so that both may be loaded side by side.

    References:
        DICOM PS3.3 A.3 (CT image IOD), C.7.6.2 (image plane module), C.8.2.1 (CT image module).
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    def uid(*what: object) -> Any:
        return generate_uid(entropy_srcs=["easydl simulated study", kind, str(seed), *map(str, what)])

    size = pixels_hu.shape[0]
    study = (shot.patient_id, shot.exposure)
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = uid("instance", *study, shot.number, instance)
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = shot.date.strftime("%Y%m%d")
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = "120000"
    ds.AccessionNumber = ""
    ds.Modality = "CT"
    ds.Manufacturer, ds.ManufacturerModelName = shot.patient.scanner.split(" ", 1)
    ds.InstitutionName = "easydl simulation"
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "simulated chest CT"
    ds.SeriesDescription = f"simulated chest, {photons:.0f} photons per ray"
    ds.PatientName = f"SIMULATED^{shot.patient.number:04d}"
    ds.PatientID = shot.patient_id
    ds.PatientBirthDate = ""
    ds.PatientSex = shot.patient.sex
    ds.PatientAge = f"{shot.patient.age_years:03d}Y"
    ds.BodyPartExamined = "CHEST"
    ds.SliceThickness = thickness_mm
    ds.KVP = "120"
    ds.ConvolutionKernel = SCANNERS[shot.patient.scanner].kernel.upper()
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID = uid("study", *study)
    ds.SeriesInstanceUID = uid("series", *study, shot.number)
    ds.StudyID = str(shot.patient.number)
    ds.SeriesNumber = str(shot.number)
    ds.AcquisitionNumber = "1"
    ds.InstanceNumber = str(instance)
    ds.ImagePositionPatient = corner(size, height_mm)
    ds.ImageOrientationPatient = _ORIENTATION
    ds.FrameOfReferenceUID = uid("frame", *study)
    ds.PositionReferenceIndicator = ""
    ds.ImageComments = f"Simulated, no patient. {RESEARCH_USE}"
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = pixels_hu.shape
    ds.PixelSpacing = [pixel_mm(size), pixel_mm(size)]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.BurnedInAnnotation = "NO"
    ds.WindowCenter, ds.WindowWidth = "-500", "1500"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
    ds.PixelData = (pixels_hu.astype(np.int32) + 1024).astype("<u2").tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)


def write_mask_png(path: Path, mask: np.ndarray) -> None:
    """Writes a 2D mask as an 8-bit PNG: 255 in the nodule, 0 elsewhere, so that it can be looked at."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(path)


def write_mask_nifti(path: Path, mask: np.ndarray, heights_mm: Sequence[float]) -> None:
    """Writes a 3D mask as ``.nii.gz`` on the grid of its series, with the affine in NIfTI's convention (RAS).

    Args:
        path: Where to write.
        mask: bool ``(depth, height, width)``, slices from head to feet; 1 is nodule in the file.
        heights_mm: Position of each slice along the table.
    """
    import nibabel
    from highdicom import VolumeGeometry

    depth, size = mask.shape[:2]
    grid = VolumeGeometry.from_attributes(
        image_position=corner(size, heights_mm[0]), image_orientation=_ORIENTATION, rows=size, columns=size,
        pixel_spacing=[pixel_mm(size)] * 2, spacing_between_slices=float(heights_mm[0] - heights_mm[1]),
        number_of_frames=depth, coordinate_system="PATIENT",
    )  # fmt: skip
    affine = grid.permute_spatial_axes([2, 1, 0]).get_affine(output_convention="RAS")
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(mask.astype(np.uint8).transpose(2, 1, 0), affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    nibabel.save(image, path)
