"""A CT slice with an identifier in every place where one has been found, and the search for them in bytes."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pydicom
from made import dicom_slice
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

STUDY, SERIES, INSTANCE = (f"1.2.826.0.1.3680043.2.1143.4711{n}.990017" for n in (1, 2, 3))
SEEDED = {
    "preamble": "Preamble-Quandt",
    "meta SourceApplicationEntityTitle": "AE_QUELLE_KH",
    "meta SendingApplicationEntityTitle": "AE_SENDER_KH",
    "meta PrivateInformation": "MetaPrivat-Quandt",
    "PatientName": "Quandtbauer^Liselotte",
    "PatientID": "MRN-4711-0815",
    "PatientBirthDate": "19310412",
    "OtherPatientIDs": "OLD-MRN-99812",
    "OtherPatientNames": "Quandtmeier^Lilo",
    "PatientBirthName": "Geborene-Zwickel",
    "PatientMotherBirthName": "Mutter-Zwackel",
    "PatientAddress": "Hinterhofgasse 17",
    "PatientTelephoneNumbers": "+49-555-0172",
    "PatientComments": "wife of the mayor",
    "AdditionalPatientHistory": "smokes like her brother Otto",
    "Occupation": "Organistin",
    "EthnicGroup": "Sorbisch",
    "MilitaryRank": "Oberstleutnant",
    "PatientReligiousPreference": "Altkatholisch",
    "AccessionNumber": "ACC-20231117-5",
    "StudyID": "STU-778812",
    "StudyDate": "20231117",
    "SeriesDate": "20231118",
    "ContentDate": "20231119",
    "AcquisitionDateTime": "20231120121314",
    "ReferringPhysicianName": "Zuweiser^Theobald",
    "PerformingPhysicianName": "Radiologe^Egon",
    "OperatorsName": "Mtra^Wilma",
    "PhysiciansOfRecord": "Hausarzt^Benno",
    "InstitutionName": "Kreisklinik Unterfelden",
    "InstitutionAddress": "Klinikallee 3 Unterfelden",
    "InstitutionalDepartmentName": "Haus C Strahlen",
    "StationName": "CT-UNTERFELDEN",
    "DeviceSerialNumber": "SN-774411",
    "StudyDescription": "CT of Quandtbauer for Dr Theobald",
    "SeriesDescription": "axial Liselotte soft 5mm",
    "ProtocolName": "Protokoll-Unterfelden",
    "ImageComments": "seen by Egon",
    "RequestedProcedureDescription": "Frage von Hausarzt Benno",
    "BodyPartExamined": "LISELOTTE",
    "StudyInstanceUID": STUDY,
    "SeriesInstanceUID": SERIES,
    "SOPInstanceUID": INSTANCE,
    "nested RequestAttributesSequence": "Anforderung-Unterfelden",
    "deeply nested": "Tief-Verborgen",
    "code meaning of a local code": "Lokal-Quandt",
    "OriginalAttributesSequence": "Vorher-Quandt",
    "DigitalSignaturesSequence": "Siegel-Quandt",
    "private LO": "PrivatLO-Quandt",
    "private SQ": "PrivatSQ-Quandt",
    "curve 5000": "Kurve-Quandt",
    "overlay 6000": "Overlay-Quandt",
    "overlay 6000 data": "OverlayDaten-Quandt",
    "icon": "Ikone-Quandt",
    "unknown public element": "Unbekannt-Quandt",
    "text in a number": "Kilovolt-Egon",
    "after the last pixel": "HinterDenPixeln-Quandt",
    "trailing padding": "Polster-Quandt",
    "file name": "Quandtbauer_Liselotte",
}


def identified_ct(folder: Path) -> Path:
    """Write the slice, as explicit little endian, into a folder and under a name that give the patient away."""
    path = folder / SEEDED["file name"] / "IM1.dcm"
    pixels = np.random.default_rng(0).integers(0, 4096, (32, 32)).astype(np.uint16)
    named = {k: v for k, v in SEEDED.items() if pydicom.datadict.tag_for_keyword(k) and not k.endswith("Sequence")}
    dicom_slice(path, pixels, PatientAge="092Y", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], **named)
    ds = pydicom.dcmread(path)
    ds.preamble = SEEDED["preamble"].encode().ljust(128, b"\0")
    ds.file_meta.MediaStorageSOPInstanceUID = INSTANCE
    ds.file_meta.SourceApplicationEntityTitle = SEEDED["meta SourceApplicationEntityTitle"]
    ds.file_meta.SendingApplicationEntityTitle = SEEDED["meta SendingApplicationEntityTitle"]
    ds.file_meta.PrivateInformationCreatorUID = "1.2.3.4"
    ds.file_meta.PrivateInformation = _even(SEEDED["meta PrivateInformation"])
    request, inner, code = Dataset(), Dataset(), Dataset()
    inner.ScheduledProcedureStepDescription = SEEDED["deeply nested"]
    code.CodeValue, code.CodingSchemeDesignator = "K1", "99LOCAL"
    code.CodeMeaning = SEEDED["code meaning of a local code"]
    request.RequestedProcedureDescription = SEEDED["nested RequestAttributesSequence"]
    request.ScheduledProtocolCodeSequence = Sequence([inner])
    ds.RequestAttributesSequence = Sequence([request])
    anatomy = Dataset()
    anatomy.update(code)
    anatomy.AnatomicRegionModifierSequence = Sequence([inner])
    ds.AnatomicRegionSequence = Sequence([anatomy])
    changed, signed = Dataset(), Dataset()
    changed.ReasonForTheAttributeModification, changed.ModifyingSystem = "CORRECT", SEEDED["OriginalAttributesSequence"]
    signed.CertificateOfSigner = _even(SEEDED["DigitalSignaturesSequence"])
    ds.OriginalAttributesSequence, ds.DigitalSignaturesSequence = Sequence([changed]), Sequence([signed])
    block = ds.private_block(0x0029, "QUANDT CT", create=True)
    block.add_new(1, "LO", SEEDED["private LO"])
    hidden = Dataset()
    hidden.PatientComments = SEEDED["private SQ"]
    block.add_new(2, "SQ", Sequence([hidden]))
    ds.add_new(0x50000040, "LO", SEEDED["curve 5000"])
    ds.add_new(0x60000022, "LO", SEEDED["overlay 6000"])
    ds.add_new(0x60003000, "OB", _even(SEEDED["overlay 6000 data"]))
    icon = Dataset()
    icon.Rows = icon.Columns = 4
    icon.PixelData = _even(SEEDED["icon"])
    icon["PixelData"].VR = "OB"
    ds.IconImageSequence = Sequence([icon])
    ds.add_new(0x0018FFF0, "LO", SEEDED["unknown public element"])
    ds.PixelData += _even(SEEDED["after the last pixel"])
    ds.add_new(0xFFFCFFFC, "OB", _even(SEEDED["trailing padding"]))
    ds.save_as(path, enforce_file_format=True)
    # A number that is text: written as bytes, because pydicom itself refuses it.
    raw = path.read_bytes()
    text = SEEDED["text in a number"].encode().ljust(14)
    element = struct.pack("<HH2sH", 0x0018, 0x0060, b"DS", len(text)) + text
    at = raw.index(struct.pack("<HH2s", 0x0018, 0x1000, b"LO"))
    path.write_bytes(raw[:at] + element + raw[at:])
    return path


def found_in(data: bytes, strings) -> list[str]:
    """Which strings occur in the bytes: as written, in any case, and as UTF-16 of either order."""
    low = data.lower()
    return [
        text for text in strings
        if any(text.lower().encode(code) in low for code in ("latin-1", "utf-16-le", "utf-16-be"))
    ]  # fmt: skip


def everything_below(folder: Path) -> bytes:
    """The bytes of all files and their names."""
    paths = sorted(folder.rglob("*"))
    return b"\n".join(
        [str(p.relative_to(folder)).encode() for p in paths] + [p.read_bytes() for p in paths if p.is_file()]
    )


def _even(text: str) -> bytes:
    data = text.encode()
    return data + b"\0" * (len(data) % 2)
