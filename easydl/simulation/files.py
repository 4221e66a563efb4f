"""Writes the simulated images as DICOM files, and their masks. It simulates nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from easydl.errors import RESEARCH_USE
from easydl.simulation.cohort import SCANNERS, Acquisition
from easydl.simulation.imaging import Settings
from easydl.simulation.physics import pixel_mm

_ORIENTATION = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def corner(size: int, height_mm: float) -> list[float]:
    """Position of the first pixel's centre in mm (LPS); the middle pixel ``size // 2`` is at x = y = 0."""
    first = -(size // 2) * pixel_mm(size)
    return [round(first, 6), round(first, 6), round(height_mm, 6)]


def write_slice(
    path: Path, pixels_hu: np.ndarray, acquisition: Acquisition, plan: Settings, *, height_mm: float, instance: int = 1
) -> None:
    """Write one slice (int16, HU) at a height along the table as CT Image Storage.

    All unique identifiers follow from the seed and the kind of study, so that studies of both kinds may be loaded
    together. DICOM PS3.3 A.3 (CT image IOD), C.7.6.2 (image plane module), C.8.2.1 (CT image module).
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    def uid(*what: object) -> Any:
        return generate_uid(entropy_srcs=["easydl simulated study", plan.kind, str(plan.seed), *map(str, what)])

    size = pixels_hu.shape[0]
    study = (acquisition.patient_id, acquisition.exposure)
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = uid("instance", *study, acquisition.number, instance)
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = acquisition.date.strftime("%Y%m%d")
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = "120000"
    ds.AccessionNumber = ""
    ds.Modality = "CT"
    ds.Manufacturer, ds.ManufacturerModelName = acquisition.patient.scanner.split(" ", 1)
    ds.InstitutionName = "easydl simulation"
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "simulated chest CT"
    ds.SeriesDescription = f"simulated chest, {plan.dose:.0f} photons per ray"
    ds.PatientName = f"SIMULATED^{acquisition.patient.number:04d}"
    ds.PatientID = acquisition.patient_id
    ds.PatientBirthDate = ""
    ds.PatientSex = acquisition.patient.sex
    ds.PatientAge = f"{acquisition.patient.age_years:03d}Y"
    ds.BodyPartExamined = "CHEST"
    ds.SliceThickness = round(plan.thickness_mm, 6)
    ds.KVP = "120"
    ds.ConvolutionKernel = SCANNERS[acquisition.patient.scanner].kernel.upper()
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID = uid("study", *study)
    ds.SeriesInstanceUID = uid("series", *study, acquisition.number)
    ds.StudyID = str(acquisition.patient.number)
    ds.SeriesNumber = str(acquisition.number)
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
    """Write a 2D mask as an 8-bit PNG: 255 in the nodule, 0 elsewhere, so that it can be viewed."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(path)


def write_mask_nifti(path: Path, mask: np.ndarray, heights_mm: Sequence[float]) -> None:
    """Write a 3D mask (slices from head to feet) as ``.nii.gz`` on the grid of its series; the affine becomes RAS."""
    import nibabel
    from highdicom import VolumeGeometry

    depth, size = mask.shape[:2]
    grid = VolumeGeometry.from_attributes(
        image_position=corner(size, heights_mm[0]),
        image_orientation=_ORIENTATION,
        rows=size,
        columns=size,
        pixel_spacing=[pixel_mm(size)] * 2,
        spacing_between_slices=float(heights_mm[0] - heights_mm[1]),
        number_of_frames=depth,
        coordinate_system="PATIENT",
    )
    affine = grid.permute_spatial_axes([2, 1, 0]).get_affine(output_convention="RAS")
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(mask.astype(np.uint8).transpose(2, 1, 0), affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    nibabel.save(image, path)
