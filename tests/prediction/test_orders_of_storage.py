"""One volume under several orders of its axes: the network answers alike, and the answer lies on each file's own grid."""

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy.spatial.transform import Rotation

import easydl
from easydl.images import Scan, read

CODES = ("LAS", "RAS", "PIR", "ILA")
PLACE = np.eye(4)
PLACE[:3, :3] = Rotation.from_euler("xyz", [5, -8, 10], degrees=True).as_matrix() @ np.diag([1.0, 1.2, 2.0])
PLACE[:3, 3] = [-20, 30, 5]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same lopsided volume, and one network of each kind that was not trained: its answers are noise, but one noise."""
    folder = tmp_path_factory.mktemp("orders")
    values = np.random.default_rng(0).normal(100, 20, (18, 20, 16)).astype(np.float32)
    values[3:9, 4:12, 9:14] += 200
    image = nibabel.Nifti1Image(values, PLACE)
    image.header.set_xyzt_units("mm")
    paths = {}
    for code in CODES:
        turn = ornt_transform(io_orientation(PLACE), axcodes2ornt(tuple(code)))
        paths[code] = folder / f"{code}.nii.gz"
        nibabel.save(image.as_reoriented(turn), paths[code])
    return paths


def same_everywhere(paths):
    """The saved volumes brought to one orientation by nibabel, which must be one array in one place."""
    images = [nibabel.as_closest_canonical(nibabel.load(path)) for path in paths]
    for one in images[1:]:
        np.testing.assert_array_equal(np.asarray(one.dataobj), np.asarray(images[0].dataobj))
        np.testing.assert_allclose(one.affine, images[0].affine, atol=1e-4)
    return np.asarray(images[0].dataobj)


def test_a_mask_lies_on_the_grid_of_its_file(files, tmp_path):
    model = easydl.unet3d(classes=["background", "one", "two"], width=4)
    saved = []
    for code, path in files.items():
        found = easydl.predict(model, path)
        source = nibabel.load(path)
        saved.append(found.save(tmp_path / f"{code}.nii.gz"))
        again = nibabel.load(saved[-1])
        np.testing.assert_allclose(again.affine, source.affine, atol=1e-5)
        np.testing.assert_array_equal(np.asarray(again.dataobj), found.array.T)  # the order of the file
        assert found.mask.shape == found.scan.shape == source.shape[::-1]
        given = easydl.predict(model, read(path))  # a Scan: in its own order
        np.testing.assert_array_equal(given.scan.to_source(given.mask), found.mask)
    assert len(np.unique(same_everywhere(saved))) > 1


def test_a_scan_made_by_hand_is_seen_in_the_one_orientation_too(files):
    model = easydl.unet3d(classes=["background", "one"], width=4)
    scan = read(files["PIR"])
    file = scan.on_source()
    by_hand = Scan(file.pixels, file.units, file.spacing_mm, file.affine)
    found = easydl.predict(model, by_hand).mask
    np.testing.assert_array_equal(found, easydl.predict(model, file).mask)
    np.testing.assert_array_equal(easydl.predict(model, scan).mask, scan.from_source(found))


@pytest.mark.everything
def test_an_image_made_by_a_network_lies_on_the_grid_of_its_file(files, tmp_path):
    model = easydl.image_to_image("denoising_unet3d")
    saved = [easydl.predict(model, path).save(tmp_path / f"{code}.nii.gz") for code, path in files.items()]
    for path, source in zip(saved, files.values(), strict=True):
        np.testing.assert_allclose(nibabel.load(path).affine, nibabel.load(source).affine, atol=1e-5)
    assert same_everywhere(saved).std() > 0


def test_a_class_and_its_heatmap_do_not_depend_on_the_order(files):
    model = easydl.classifier("tiny3d", classes=["a", "b"], size=(16, 16, 16))
    tables = [easydl.predict(model, path).frame["p(b)"].iloc[0] for path in files.values()]
    assert len(set(tables)) == 1
    maps = [easydl.saliency(model, path, verdict=False) for path in files.values()]
    for heatmap, path in zip(maps, files.values(), strict=True):
        scan = read(path)
        assert heatmap.array.shape == nibabel.load(path).shape[::-1]
        seen = heatmap.scan.as_in(scan, heatmap.array)
        np.testing.assert_allclose(seen, maps[0].scan.as_in(read(files["LAS"]), maps[0].array), atol=1e-6)
        assert heatmap.show() is not None
