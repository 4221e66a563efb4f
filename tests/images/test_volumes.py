"""The slices of one series become one volume: repeated, single, tilted and mixed ones."""

import numpy as np
import pydicom
import pytest
from made import dicom_series, dicom_slice

from easydl.errors import InputError
from easydl.images import read

VOLUME = np.random.default_rng(0).integers(0, 2000, (5, 6, 8)).astype(np.uint16)


def change(path, **elements):
    """Give elements of a written slice another value, or (None) take them out."""
    dataset = pydicom.dcmread(path)
    for name, value in elements.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.save_as(path)


def test_slices_half_a_millimetre_apart_do_not_share_a_position(tmp_path):
    scan = read(dicom_series(tmp_path / "s", VOLUME, gap_mm=0.5))
    assert scan.shape == (5, 6, 8)
    assert scan.spacing_mm == pytest.approx((0.5, 0.8, 0.7))


def test_a_series_of_one_slice_is_that_slice(tmp_path):
    path = dicom_slice(tmp_path / "s/a.dcm", VOLUME[0])
    series, alone = read(tmp_path / "s"), read(path)
    assert series.shape == alone.shape == (6, 8)
    np.testing.assert_array_equal(series.pixels, alone.pixels)
    np.testing.assert_array_equal(series.affine, alone.affine)


def test_slices_in_different_units_are_refused(tmp_path):
    series = dicom_series(tmp_path / "s", VOLUME)
    change(series / "002.dcm", RescaleSlope=None, RescaleIntercept=None, RescaleType=None)
    with pytest.raises(InputError) as caught:
        read(series)
    assert "different units" in caught.value.found and "HU" in caught.value.found


def test_slices_without_an_identifier_are_not_copies_of_each_other(tmp_path):
    series = dicom_series(tmp_path / "s", VOLUME)
    for path in series.iterdir():
        change(path, SOPInstanceUID="")
    assert read(series).shape == (5, 6, 8)


def test_copies_are_counted(tmp_path):
    series = dicom_series(tmp_path / "s", VOLUME)
    for number in range(2):
        (series / f"again{number}.dcm").write_bytes((series / f"00{number}.dcm").read_bytes())
    scan = read(series)
    assert scan.shape == (5, 6, 8)
    assert any(note.startswith("2 files repeat a slice") for note in scan.notes)


@pytest.mark.parametrize(("shift", "accepted"), [(0.0195, True), (0.0205, False)])
def test_a_tilt_of_up_to_a_hundredth_of_the_length_is_accepted(tmp_path, shift, accepted):
    for k in range(11):
        dicom_slice(tmp_path / f"s/{k}.dcm", VOLUME[0], ImagePositionPatient=[0, shift * k, 2.0 * k])
    if accepted:
        assert read(tmp_path / "s").shape == (11, 6, 8)
    else:
        with pytest.raises(InputError, match="the gantry was tilted"):
            read(tmp_path / "s")


def test_only_the_odd_slices_are_named(tmp_path):
    series = dicom_series(tmp_path / "s", VOLUME)
    change(series / "002.dcm", PixelSpacing=[0.9, 0.7])
    with pytest.raises(InputError) as caught:
        read(series)
    assert caught.value.found.endswith("differ in pixel spacing: 002.dcm (0.9 x 0.7).")
