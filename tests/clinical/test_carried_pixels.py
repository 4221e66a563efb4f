"""Pixels stay the same values; what hides beside them does not: spare bits, comments in frames, bytes at the end."""

import io
import struct

import numpy as np
import pydicom
import pytest
from made import dicom_slice
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames

import easydl

TEXT = b"Doe Jane 12.03.1959"
RNG = np.random.default_rng(5)
GREY = RNG.integers(0, 256, (40, 48)).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (40, 48, 3)).astype(np.uint8)


def image(path, frames, syntax, **changes):
    """A CT whose pixels are these compressed frames, or this native array."""
    native = isinstance(frames, np.ndarray)
    shape = changes.pop("shape", GREY.shape)
    dicom_slice(path, np.zeros(shape, np.uint16), ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], RescaleSlope=1)
    ds = pydicom.dcmread(path)
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    for name, value in changes.items():
        setattr(ds, name, value)
    if native:
        ds.PixelData = frames.tobytes()
    else:
        ds.PixelData = encapsulate(list(frames))
        ds["PixelData"].is_undefined_length = True
        if len(frames) > 1:
            ds.NumberOfFrames = len(frames)
    ds["PixelData"].VR = "OB" if ds.BitsAllocated == 8 else "OW"
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(path, enforce_file_format=True)
    return path


def carried(path, tmp_path, **options):
    done = easydl.deidentify(path, tmp_path / "out", **options)
    row = done.table.iloc[0]
    return row, (pydicom.dcmread(tmp_path / "out" / row["file"]) if row["file"] else None)


def jpeg(pixels, **options):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=95, comment=TEXT, **options)
    return data.getvalue()


def j2k(pixels):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG2000", no_jp2=True, irreversible=False, comment=TEXT)
    return data.getvalue()


def comment(marker, text=TEXT):
    return bytes([0xFF, marker]) + struct.pack(">H", len(text) + 2) + text


def after_sot(frame):
    """A J2K frame with a comment in the header of its tile-part too, and the tile-part's length put right."""
    at = frame.index(b"\xff\x90\x00\x0a")
    inside = b"\xff\x64" + struct.pack(">HH", len(TEXT) + 4, 1) + TEXT
    length = struct.unpack(">I", frame[at + 6 : at + 10])[0] + len(inside)
    return frame[: at + 6] + struct.pack(">I", length) + frame[at + 10 : at + 12] + inside + frame[at + 12 :]


def between_scans(frame):
    """A progressive JPEG with a comment before its second scan."""
    first = frame.index(b"\xff\xda")
    at = frame.index(b"\xff\xc4", first)
    return frame[:at] + comment(0xFE) + frame[at:]


def jpeg_ls(pixels):
    import jpeg_ls as codec

    frame = bytes(codec.encode_array(pixels))
    return frame[:2] + comment(0xE7) + comment(0xFE) + frame[2:]


EXIF = Image.Exif()
EXIF[0x010E] = TEXT.decode()
FRAMES = {
    "jpeg": (lambda: jpeg(GREY, exif=EXIF), uid.JPEGBaseline8Bit),
    "jpeg, text after its end": (lambda: jpeg(GREY) + TEXT + b"\0", uid.JPEGBaseline8Bit),
    "j2k": (lambda: j2k(GREY), uid.JPEG2000Lossless),
    "j2k, in the tile-part too": (lambda: after_sot(j2k(GREY)), uid.JPEG2000Lossless),
    "j2k, text after its end": (lambda: j2k(GREY) + TEXT + b"\0", uid.JPEG2000Lossless),
    "jpeg-ls": (lambda: jpeg_ls(GREY), uid.JPEGLSLossless),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_text_inside_compressed_frames_goes_and_the_pixels_stay(tmp_path, kind):
    make, syntax = FRAMES[kind]
    frame = make()
    path = image(tmp_path / "in/a.dcm", [frame, frame], syntax, BurnedInAnnotation="NO")
    assert path.read_bytes().count(TEXT) >= 2
    row, written = carried(path, tmp_path)
    assert row["state"] == "written", row["reason"]
    assert "blanked" in row["notes"]
    assert TEXT not in (tmp_path / "out" / row["file"]).read_bytes()
    assert written.file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(written.pixel_array, pydicom.dcmread(path).pixel_array)


def test_a_comment_between_two_scans_goes(tmp_path):
    from easydl.clinical.pixeldata import blank_jpeg

    frame = between_scans(jpeg(GREY, progressive=True))
    assert frame.count(TEXT) == 2
    blank = blank_jpeg(frame)
    assert TEXT not in blank and len(blank) == len(frame)
    np.testing.assert_array_equal(Image.open(io.BytesIO(blank)), Image.open(io.BytesIO(frame)))


def test_segments_that_decoders_need_stay():
    """Adobe's segment says whether the colours are transformed: without it they would be others."""
    from easydl.clinical.pixeldata import blank_jpeg

    data = io.BytesIO()
    Image.fromarray(COLOUR).save(data, "JPEG", quality=95, keep_rgb=True)
    frame = data.getvalue()
    adobe = frame[:2] + comment(0xEE, b"Adobe\0\x64\0\0\0\0\0") + comment(0xED, b"Photoshop 3.0 " + TEXT) + frame[2:]
    blank = blank_jpeg(adobe)
    assert b"Adobe" in blank and TEXT not in blank
    np.testing.assert_array_equal(Image.open(io.BytesIO(blank)), Image.open(io.BytesIO(adobe)))
    thumbnail = frame[:2] + comment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\2\2" + TEXT[:12]) + frame[2:]
    assert TEXT[:12] not in blank_jpeg(thumbnail) and b"JFIF\0" in blank_jpeg(thumbnail)


def test_frames_without_text_stay_byte_for_byte(tmp_path):
    data = io.BytesIO()
    Image.fromarray(GREY).save(data, "JPEG", quality=95)
    frame = data.getvalue()
    path = image(tmp_path / "in/a.dcm", [frame, frame], uid.JPEGBaseline8Bit, BurnedInAnnotation="NO")
    row, written = carried(path, tmp_path)
    assert row["notes"] == ""
    assert [f[: len(frame)] for f in generate_frames(written.PixelData, number_of_frames=2)] == [frame, frame]


@pytest.mark.parametrize(
    ("frames", "syntax", "why"),
    [
        ([b"\0\0\0\x0cjP  \r\n\x87\n" + j2k(GREY)], uid.JPEG2000Lossless, "not a bare JPEG 2000 codestream"),
        ([j2k(GREY)[:60]], uid.JPEG2000Lossless, "cut short"),
        ([b"no JPEG at all"], uid.JPEGBaseline8Bit, "does not begin as JPEG"),
        ([jpeg(GREY)[:30]], uid.JPEGBaseline8Bit, "cut short"),
        ([jpeg(GREY)], uid.MPEG2MPML, "cannot look into"),
        ([jpeg(GREY)], uid.UID("1.2.3.4"), "cannot look into"),
    ],
)
def test_frames_that_cannot_be_looked_into_are_refused(tmp_path, frames, syntax, why):
    path = image(tmp_path / "in/a.dcm", frames, syntax, BurnedInAnnotation="NO")
    row, _ = carried(path, tmp_path)
    assert row["state"] == "refused" and why in row["reason"]


def test_another_number_of_frames_than_said_is_refused(tmp_path):
    path = image(tmp_path / "in/a.dcm", [jpeg(GREY)] * 2, uid.JPEGBaseline8Bit)
    ds = pydicom.dcmread(path)
    ds.NumberOfFrames = 5
    ds.save_as(path)
    assert carried(path, tmp_path)[0]["state"] == "refused"


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian])  # fmt: skip
def test_an_overlay_in_the_spare_bits_is_cleared(tmp_path, signed, syntax):
    values = RNG.integers(-2048 if signed else 0, 2048 if signed else 4096, GREY.shape)
    stored = (values & 0x0FFF).astype(np.uint16) | (RNG.integers(0, 16, GREY.shape) << 12).astype(np.uint16)
    big = syntax == uid.ExplicitVRBigEndian
    path = image(
        tmp_path / "in/a.dcm", stored.astype(">u2" if big else "<u2"), uid.ExplicitVRLittleEndian,
        BitsAllocated=16, BitsStored=12, HighBit=11, PixelRepresentation=int(signed),
    )  # fmt: skip
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(
        path, ds, implicit_vr=syntax == uid.ImplicitVRLittleEndian, little_endian=not big, force_encoding=False
    ) if big else ds.save_as(path)
    row, written = carried(path, tmp_path)
    assert "overlay may lie there" in row["notes"]
    found = np.frombuffer(written.PixelData, f"{'>' if big else '<'}{'i' if signed else 'u'}2").reshape(GREY.shape)
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(written.pixel_array, pydicom.dcmread(path).pixel_array)


def test_spare_bits_below_the_stored_ones_are_cleared_too(tmp_path):
    stored = RNG.integers(0, 65536, GREY.shape).astype("<u2")
    path = image(tmp_path / "in/a.dcm", stored, uid.ExplicitVRLittleEndian, BitsAllocated=16, BitsStored=12, HighBit=15)
    _, written = carried(path, tmp_path)
    np.testing.assert_array_equal(np.frombuffer(written.PixelData, "<u2").reshape(GREY.shape), stored & 0xFFF0)


def test_signed_pixels_whose_sign_fills_the_spare_bits_stay_as_they_are(tmp_path):
    values = RNG.integers(-2048, 2048, GREY.shape).astype("<i2")
    path = image(
        tmp_path / "in/a.dcm", values, uid.ExplicitVRLittleEndian, BitsAllocated=16, BitsStored=12, HighBit=11,
        PixelRepresentation=1,
    )  # fmt: skip
    row, written = carried(path, tmp_path)
    assert row["notes"] == "" and written.PixelData == values.tobytes()


def test_an_overlay_in_the_spare_bits_of_compressed_pixels_is_cleared_and_said(tmp_path):
    values = RNG.integers(0, 4096, GREY.shape).astype(np.uint16)
    stored = values | (RNG.integers(0, 16, GREY.shape) << 12).astype(np.uint16)
    path = image(tmp_path / "in/a.dcm", stored, uid.ExplicitVRLittleEndian, BitsAllocated=16, BitsStored=16, HighBit=15)
    ds = pydicom.dcmread(path)
    ds.compress(uid.RLELossless, generate_instance_uid=False)
    ds.BitsStored, ds.HighBit = 12, 11
    ds.save_as(path)
    row, written = carried(path, tmp_path)
    assert "written uncompressed" in row["notes"]
    assert written.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
    np.testing.assert_array_equal(np.frombuffer(written.PixelData, "<u2").reshape(GREY.shape), values)


def test_pixels_cut_short_are_refused(tmp_path):
    path = image(tmp_path / "in/a.dcm", GREY[:-1], uid.ExplicitVRLittleEndian)
    row, _ = carried(path, tmp_path)
    assert row["state"] == "refused" and "cut short" in row["reason"]


@pytest.mark.parametrize(
    ("photometric", "black"), [("MONOCHROME2", 0), ("MONOCHROME1", 255), ("RGB", 0), ("YBR_FULL_422", 0)]
)
@pytest.mark.parametrize("compressed", [False, True])
def test_bands_are_blackened_and_nothing_else(tmp_path, photometric, black, compressed):
    colour = photometric not in ("MONOCHROME1", "MONOCHROME2")
    if (photometric == "YBR_FULL_422") != (compressed and colour):
        pytest.skip("JPEG colours are YBR, native ones RGB")
    pixels = COLOUR if colour else GREY
    pixels = np.where(pixels == 0, 1, pixels).astype(np.uint8)
    pixels.flat[0], pixels.flat[-1] = 0, 255
    frames = [jpeg(pixels, **({"subsampling": 1} if colour else {}))] if compressed else pixels
    path = image(
        tmp_path / "in/a.dcm", frames, uid.JPEGBaseline8Bit if compressed else uid.ExplicitVRLittleEndian,
        PhotometricInterpretation=photometric, SamplesPerPixel=3 if colour else 1, PlanarConfiguration=0,
        BurnedInAnnotation="NO",
    )  # fmt: skip
    row, written = carried(path, tmp_path, black_out=(5, 4, 3, 2))
    assert row["state"] == "quarantined" and "look whether that was enough" in row["reason"]
    assert "blackened" in row["notes"]
    found, before = written.pixel_array, pydicom.dcmread(path).pixel_array
    np.testing.assert_array_equal(found[5:-4, 3:-2], before[5:-4, 3:-2])
    if not (compressed and photometric == "MONOCHROME1"):
        for band in (found[:5], found[-4:], found[:, :3], found[:, -2:]):
            assert (band == black).all()
    assert not written.file_meta.TransferSyntaxUID.is_compressed


def test_bands_of_a_palette_image_take_its_darkest_entry(tmp_path):
    path = image(tmp_path / "in/a.dcm", GREY, uid.ExplicitVRLittleEndian, PhotometricInterpretation="PALETTE COLOR")
    ds = pydicom.dcmread(path)
    ramp = np.arange(256, dtype="<u2")[::-1] * 257
    for name in ("Red", "Green", "Blue"):
        ds.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        ds.add_new(f"{name}PaletteColorLookupTableData", "OW", ramp.tobytes())
    ds.save_as(path)
    _, written = carried(path, tmp_path, black_out=(5, 0, 0, 0))
    assert (written.pixel_array[:5] == GREY.max()).all()
