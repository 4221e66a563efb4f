"""One picture written in many ways gives one array: as a file, a frame, a frame of a volume and a slice of a series.

The right values are the numbers that were written, worked out here with NumPy.
"""

import numpy as np
import pydicom
import pytest
import tifffile
from made import dicom_slice
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless

from easydl.errors import InputError
from easydl.images import read

PICTURE = np.random.default_rng(0).integers(100, 4000, (6, 8)).astype(np.uint16)
PLAIN = {"Modality": "MR", "BitsStored": 12, "HighBit": 11, "RescaleSlope": None, "RescaleIntercept": None,
         "RescaleType": None}  # fmt: skip
CT = {"BitsStored": 16, "HighBit": 15}
WAYS = ("file", "frame", "volume", "series")
ENCODED = [(way, syntax) for way in WAYS for syntax in (ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless)
           if (way, syntax) != ("volume", ExplicitVRBigEndian)]  # fmt: skip
"""highdicom reads no enhanced image in big endian, which was retired before there were any."""


def written(folder, way, pixels, *, syntax=ExplicitVRLittleEndian, **changes):
    """The pixels as one file, as a frame of two, as both frames of a volume, or as the slices of a series."""
    if way in ("file", "series"):
        for k in range(1 if way == "file" else 3):
            place = {"ImagePositionPatient": [0, 0, 2.0 * k]}
            encoded(dicom_slice(folder / f"{k}.dcm", pixels, **place, **changes), syntax)
        return read(folder / "0.dcm" if way == "file" else folder)
    path = dicom_slice(folder / "m.dcm", pixels, **changes, NumberOfFrames=2, ImagePositionPatient=None,
                       ImageOrientationPatient=None, PixelSpacing=None, PixelData=np.stack([pixels] * 2).tobytes(),
                       SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1")  # fmt: skip
    dataset = pydicom.dcmread(path)
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, plane.ImageOrientationPatient = [0.8, 0.7], [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([plane])
    groups = [Dataset(), Dataset()]
    for k, group in enumerate(groups):
        place = Dataset()
        place.ImagePositionPatient = [0, 0, 2.0 * k]
        group.PlanePositionSequence = Sequence([place])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    dataset.save_as(path)
    encoded(path, syntax)
    return read(f"{path}#2" if way == "frame" else path)


def encoded(path, syntax):
    if syntax == RLELossless:
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.save_as(path)
    elif syntax != ExplicitVRLittleEndian:
        source = pydicom.dcmread(path)
        swapped = Dataset()
        swapped.update({tag: source[tag] for tag in source.keys()})  # noqa: SIM118
        swapped.file_meta, swapped.preamble = source.file_meta, source.preamble
        swapped.file_meta.TransferSyntaxUID = syntax
        swapped.PixelData = np.frombuffer(source.PixelData, "<u2").astype(">u2").tobytes()
        pydicom.dcmwrite(path, swapped, enforce_file_format=True)


def same(scan, expected):
    """Every slice of a scan holds these values."""
    for plane in scan.pixels[..., 0] if scan.dimension == 3 else [scan.pixels[..., 0]]:
        np.testing.assert_array_equal(plane, expected.astype(np.float32))


@pytest.mark.parametrize(("way", "syntax"), ENCODED)
def test_only_the_stored_bits_count_and_garbage_beside_them_is_noted(tmp_path, way, syntax):
    garbage = PICTURE | (np.random.default_rng(1).integers(1, 16, PICTURE.shape).astype(np.uint16) << 12)
    scan = written(tmp_path, way, garbage, syntax=syntax, **PLAIN)
    same(scan, PICTURE)
    assert any("100.0% of the pixels used bits beyond BitsStored=12" in note for note in scan.notes)


@pytest.mark.parametrize(("way", "syntax"), ENCODED)
def test_a_sign_that_was_not_extended_is_extended_and_nothing_is_noted(tmp_path, way, syntax):
    signed = PICTURE.astype(np.int16) - 2048
    scan = written(tmp_path, way, signed.view(np.uint16) & 0xFFF, syntax=syntax, **PLAIN, PixelRepresentation=1)
    same(scan, signed)
    assert not any("beyond" in note for note in scan.notes)


@pytest.mark.parametrize("way", WAYS)
def test_pixels_in_the_upper_bits_are_moved_down(tmp_path, way):
    scan = written(tmp_path, way, PICTURE << 4, **{**PLAIN, "HighBit": 15})
    same(scan, PICTURE)
    assert any("HighBit" in note for note in scan.notes)


def test_a_high_bit_that_the_pixels_contradict_is_noted_or_refused(tmp_path):
    scan = written(tmp_path / "low", "file", PICTURE, **{**PLAIN, "HighBit": 15})
    same(scan, PICTURE)
    assert any("contradicts" in note for note in scan.notes)
    with pytest.raises(InputError, match="contradict"):
        written(tmp_path / "both", "file", PICTURE | 0x8000, **{**PLAIN, "HighBit": 15})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("word", ["MONOCHROME1", "monochrome1 "])
def test_white_is_zero_is_the_same_picture(tmp_path, way, word):
    scan = written(tmp_path, way, 4095 - PICTURE, **PLAIN, PhotometricInterpretation=word)
    same(scan, PICTURE)
    assert any("MONOCHROME1" in note for note in scan.notes)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("kind", "value"), [("SS", -2000), ("US", 63536)])
def test_padding_is_the_same_whatever_sign_it_is_written_with(tmp_path, way, kind, value, monkeypatch):
    pixels = PICTURE.astype(np.int16)
    pixels[:, :3] = -2000
    added = pydicom.DataElement(0x00280120, kind, value)
    original = pydicom.Dataset.save_as
    monkeypatch.setattr(
        pydicom.Dataset, "save_as", lambda self, *args, **how: original(self.add(added) or self, *args, **how)
    )
    scan = written(tmp_path, way, pixels, **CT)
    same(scan, np.where(pixels == -2000, PICTURE[:, 3:].min(), pixels) - 1024.0)
    assert any("padding" in note for note in scan.notes)


def test_padding_of_a_series_has_one_value_in_all_slices(tmp_path):
    for k in range(3):
        pixels = np.full((6, 8), 500 + 100 * k, np.uint16)
        pixels[:, :3] = 0
        dicom_slice(tmp_path / f"{k}.dcm", pixels, ImagePositionPatient=[0, 0, k], PixelPaddingValue=0)
    dicom_slice(tmp_path / "3.dcm", np.zeros((6, 8), np.uint16), ImagePositionPatient=[0, 0, 3], PixelPaddingValue=0)
    scan = read(tmp_path)
    assert (scan.pixels[:, :, :3] == 500 - 1024).all() and (scan.pixels[0] == 500 - 1024).all()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["MGML", "US", "Z_EFF", "something"])
def test_ct_of_another_rescale_type_is_not_in_hounsfield_units(tmp_path, way, kind):
    scan = written(tmp_path, way, PICTURE, **CT, RescaleType=kind)
    assert scan.units == "relative"
    assert any("are not Hounsfield units" in note for note in scan.notes)
    assert not any("something" in note for note in scan.notes)
    assert written(tmp_path / "hu", way, PICTURE, **CT).units == "HU"


@pytest.mark.parametrize("way", ["file", "series"])
def test_surplus_frames_are_refused_and_not_dropped(tmp_path, way):
    held = np.stack([PICTURE] * 3).tobytes()
    with pytest.raises(InputError, match="says it holds 1 frame and holds 3"):
        written(tmp_path, way, PICTURE, **PLAIN, PixelData=held)


def test_surplus_compressed_frames_are_refused_too_and_a_named_frame_is_read(tmp_path):
    path = dicom_slice(
        tmp_path / "a.dcm", PICTURE, **PLAIN, NumberOfFrames=2, PixelData=np.stack([PICTURE] * 2).tobytes()
    )
    encoded(path, RLELossless)
    dataset = pydicom.dcmread(path)
    dataset.NumberOfFrames = 1
    dataset.save_as(path)
    with pytest.raises(InputError, match="holds 2"):
        read(path)
    same(read(f"{path}#1"), PICTURE)


def test_surplus_compressed_frames_without_a_table_of_offsets_are_refused(tmp_path):
    from pydicom.encaps import encapsulate

    picture = np.kron(PICTURE, np.ones((8, 8), np.uint16))  # JPEG 2000 has a smallest size
    path = dicom_slice(tmp_path / "a.dcm", picture, **PLAIN)
    dataset = pydicom.dcmread(path)
    dataset.compress("1.2.840.10008.1.2.4.90", generate_instance_uid=False)
    stream = list(pydicom.encaps.generate_fragments(dataset.PixelData))[-1]
    dataset.PixelData = encapsulate([stream] * 3, has_bot=False)
    dataset.save_as(path)
    with pytest.raises(InputError, match="says it holds 1 frame and holds 3"):
        read(path)
    dataset.NumberOfFrames = 3
    dataset.save_as(path)
    same(read(f"{path}#3"), picture)


@pytest.mark.parametrize("way", ["file", "series"])
def test_float_pixels_with_blanks_are_filled_and_counted(tmp_path, way):
    values = PICTURE.astype(np.float32) / 3
    values[0, 0], values[1, 1], values[2, 2] = np.nan, np.inf, -np.inf
    for k in range(1 if way == "file" else 3):
        path = dicom_slice(tmp_path / f"{k}.dcm", PICTURE, **PLAIN, ImagePositionPatient=[0, 0, k])
        dataset = pydicom.dcmread(path)
        del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
        dataset.BitsAllocated, dataset.FloatPixelData = 32, values.tobytes()
        dataset.save_as(path)
    scan = read(path if way == "file" else tmp_path)
    finite = values[np.isfinite(values)]
    same(scan, np.nan_to_num(values, nan=finite.min(), posinf=finite.max(), neginf=finite.min()))
    slices = 1 if way == "file" else 3
    assert any(note.startswith(f"{slices} pixel{'s' * (slices > 1)} held no number") for note in scan.notes)
    assert any(note.startswith(f"{2 * slices} pixels held infinity") for note in scan.notes)


@pytest.mark.parametrize(
    ("bits", "words", "numbers"), [(8, "u1", 8), (8, "<u2", 8), (16, "<u2", 8), (16, "<u2", 16), (8, "u1", 16)]
)
def test_a_palette_of_any_depth_gives_its_colours(tmp_path, bits, words, numbers):
    entries = 1 << (8 if numbers == 8 else 10)
    colours = np.random.default_rng(2).integers(0, 256, (entries, 3))
    index = np.random.default_rng(3).integers(0, entries, (6, 8)).astype(f"u{numbers // 8}")
    path = dicom_slice(tmp_path / "p.dcm", index, **{**PLAIN, "Modality": "US", "BitsStored": numbers, "BitsAllocated": numbers,
                       "HighBit": numbers - 1, "PhotometricInterpretation": "PALETTE COLOR"})  # fmt: skip
    dataset = pydicom.dcmread(path)
    for colour, values in zip(("Red", "Green", "Blue"), colours.T, strict=True):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [entries, 0, bits])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", values.astype(words).tobytes())
    dataset.save_as(path)
    np.testing.assert_array_equal(read(path).pixels, colours[index].astype(np.float32))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_tiff_whose_white_is_zero_is_the_same_picture(tmp_path, kind):
    picture = np.random.default_rng(4).integers(0, np.iinfo(kind).max, (6, 8)).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", np.iinfo(kind).max - picture, photometric="miniswhite")
    np.testing.assert_array_equal(read(tmp_path / "a.tif").pixels[..., 0], picture)


def test_a_tiff_of_unsigned_32_bits_keeps_its_large_values(tmp_path):
    picture = np.array([[0, 2**31], [2**32 - 1024, 7]], np.uint32)
    tifffile.imwrite(tmp_path / "a.tif", picture, photometric="minisblack")
    np.testing.assert_array_equal(read(tmp_path / "a.tif").pixels[..., 0], picture.astype(np.float32))


def test_a_float_tiff_with_blanks_is_filled_and_counted(tmp_path):
    values = PICTURE.astype(np.float32)
    values[0, 0], values[1, 1] = np.nan, np.inf
    Image.fromarray(values).save(tmp_path / "a.tif")
    scan = read(tmp_path / "a.tif")
    finite = values[np.isfinite(values)]
    same(scan, np.nan_to_num(values, nan=finite.min(), posinf=finite.max()))
    assert any(note.startswith("1 pixel held no number") for note in scan.notes)
    with pytest.raises(InputError, match="2 values that are not numbers"):
        read(tmp_path / "a.tif", labels=True)


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_a_channel_that_is_neither_colour_nor_transparency_is_refused(tmp_path, channels):
    stains = np.random.default_rng(5).integers(0, 255, (16, 16, channels), dtype=np.uint8)
    how = {"photometric": "minisblack" if channels == 2 else "rgb", "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", stains, **how, extrasamples=["unspecified"] * (1 if channels < 5 else 2))
    with pytest.raises(InputError, match=f"{channels} channels"):
        read(tmp_path / "a.tif")


def test_mosaics_and_label_maps_are_refused_by_name(tmp_path):
    kind = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    with pytest.raises(InputError, match="is a mosaic"):
        read(dicom_slice(tmp_path / "m.dcm", PICTURE, **PLAIN, ImageType=kind))
    uid = "1.2.840.10008.5.1.4.1.1.66.7"
    with pytest.raises(InputError, match="is a segmentation"):
        read(dicom_slice(tmp_path / "s.dcm", PICTURE, **{**PLAIN, "Modality": "OT", "SOPClassUID": uid}))
