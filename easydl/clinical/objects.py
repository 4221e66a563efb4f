"""Which DICOM objects can be de-identified at all: images, and what is computed on their grid. It changes none."""

from __future__ import annotations

from typing import Any

from pydicom import uid

from easydl.clinical.pixeldata import KEYWORDS, KNOWN
from easydl.errors import EasyDLError
from easydl.images.limits import check_size

UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
IMAGES = {
    uid.ComputedRadiographyImageStorage, uid.DigitalXRayImageStorageForPresentation,
    uid.DigitalXRayImageStorageForProcessing, uid.DigitalMammographyXRayImageStorageForPresentation,
    uid.DigitalMammographyXRayImageStorageForProcessing, uid.DigitalIntraOralXRayImageStorageForPresentation,
    uid.DigitalIntraOralXRayImageStorageForProcessing, uid.BreastTomosynthesisImageStorage,
    uid.CTImageStorage, uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage,
    uid.MRImageStorage, uid.EnhancedMRImageStorage, uid.EnhancedMRColorImageStorage,
    uid.LegacyConvertedEnhancedMRImageStorage, uid.PositronEmissionTomographyImageStorage,
    uid.EnhancedPETImageStorage, uid.LegacyConvertedEnhancedPETImageStorage, uid.NuclearMedicineImageStorage,
    uid.UltrasoundImageStorage, uid.UltrasoundMultiFrameImageStorage, uid.SecondaryCaptureImageStorage,
    uid.MultiFrameSingleBitSecondaryCaptureImageStorage, uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage, uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    uid.XRayAngiographicImageStorage, uid.XRayRadiofluoroscopicImageStorage, uid.EnhancedXAImageStorage,
    uid.EnhancedXRFImageStorage, uid.XRay3DAngiographicImageStorage, uid.XRay3DCraniofacialImageStorage,
    uid.VLEndoscopicImageStorage, uid.VLMicroscopicImageStorage, uid.VLPhotographicImageStorage,
    uid.OphthalmicPhotography8BitImageStorage, uid.OphthalmicPhotography16BitImageStorage,
    uid.OphthalmicTomographyImageStorage,
    uid.UID("1.2.840.10008.5.1.4.1.1.6"), uid.UID("1.2.840.10008.5.1.4.1.1.3"), uid.UID("1.2.840.10008.5.1.4.1.1.5"),
}  # fmt: skip
"""The last three are the retired ultrasound and nuclear medicine classes."""
COMPUTED = {
    uid.SegmentationStorage: "SEG", uid.UID("1.2.840.10008.5.1.4.1.1.66.7"): "SEG",
    uid.ParametricMapStorage: "PM", uid.RTDoseStorage: "RTDOSE",
}  # fmt: skip


class Refused(Exception):
    """A file that is not written; the text says why and names nobody."""


def kind_of_object(header: Any) -> str:
    """``"image"``, ``"SEG"``, ``"PM"`` or ``"RTDOSE"``; refuses other objects, unknown encodings and impossible sizes."""
    sop_class = uid.UID(str(header.get("SOPClassUID") or "").strip("\0 "))
    name = sop_class.name if sop_class in uid.UID_dictionary else "an object that does not say what it is"
    if sop_class not in IMAGES and sop_class not in COMPUTED:
        text = " SR " in f" {name} " or "Encapsulated" in name or "Structured" in name
        why = "its text cannot be cleaned" if text else "it is not an image, segmentation, parametric map or dose"
        raise Refused(f"{name}: {why}")
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax not in KNOWN:
        known = syntax is not None and syntax in uid.UID_dictionary
        raise Refused(f"{syntax.name if known else 'its encoding'}: easydl cannot look into such frames")
    if not any(keyword in header for keyword in KEYWORDS):
        raise Refused("it holds no pixels")
    try:
        shape = (int(header.get("NumberOfFrames") or 1), int(header.get("Rows")), int(header.get("Columns")))
        if shape[0] < 1:
            raise ValueError
        check_size((*shape, int(header.get("SamplesPerPixel") or 1)), "the image")
    except (TypeError, ValueError, EasyDLError) as problem:
        raise Refused("its number of rows, columns or frames is missing, impossible or beyond the limit") from problem
    return COMPUTED.get(sop_class, "image")
