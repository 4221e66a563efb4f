import numpy as np
import pytest
from PIL import Image

from easydl.errors import InputError, ModelError
from easydl.images import prepare, read
from easydl.images.grid import resize, resize_labels, stretch
from easydl.images.nifti import write_nifti
from easydl.images.scan import Scan


def test_grey_rgb_and_16_bit_are_kept(tmp_path):
    grey = np.arange(30, dtype=np.uint8).reshape(5, 6)
    Image.fromarray(grey).save(tmp_path / "g.png")
    scan = read(tmp_path / "g.png")
    np.testing.assert_array_equal(scan.pixels[..., 0], grey)
    assert scan.units == "0-255"
    deep = np.arange(30, dtype=np.uint16).reshape(5, 6) * 2000
    Image.fromarray(deep).save(tmp_path / "d.png")
    scan = read(tmp_path / "d.png")
    np.testing.assert_array_equal(scan.pixels[..., 0], deep)
    assert scan.units == "relative"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_rotation_flag_is_applied(tmp_path, orientation):
    upright = np.zeros((10, 20, 3), np.uint8)
    upright[:4, :6] = 255
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    picture = Image.fromarray(upright)
    stored = picture if undo is None else picture.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "r.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "r.png").pixels, upright)


def test_transparency_is_laid_on_black(tmp_path):
    rgba = np.full((4, 4, 4), 200, np.uint8)
    rgba[..., 3] = 0
    Image.fromarray(rgba).save(tmp_path / "a.png")
    scan = read(tmp_path / "a.png")
    assert scan.pixels.max() == 0
    assert "transparent" in scan.notes[0]


def _broken(name, folder):
    path = folder / f"{name}.png"
    if name == "missing":
        return path
    if name == "text":
        path.write_text("hello")
    elif name == "cut":
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:900])
    elif name == "pages":
        path = folder / "pages.tif"
        frames = [Image.fromarray(np.full((4, 4), k, np.uint8)) for k in range(3)]
        frames[0].save(path, save_all=True, append_images=frames[1:])
    elif name == "thin":
        Image.fromarray(np.zeros((1, 50), np.uint8)).save(path)
    elif name == "svg":
        path = folder / "a.svg"
        path.write_text("<svg/>")
    return path


@pytest.mark.parametrize("name", ["missing", "text", "cut", "pages", "thin", "svg"])
def test_broken_pictures_are_refused_in_three_parts(tmp_path, name):
    with pytest.raises(InputError) as caught:
        read(_broken(name, tmp_path))
    assert all((caught.value.found, caught.value.expected, caught.value.do))


def test_nifti_round_trip_keeps_voxels_and_position(tmp_path):
    import nibabel

    rng = np.random.default_rng(0)
    affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 3.0, 9], [0, 0, 0, 1]])
    labels = rng.integers(0, 4, (6, 7, 5)).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(labels, affine), tmp_path / "a.nii.gz")
    scan = read(tmp_path / "a.nii.gz")
    assert scan.shape == (5, 7, 6)
    assert scan.spacing_mm == pytest.approx((3.0, 2.0, 1.5))
    write_nifti(scan.pixels[..., 0].astype(int), scan.affine, tmp_path / "b.nii.gz")
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


def test_prepare_stretches_relative_values_and_keeps_hounsfield():
    values = np.linspace(0, 4000, 64, dtype=np.float32).reshape(8, 8, 1)
    out = prepare(Scan(values, "relative"), channels=1, units="0-255")
    assert (out.min(), out.max()) == (0, 255)
    np.testing.assert_array_equal(prepare(Scan(values, "HU"), channels=1, units="HU"), values)
    with pytest.raises(ModelError, match="Hounsfield"):
        prepare(Scan(values, "relative"), channels=1, units="HU")
    with pytest.raises(ModelError, match="CT"):
        prepare(Scan(values, "HU"), channels=1, units="0-255")


def test_channels_are_matched_by_luminance_or_refused():
    colour = np.zeros((4, 4, 3), np.float32)
    colour[..., 1] = 100
    assert prepare(Scan(colour, "0-255"), channels=1, units="0-255")[0, 0, 0] == pytest.approx(58.7)
    grey = np.ones((4, 4, 1), np.float32)
    assert prepare(Scan(grey, "0-255"), channels=3, units="0-255").shape == (4, 4, 3)
    with pytest.raises(ModelError, match="channels"):
        prepare(Scan(np.zeros((4, 4, 2), np.float32), "0-255"), channels=5, units="0-255")


def test_resize_keeps_a_ramp_a_ramp_in_2d_and_3d():
    ramp = np.broadcast_to(np.arange(32, dtype=np.float32)[:, None, None], (32, 16, 1)).copy()
    half = resize(ramp, (16, 16))
    np.testing.assert_allclose(half[2:-2, 4, 0], np.arange(0.5, 32, 2)[2:-2], atol=0.05)
    volume = np.broadcast_to(np.arange(12, dtype=np.float32)[:, None, None, None], (12, 8, 8, 1)).copy()
    up = resize(volume, (24, 8, 8))
    assert up.shape == (24, 8, 8, 1)
    np.testing.assert_allclose(np.diff(up[2:-2, 3, 3, 0]), 0.5, atol=1e-4)


def test_label_resampling_invents_no_value():
    labels = np.random.default_rng(0).choice([0, 1, 4], (9, 10, 11))
    assert set(np.unique(resize_labels(labels, (18, 7, 30)))) <= {0, 1, 4}


def test_a_constant_image_stretches_to_zero():
    assert stretch(np.full((4, 4, 1), 7.0, np.float32)).max() == 0
