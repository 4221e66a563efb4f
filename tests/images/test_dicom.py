import numpy as np
import pytest
from made import dicom_series, dicom_slice

from easydl.errors import InputError
from easydl.images import read
from easydl.images.headers import pseudonym
from easydl.images.series import find_series

STORED = np.arange(48, dtype=np.uint16).reshape(6, 8) * 50


def test_ct_is_read_in_hounsfield_units(tmp_path):
    scan = read(dicom_slice(tmp_path / "a.dcm", STORED))
    assert scan.units == "HU"
    np.testing.assert_array_equal(scan.pixels[..., 0], STORED.astype(float) - 1024)
    assert scan.spacing_mm == (0.8, 0.7)
    assert scan.pixels.dtype == np.float32


def test_monochrome1_equals_its_monochrome2_twin(tmp_path):
    plain = {"Modality": "CR", "RescaleSlope": None, "RescaleIntercept": None, "RescaleType": None, "BitsStored": 12,
             "HighBit": 11}  # fmt: skip
    twin = read(dicom_slice(tmp_path / "2.dcm", STORED, **plain))
    inverted = (4095 - STORED).astype(np.uint16)
    one = read(dicom_slice(tmp_path / "1.dcm", inverted, PhotometricInterpretation="MONOCHROME1", **plain))
    np.testing.assert_array_equal(one.pixels, twin.pixels)
    assert one.units == "relative"
    assert "MONOCHROME1" in one.notes[0]


def test_signed_pixels_keep_their_sign(tmp_path):
    stored = STORED.astype(np.int16) - 1000
    scan = read(dicom_slice(tmp_path / "a.dcm", stored, RescaleIntercept=0))
    np.testing.assert_array_equal(scan.pixels[..., 0], stored)


def test_header_keeps_no_identifier(tmp_path):
    scan = read(dicom_slice(tmp_path / "a.dcm", STORED))
    assert scan.header == {"sex": "F", "age_years": "61", "scanner": "Acme One", "date": "2020-03", "modality": "CT"}
    assert scan.patient == pseudonym("SECRET-7") != pseudonym("SECRET-8")
    for secret in ("SECRET", "Doe", "Jane", "1959", "20200315"):
        assert secret not in repr((scan.header, scan.patient, scan.notes))


def test_ages_from_90_are_binned(tmp_path):
    assert read(dicom_slice(tmp_path / "a.dcm", STORED, PatientAge="093Y")).header["age_years"] == "90+"
    assert read(dicom_slice(tmp_path / "b.dcm", STORED, PatientAge="006M")).header["age_years"] == "0"


def test_series_is_sorted_by_position_and_spaced_by_it(tmp_path):
    volume = np.stack([STORED + k for k in range(5)]).astype(np.uint16)
    scan = read(dicom_series(tmp_path / "s", volume, gap_mm=2.5))
    # Head first, as highdicom orders axial slices: the highest position comes first.
    np.testing.assert_array_equal(scan.pixels[..., 0], volume[::-1].astype(float) - 1024)
    assert scan.spacing_mm == pytest.approx((2.5, 0.8, 0.7))


@pytest.mark.parametrize("plane", ["axial", "sagittal"])
def test_series_geometry_is_what_simpleitk_finds(tmp_path, plane):
    import SimpleITK

    volume = np.random.default_rng(0).integers(0, 3000, (4, 6, 8)).astype(np.uint16)
    folder = dicom_series(tmp_path / "s", volume) if plane == "axial" else _sagittal(tmp_path / "s", volume)
    scan = read(folder)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    other = reader.Execute()
    for index in [(0, 0, 0), (3, 2, 1), tuple(side - 1 for side in scan.shape)]:
        point = scan.affine @ [*index, 1]
        k, j, i = np.rint(np.asarray(other.TransformPhysicalPointToContinuousIndex(point[:3].tolist()))[::-1]).astype(
            int
        )
        assert SimpleITK.GetArrayViewFromImage(other)[k, j, i] == scan.pixels[(*index, 0)]
        assert (
            np.linalg.norm(np.asarray(other.TransformIndexToPhysicalPoint((int(i), int(j), int(k)))) - point[:3]) < 0.01
        )


def _sagittal(folder, volume):
    for k, pixels in enumerate(volume):
        dicom_slice(folder / f"{k}.dcm", pixels, ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
                    ImagePositionPatient=[float(3 * k), 5.0, 7.0])  # fmt: skip
    return folder


def _damage(name, folder):
    volume = np.stack([STORED] * 4).astype(np.uint16)
    folder = dicom_series(folder, volume)
    files = sorted(folder.iterdir())
    if name == "missing slice":
        dicom_slice(files[0], STORED, ImagePositionPatient=[0, 0, 40.0])
    elif name == "same position":
        for file in files[:2]:
            dicom_slice(file, STORED, ImagePositionPatient=[0, 0, 4.0])
    elif name == "two patients":
        dicom_slice(files[0], STORED, ImagePositionPatient=[0, 0, 8.0], PatientID="SECRET-8")
    return folder


@pytest.mark.parametrize("name", ["missing slice", "same position", "two patients"])
def test_a_series_that_is_not_one_volume_is_refused(tmp_path, name):
    with pytest.raises(InputError) as caught:
        read(_damage(name, tmp_path / "s"))
    assert "SECRET" not in str(caught.value)
    assert "is not one volume" in caught.value.found


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"PixelData": None}, "ends before its pixels"),
        ({"RescaleSlope": 0}, "RescaleSlope"),
        ({"PixelData": b"\0" * 10}, "10 bytes of 96"),
        ({"Rows": 0}, "pixels"),
    ],
)
def test_bad_files_are_refused_with_the_reason(tmp_path, changes, text):
    path = dicom_slice(tmp_path / "bad.dcm", STORED, **changes)
    with pytest.raises(InputError) as caught:
        read(path)
    assert text in caught.value.found
    assert caught.value.expected
    assert caught.value.do


def test_cut_file_and_text_file_are_refused(tmp_path):
    whole = dicom_slice(tmp_path / "a.dcm", STORED)
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(whole.read_bytes()[:300])
    with pytest.raises(InputError):
        read(cut)
    text = tmp_path / "notes.dcm"
    text.write_text("not DICOM at all")
    with pytest.raises(InputError, match="not in a format that easydl reads"):
        read(text)


def test_series_are_found_by_header_and_named_by_key(tmp_path):
    dicom_series(tmp_path, np.stack([STORED] * 3).astype(np.uint16), SeriesInstanceUID="1.2.3")
    dicom_slice(tmp_path / "other.dcm", STORED[:4], SeriesInstanceUID="1.2.4")
    dicom_slice(tmp_path / "scout.dcm", STORED, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    content = find_series(tmp_path)
    assert sorted(len(series.files) for series in content.series) == [1, 3]
    assert "localizer" in content.unused[0][1]
    address = next(series.address for series in content.series if len(series.files) == 3)
    assert read(address).shape == (3, 6, 8)
    with pytest.raises(InputError, match="2 series"):
        read(tmp_path)


@pytest.mark.real
def test_real_ct_series_is_in_hounsfield_units(real):
    scan = read(real / "dicom_series/ct_totalsegmentator/dicom")
    assert (scan.units, scan.shape) == ("HU", (20, 512, 512))
    air = np.median(scan.pixels[:, :20, :20])
    soft = np.median(scan.pixels[(scan.pixels > -200) & (scan.pixels < 300)])
    assert air < -900
    assert 0 < soft < 100


@pytest.mark.real
def test_real_monochrome1_chest_has_bright_spine_and_dark_lungs(real):
    scan = read(real / "dicom_zoo/misc/CR-MONO1-10-chest.dcm")
    assert scan.units == "relative"
    raw_corner = scan.pixels[:30, :30].mean()
    assert raw_corner < scan.pixels.mean()  # the unexposed film beside the neck must not be white


@pytest.mark.real
def test_a_decoder_that_ends_its_process_does_not_end_ours(real, tmp_path):
    """A lossless JPEG whose header claims another size: GDCM fails in its process, and the next file is read."""
    import pydicom

    dataset = pydicom.dcmread(real / "dicom_zoo/pydicom_data/JPGLosslessP14SV1_1s_1f_8b.dcm")
    whole = read(real / "dicom_zoo/pydicom_data/JPGLosslessP14SV1_1s_1f_8b.dcm").pixels
    for rows, columns in [(7, 9), (700, 1024), (2000, 3000)]:
        dataset.Rows, dataset.Columns = rows, columns
        dataset.save_as(tmp_path / "a.dcm")
        with pytest.raises(InputError, match="cannot be decoded"):
            read(tmp_path / "a.dcm")
    np.testing.assert_array_equal(read(real / "dicom_zoo/pydicom_data/JPGLosslessP14SV1_1s_1f_8b.dcm").pixels, whole)


def test_a_decoder_process_that_ends_is_reported(tmp_path, monkeypatch):
    from easydl.images import decoder_process, worker

    monkeypatch.setattr(worker.sys, "executable", "/bin/false")
    monkeypatch.setattr(decoder_process, "_idle", decoder_process.SimpleQueue())
    with pytest.raises(worker.WorkerError, match="ended"):
        decoder_process.decode_in_subprocess(str(dicom_slice(tmp_path / "a.dcm", STORED)), None, "gdcm")
