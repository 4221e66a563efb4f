import numpy as np
import pytest

from easydl.errors import InputError
from easydl.images import read
from easydl.images.nifti import write_nifti


def test_nifti_round_trip_keeps_voxels_and_position(tmp_path):
    import nibabel

    rng = np.random.default_rng(0)
    affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 3.0, 9], [0, 0, 0, 1]])
    labels = rng.integers(0, 4, (6, 7, 5)).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(labels, affine), tmp_path / "a.nii.gz")
    scan = read(tmp_path / "a.nii.gz")
    assert scan.shape == (5, 6, 7)
    assert scan.spacing_mm == pytest.approx((3.0, 1.5, 2.0))
    write_nifti(scan.pixels[..., 0].astype(int), scan, tmp_path / "b.nii.gz")
    again = nibabel.load(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(np.asarray(again.dataobj), labels)
    np.testing.assert_allclose(again.affine, affine, atol=1e-6)
    assert b"Research use" in again.header["descrip"].tobytes()


def test_nifti_lps_position_is_what_simpleitk_finds(tmp_path):
    import nibabel
    import SimpleITK

    image = np.zeros((6, 7, 5), np.float32)
    image[4, 2, 3] = 1
    nibabel.save(nibabel.Nifti1Image(image, np.diag([1.5, 2.0, 3.0, 1])), tmp_path / "a.nii.gz")
    scan = read(tmp_path / "a.nii.gz")
    index = np.argwhere(scan.pixels[..., 0] == 1)[0]
    here = (scan.affine @ [*index, 1])[:3]
    other = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz")).TransformIndexToPhysicalPoint((4, 2, 3))
    np.testing.assert_allclose(here, other, atol=0.01)


@pytest.mark.parametrize("kind", ["4d", "cut", "not"])
def test_bad_nifti_is_refused(tmp_path, kind):
    import nibabel

    path = tmp_path / "a.nii.gz"
    if kind == "4d":
        nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 3), np.float32), np.eye(4)), path)
    elif kind == "cut":
        nibabel.save(
            nibabel.Nifti1Image(np.random.default_rng(0).normal(size=(9, 9, 9)).astype(np.float32), np.eye(4)), path
        )
        path.write_bytes(path.read_bytes()[:500])
    else:
        path.write_bytes(b"nothing")
    with pytest.raises(InputError):
        read(path)


@pytest.mark.real
def test_public_volumes_agree_with_nibabel_and_simpleitk(real):
    import nibabel
    import SimpleITK

    files = [*sorted((real / "msd_hippocampus/images").glob("*.nii.gz"))[:5], *(real / "volumes_misc").glob("*.nii.gz")]
    for path in files:
        scan = read(path).on_source()
        image = nibabel.load(path)
        np.testing.assert_array_equal(scan.pixels[..., 0], image.get_fdata(dtype=np.float32).T)
        other = SimpleITK.ReadImage(str(path))
        for index in ((0, 0, 0), tuple(side - 1 for side in image.shape)):
            here = (scan.affine @ [*index[::-1], 1])[:3]
            assert np.linalg.norm(here - other.TransformIndexToPhysicalPoint(index)) < 0.01


def test_a_mask_lies_on_its_image_whatever_the_header_says(tmp_path):
    """200 headers with flipped bytes: what can be read can be written back on the same grid, in the same order."""
    import nibabel

    affine = np.array([[1.0, 0, 0, 3], [0, 1.2, 0, 4], [0, 0, 2.0, 5], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image((np.arange(210, dtype=np.int16) % 5).reshape(6, 7, 5), affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nibabel.save(image, tmp_path / "good.nii")
    good, rng, written = (tmp_path / "good.nii").read_bytes(), np.random.default_rng(0), 0
    for _ in range(200):
        changed = bytearray(good)
        for place in rng.integers(40, 348, rng.integers(1, 6)):
            changed[place] = int(rng.integers(256))
        (tmp_path / "a.nii").write_bytes(changed)
        try:
            scan = read(tmp_path / "a.nii")
        except InputError:
            continue
        again = read(write_nifti(np.ones(scan.shape, int), scan, tmp_path / "b.nii"))
        assert again.shape == scan.shape
        assert again.grid.order == scan.grid.order
        np.testing.assert_allclose(again.affine, scan.affine, rtol=1e-4, atol=1e-3 * np.abs(scan.affine).max())
        written += 1
    assert written > 150
