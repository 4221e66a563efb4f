"""DICOM headers: opened within limits, and which of their fields may be kept. It decodes no pixels."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from easydl.errors import EasyDLError, InputError
from easydl.images.file_errors import missing, refuse_special, unreadable
from easydl.images.limits import lacks_preamble
from easydl.images.patients import is_scientific, names_nobody, patient_key
from easydl.images.quiet import quiet_libraries
from easydl.secret import computer_secret, keyed_digest

HEADER_TAGS = (
    "PatientID", "PatientSex", "PatientAge", "Manufacturer", "ManufacturerModelName", "StudyDate",
    "ViewPosition", "Laterality", "ImageLaterality", "Modality", "BodyPartExamined", "KVP", "SeriesInstanceUID",
    "StudyInstanceUID", "SOPInstanceUID", "SOPClassUID", "Rows", "Columns", "NumberOfFrames", "ImageType",
    "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "ImagerPixelSpacing",
    "PhotometricInterpretation", "BitsStored", "BurnedInAnnotation", "SamplesPerPixel", "LossyImageCompression",
    "EchoTime", "TemporalPositionIdentifier", "DiffusionBValue", "AcquisitionNumber", "TriggerTime", "InversionTime",
    "ContentTime",
)  # fmt: skip
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation Storage and Label Map Segmentation Storage (PS3.4 annex B.5)."""
DEFLATED = b"1.2.840.10008.1.2.1.99"
DEFERRED_BYTES = 4096
MAX_META_BYTES = 1 << 20
MAX_INFLATED_BYTES = 1_600_000_000
MAX_RATIO, RATIO_FROM_BYTES = 100, 64_000_000


def open_dicom(path: str | Path) -> Any:
    """A whole DICOM data set whose large values (pixels) are read from the disk only when they are asked for."""
    dataset = _dcmread(path, defer_size=DEFERRED_BYTES)
    with header_errors(Path(path).name):
        word = str(dataset.get("PhotometricInterpretation") or "")
        if word != word.strip().upper():  # libraries take "monochrome1" for a word they do not know
            dataset.PhotometricInterpretation = word.strip().upper()
    return dataset


def read_header(path: str | Path) -> Any:
    """The header of one DICOM file, pixels left on disk; only the tags easydl looks at."""
    return _dcmread(path, stop_before_pixels=True, specific_tags=list(HEADER_TAGS))


def safe_header(dataset: Any) -> dict[str, str]:
    """The fields that may be shown and stored: what was scanned, how and on whom in general, never who.

    Any of ``sex``, ``age_years`` (``"90+"`` from 90 on), ``scanner``, ``date`` (year and month), ``view``,
    ``laterality``, ``modality``, ``body_part``, ``kvp``, ``compression`` (``"lossy"``) and ``burned_in`` (``"yes"``), as
    text. DICOM PS3.15 annex E; HIPAA safe harbor, 45 CFR 164.514(b)(2) (ages over 89).
    """
    date = str(dataset.get("StudyDate") or "")
    fields = {
        "sex": dataset.get("PatientSex"),
        "age_years": _age(dataset.get("PatientAge")),
        "scanner": f"{dataset.get('Manufacturer') or ''} {dataset.get('ManufacturerModelName') or ''}",
        "date": f"{date[:4]}-{date[4:6]}" if len(date) == 8 and date.isdigit() else None,
        "view": dataset.get("ViewPosition"),
        "laterality": dataset.get("ImageLaterality") or dataset.get("Laterality"),
        "modality": dataset.get("Modality"),
        "body_part": dataset.get("BodyPartExamined"),
        "kvp": dataset.get("KVP"),
        "compression": "lossy" if is_lossy(dataset) else None,
        "burned_in": "yes" if str(dataset.get("BurnedInAnnotation") or "").upper() == "YES" else None,
    }
    texts = {name: "" if value is None else " ".join(str(value).split())[:64] for name, value in fields.items()}
    return {name: text for name, text in texts.items() if text}


@quiet_libraries()
def header_facts(dataset: Any) -> dict[str, str]:
    """What the study table keeps: ``width``, ``height``, ``file_type``, `safe_header` and the ``patient`` pseudonym.

    Also ``examination``, a hash that tells which images are of one study; it never reaches the table itself.
    """
    patient = pseudonym(dataset.get("PatientID"))
    study = str(dataset.get("StudyInstanceUID") or "").strip()
    return {
        "width": str(dataset.get("Columns") or ""),
        "height": str(dataset.get("Rows") or ""),
        "file_type": f"DICOM {dataset.get('PhotometricInterpretation') or ''}".strip(),
        **safe_header(dataset),
        **({"patient": patient} if patient else {}),
        **({"examination": keyed_digest("examination", study, computer_secret().key).hex()[:16]} if study else {}),
    }


def pseudonym(patient_id: Any) -> str | None:
    """A stable pseudonym of a patient's identifier: ``P-`` and ten hexadecimal digits; None where it names nobody.

    It is keyed with the secret of this computer: whoever has only the pseudonym can neither guess nor recognise the
    identifier, however that is written. Another computer gives another pseudonym; a split is the same there.
    """
    text = str(patient_id or "")
    if names_nobody(text) or is_scientific(text):
        return None
    return "P-" + keyed_digest("patient", patient_key(text), computer_secret().key).hex()[:10]


def is_lossy(dataset: Any) -> bool:
    """Whether the pixels ever went through lossy compression (PS3.3 C.7.6.1.1.5)."""
    return str(dataset.get("LossyImageCompression") or "").strip() == "01"


def sop_class(dataset: Any) -> str:
    """The name of the object's SOP class, such as ``CT Image Storage``; "" without one."""
    return str(getattr(dataset.get("SOPClassUID"), "name", "") or "")


def numbers(dataset: Any, keyword: str, count: int) -> tuple[float, ...] | None:
    """``count`` finite numbers of an element; None when it is absent, of another length, or has NaN or infinity.

    Decimal strings are split here: pydicom makes an object of each, which costs as much as decoding the slice.
    """
    try:
        value = dataset.get_item(keyword).value
        value = value.strip(b" \0").split(b"\\") if isinstance(value, bytes) else dataset.get(keyword)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    try:
        values = tuple(float(number) for number in value)
    except (TypeError, ValueError):
        return None
    return values if len(values) == count and all(map(math.isfinite, values)) else None


def pixel_spacing(dataset: Any) -> tuple[tuple[float, float] | None, list[str]]:
    """Millimetres between rows and between columns, and notes about them.

    DICOM PS3.3 10.7.1.3 (pixel spacing), C.8.11.3 (imager pixel spacing: at the detector, magnified).
    """
    for tag in ("PixelSpacing", "ImagerPixelSpacing"):
        if tag not in dataset or not dataset.get_item(tag).value:
            continue
        values = numbers(dataset, tag, 2)
        if values is None or min(values) <= 0:
            return None, [f"{tag} is not two positive numbers: millimetres are not known"]
        if tag == "ImagerPixelSpacing":
            return (values[0], values[1]), ["millimetres are those of the detector plane (ImagerPixelSpacing)"]
        return (values[0], values[1]), []
    return None, []


@contextmanager
def header_errors(name: str) -> Iterator[None]:
    """Around work with a data set: pydicom converts values when they are asked for, and fails there in its own ways."""
    try:
        with quiet_libraries():
            yield
    except (EasyDLError, MemoryError, RecursionError):
        raise
    except Exception as problem:  # each element is converted by its own code, with its own exceptions
        raise unreadable(name, "its header holds values that cannot be right") from problem


def no_image(dataset: Any, name: str) -> InputError:
    """The error for a file without pixels: another kind of object, or an image that was cut short."""
    kind = sop_class(dataset)
    if not kind:
        return unreadable(name, "it has neither a type nor pixels: its header is cut short or damaged")
    if "Image Storage" in kind:
        return unreadable(name, "it ends before its pixels: it was cut short, or only its header was exported")
    if kind == "RT Structure Set Storage":
        return InputError(
            f"{name} holds contours and no pixels: it is an {kind}.",
            "an image, or a mask on the grid of its image.",
            "Convert its contours to NIfTI or DICOM Segmentation first, for example with convert_rtstruct of the Python "
            "library platipy (Apache licence) or with 3D Slicer (SlicerRT), and name those files as masks.",
        )
    article = "an" if kind[:1] in "AEIOU" else "a"
    return InputError(f"{name} holds no image: it is {article} {kind}.", "a DICOM image.", "Leave it out of the study.")


def refuse_mosaic(dataset: Any, name: str) -> None:
    """Refuse a Siemens mosaic: the slices of a volume as the tiles of one image, without their positions."""
    if "MOSAIC" in [str(value).strip().upper() for value in (dataset.get("ImageType") or [])]:
        raise InputError(
            f"{name} is a mosaic: all slices of a volume as tiles of one image.",
            "one slice in each file, or NIfTI.",
            "Convert the series with dcm2niix, or export it from the scanner as separate or enhanced images.",
        )


def _dcmread(path: str | Path, **options: Any) -> Any:
    import pydicom
    from pydicom.errors import InvalidDicomError

    refuse_special(path)
    if not Path(path).is_file():
        raise missing(path)
    _refuse_bomb(Path(path))
    bare = lacks_preamble(path)
    try:
        with quiet_libraries():
            dataset = pydicom.dcmread(path, force=bare, **options)
            return _with_encoding(dataset) if bare else dataset
    except InvalidDicomError as problem:
        raise unreadable(path, "it is not a DICOM file") from problem
    except RecursionError as problem:
        raise unreadable(path, "its sequences are nested without end") from problem
    except MemoryError:
        raise
    except Exception as problem:
        raise unreadable(path, "its header is cut short or damaged") from problem


def _with_encoding(dataset: Any) -> Any:
    """A data set without file meta information (PS3.10 7.1), with the uncompressed encoding that it was read in."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _refuse_bomb(path: Path) -> None:
    """Inflate a deflated data set without keeping it: pydicom would take whatever memory it asks for."""
    with open(path, "rb") as file:
        head = file.read(144)
        if len(head) < 144 or head[132:138] != b"\x02\x00\x00\x00UL":
            length = MAX_META_BYTES  # No length of the meta information: it must lie within the first megabyte.
        else:
            length = struct.unpack("<I", head[140:144])[0]
            if length > MAX_META_BYTES:
                raise unreadable(path, f"its file meta information claims {length:,} bytes")
        meta = file.read(length)
        if DEFLATED not in meta:
            return
        if head[132:138] != b"\x02\x00\x00\x00UL":
            raise unreadable(path, "it is deflated and its meta information has no length")
        inflate, size, read = zlib.decompressobj(-zlib.MAX_WBITS), 0, 0
        try:
            while (block := file.read(1 << 16)) and not inflate.eof:
                read += len(block)
                while block:
                    size += len(inflate.decompress(block, 1 << 22))
                    block = inflate.unconsumed_tail
                    if size > MAX_INFLATED_BYTES or (size > RATIO_FROM_BYTES and size > MAX_RATIO * read):
                        raise InputError(
                            f"{path.name} unpacks to more than {size:,} bytes from {read:,}.",
                            f"a deflated file of at most {MAX_INFLATED_BYTES:,} bytes, packed by less than {MAX_RATIO}.",
                            "Do not open it: it is damaged or made to fill the memory. Export the image again.",
                        )
        except zlib.error as problem:
            raise unreadable(path, "its deflated part is damaged") from problem


def _age(text: Any) -> str | None:
    text = str(text or "").strip()
    if len(text) != 4 or not text[:3].isdigit() or text[3] not in "DWMY":
        return None
    years = int(text[:3]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[text[3]]
    return "90+" if years >= 90 else str(int(years))
