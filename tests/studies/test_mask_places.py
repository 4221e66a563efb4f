"""Masks beside their image: what is taken voxel by voxel, what is moved, and what is refused with which advice."""

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from made import dicom_slice

import easydl
from easydl.errors import InputError
from easydl.images import read
from easydl.prediction import Segmentation

pytestmark = pytest.mark.quick

GRID = np.diag([1.0, 1.0, 2.0, 1.0])
MOVED = GRID.copy()
MOVED[:3, 3] = [2, -1, 2]
DRAWN = np.zeros((20, 18, 10), np.uint8)
DRAWN[6:12, 6:12, 3:7] = 1
AGAIN = "save it again with the header of the image"


def written(path, array, *, sform, qform=None, codes=(1, 1)):
    image = nibabel.Nifti1Image(array, np.eye(4))
    image.header.set_xyzt_units("mm")
    image.set_sform(sform, codes[0])
    image.set_qform(sform if qform is None else qform, codes[1])
    nibabel.save(image, path)
    return str(path)


def study(folder, image, mask, **options):
    noise = np.random.default_rng(0).normal(100, 20, DRAWN.shape).astype(np.float32)
    row = {"image": written(folder / "i.nii.gz", noise, **image), "mask": written(folder / "m.nii.gz", DRAWN, **mask)}
    return easydl.load(pd.DataFrame([row]), patient=None, **options)


def as_drawn(study):
    """The mask as the network gets it, in the order of the image's file."""
    return study.scan(0).to_source(study.reference(0)).T


@pytest.mark.parametrize(
    ("image", "mask", "what"),
    [
        ({"sform": MOVED, "qform": GRID}, {"sform": GRID}, "image"),
        ({"sform": GRID}, {"sform": MOVED, "qform": GRID}, "mask"),
    ],
)
def test_a_form_that_was_moved_after_drawing_is_named_and_no_voxel_is_moved(tmp_path, image, mask, what):
    with pytest.raises(
        InputError, match=f"sform and qform of the {what} disagree(.|\n)*by the sform it lies 3 mm away"
    ) as caught:
        study(tmp_path, image, mask).reference(0)
    assert AGAIN in str(caught.value)
    assert "resampl" not in str(caught.value)
    asked = study(tmp_path, image, mask, resample_masks=True)
    np.testing.assert_array_equal(as_drawn(asked), DRAWN)
    assert any("voxel by voxel" in note for note in asked.notes)
    header = nibabel.load(tmp_path / "i.nii.gz")
    nibabel.save(nibabel.Nifti1Image(DRAWN, header.affine, header.header), tmp_path / "m.nii.gz")  # the advice
    advised = easydl.load(asked.frame[["image", "mask"]], patient=None)
    np.testing.assert_array_equal(as_drawn(advised), DRAWN)


def test_a_mask_of_the_same_shape_elsewhere_is_refused_without_the_advice_to_move_it(tmp_path):
    with pytest.raises(
        InputError, match="the shape of its image and lies elsewhere in space: it lies 3 mm away"
    ) as caught:
        study(tmp_path, {"sform": MOVED}, {"sform": GRID}).reference(0)
    assert AGAIN in str(caught.value)
    assert "resampl" not in str(caught.value)
    asked = study(tmp_path, {"sform": MOVED}, {"sform": GRID}, resample_masks=True)
    assert as_drawn(asked).sum() > 0
    assert any("m.nii.gz has the shape of its image and was moved: it lies 3 mm away" in note for note in asked.notes)


def test_a_file_that_says_no_position_is_named(tmp_path):
    nowhere = {"sform": np.eye(4), "codes": (0, 0)}
    with pytest.raises(InputError, match="The mask has no position in space") as caught:
        study(tmp_path, {"sform": MOVED}, nowhere).reference(0)
    assert AGAIN in str(caught.value)
    with pytest.raises(InputError, match="The image has no position in space"):
        study(tmp_path, nowhere, {"sform": MOVED}).reference(0)
    np.testing.assert_array_equal(as_drawn(study(tmp_path, nowhere, nowhere)), DRAWN)


@pytest.mark.parametrize("off", [1e-7, 0.05, 0.2])
def test_less_than_a_quarter_of_a_voxel_is_the_same_place(tmp_path, off):
    near = GRID.copy()
    near[:3, 3] += off
    np.testing.assert_array_equal(as_drawn(study(tmp_path, {"sform": GRID}, {"sform": near})), DRAWN)


def test_a_mask_with_other_voxels_is_refused_with_the_advice_to_resample_which_works(tmp_path):
    row = {"image": written(tmp_path / "i.nii.gz", np.zeros((20, 18, 10), np.float32), sform=GRID)}
    fine = np.diag([0.5, 0.5, 1.0, 1.0])
    fine[:3, 3] = [-0.25, -0.25, -0.5]
    row["mask"] = written(tmp_path / "m.nii.gz", DRAWN.repeat(2, 0).repeat(2, 1).repeat(2, 2), sform=fine)
    with pytest.raises(
        InputError, match=r"has the shape \(20, 36, 40\), its image \(10, 18, 20\)(.|\n)*resample_masks=True"
    ):
        easydl.load(pd.DataFrame([row]), patient=None).reference(0)
    np.testing.assert_array_equal(as_drawn(easydl.load(pd.DataFrame([row]), patient=None, resample_masks=True)), DRAWN)


SHEAR = GRID.copy()
SHEAR[0, 1:3] = 0.0008, 0.001


@pytest.mark.parametrize(
    ("sform", "codes", "note"),
    [
        (SHEAR, (1, 1), ""),
        (SHEAR, (1, 0), ""),
        (
            GRID + np.eye(4, k=1) * [[1], [0], [0], [0]],
            (1, 1),
            "the axes of the sform are not at right angles: the qform was used",
        ),
    ],
)
def test_a_sheared_sform_is_read_where_a_straight_one_is_near_or_the_qform_is_given(tmp_path, sform, codes, note):
    import SimpleITK

    path = written(tmp_path / "i.nii.gz", DRAWN.astype(np.float32), sform=sform, qform=GRID, codes=codes)
    scan = read(path)
    np.testing.assert_array_equal(scan.to_source(scan.pixels[..., 0]).T, DRAWN)
    axes = scan.affine[:3, :3] / np.linalg.norm(scan.affine[:3, :3], axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-5)
    assert (note in scan.notes) or not note
    if codes[1]:
        image = SimpleITK.ReadImage(path)
        for index in ((0, 0, 0), (19, 17, 9)):
            place = scan.on_source().affine @ [*index[::-1], 1]
            assert np.linalg.norm(place[:3] - image.TransformIndexToPhysicalPoint(index)) < 0.05
    saved = Segmentation(scan.pixels[..., 0].astype(int), scan, ("b", "x")).save(tmp_path / "o.nii.gz")
    for form in ("get_sform", "get_qform"):
        np.testing.assert_allclose(getattr(nibabel.load(saved), form)(), getattr(nibabel.load(path), form)(), atol=1e-6)


def test_a_segmentation_of_slices_with_rounded_positions_lies_on_them(tmp_path):
    """0.625 mm in two decimals, in the series and in the segmentation; frames without a segment are absent."""
    rng = np.random.default_rng(0)
    heights = np.array([round(0.625 * k, 2) for k in range(40)])
    for k, height in enumerate(heights):
        dicom_slice(
            tmp_path / f"s/{k:02d}.dcm", rng.integers(0, 2000, (16, 20)).astype(np.uint16),
            ImagePositionPatient=[0, 0, float(height)], SOPInstanceUID=f"1.2.{k + 1}",
        )  # fmt: skip
    scan = read(tmp_path / "s")
    mask = np.zeros(scan.shape, np.int32)
    mask[3:6, 4:9, 5:12], mask[30:33, 2:6, 1:4] = 1, 2
    path = Segmentation(mask, scan, ("background", "one", "two")).to_dicom(tmp_path / "even.dcm")
    dataset = pydicom.dcmread(path)
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        place = groups.PlanePositionSequence[0]
        nearest = np.abs(heights - float(place.ImagePositionPatient[2])).argmin()
        place.ImagePositionPatient[2] = float(heights[nearest])
    dataset.save_as(tmp_path / "rounded.dcm")
    for name in ("even.dcm", "rounded.dcm"):
        frame = pd.DataFrame({"image": [str(tmp_path / "s")], "mask": [str(tmp_path / name)]})
        np.testing.assert_array_equal(easydl.load(frame, patient=None).reference(0), mask)
