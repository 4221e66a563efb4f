"""DICOM headers: opened with limits, and what of them may leave this room. It decodes no pixels."""

from __future__ import annotations

import contextlib
import hashlib
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from easydl.errors import EasyDLError, InputError

HEADER_TAGS = (
    "PatientID", "PatientSex", "PatientAge", "Manufacturer", "ManufacturerModelName", "StudyDate",
    "ViewPosition", "Laterality", "ImageLaterality", "Modality", "BodyPartExamined", "KVP", "SeriesInstanceUID",
    "StudyInstanceUID", "SOPInstanceUID", "SOPClassUID", "Rows", "Columns", "NumberOfFrames", "ImageType",
    "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "ImagerPixelSpacing",
    "PhotometricInterpretation", "BitsStored", "BurnedInAnnotation", "SamplesPerPixel", "LossyImageCompression",
    "EchoTime", "TemporalPositionIdentifier", "DiffusionBValue", "AcquisitionNumber", "TriggerTime", "InversionTime",
    "ContentTime",
)  # fmt: skip
# pydicom warns of every value that breaks a rule of form; what matters of them is refused or noted by name here.
warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\.")

DEFLATED = b"1.2.840.10008.1.2.1.99"
DEFERRED_BYTES = 4096
MOST_META_BYTES = 1 << 20
MOST_INFLATED_BYTES = 1_600_000_000
MOST_RATIO, RATIO_FROM_BYTES = 100, 64_000_000


def open_dicom(path: str | Path) -> Any:
    """A whole DICOM data set whose large values (pixels) are read from the disk only when they are asked for.

    Raises:
        InputError: The file is missing, is not DICOM, is cut in its header, nests without end, or is a deflate bomb.
    """
    return _dcmread(path, defer_size=DEFERRED_BYTES)


def read_header(path: str | Path) -> Any:
    """The header of one DICOM file, pixels left on disk; only the tags easydl looks at.

    Raises:
        InputError: The file is missing, is not DICOM, or is cut in its header.
    """
    return _dcmread(path, stop_before_pixels=True, specific_tags=list(HEADER_TAGS))


def safe_header(dataset: Any) -> dict[str, str]:
    """The fields that may leave this room: what was scanned, how and on whom in general, never who.

    Returns:
        Any of ``sex``, ``age_years`` (``"90+"`` from 90 on), ``scanner``, ``date`` (year and month), ``view``,
        ``laterality``, ``modality``, ``body_part``, ``kvp``, ``compression`` (``"lossy"``) and ``burned_in`` (``"yes"``),
        as text; absent fields are left out.

    References:
        DICOM PS3.15 annex E; HIPAA safe harbor, 45 CFR 164.514(b)(2) (ages over 89).
    """
    found: dict[str, str] = {}

    def take(name: str, value: Any) -> None:
        text = " ".join(str(value).split()) if value not in (None, "") else ""
        if text:
            found[name] = text[:64]

    take("sex", dataset.get("PatientSex"))
    take("age_years", _age(dataset.get("PatientAge")))
    take("scanner", f"{dataset.get('Manufacturer') or ''} {dataset.get('ManufacturerModelName') or ''}".strip())
    date = str(dataset.get("StudyDate") or "")
    take("date", f"{date[:4]}-{date[4:6]}" if len(date) == 8 and date.isdigit() else None)
    take("view", dataset.get("ViewPosition"))
    take("laterality", dataset.get("ImageLaterality") or dataset.get("Laterality"))
    take("modality", dataset.get("Modality"))
    take("body_part", dataset.get("BodyPartExamined"))
    take("kvp", dataset.get("KVP"))
    take("compression", "lossy" if is_lossy(dataset) else None)
    take("burned_in", "yes" if str(dataset.get("BurnedInAnnotation") or "").upper() == "YES" else None)
    return found


def header_facts(dataset: Any) -> dict[str, str]:
    """What the study table keeps of a header: `safe_header`, the size, the kind of pixels and the pseudonym.

    Returns:
        ``width``, ``height``, ``file_type``, the fields of `safe_header` and, with an identifier, ``patient``.
    """
    patient = pseudonym(dataset.get("PatientID"))
    return {
        "width": str(dataset.get("Columns") or ""),
        "height": str(dataset.get("Rows") or ""),
        "file_type": f"DICOM {dataset.get('PhotometricInterpretation') or ''}".strip(),
        **safe_header(dataset),
        **({"patient": patient} if patient else {}),
    }


def pseudonym(patient_id: Any) -> str | None:
    """A stable stand-in for a patient's identifier: ``P-`` and ten hexadecimal digits; None without one.

    The same identifier gives the same pseudonym on every machine, so splits can be repeated; whoever knows an
    identifier can therefore recognise its pseudonym. It is no anonymisation.
    """
    text = str(patient_id or "").strip()
    return "P-" + hashlib.sha256(f"easydl patient {text}".encode()).hexdigest()[:10] if text else None


def is_lossy(dataset: Any) -> bool:
    """Whether the pixels were compressed with loss at some time (PS3.3 C.7.6.1.1.5)."""
    return str(dataset.get("LossyImageCompression") or "").strip() == "01"


def kind_of(dataset: Any) -> str:
    """The name of the object's SOP class, such as ``CT Image Storage``; "" without one."""
    return str(getattr(dataset.get("SOPClassUID"), "name", "") or "")


def numbers(dataset: Any, keyword: str, count: int) -> tuple[float, ...] | None:
    """``count`` finite numbers of an element, or None: absent, of another length, or with NaN or infinity.

    Decimal strings are split here: pydicom makes an object of each, which costs as much as decoding the slice.
    """
    try:
        value = dataset.get_item(keyword).value
        value = value.strip(b" \0").split(b"\\") if isinstance(value, bytes) else dataset.get(keyword)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    try:
        found = tuple(float(number) for number in value)
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def pixel_spacing(dataset: Any) -> tuple[tuple[float, float] | None, list[str]]:
    """Millimetres between rows and between columns, and what has to be said about them.

    References:
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


@contextlib.contextmanager
def trusting(name: str) -> Iterator[None]:
    """Around work with a data set: pydicom reads values when they are asked for, and fails there in its own ways."""
    try:
        yield
    except EasyDLError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
        struct.error,
    ) as problem:
        raise unreadable(name, "its header holds values that cannot be right") from problem


def unreadable(name: str, why: str) -> InputError:
    """The error for a DICOM file that cannot be what it says it is."""
    return InputError(
        f"{name} cannot be read: {why}.",
        "a whole DICOM file.",
        "Export it again from the PACS, or leave it out of the study.",
    )


def no_image(dataset: Any, name: str) -> InputError:
    """The error for a file without pixels: another kind of object, or an image that was cut short."""
    kind = kind_of(dataset)
    if not kind:
        return unreadable(name, "it has neither a type nor pixels: its header is cut short or damaged")
    if "Image Storage" in kind:
        return unreadable(name, "it ends before its pixels: it was cut short, or only its header was exported")
    article = "an" if kind[:1] in "AEIOU" else "a"
    return InputError(f"{name} holds no image: it is {article} {kind}.", "a DICOM image.", "Leave it out of the study.")


def _dcmread(path: str | Path, **how: Any) -> Any:
    import pydicom
    from pydicom.errors import InvalidDicomError

    name = Path(path).name
    if not Path(path).is_file():
        raise InputError(f"The file {path} does not exist.", "a file at this path.", "Correct the path in the table.")
    _refuse_bomb(Path(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pydicom.dcmread(path, **how)
    except InvalidDicomError as problem:
        raise unreadable(name, "it is not a DICOM file") from problem
    except RecursionError as problem:
        raise unreadable(name, "its sequences are nested without end") from problem
    except Exception as problem:
        raise unreadable(name, "its header is cut short or damaged") from problem


def _refuse_bomb(path: Path) -> None:
    """Inflate a deflated data set without keeping it: pydicom would take whatever memory it asks for."""
    with open(path, "rb") as file:
        head = file.read(144)
        if len(head) < 144 or head[132:138] != b"\x02\x00\x00\x00UL":
            length = MOST_META_BYTES  # No length of the meta information: it must lie within the first megabyte.
        else:
            length = struct.unpack("<I", head[140:144])[0]
            if length > MOST_META_BYTES:
                raise unreadable(path.name, f"its file meta information claims {length:,} bytes")
        meta = file.read(length)
        if DEFLATED not in meta:
            return
        if head[132:138] != b"\x02\x00\x00\x00UL":
            raise unreadable(path.name, "it is deflated and its meta information has no length")
        inflate, size, read = zlib.decompressobj(-zlib.MAX_WBITS), 0, 0
        try:
            while (block := file.read(1 << 16)) and not inflate.eof:
                read += len(block)
                while block:
                    size += len(inflate.decompress(block, 1 << 22))
                    block = inflate.unconsumed_tail
                    if size > MOST_INFLATED_BYTES or (size > RATIO_FROM_BYTES and size > MOST_RATIO * read):
                        raise InputError(
                            f"{path.name} unpacks to more than {size:,} bytes from {read:,}.",
                            f"a deflated file of at most {MOST_INFLATED_BYTES:,} bytes, packed by less than {MOST_RATIO}.",
                            "Do not open it: it is damaged or made to fill the memory. Export the image again.",
                        )
        except zlib.error as problem:
            raise unreadable(path.name, "its deflated part is damaged") from problem


def _age(text: Any) -> str | None:
    text = str(text or "").strip()
    if len(text) != 4 or not text[:3].isdigit() or text[3] not in "DWMY":
        return None
    years = int(text[:3]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[text[3]]
    return "90+" if years >= 90 else str(int(years))
