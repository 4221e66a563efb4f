"""One orientation for every volume: 48 orders of the axes, NIfTI and DICOM, images, masks and channels."""

from itertools import permutations, product

import nibabel
import numpy as np
import pandas as pd
import pytest
from made import dicom_series, dicom_slice
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from scipy.spatial.transform import Rotation

import easydl
from easydl.errors import InputError
from easydl.images import Scan, read
from easydl.images.nifti import write_nifti
from easydl.prediction import Segmentation
from easydl.studies.pixel_facts import ImageFiles

CODES = [
    "".join(code)
    for order in permutations("RAS")
    for code in product(*({"R": "RL", "A": "AP", "S": "SI"}[a] for a in order))
]
SHAPE = (5, 6, 7)
TURN = np.eye(4)
TURN[:3, :3] = Rotation.from_euler("xyz", [12, -7, 20], degrees=True).as_matrix() @ np.diag([1.5, 2.0, 3.0])
TURN[:3, 3] = [-20, 30, 5]
VALUES = np.random.default_rng(0).permutation(np.prod(SHAPE)).reshape(SHAPE).astype(np.float32)
MASK = (VALUES % 3).astype(np.uint8)


def stored(path, values, code, affine=TURN):
    """The same voxels of the patient under another order of the axes, written by nibabel."""
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(code)))
    image = image.as_reoriented(turn)
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    nibabel.save(image, path)
    return path


def by_nibabel(values, affine=TURN):
    """Depth to the feet, rows to the back, columns to the left: (z, y, x) of an image that nibabel brought to LPI."""
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(("L", "P", "I")))
    return apply_orientation(values, turn).transpose(2, 1, 0)


def test_there_are_48_orders():
    assert len(set(CODES)) == 48


@pytest.mark.parametrize("code", CODES)
def test_a_nifti_of_any_order_is_one_array_and_goes_back_voxel_by_voxel(tmp_path, code):
    import SimpleITK

    image = read(stored(tmp_path / "i.nii.gz", VALUES, code))
    np.testing.assert_array_equal(image.pixels[..., 0], by_nibabel(VALUES))
    turned = nibabel.orientations.aff2axcodes(np.diag([-1.0, -1, 1, 1]) @ image.affine)
    assert turned == ("I", "P", "L")
    assert image.spacing_mm == pytest.approx((3.0, 2.0, 1.5), abs=1e-5)

    stored(tmp_path / "m.nii.gz", MASK, code)
    path = write_nifti(read(tmp_path / "m.nii.gz").pixels[..., 0].astype(int), image, tmp_path / "back.nii.gz")
    source, back = nibabel.load(tmp_path / "m.nii.gz"), nibabel.load(path)
    np.testing.assert_array_equal(np.asarray(back.dataobj), np.asarray(source.dataobj))
    for form in ("get_sform", "get_qform"):
        (matrix, number), (wanted, code_of) = (getattr(one, form)(coded=True) for one in (back, source))
        assert number == code_of
        assert (matrix is None) == (wanted is None)
        if wanted is not None:
            np.testing.assert_allclose(matrix, wanted, atol=1e-5)
    ours, theirs = (SimpleITK.ReadImage(str(tmp_path / name)) for name in ("back.nii.gz", "i.nii.gz"))
    np.testing.assert_allclose(ours.GetOrigin(), theirs.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(ours.GetDirection(), theirs.GetDirection(), atol=1e-5)
    np.testing.assert_allclose(ours.GetSpacing(), theirs.GetSpacing(), atol=1e-5)


@pytest.mark.quick
@pytest.mark.parametrize("code", CODES[::5])
def test_a_mask_of_another_order_than_its_image_lies_on_it(tmp_path, code):
    stored(tmp_path / "i.nii.gz", VALUES, "LAS")
    stored(tmp_path / "m.nii.gz", MASK, code)
    study = easydl.load(
        pd.DataFrame({"image": [str(tmp_path / "i.nii.gz")], "mask": [str(tmp_path / "m.nii.gz")]}), patient=None
    )
    np.testing.assert_array_equal(study.reference(0), by_nibabel(MASK))
    assert not any("resampl" in note for note in study.notes)


def test_channels_of_several_orders_are_stacked_voxel_by_voxel(tmp_path):
    row = tuple(
        str(stored(tmp_path / f"{code}.nii.gz", VALUES + k, code)) for k, code in enumerate(("LAS", "PIR", "SLA"))
    )
    for _ in range(2):  # decoded, then from the cache
        pixels = ImageFiles().scan(row).pixels
        np.testing.assert_array_equal(pixels, np.stack([by_nibabel(VALUES + k) for k in range(3)], -1))


def test_channels_that_lie_apart_are_refused(tmp_path):
    away = TURN.copy()
    away[:3, 3] += 4
    row = (str(stored(tmp_path / "a.nii.gz", VALUES, "RAS")), str(stored(tmp_path / "b.nii.gz", VALUES, "PIR", away)))
    with pytest.raises(InputError, match=r"different grids: beside the first one, of image 2 it lies 6\.93 mm away"):
        ImageFiles().scan(row)


def series(folder, code, values=VALUES, affine=TURN):
    """A DICOM series whose slices, rows and columns run along these directions of the patient."""
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(code)))
    array = apply_orientation(values, turn)
    place = np.diag([-1.0, -1, 1, 1]) @ affine @ inv_ornt_aff(turn, values.shape)
    sizes = np.linalg.norm(place[:3, :3], axis=0)
    direction = place[:3, :3] / sizes
    for k in range(array.shape[0]):
        dicom_slice(
            folder / f"{k}.dcm", array[k].astype(np.uint16), SOPInstanceUID=f"1.2.{k + 1}",
            ImagePositionPatient=[float(f"{x:.9g}") for x in place[:3, 3] + k * place[:3, 0]],
            ImageOrientationPatient=[float(f"{x:.9g}") for x in (*direction[:, 2], *direction[:, 1])],
            PixelSpacing=[float(sizes[1]), float(sizes[2])], RescaleIntercept=0, InstanceNumber=k + 1,
        )  # fmt: skip
    return array


@pytest.mark.parametrize("code", CODES)
def test_a_dicom_series_of_any_order_is_that_array_and_its_segmentation_lies_on_its_slices(tmp_path, code):
    import highdicom
    import pydicom

    series(tmp_path / "s", code)
    scan = read(tmp_path / "s")
    np.testing.assert_array_equal(scan.pixels[..., 0], by_nibabel(VALUES))
    assert scan.spacing_mm == pytest.approx((3.0, 2.0, 1.5), abs=1e-5)
    mask = by_nibabel(MASK).astype(np.int32)
    result = Segmentation(mask, scan, ("background", "one", "two"))
    seg = highdicom.seg.segread(result.to_dicom(tmp_path / "seg.dcm"))
    drawn = apply_orientation(MASK, ornt_transform(io_orientation(TURN), axcodes2ornt(tuple(code))))
    found = {k: np.zeros_like(drawn[0]) for k in range(len(drawn))}
    places = {
        tuple(np.round(np.asarray(ds.ImagePositionPatient, float), 3)): k
        for k, ds in ((k, pydicom.dcmread(tmp_path / f"s/{k}.dcm")) for k in range(len(drawn)))
    }
    for frame, groups in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        position = tuple(np.round(np.asarray(groups.PlanePositionSequence[0].ImagePositionPatient, float), 3))
        found[places[position]][frame > 0] = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
    for k in range(len(drawn)):
        np.testing.assert_array_equal(found[k], drawn[k])
    study = easydl.load(
        pd.DataFrame({"image": [str(tmp_path / "s")], "mask": [str(tmp_path / "seg.dcm")]}), patient=None
    )
    np.testing.assert_array_equal(study.reference(0), mask)


def test_plain_axial_slices_stay_as_they_are(tmp_path):
    volume = np.random.default_rng(1).integers(0, 2000, (4, 6, 8)).astype(np.uint16)
    scan = read(dicom_series(tmp_path / "s", volume))
    np.testing.assert_array_equal(scan.pixels[..., 0] + 1024, volume[::-1])  # from the head to the feet
    assert scan.upright == (1, 1)
    assert np.array_equal(scan.on_source().pixels, scan.pixels)


def test_the_way_back_has_the_very_numbers_of_the_source(tmp_path):
    scan = read(stored(tmp_path / "i.nii.gz", VALUES, "PIR"))
    again = scan.on_source()
    image = nibabel.load(tmp_path / "i.nii.gz")
    np.testing.assert_array_equal(again.pixels[..., 0], np.asarray(image.dataobj).T)
    np.testing.assert_array_equal((np.diag([-1.0, -1, 1, 1]) @ again.affine)[:, [2, 1, 0, 3]], image.affine)
    assert again.oriented().pixels.tobytes() == scan.pixels.tobytes()
    assert again.spacing_mm == pytest.approx(image.header.get_zooms()[::-1])


@pytest.mark.parametrize(
    ("sizes", "shape", "plane"),
    [((1, 1, 5), (7, 6, 5), "axial"), ((1, 5, 1), (6, 7, 5), "coronal"), ((5, 1, 1), (5, 7, 6), "sagittal")],
)
def test_thick_slices_are_looked_at_in_their_plane(tmp_path, sizes, shape, plane):
    scan = read(stored(tmp_path / "i.nii.gz", VALUES, "RAS", np.diag([*map(float, sizes), 1.0])))
    shown = scan.in_its_plane()
    assert shown.shape == shape
    assert shown.spacing_mm == pytest.approx((5, 1, 1))
    assert shown.upright == (1, 1)
    down, across = shown.affine[:3, 1], shown.affine[:3, 2]
    expected = {
        "axial": ([0, 1, 0], [1, 0, 0]),
        "coronal": ([0, 0, -1], [1, 0, 0]),
        "sagittal": ([0, 0, -1], [0, 1, 0]),
    }
    np.testing.assert_allclose(down, expected[plane][0])
    np.testing.assert_allclose(across, expected[plane][1])
    np.testing.assert_array_equal(shown.as_in(scan, scan.as_in(shown, scan.pixels)), scan.pixels)


def test_images_and_volumes_without_a_position_are_not_turned():
    for pixels in (np.zeros((4, 5, 1)), np.zeros((3, 4, 5, 1))):
        scan = Scan(pixels, "0-255")
        assert scan.oriented() is scan
        assert scan.in_its_plane() is scan
        assert scan.on_source() is scan
