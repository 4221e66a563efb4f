"""Texts, codes and numbers stay only from closed lists, and never when they spell a name or number of the patient."""

import struct

import numpy as np
import pydicom
import pytest
from identified import everything_below, found_in
from made import dicom_slice
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence

import easydl

PIXELS = np.random.default_rng(3).integers(0, 900, (24, 20)).astype(np.uint16)
PATIENT = {
    "SpecificCharacterSet": "ISO_IR 192",
    "PatientName": "Müller-Lüdenscheidt^Anne-Marie",
    "PatientID": "4711081512",
    "PatientBirthDate": "19610417",
    "InstitutionName": "Sankt Gertrauden Krankenhaus Neuenstadt",
    "ReferringPhysicianName": "Øster^Łukasz",
}


def out_of(tmp_path, extra=None, **changes):
    """The data set that comes out of one slice."""
    path = dicom_slice(tmp_path / "in/a.dcm", PIXELS, **{"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], **PATIENT, **changes})  # fmt: skip
    if extra:
        ds = pydicom.dcmread(path)
        extra(ds)
        ds.save_as(path)
    done = easydl.deidentify(path, tmp_path / "out", secret=tmp_path / "secret", **OPTIONS.get(extra, {}))
    return pydicom.dcmread(tmp_path / "out" / done.table["file"][0])


OPTIONS = {}


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("ImageType", ["ORIGINAL", "PRIMARY", "AXIAL", "ANNEMARIEMUELLER"]),
        ("ImageType", ["ORIGINAL", "PRIMARY", "AXIAL", "LUDENSCHEIDT"]),
        ("ViewPosition", "ANNEMARIE"), ("ScanOptions", "4711 0815 12"), ("SequenceVariant", "GERTRAUDEN"),
        ("SequenceVariant", "SCHMITT"), ("Modality", "HUBER"), ("ScanOptions", ["FC", "0171 5559321"]),
        ("SequenceName", "amueller_mr2"), ("SequenceName", "*tfl3d1_mueller"), ("ManufacturerModelName", "Gertrauden CT2"),
        ("Manufacturer", "Praxis Dr. Huber"), ("ConvolutionKernel", "Dr.Huber"), ("StackID", "1961-04-17"),
        ("StackID", "17.04.61"), ("SoftwareVersions", ["VA48A", "m.mueller@gert-krh.de"]), ("FilterType", "0171 555 932 1"),
        ("ReceiveCoilName", "OSTER LUKASZ"), ("ReconstructionMethod", "for Mr Lukasz"), ("RescaleType", "HUBER"),
        ("SeriesDescription", "axial Mueller soft"), ("AlgorithmName", "Huber 1961"), ("ContrastBolusRoute", "IV Huber"),
    ],
)  # fmt: skip
def test_what_is_on_no_list_goes_whoever_it_names(tmp_path, where, value):
    out_of(tmp_path, **{where: value})
    spelt = ("mueller", "luedenscheidt", "ludenscheidt", "annemarie", "4711 0815", "gertrauden", "schmitt", "huber", "0171 555", "1961-04-17", "17.04.61", "gert-krh", "lukasz", "oster")  # fmt: skip
    assert found_in(everything_below(tmp_path / "out/images"), spelt) == []


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("ImageType", ["DERIVED", "PRIMARY", "MPR", "AVERAGE"]), ("ImageType", ["ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"]),
        ("ScanOptions", ["HELICAL MODE"]), ("SequenceVariant", ["SP", "OSP"]), ("Manufacturer", "GE MEDICAL SYSTEMS"),
        ("ManufacturerModelName", "SOMATOM Definition AS+"), ("ManufacturerModelName", "Ingenuity TF PET/CT"),
        ("ConvolutionKernel", ["Br40d", "3"]), ("ConvolutionKernel", "FC52"), ("ConvolutionKernel", "BONEPLUS"),
        ("SequenceName", "*tfl3d1_16ns"), ("SequenceName", "*ep_b1000#1"), ("StackID", "1"),
        ("SoftwareVersions", ["syngo CT VA48A"]), ("ReconstructionMethod", "OSEM 3D 3i24s"), ("RescaleType", "HU"),
        ("Radiopharmaceutical", "Fluorodeoxyglucose F-18"), ("ImagedNucleus", "1H"), ("AcquisitionNumber", 471),
        ("SeriesNumber", 19610), ("KVP", "120"), ("SeriesDescription", "axial soft 5mm"),
    ],
)  # fmt: skip
def test_what_devices_write_stays(tmp_path, where, value):
    if where == "SeriesNumber":  # five digits of the birth date
        assert out_of(tmp_path, SeriesNumber=value).SeriesNumber is None
        return
    written = out_of(tmp_path, **{where: value})[where].value
    assert list(written) == value if isinstance(value, list) and len(value) > 1 else written in (value, value[0] if isinstance(value, list) else float(value) if where == "KVP" else value)  # fmt: skip


def test_two_scanners_of_unknown_names_stay_two(tmp_path):
    names = {}
    for name in ("Huber 3000", "Huber 4000"):
        written = out_of(tmp_path / name, ManufacturerModelName=name, Manufacturer="SIEMENS")
        names[name] = written.ManufacturerModelName
        assert written.Manufacturer == "SIEMENS"
    assert len(set(names.values())) == 2
    assert all(name.startswith("X-") for name in names.values())


@pytest.mark.parametrize(("number", "gone"), [(471108151, True), (19610417, True), (17041961, True), (20200315, True), (815, False), (123456, False)])  # fmt: skip
def test_numbers_that_are_parts_of_an_identifier_go(tmp_path, number, gone):
    written = out_of(tmp_path, AcquisitionNumber=number, SeriesNumber=number, StudyDate="20200315")
    assert (written.get("AcquisitionNumber"), written.get("SeriesNumber")) == ((None,) * 2 if gone else (number,) * 2)


@pytest.mark.parametrize(
    ("value", "scheme", "kept"),
    [("T-D1100", "SRT", True), ("69536005", "SCT", True), ("017155593", "SCT", False), ("471108", "DCM", False)],
)
def test_codes_stay_that_the_standard_lists(tmp_path, value, scheme, kept):
    def coded(ds):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "Huber"
        ds.AnatomicRegionSequence = Sequence([item])

    code = out_of(tmp_path, coded).AnatomicRegionSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator) == ((value, scheme) if kept else ("REMOVED", "99EASYDL"))
    assert "Huber" not in code.CodeMeaning


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Müller^Jörg", "MUELLER"), ("Mueller^Joerg", "müller"), ("Muller^J", "MÜLLER"), ("Weiß^A", "weiss"),
        ("Anne-Marie^X", "annemarie"), ("Anne-Marie^X", "marie"), ("Musterfrau^Erika", "ERIKA_MUSTERFRAU"),
        ("Musterfrau^Erika", "erikamusterfrau"), ("Musterfrau^Erika", "MusterfrauErika"), ("Åsa^Ø", "aasa"),
        ("Łukasz^X", "lukasz"), ("O'Brien^Pat", "obrien"), ("山田^太郎", "山田"), ("Nguyễn^Thị", "nguyen"),
    ],
)  # fmt: skip
def test_a_name_is_found_in_every_spelling(name, text):
    from easydl.clinical.identity import Identity

    ds = Dataset()
    ds.PatientName = name
    who = Identity(ds, frozenset(), frozenset())
    assert who.in_text(text) == (text != "山田") or who.in_text("山田太郎")
    assert not who.in_text("axial soft 5mm")


def test_private_numbers_stay_only_when_asked_and_only_those_the_standard_lists(tmp_path):
    def private(ds):
        block = ds.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(0x00, "DS", "0.000437")
        block.add_new(0x03, "ST", "Huber")
        ds.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", "1000")
        ds.private_block(0x0019, "GEMS_ACQU_01", create=True).add_new(0x23, "DS", "4711081512")
        ds.private_block(0x0043, "HUBER_01", create=True).add_new(0x39, "IS", "5")

    without = out_of(tmp_path / "without", private)
    assert not any(element.tag.is_private for element in without)
    OPTIONS[private] = {"keep_safe_private": True}
    kept = out_of(tmp_path / "with", private)
    # What PS3.15 table E.3.10-1 calls SUV Factor and B_value.
    assert kept.private_block(0x7053, "Philips PET Private Group")[0].value == 0.000437
    assert kept.private_block(0x0019, "SIEMENS MR HEADER")[0x0C].value == 1000
    assert sum(element.tag.is_private and not element.tag.is_private_creator for element in kept) == 2
    assert found_in(everything_below(tmp_path / "with/out/images"), ["Huber", "4711081512"]) == []
    assert "113111" in [code.CodeValue for code in kept.DeidentificationMethodCodeSequence]


def test_hold_all_puts_everything_aside_until_it_is_released(tmp_path):
    path = dicom_slice(tmp_path / "in/a.dcm", PIXELS, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    assert easydl.deidentify(path, tmp_path / "out").counts["written"] == 1
    held = easydl.deidentify(path, tmp_path / "out", hold_all=True)
    assert held.counts["quarantined"] == 1 and "hold_all" in held.table["reason"][0]
    assert not list((tmp_path / "out/images").rglob("*.dcm"))
    done = easydl.deidentify(path, tmp_path / "out", hold_all=True, release=held.table["file"])
    assert done.counts["written"] == 1


def rle(tmp_path, change, *, colour=False):
    """A row and data set of an RLE image whose frame was changed."""
    path = dicom_slice(tmp_path / "in/a.dcm", PIXELS, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    ds = pydicom.dcmread(path)
    ds.compress(uid.RLELossless, generate_instance_uid=False)
    frame = change(next(generate_frames(ds.PixelData, number_of_frames=1)))
    ds.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
    ds["PixelData"].is_undefined_length = True
    ds.save_as(path)
    row = easydl.deidentify(path, tmp_path / "out").table.iloc[0]
    return row, (pydicom.dcmread(tmp_path / "out" / row["file"]) if row["file"] else None)


def between(frame):
    """Text between the two segments of a 16-bit frame, with the second offset put right."""
    count, first, second = struct.unpack("<3I", frame[:12])
    return struct.pack("<3I", count, first, second + 8) + frame[12:second] + b"Doe Jane" + frame[second:]


def in_the_header(frame):
    return frame[:40] + b"Doe Jane" + frame[48:]


def in_the_last_run(frame):
    """A last run of literals that goes on for eight bytes after the last pixel."""
    count, first, second = struct.unpack("<3I", frame[:12])
    plane = (PIXELS & 255).astype(np.uint8).tobytes()  # the low bytes, which are the second segment
    assert len(plane) == 480
    runs = b"".join(bytes([95]) + plane[at : at + 96] for at in range(0, 384, 96)) + bytes([103]) + plane[384:]
    return struct.pack("<3I", count, first, second) + frame[12:second] + runs + b"Doe Jane"


@pytest.mark.parametrize("change", [lambda frame: frame + b"Doe Jane", between, in_the_header, in_the_last_run])
def test_bytes_beside_the_segments_of_rle_go_and_the_pixels_stay(tmp_path, change):
    row, written = rle(tmp_path, change)
    assert row["state"] == "written" and "beside the compressed segments" in row["notes"]
    assert b"Doe Jane" not in (tmp_path / "out" / row["file"]).read_bytes()
    np.testing.assert_array_equal(written.pixel_array, PIXELS)


def test_clean_rle_stays_byte_for_byte_and_a_broken_one_is_refused(tmp_path):
    row, written = rle(tmp_path / "clean", lambda frame: frame)
    before = pydicom.dcmread(tmp_path / "clean/in/a.dcm")
    one, other = (next(generate_frames(ds.PixelData, number_of_frames=1)) for ds in (before, written))
    assert row["notes"] == "" and one == other
    for name, change in {
        "cut": lambda frame: frame[:-30],
        "another segment": lambda frame: struct.pack("<4I", 3, 64, struct.unpack("<I", frame[8:12])[0], len(frame)) + frame[16:] + b"Doe Jane",
        "order": lambda frame: struct.pack("<3I", 2, 64, 64) + frame[12:],
    }.items():  # fmt: skip
        row, _ = rle(tmp_path / name, change)
        assert row["state"] == "refused" and "cut short or damaged" in row["reason"], name


def test_text_after_a_j2k_tile_without_a_length_goes():
    """The last tile-part may leave its length out (T.800 A.4.2): it then reaches to the end of the codestream."""
    import io

    from PIL import Image

    from easydl.clinical.pixeldata import blank_jpeg_2000

    data = io.BytesIO()
    grey = (PIXELS // 4).astype(np.uint8)
    Image.fromarray(grey).save(data, "JPEG2000", no_jp2=True, irreversible=False)
    frame = data.getvalue()
    at = frame.index(b"\xff\x90\x00\x0a")
    blank = blank_jpeg_2000(frame[: at + 6] + bytes(4) + frame[at + 10 :] + b"Doe Jane")
    assert b"Doe Jane" not in blank
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(blank))), grey)
