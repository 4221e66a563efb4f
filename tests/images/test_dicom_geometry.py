"""Where a voxel lies: an asymmetric phantom in six orientations, checked with an independent reader."""

import numpy as np
import pytest
from made import dicom_slice

from easydl.errors import InputError
from easydl.images import read

ORIENTATIONS = {
    "axial": [1, 0, 0, 0, 1, 0],
    "axial, seen from above": [-1, 0, 0, 0, 1, 0],
    "sagittal": [0, 1, 0, 0, 0, -1],
    "coronal": [1, 0, 0, 0, 0, -1],
    "coronal, upside down": [-1, 0, 0, 0, 0, 1],
    "oblique": [0.8, 0.6, 0, -0.48, 0.64, 0.6],
}
WITHOUT_DECODER = (51, 53, 55)
SPACING, GAP, ORIGIN = (0.8, 0.7), 2.5, np.array([-31.5, 12.25, 407.0])
MARKS = {(1, 0, 7): 900, (4, 5, 2): 1700, (0, 3, 3): 2500}
"""Stored slice, row, column of single bright voxels."""


def phantom(folder, orientation):
    """Six slices along the normal, in files whose names say nothing; returns the true millimetre of every mark."""
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    normal = np.cross(row, column)
    truth = {}
    for k in np.random.default_rng(2).permutation(6):
        pixels = np.zeros((6, 8), np.uint16)
        position = ORIGIN + k * GAP * normal
        for (z, y, x), value in MARKS.items():
            if z == k:
                pixels[y, x] = value
                truth[value] = position + row * SPACING[1] * x + column * SPACING[0] * y
        dicom_slice(
            folder / f"{(k * 5) % 7}.dcm", pixels, ImageOrientationPatient=orientation, PixelSpacing=list(SPACING),
            ImagePositionPatient=[float(x) for x in position], InstanceNumber=1, RescaleIntercept=0,
        )  # fmt: skip
    return truth


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_every_mark_lies_at_the_millimetre_an_independent_reader_finds(tmp_path, name):
    import SimpleITK

    truth = phantom(tmp_path / "s", ORIENTATIONS[name])
    scan = read(tmp_path / "s")
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "s")))
    other = reader.Execute()
    array = SimpleITK.GetArrayFromImage(other)
    for value, place in truth.items():
        ours = scan.affine @ [*np.argwhere(scan.pixels[..., 0] == value)[0], 1]
        k, j, i = (int(x) for x in np.argwhere(array == value)[0])
        theirs = np.asarray(other.TransformIndexToPhysicalPoint((i, j, k)))
        assert np.linalg.norm(ours[:3] - place) < 0.01
        assert np.linalg.norm(ours[:3] - theirs) < 0.01
    assert scan.on_source().spacing_mm == pytest.approx((GAP, *SPACING), abs=1e-6)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_a_series_saved_as_nifti_keeps_the_millimetre(tmp_path, name):
    """DICOM -> Scan -> NIfTI -> SimpleITK: the mask of a mark lies where the mark was."""
    import SimpleITK

    from easydl.images.nifti import write_nifti

    truth = phantom(tmp_path / "s", ORIENTATIONS[name])
    scan = read(tmp_path / "s")
    for value, place in truth.items():
        path = write_nifti((scan.pixels[..., 0] == value).astype(np.uint8), scan.affine, tmp_path / "m.nii.gz")
        other = SimpleITK.ReadImage(str(path))
        k, j, i = (int(x) for x in np.argwhere(SimpleITK.GetArrayFromImage(other) == 1)[0])
        assert np.linalg.norm(np.asarray(other.TransformIndexToPhysicalPoint((i, j, k))) - place) < 0.01


@pytest.mark.real
def test_one_slice_in_every_transfer_syntax(real):
    """Lossless encodings give equal pixels, lossy ones nearly, and three without a free decoder say so."""
    files = sorted((real / "dicom_zoo/same_ct_all_transfer_syntaxes").glob("*.dcm"))
    assert len(files) == 16
    expected = read(files[0]).pixels
    equal, near = [], []
    for path in files:
        if any(path.name.endswith(f".4.{syntax}.dcm") for syntax in WITHOUT_DECODER):
            with pytest.raises(InputError, match="dcmdjpeg"):
                read(path)
            continue
        scan = read(path)
        assert scan.units == "HU"
        if np.array_equal(scan.pixels, expected):
            equal.append(path.name)
        else:
            assert any("lossy" in note for note in scan.notes)
            assert np.abs(scan.pixels - expected).mean() < 40
            near.append(path.name)
    assert (len(equal), len(near)) == (10, 3)


def test_the_fast_way_to_stored_values_equals_pydicom(tmp_path):
    import pydicom

    rng = np.random.default_rng(0)
    for allocated, stored, signed in [(16, 16, 0), (16, 12, 0), (16, 12, 1), (16, 16, 1), (8, 8, 0)]:
        dtype = np.dtype(f"{'i' if signed else 'u'}{allocated // 8}")
        low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1)) if signed else (0, 2**stored)
        pixels = rng.integers(low, high, (7, 9)).astype(dtype)
        path = dicom_slice(
            tmp_path / f"{allocated}{stored}{signed}.dcm", pixels, Modality="MR", RescaleSlope=None, RescaleType=None,
            RescaleIntercept=None, BitsAllocated=allocated, BitsStored=stored, HighBit=stored - 1,
        )  # fmt: skip
        np.testing.assert_array_equal(read(path).pixels[..., 0], pydicom.dcmread(path).pixel_array)
        np.testing.assert_array_equal(read(path).pixels[..., 0], pixels)
