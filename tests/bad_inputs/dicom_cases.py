"""Group D of the bad inputs: DICOM. Cases of single files here, of series and folders in `dicom_folder_cases`."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from bad_inputs import dicom_folder_cases
from bad_inputs.case import Case
from made import dicom_slice
from PIL import Image

from easydl.images import read
from easydl.images.headers import read_header, safe_header

STORED = np.arange(48, dtype=np.uint16).reshape(6, 8) * 50
FILM = {"Modality": "CR", "RescaleSlope": None, "RescaleIntercept": None, "RescaleType": None, "BitsStored": 12,
        "HighBit": 11}  # fmt: skip
COLOUR = np.random.default_rng(3).integers(0, 256, (12, 10, 3)).astype(np.uint8)
RGB = {"Modality": "OT", "RescaleSlope": None, "RescaleIntercept": None, "RescaleType": None, "SamplesPerPixel": 3,
       "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "BitsAllocated": 8, "BitsStored": 8,
       "HighBit": 7}  # fmt: skip


def noted(**changes):
    """Reads a slice with these changes and gives back what was noted."""
    return lambda folder: read(dicom_slice(folder / "a.dcm", changes.pop("pixels", STORED), **changes)).notes


def refused(**changes):
    return lambda folder: read(dicom_slice(folder / "a.dcm", STORED, **changes))


def edited(edit):
    """Reads a slice whose bytes were edited."""

    def use(folder: Path):
        path = dicom_slice(folder / "a.dcm", STORED)
        path.write_bytes(edit(path.read_bytes()))
        return read(path)

    return use


def short_by(count):
    return lambda raw: raw[:-count]


def other_kind(folder):
    return read(dicom_slice(folder / "report.dcm", STORED, PixelData=None, Modality="SR",
                            SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33", Rows=None, Columns=None))  # fmt: skip


def monochrome1(folder):
    two = read(dicom_slice(folder / "2.dcm", STORED, **FILM))
    inverse = (4095 - STORED).astype(np.uint16)
    one = read(dicom_slice(folder / "1.dcm", inverse, PhotometricInterpretation="MONOCHROME1", **FILM))
    np.testing.assert_array_equal(one.pixels, two.pixels)


def overlay_bits(folder):
    """Overlays in the unused bits are legitimate: cut off, nothing to warn of."""
    path = dicom_slice(folder / "a.dcm", (STORED | 0x8000).astype(np.uint16), **FILM)
    dataset = pydicom.dcmread(path)
    dataset.add_new((0x6000, 0x0102), "US", 15)
    dataset.save_as(path)
    scan = read(path)
    np.testing.assert_array_equal(scan.pixels[..., 0], STORED)
    assert not any("BitsStored" in note for note in scan.notes)


def hidden_bits(folder):
    scan = read(dicom_slice(folder / "a.dcm", (STORED | 0x8000).astype(np.uint16), **FILM))
    np.testing.assert_array_equal(scan.pixels[..., 0], STORED)
    return scan.notes


def mislabelled_sign(folder):
    air = np.full((8, 8), -1000, np.int16)
    return read(dicom_slice(folder / "a.dcm", air.view(np.uint16), RescaleIntercept=0)).notes


def mislabelled_unsigned(folder):
    bright = np.full((8, 8), 40000, np.uint16)
    return read(dicom_slice(folder / "a.dcm", bright.view(np.int16), RescaleIntercept=0)).notes


def palette(folder):
    table = np.random.default_rng(0).integers(0, 256, (3, 16)).astype(np.uint16)
    index = np.random.default_rng(1).integers(0, 16, (6, 8)).astype(np.uint8)
    scan = read(_palette_file(folder, table, index))
    np.testing.assert_allclose(scan.pixels, np.moveaxis(table, 0, -1)[index], atol=0.5)
    assert scan.units == "0-255"


def palette_beyond(folder):
    return read(_palette_file(folder, np.zeros((3, 16), np.uint16), np.full((6, 8), 16, np.uint8)))


def _palette_file(folder, table, index):
    path = dicom_slice(folder / "p.dcm", index, Modality="US", RescaleSlope=None, RescaleIntercept=None,
                       RescaleType=None, PhotometricInterpretation="PALETTE COLOR", BitsAllocated=8, BitsStored=8,
                       HighBit=7)  # fmt: skip
    dataset = pydicom.dcmread(path)
    for name, values in zip(("Red", "Green", "Blue"), table, strict=True):
        dataset.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [16, 0, 16])
        setattr(dataset, f"{name}PaletteColorLookupTableData", (values * 257).astype("<u2").tobytes())
    dataset.save_as(path)
    return path


def ybr(folder):
    """YBR_FULL by the matrix of PS3.3 C.7.6.3.1.2, written here by hand, within 2 grey levels of its RGB twin."""
    r, g, b = (COLOUR[..., k].astype(float) for k in range(3))
    full = np.stack([0.299 * r + 0.587 * g + 0.114 * b, -0.1687 * r - 0.3313 * g + 0.5 * b + 128,
                     0.5 * r - 0.4187 * g - 0.0813 * b + 128], axis=-1)  # fmt: skip
    full = np.clip(np.rint(full), 0, 255).astype(np.uint8)
    rgb = read(dicom_slice(folder / "rgb.dcm", COLOUR, **RGB))
    other = read(dicom_slice(folder / "ybr.dcm", full, **{**RGB, "PhotometricInterpretation": "YBR_FULL"}))
    assert np.abs(other.pixels - rgb.pixels).max() <= 2
    np.testing.assert_array_equal(rgb.pixels, COLOUR)


def planar(folder):
    one = read(dicom_slice(folder / "0.dcm", COLOUR, **RGB))
    planes = np.moveaxis(COLOUR, -1, 0)
    path = dicom_slice(folder / "1.dcm", COLOUR, **{**RGB, "PlanarConfiguration": 1, "PixelData": planes.tobytes()})
    np.testing.assert_array_equal(read(path).pixels, one.pixels)


def enhanced(folder):
    """An enhanced CT written by hand: two frames, each with its own position, out of order, and its own slope."""
    frames = np.stack([STORED, STORED + 7])
    path = _enhanced(folder, frames, positions=[(0, 0, 4.0), (0, 0, 1.0)], slopes=[2, 3])
    scan = read(path)
    assert scan.units == "HU"
    assert scan.spacing_mm == (3.0, 0.8, 0.7)
    by_height = {round(float((scan.affine @ [k, 0, 0, 1])[2]), 3): scan.pixels[k, ..., 0] for k in range(2)}
    np.testing.assert_array_equal(by_height[4.0], frames[0] * 2.0 - 1024)
    np.testing.assert_array_equal(by_height[1.0], frames[1] * 3.0 - 1024)
    np.testing.assert_array_equal(read(f"{path}#2").pixels[..., 0], frames[1] * 3.0 - 1024)


def frames_without_place(folder):
    return read(_enhanced(folder, np.stack([STORED, STORED]), positions=None, slopes=[1, 1]))


def frames_at(*heights):
    def use(folder):
        frames = np.stack([STORED + k for k in range(len(heights))])
        scan = read(_enhanced(folder, frames, [(0, 0, height) for height in heights], [1] * len(heights)))
        np.testing.assert_array_equal(scan.pixels[::-1, ..., 0] + 1024, frames)
        assert scan.spacing_mm == pytest.approx(((heights[-1] - heights[0]) / (len(heights) - 1), 0.8, 0.7))

    return use


def frames_with_rounded_directions(folder):
    """Three decimals of an oblique orientation are two unit vectors at right angles, but for 0.001."""
    directions = [0.936, 0.312, -0.161, -0.290, 0.945, 0.152]
    normal = np.cross(directions[:3], directions[3:])
    path = _enhanced(folder, np.stack([STORED] * 4), [tuple((normal * 2.5 * k).round(3)) for k in range(4)], [1] * 4)
    dataset = pydicom.dcmread(path)
    dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = directions
    dataset.save_as(path)
    scan = read(path)
    assert scan.shape == (4, 6, 8)
    axes = scan.affine[:3, :3] / np.linalg.norm(scan.affine[:3, :3], axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(axes[:, 2], directions[:3], atol=2e-3)
    alone = read(dicom_slice(folder / "one.dcm", STORED, ImageOrientationPatient=directions))
    np.testing.assert_allclose(alone.affine[:3, 2] / 0.7, directions[:3], atol=2e-3)


def _enhanced(folder, frames, positions, slopes):
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    path = dicom_slice(folder / "e.dcm", frames[0], RescaleSlope=None, RescaleIntercept=None, RescaleType=None,
                       SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", PixelSpacing=None, NumberOfFrames=len(frames),
                       ImagePositionPatient=None, ImageOrientationPatient=None,
                       PixelData=frames.tobytes())  # fmt: skip
    dataset = pydicom.dcmread(path)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.8, 0.7], 9.0
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([plane])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for k, slope in enumerate(slopes):
        group, value, place = Dataset(), Dataset(), Dataset()
        value.RescaleSlope, value.RescaleIntercept, value.RescaleType = slope, -1024, "HU"
        group.PixelValueTransformationSequence = Sequence([value])
        if positions:
            place.ImagePositionPatient = list(positions[k])
            group.PlanePositionSequence = Sequence([place])
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    dataset.save_as(path)
    return path


def retired_codec(folder):
    """A 12-bit extended JPEG: the header names it, no permissive decoder reads it."""
    path = dicom_slice(folder / "a.dcm", STORED)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.51"
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xc1" + b"\0" * 60])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    return read(path)


def encodings(folder):
    path = dicom_slice(folder / "a.dcm", STORED)
    expected = read(path).pixels
    for syntax, little in (
        ("1.2.840.10008.1.2", True),
        ("1.2.840.10008.1.2.1.99", True),
        ("1.2.840.10008.1.2.2", False),
    ):
        source = pydicom.dcmread(path)
        dataset = pydicom.dataset.Dataset({tag: source[tag] for tag in source.keys()})  # noqa: SIM118
        dataset.file_meta = source.file_meta
        if not little:
            dataset.PixelData = STORED.astype(">u2").tobytes()
        other = folder / f"{syntax}.dcm"
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(
            other, implicit_vr=syntax == "1.2.840.10008.1.2", little_endian=little, enforce_file_format=True
        )
        np.testing.assert_array_equal(read(other).pixels, expected)


def deflate_bomb(folder):
    path = dicom_slice(folder / "a.dcm", STORED)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    buffer = io.BytesIO()
    dataset.save_as(buffer, implicit_vr=False, little_endian=True, enforce_file_format=True)
    raw = buffer.getvalue()
    start = 144 + struct.unpack("<I", raw[140:144])[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = bytes(1 << 22)
    packed = b"".join(packer.compress(zeros) for _ in range(60)) + packer.flush()
    bomb = folder / "bomb.dcm"
    bomb.write_bytes(raw[:start] + packed)
    return read(bomb)


def renamed(folder):
    path = folder / "a.dcm"
    Image.new("L", (8, 8)).save(folder / "a.png")
    path.write_bytes(b"MZ" + bytes(300))
    return read(path)


def empty(folder):
    (folder / "a.dcm").write_bytes(b"")
    return read(folder / "a.dcm")


def rows_as_text(folder):
    path = dicom_slice(folder / "a.dcm", STORED)
    raw = path.read_bytes()
    element = b"\x28\x00\x10\x00US\x02\x00\x06\x00"
    assert element in raw
    path.write_bytes(raw.replace(element, b"\x28\x00\x10\x00LO\x02\x00xx"))
    return read(path)


def nested(folder):
    """A sequence 3000 deep, written as bytes: pydicom itself would not write it."""
    path = dicom_slice(folder / "a.dcm", STORED)
    raw = path.read_bytes()
    opening = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closing = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00" + b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    start = 144 + struct.unpack("<I", raw[140:144])[0]
    path.write_bytes(raw[:start] + opening * 3000 + closing * 3000 + raw[start:])
    return read(path)


def path_in_uid(folder):
    """Identifiers never become paths: what is found is named by a hash."""
    from easydl.images.series import find_series

    inside = folder / "in"
    for k in range(3):
        dicom_slice(inside / f"{k}.dcm", STORED, SOPInstanceUID=f"../../x{k}", SeriesInstanceUID="../../../etc",
                    ImagePositionPatient=[0, 0, k])  # fmt: skip
    series = find_series(inside).series
    assert len(series) == 1
    assert ".." not in series[0].address
    assert read(series[0].address).shape == (3, 6, 8)
    assert {p.name for p in folder.iterdir()} <= {"cache", "in", "workspace"}


def detector_plane(folder):
    changes = {**FILM, "PixelSpacing": None, "ImagerPixelSpacing": [0.14, 0.14]}
    scan = read(dicom_slice(folder / "a.dcm", STORED, **changes))
    assert scan.spacing_mm == (0.14, 0.14)
    return scan.notes


def no_frame_of_reference(folder):
    """A film has no position: its mask is refused as DICOM SEG rather than given an invented frame."""
    from easydl.prediction import Segmentation
    from easydl.prediction.dicom_seg import write_seg

    path = dicom_slice(folder / "a.dcm", STORED, **FILM, FrameOfReferenceUID=None, ImagePositionPatient=None,
                       ImageOrientationPatient=None)  # fmt: skip
    scan = read(path)
    mask = (STORED > 500).astype(np.uint8)
    write_seg(
        Segmentation(scan=scan, mask=mask, classes=["background", "nodule"], label_values=(0, 1)), folder / "s.dcm"
    )


def private_tags(folder):
    """What is kept of a header is an allow-list: private elements, overlays and curves are not on it."""
    path = dicom_slice(folder / "a.dcm", STORED)
    dataset = pydicom.dcmread(path)
    block = dataset.private_block(0x0011, "ACME", create=True)
    block.add_new(0x01, "LO", "SECRET-PRIVATE")
    dataset.add_new((0x6000, 0x0022), "LO", "SECRET-OVERLAY")
    dataset.add_new((0x5000, 0x0022), "LO", "SECRET-CURVE")
    dataset.save_as(path)
    assert "SECRET" not in repr(read(path))


def odd_charset(folder):
    path = dicom_slice(folder / "a.dcm", STORED, SpecificCharacterSet="ISO_IR 999")
    dataset = pydicom.dcmread(path)
    dataset.Manufacturer = "Firma M"
    dataset.save_as(path)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"Firma M ", b"Firma \xfc "))
    scan = read(path)
    np.testing.assert_array_equal(scan.pixels[..., 0], STORED.astype(float) - 1024)
    assert scan.header["scanner"].startswith("Firma")


def old_age(folder):
    header = read_header(dicom_slice(folder / "a.dcm", STORED, PatientAge="104Y", PatientBirthDate="19191231"))
    assert safe_header(header)["age_years"] == "90+"
    assert "1919" not in repr(read(folder / "a.dcm"))


def voi_is_never_applied(folder):
    plain = read(dicom_slice(folder / "a.dcm", STORED, **FILM))
    windowed = read(dicom_slice(folder / "b.dcm", STORED, **FILM, WindowCenter=[100, 500], WindowWidth=[50, 300],
                                VOILUTFunction="SIGMOID"))  # fmt: skip
    np.testing.assert_array_equal(plain.pixels, windowed.pixels)


def modality_table(folder):
    """A LUT that squares: PS3.3 C.11.1.1, first value mapped 0."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    stored = np.arange(48, dtype=np.uint16).reshape(6, 8)
    path = dicom_slice(folder / "a.dcm", stored, **FILM)
    dataset, table = pydicom.dcmread(path), Dataset()
    table.add_new("LUTDescriptor", "US", [48, 0, 16])
    table.ModalityLUTType = "US"
    table.add_new("LUTData", "US", [k * k for k in range(48)])
    dataset.ModalityLUTSequence = Sequence([table])
    dataset.save_as(path)
    np.testing.assert_array_equal(read(path).pixels[..., 0], stored.astype(float) ** 2)


def float_pixels(folder):
    values = np.linspace(-3, 900, 48, dtype=np.float32).reshape(6, 8)
    path = dicom_slice(folder / "a.dcm", STORED, **FILM)
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.BitsAllocated = dataset.BitsStored = 32
    dataset.FloatPixelData = values.tobytes()
    dataset.save_as(path)
    np.testing.assert_array_equal(read(path).pixels[..., 0], values)


CASES = [
    Case("D01", "a report", "fail", other_kind, "Comprehensive SR"),
    Case("D02", "cut in the header", "fail", edited(lambda raw: raw[:900]), "cut short"),
    Case("D03", "pixels short", "fail", edited(short_by(20)), r"76 bytes of 96|cut short"),
    Case("D04", "pixels too long", "warn", noted(PixelData=STORED.tobytes() + bytes(64)), "64 bytes more"),
    Case("D05", "CT without rescale", "warn",
         noted(RescaleSlope=None, RescaleIntercept=None, RescaleType=None), "not Hounsfield units"),
    *(Case("D06", f"slope {value}", "fail", refused(RescaleSlope=value), "RescaleSlope")
      for value in ("nan", "inf", "0")),
    Case("D06", "intercept nan", "fail", refused(RescaleIntercept="nan"), "RescaleIntercept"),
    *(Case("D07", f"spacing {value} of an image", "warn", noted(PixelSpacing=value), "millimetres are not known")
      for value in (["0", "0.7"], ["nan", "0.7"], ["-1", "0.7"], "0.7")),
    Case("D10", "MONOCHROME1 twin", "fix", monochrome1),
    Case("D11", "overlay in the high bits", "fix", overlay_bits),
    Case("D11", "garbage in the high bits", "warn", hidden_bits, "beyond BitsStored"),
    Case("D12", "signed labelled unsigned", "warn", mislabelled_sign, "sign may be declared wrongly"),
    Case("D12", "unsigned labelled signed", "warn", mislabelled_unsigned, "sign may be declared wrongly"),
    Case("D13", "palette", "fix", palette),
    Case("D13", "palette index beyond", "fail", palette_beyond, "palette of 16"),
    Case("D14", "YBR twin", "fix", ybr),
    Case("D15", "planar twin", "fix", planar),
    Case("D16", "enhanced CT", "fix", enhanced),
    Case("D16", "frames with rounded positions", "fix", frames_at(*(round(0.625 * k, 2) for k in range(12)))),
    Case("D16", "frames with rounded directions", "fix", frames_with_rounded_directions),
    Case("D16", "frames whose distance changes", "fail", frames_at(0, 2.5, 5, 7.5, 15, 22.5, 30),
         r"distance between frames changes: 7.50 mm apart at first, 2.50 mm from frame 4 on(.|\n)*e\.dcm#1"),
    Case("D16", "frames at one position", "fail", frames_at(0, 0, 0), "3 or more frames share a position"),
    Case("D16", "frames without position", "fail", frames_without_place, r"Name the frame"),
    Case("D17", "no decoder", "fail", retired_codec, r"JPEG Extended(.|\n)*dcmdjpeg"),
    Case("D18", "implicit, deflated, big endian", "fix", encodings),
    Case("D19", "deflate bomb", "fail", deflate_bomb, "unpacks to more than"),
    Case("D20", "exe renamed", "fail", renamed, "not in a format that easydl reads"),
    Case("D20", "empty", "fail", empty, "not in a format that easydl reads"),
    Case("D21", "Rows is text", "fail", rows_as_text, "not a number"),
    Case("D21", "Rows 0", "fail", refused(Rows=0), "0 x 8|pixels"),
    Case("D21", "65535 squared", "fail", refused(Rows=65535, Columns=65535), "at most"),
    Case("D21", "a million frames", "fail", refused(NumberOfFrames=10**6), "cut short|at most"),
    Case("D22", "nested 3000 deep", "fail", nested, "nested|damaged"),
    Case("D23", "path as identifier", "fix", path_in_uid),
    Case("D34", "detector plane", "warn", detector_plane, "detector plane"),
    Case("D35", "no frame of reference", "fail", no_frame_of_reference, "no position in space"),
    Case("D36", "burned-in text", "warn", noted(BurnedInAnnotation="YES"), "burned into"),
    Case("D37", "private, overlay, curve", "fix", private_tags),
    Case("D38", "unknown charset", "fix", odd_charset),
    Case("D41", "age over 89", "fix", old_age),
    Case("D42", "lossy compression", "warn", noted(LossyImageCompression="01"), "lossy"),
    Case("D43", "VOI", "fix", voi_is_never_applied),
    Case("D44", "modality table", "fix", modality_table),
    Case("D45", "float pixels", "fix", float_pixels),
    Case("D45", "dose", "fail", refused(SOPClassUID="1.2.840.10008.5.1.4.1.1.481.2"), "dose distribution"),
    Case("D46", "segmentation as image", "fail", refused(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4"), "Use it as a mask"),
    *dicom_folder_cases.CASES,
]  # fmt: skip
