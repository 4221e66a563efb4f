"""The slices of one series become one volume: repeated, single, tilted and mixed ones."""

import numpy as np
import pydicom
import pytest
from made import dicom_series, dicom_slice

from easydl.errors import InputError
from easydl.images import read
from easydl.images.series import find_series

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


@pytest.mark.parametrize(("shift", "accepted"), [(0.039, True), (0.041, False)])
def test_a_tilt_counts_when_it_moves_an_end_by_a_quarter_of_a_pixel(tmp_path, shift, accepted):
    """Eleven slices, shifted by 10 times so much in all: half of it, of rows 0.8 mm apart, to each side."""
    for k in range(11):
        dicom_slice(tmp_path / f"s/{k:02d}.dcm", VOLUME[0], ImagePositionPatient=[0, shift * k, 2.0 * k])
    if accepted:
        scan = read(tmp_path / "s")
        assert scan.shape == (11, 6, 8)
        assert scan.affine[:3, 3] == pytest.approx([0, shift * 5, 20])
    else:
        with pytest.raises(InputError, match=r"the gantry was tilted(.|\n)*by 1\.2 degrees"):
            read(tmp_path / "s")


def _stack(folder, heights, **changes):
    for k, height in enumerate(heights):
        each = {name: value(k) if callable(value) else value for name, value in changes.items()}
        dicom_slice(folder / f"{k:02d}.dcm", VOLUME[k % 5] + k, **{"ImagePositionPatient": [0, 0, height], **each})
    return folder


def _directions(k, middle=0.0, off=1e-7):
    across = middle + off * (1 if k % 2 else -1)
    along = (1 - across**2) ** 0.5
    return [f"{x:.9f}" for x in (along, across, 0, -across, along, 0)]


NUMBERS_THAT_WERE_ROUNDED = {
    "two decimals of 0.625": ([round(0.625 * k, 2) for k in range(20)], {}, 0.625),
    "one decimal of 1.25": ([round(1.25 * k, 1) for k in range(20)], {}, 1.25),
    "spacing with six decimals here and there": (
        [2.0 * k for k in range(20)], {"PixelSpacing": lambda k: ["0.9765625"] * 2 if k % 3 else ["0.976562"] * 2}, 2.0),
    "directions around zero": ([2.0 * k for k in range(20)], {"ImageOrientationPatient": _directions}, 2.0),
    "directions around a limit of rounding": (
        [2.0 * k for k in range(20)], {"ImageOrientationPatient": lambda k: _directions(k, 0.005, 1e-5)}, 2.0),
    "directions with two decimals": (
        [2.0 * k for k in range(20)], {"ImageOrientationPatient": [0.71, 0.71, 0, -0.71, 0.71, 0]}, 2.0),
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS_THAT_WERE_ROUNDED)
def test_rounded_numbers_make_one_volume_as_simpleitk_finds_it(tmp_path, name):
    import SimpleITK

    heights, changes, gap_mm = NUMBERS_THAT_WERE_ROUNDED[name]
    folder = _stack(tmp_path / "s", heights, **changes)
    content = find_series(folder)
    assert [len(series.files) for series in content.series] == [20]
    scan = read(folder)
    assert scan.shape == (20, 6, 8)
    last_first = (heights[-1] - heights[0]) / 19
    assert scan.spacing_mm[0] == pytest.approx(last_first, rel=1e-6)
    assert last_first == pytest.approx(gap_mm, abs=0.01)
    np.testing.assert_array_equal(scan.pixels[::-1, ..., 0] + 1024, [VOLUME[k % 5] + k for k in range(20)])
    image = SimpleITK.ReadImage(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    assert image.GetSize() == (8, 6, 20)
    for k in (0, 9, 19):
        place = np.asarray(image.TransformIndexToPhysicalPoint((0, 0, 19 - k)))
        assert np.linalg.norm((scan.affine @ [k, 0, 0, 1])[:3] - place) < 0.06


REFUSED = {
    "missing": ([0, 2, 4, 8, 10, 12, 14], r"between 03\.dcm and 02\.dcm lie 4\.00 mm where slices are 2\.00 mm apart; a slice is missing"),
    "three missing": ([0, 2, 4, 12, 14, 16], "lie 8.00 mm where slices are 2.00 mm apart; 3 slices are missing"),
    "no whole number": ([0, 2, 4, 7.1, 9.1, 11.1], r"lie 3\.10 mm where slices are 2\.00 mm apart\.\n"),
    "on purpose": ([*(2.5 * k for k in range(8)), *(17.5 + 7.5 * k for k in range(1, 6))],
                   r"the distance between slices changes: 7\.50 mm apart at first, 2\.50 mm from 07\.dcm on(.|\n)*one slice distance"),
    "shifted": ([2.0 * k for k in range(7)], "some slices are shifted in their plane against the others, by up to 3 mm"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_even_volume_is_refused_with_the_true_reason(tmp_path, name):
    heights, words = REFUSED[name]
    shift = {"ImagePositionPatient": lambda k: [3.0 if k == 3 else 0, 0, 2.0 * k]} if name == "shifted" else {}
    with pytest.raises(InputError, match=words) as caught:
        read(_stack(tmp_path / "s", heights, **shift))
    assert ("missing" in caught.value.found) == ("missing" in name)


def test_echoes_whose_positions_differ_by_rounding_are_two_volumes(tmp_path):
    for echo, off in ((5.0, 0.0), (30.0, 2e-4)):
        for k in range(4):
            dicom_slice(
                tmp_path / f"s/{echo:g}_{k}.dcm", VOLUME[k], Modality="MR", EchoTime=echo,
                ImagePositionPatient=[0, 0, 2.0 * k + 0.0049 + off],
            )  # fmt: skip
    assert [(series.part, len(series.files)) for series in find_series(tmp_path / "s").series] == [
        ("EchoTime 5.0", 4),
        ("EchoTime 30.0", 4),
    ]


def test_only_the_odd_slices_are_named(tmp_path):
    series = dicom_series(tmp_path / "s", VOLUME)
    change(series / "002.dcm", PixelSpacing=[0.9, 0.7])
    with pytest.raises(InputError) as caught:
        read(series)
    assert caught.value.found.endswith("differ in pixel spacing: 002.dcm (0.9 x 0.7 instead of 0.8 x 0.7).")
