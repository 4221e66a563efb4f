"""Writes the simulated images as DICOM files, and their masks. It simulates nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from easydl.errors import RESEARCH_USE
from easydl.simulation import mr
from easydl.simulation.cohort import SCANNERS, Acquisition
from easydl.simulation.plan import Settings

_ORIENTATION = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def corner(plan: Settings, height_mm: float) -> list[float]:
    """Position of the first pixel's centre in mm (LPS); the middle pixel ``size // 2`` is at x = y = 0."""
    first = -(plan.size // 2) * plan.pixel_mm
    return [round(first, 6), round(first, 6), round(height_mm, 6)]


def write_slice(
    path: Path, pixels: np.ndarray, acquisition: Acquisition, plan: Settings, *, height_mm: float, instance: int = 1
) -> None:
    """Write one slice (int16) at a height along the table as CT or MR Image Storage.

    All unique identifiers follow from the seed and the kind of study, so that studies of all kinds may be loaded
    together. DICOM PS3.3 A.3 and A.4 (CT and MR image IOD), C.7.6.2 (image plane module), C.8.2.1 and C.8.3.1 (CT and MR
    image module).
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    def uid(*what: object) -> Any:
        return generate_uid(entropy_srcs=["easydl simulated study", plan.kind, str(plan.seed), *map(str, what)])

    study = (acquisition.patient_id, acquisition.exposure)
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPInstanceUID = uid("instance", *study, acquisition.number, instance)
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = acquisition.date.strftime("%Y%m%d")
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = "120000"
    ds.AccessionNumber = ""
    ds.Manufacturer, ds.ManufacturerModelName = acquisition.patient.scanner.split(" ", 1)
    ds.InstitutionName = "easydl simulation"
    ds.ReferringPhysicianName = ""
    ds.PatientName = f"SIMULATED^{acquisition.patient.number:04d}"
    ds.PatientID = acquisition.patient_id
    ds.PatientBirthDate = ""
    ds.PatientSex = acquisition.patient.sex
    ds.PatientAge = f"{acquisition.patient.age_years:03d}Y"
    ds.SliceThickness = round(plan.thickness_mm, 6)
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID = uid("study", *study)
    ds.SeriesInstanceUID = uid("series", *study, acquisition.number)
    ds.StudyID = str(acquisition.patient.number)
    ds.SeriesNumber = str(acquisition.number)
    ds.AcquisitionNumber = "1"
    ds.InstanceNumber = str(instance)
    ds.ImagePositionPatient = corner(plan, height_mm)
    ds.ImageOrientationPatient = _ORIENTATION
    ds.FrameOfReferenceUID = uid("frame", *study)
    ds.PositionReferenceIndicator = ""
    ds.ImageComments = f"Simulated, no patient. {RESEARCH_USE}"
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.PixelSpacing = [plan.pixel_mm, plan.pixel_mm]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.BurnedInAnnotation = "NO"
    stored = _ct(ds, pixels, acquisition, plan) if plan.shows.region == "chest" else _mr(ds, pixels, acquisition)
    ds.PixelData = stored.astype("<u2").tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)


def _ct(ds: Any, pixels_hu: np.ndarray, acquisition: Acquisition, plan: Settings) -> np.ndarray:
    """What a CT header says; returns the stored values."""
    from pydicom.uid import CTImageStorage

    ds.SOPClassUID = CTImageStorage
    ds.Modality = "CT"
    ds.BodyPartExamined = "CHEST"
    ds.StudyDescription = "simulated chest CT"
    ds.SeriesDescription = f"simulated chest, {plan.dose:.0f} photons per ray"
    ds.KVP = "120"
    ds.ConvolutionKernel = SCANNERS[acquisition.patient.scanner].kernel.upper()
    ds.WindowCenter, ds.WindowWidth = "-500", "1500"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
    return pixels_hu.astype(np.int32) + 1024


def _mr(ds: Any, pixels: np.ndarray, acquisition: Acquisition) -> np.ndarray:
    """What an MR header says; returns the stored values."""
    from pydicom.uid import MRImageStorage

    ds.SOPClassUID = MRImageStorage
    ds.Modality = "MR"
    ds.BodyPartExamined = "PELVIS"
    ds.StudyDescription = "simulated pelvis MR"
    ds.SeriesDescription = "simulated pelvis, T2-weighted"
    ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "SE", "SK", "", "2D"
    ds.MagneticFieldStrength = f"{mr.COILS[acquisition.patient.scanner].tesla:g}"
    ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength = f"{mr.TR_MS:g}", f"{mr.TE_MS:g}", "16"
    ds.WindowCenter, ds.WindowWidth = "600", "1200"
    return pixels


def label_map(masks: Mapping[str, np.ndarray]) -> np.ndarray:
    """One organ as 1; several as 1, 2, 3, ... in their order, a later one over an earlier. uint8."""
    combined = np.zeros(next(iter(masks.values())).shape, np.uint8)
    for value, mask in enumerate(masks.values(), 1):
        combined[mask] = value
    return combined


def write_mask_png(path: Path, masks: Mapping[str, np.ndarray]) -> None:
    """Write a 2D mask as an 8-bit PNG; that of a single organ is 0 and 255, so that it can be viewed."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(label_map(masks) * np.uint8(255 if len(masks) == 1 else 1)).save(path)


def write_mask_nifti(path: Path, masks: Mapping[str, np.ndarray], plan: Settings, heights_mm: Sequence[float]) -> None:
    """Write a 3D mask (slices from head to feet) as ``.nii.gz`` on the grid of its series; the affine becomes RAS."""
    import nibabel
    from highdicom import VolumeGeometry

    grid = VolumeGeometry.from_attributes(
        image_position=corner(plan, heights_mm[0]),
        image_orientation=_ORIENTATION,
        rows=plan.size,
        columns=plan.size,
        pixel_spacing=[plan.pixel_mm] * 2,
        spacing_between_slices=float(heights_mm[0] - heights_mm[1]),
        number_of_frames=plan.depth,
        coordinate_system="PATIENT",
    )
    affine = grid.permute_spatial_axes([2, 1, 0]).get_affine(output_convention="RAS")
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(label_map(masks).transpose(2, 1, 0), affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    nibabel.save(image, path)
