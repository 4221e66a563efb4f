import nibabel
import numpy as np
import pandas as pd
import pytest
from made import dicom_series
from PIL import Image

import easydl
from easydl.errors import InputError, ModelError
from easydl.images import read
from easydl.images.geometry import difference, moved
from easydl.prediction import Segmentation

STUDY = {"FrameOfReferenceUID": "1.2.3.4", "StudyInstanceUID": "1.2.3.5"}


def _pictures(folder, masks, suffix="png", **options):
    """A study of noise images with these masks, one patient each."""
    rng = np.random.default_rng(0)
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    for k, mask in enumerate(masks):
        Image.fromarray(rng.integers(0, 255, np.shape(mask)).astype(np.uint8)).save(folder / f"i{k}.png")
        picture = mask if isinstance(mask, Image.Image) else Image.fromarray(np.asarray(mask))
        picture.save(folder / f"m{k}.{suffix}")
        rows.append({"image": f"i{k}.png", "mask": f"m{k}.{suffix}", "patient": f"p{k}"})
    pd.DataFrame(rows).to_csv(folder / "s.csv", index=False)
    return easydl.load(folder / "s.csv", mask="mask", **options)


def _disc(side=64, value=255):
    y, x = np.mgrid[:side, :side]
    return ((np.hypot(y - side / 2, x - side / 3) < side / 5) * value).astype(np.uint8)


def _volumes(folder, values, side=16):
    """Volumes with cubes of these values in every mask."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    rows = []
    for k, some in enumerate(values):
        mask = np.zeros((side, side + 3, side + 1), np.uint8)
        for n, value in enumerate(some):
            mask[3:9, 2 + 7 * n : 8 + 7 * n, 4:12] = value
        image = rng.normal(0, 1, mask.shape) + 3 * mask
        for name, array in (("i", image.astype(np.float32)), ("m", mask)):
            nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 1.5, 1.0])), folder / f"{name}{k}.nii.gz")
        rows.append({"image": f"i{k}.nii.gz", "mask": f"m{k}.nii.gz", "patient": f"p{k}"})
    pd.DataFrame(rows).to_csv(folder / "s.csv", index=False)
    return folder / "s.csv"


def test_a_lossy_mask_is_cut_at_half_and_this_is_said(tmp_path):
    for k, (array, quality) in enumerate([(_disc(), 60), (_disc(), 90)]):
        folder = tmp_path / str(k)
        study = _pictures(folder, [array], "jpg")
        Image.fromarray(array).convert("RGB").save(folder / "m0.jpg", quality=quality)
        np.testing.assert_array_equal(study.reference(0), array > 0)
        assert study.summary.label_values == (0, 255)
        assert any("lossy JPEG" in note for note in study.notes)


def test_a_lossy_mask_of_several_classes_is_refused(tmp_path):
    three = np.where(_disc() > 0, 120, 0).astype(np.uint8)
    three[:20] = 255
    with pytest.raises(InputError, match="black and white"):
        _ = _pictures(tmp_path / "a", [three], "jpg").classes
    with pytest.raises(InputError, match="black and white"):
        _ = _pictures(tmp_path / "b", [_disc(value=2)], "jpg").classes


def test_instances_are_refused_or_become_foreground(tmp_path):
    def cells(count):
        mask = np.zeros((64, 64), np.uint16)
        for n in range(count):
            mask[2 + 8 * (n // 7) : 7 + 8 * (n // 7), 2 + 8 * (n % 7) : 8 + 8 * (n % 7)] = n + 1
        return mask

    masks = [cells(12), cells(30), np.zeros((64, 64), np.uint16)]
    with pytest.raises(InputError, match=r"up to 12 in one mask and up to 30(.|\n)*collapse_instances=True"):
        _ = _pictures(tmp_path / "a", masks).classes
    study = _pictures(tmp_path / "b", masks, collapse_instances=True)
    assert list(study.classes) == ["background", "foreground"]
    np.testing.assert_array_equal(study.reference(1), cells(30) > 0)
    assert any("collapse_instances" in note for note in study.notes)
    assert any("1 of 3 masks are empty" in note for note in study.notes)
    named = {"background": 0} | {f"tooth {n}": n for n in range(1, 31)}
    assert len(_pictures(tmp_path / "c", masks, mask_labels=named).classes) == 31


def test_masks_with_the_same_many_classes_are_no_instances(tmp_path):
    mask = np.repeat(np.repeat(np.arange(16, dtype=np.uint8).reshape(4, 4), 8, 0), 8, 1)
    assert len(_pictures(tmp_path, [mask, mask]).classes) == 16


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"a": 1, "b": [1, 4]}, "each once"),
        ({"a": -1}, "from 0 on"),
        ({"background": 0}, "background only"),
        ({"a": [1]}, "no name in mask_labels: 4"),
    ],
)
def test_names_that_do_not_fit_are_refused(tmp_path, labels, words):
    mask = np.zeros((9, 9), np.uint8)
    mask[2:4], mask[5:7] = 1, 4
    with pytest.raises(InputError, match=words):
        _ = _pictures(tmp_path, [mask], mask_labels=labels).classes


def test_a_colour_image_is_refused_as_a_mask(tmp_path):
    rgb = np.stack([_disc(), np.zeros((64, 64), np.uint8), _disc()], -1)
    study = _pictures(tmp_path, [_disc()])
    Image.fromarray(rgb).save(tmp_path / "m0.png")
    with pytest.raises(InputError, match="colour image"):
        _ = study.classes


def test_png_masks_beyond_255_are_written_whole(tmp_path):
    mask = np.zeros((12, 12), np.uint16)
    mask[3:6, 3:6] = 1000
    study = _pictures(tmp_path, [mask])
    result = Segmentation(study.reference(0), study.scan(0), tuple(study.classes), study.summary.label_values)
    np.testing.assert_array_equal(np.asarray(Image.open(result.save(tmp_path / "o.png"))), mask)


def test_moved_labels_land_where_world_coordinates_say():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 5, (6, 7, 8))
    affine = np.array([[0, 0, 1.5, 3], [0, 2.0, 0, -4], [-3.0, 0, 0, 9], [0, 0, 0, 1]])
    to = np.array([[1.1, 0, 0, 1.037], [0, -1.71, 0.213, 9.011], [0, 0.317, 1.93, -7.043], [0, 0, 0, 1]])
    found = moved(labels, affine, to, (9, 8, 11))
    truth = np.zeros_like(found)
    for index in np.ndindex(found.shape):
        there = np.rint((np.linalg.inv(affine) @ to @ [*index, 1])[:3]).astype(int)
        if (there >= 0).all() and (there < labels.shape).all():
            truth[index] = labels[tuple(there)]
    np.testing.assert_array_equal(found, truth)
    np.testing.assert_array_equal(moved(labels, affine, affine, labels.shape), labels)
    assert difference(affine, affine + 1e-9, labels.shape) is None


def test_what_lies_outside_the_image_is_said_or_refused(tmp_path):
    path = _volumes(tmp_path, [[1]])
    mask = nibabel.load(tmp_path / "m0.nii.gz")
    array = np.asarray(mask.dataobj)
    shifted = np.diag([1.0, 1.0, 1.5, 1.0])
    shifted[0, 3] = -6
    nibabel.save(nibabel.Nifti1Image(array, shifted), tmp_path / "m0.nii.gz")
    study = easydl.load(path, mask="mask", resample_masks=True)
    assert study.reference(0).sum() == (array[6:] > 0).sum()
    assert any("50% of what the mask m0.nii.gz segments" in note for note in study.notes)
    shifted[0, 3] = 400
    nibabel.save(nibabel.Nifti1Image(array, shifted), tmp_path / "m0.nii.gz")
    with pytest.raises(InputError, match="another image's mask"):
        easydl.load(path, mask="mask", resample_masks=True).reference(0)


def _series_with_seg(tmp_path, mask, names=("background", "liver", "tumour"), **changes):
    from easydl.prediction.dicom_seg import write_seg

    volume = np.random.default_rng(0).integers(0, 2000, (5, 16, 20)).astype(np.uint16)
    folder = dicom_series(tmp_path / "s", volume, **STUDY, **changes)
    scan = read(folder)
    return folder, write_seg(Segmentation(mask, scan, names), tmp_path / "seg.dcm"), scan


def test_our_own_dicom_segmentation_comes_back_as_a_mask(tmp_path):
    mask = np.zeros((5, 16, 20), np.int32)
    mask[1:3, 4:9, 5:11], mask[3, 9:12, 2:5] = 1, 2
    folder, seg, _ = _series_with_seg(tmp_path, mask)
    frame = pd.DataFrame({"image": [str(folder)], "mask": [str(seg)], "patient": ["p"]})
    study = easydl.load(frame, mask="mask")
    assert list(study.classes) == ["background", "liver", "tumour"]
    assert study.summary.label_values == (0, 1, 2)
    np.testing.assert_array_equal(study.reference(0), mask)


def test_a_segmentation_of_some_slices_is_placed_by_position_also_on_one_slice(tmp_path):
    mask = np.zeros((5, 16, 20), np.int32)
    mask[3, 4:9, 5:11] = 1
    folder, seg, scan = _series_with_seg(tmp_path, mask, ("background", "lesion"))
    for image in sorted(folder.iterdir()):
        one = read(image)
        study = easydl.load(pd.DataFrame({"image": [str(image)], "mask": [str(seg)]}), mask="mask", patient=None)
        level = int(np.argmin(np.abs((scan.affine[2, 0] * np.arange(5) + scan.affine[2, 3]) - one.affine[2, 3])))
        if level == 3:
            np.testing.assert_array_equal(study.reference(0), mask[3])
        else:
            with pytest.raises(InputError, match="Nothing that the mask"):
                study.reference(0)


def test_a_segmentation_of_another_grid_is_refused_or_resampled(tmp_path):
    mask = np.zeros((5, 16, 20), np.int32)
    mask[1:4, 4:12, 5:15] = 1
    _, seg, _ = _series_with_seg(tmp_path, mask, ("background", "lesion"))
    other = dicom_series(
        tmp_path / "other",
        np.zeros((5, 32, 40), np.uint16),
        **STUDY,
        PixelSpacing=[0.4, 0.35],
        SeriesInstanceUID="1.2.9",
    )
    frame = pd.DataFrame({"image": [str(other)], "mask": [str(seg)], "patient": ["p"]})
    with pytest.raises(InputError, match="do not fall on those"):
        easydl.load(frame, mask="mask").reference(0)
    found = easydl.load(frame, mask="mask", resample_masks=True).reference(0)
    assert found.shape == (5, 32, 40)
    assert abs(found.sum() / 4 - mask.sum()) < 0.1 * mask.sum()


def test_segment_numbers_that_mean_different_things_are_refused(tmp_path):
    rows = []
    for k, names in enumerate((("background", "liver"), ("background", "spleen"))):
        mask = np.zeros((5, 16, 20), np.int32)
        mask[2, 4:9, 5:11] = 1
        folder, seg, _ = _series_with_seg(tmp_path / str(k), mask, names)
        rows.append({"image": str(folder), "mask": str(seg), "patient": f"p{k}"})
    with pytest.raises(InputError, match=r"'liver' in seg.dcm and 'spleen'"):
        _ = easydl.load(pd.DataFrame(rows), mask="mask").classes


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Three volumes whose masks hold 0, 1 and 4, a model made for them, and the study."""
    folder = tmp_path_factory.mktemp("small")
    study = easydl.load(_volumes(folder, [[1, 4]] * 3), mask="mask", mask_labels={"edema": 1, "tumour": 4})
    return study, easydl.unet3d(study, width=4), folder


def test_a_prediction_is_saved_with_the_stored_values(small, tmp_path):
    """Twin test: the same network with and without the values 0, 1, 4 writes the same places with other numbers."""
    study, model, _ = small
    result = easydl.predict(model, study.scan(0))
    twin = Segmentation(result.mask, result.scan, result.classes, None)
    saved = np.asarray(nibabel.load(result.save(tmp_path / "a.nii.gz")).dataobj)
    plain = np.asarray(nibabel.load(twin.save(tmp_path / "b.nii.gz")).dataobj)
    np.testing.assert_array_equal(saved, np.array([0, 1, 4])[plain])
    assert result.classes == ("background", "edema", "tumour")
    assert set(np.unique(saved)) <= {0, 1, 4}
    assert len(np.unique(saved)) > 1
    easydl.save_model(model, tmp_path / "m.keras")
    again = easydl.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(easydl.predict(again, study.scan(0)).array, result.array)


@pytest.mark.parametrize("shape", [(1, 19, 17), (7, 33, 18), (20, 5, 40)])
def test_a_segmenter_takes_single_slices_and_odd_sizes(small, shape):
    """Padding is by the edge at the far end and is cropped back exactly: the same as padding by hand."""
    from easydl.images.scan import Scan
    from easydl.networks import metadata_of
    from easydl.prediction import compiled

    _, model, _ = small
    pixels = np.random.default_rng(3).uniform(0, 255, (*shape, 1)).astype(np.float32)
    result = easydl.predict(model, Scan(pixels, "0-255"))
    assert result.mask.shape == shape
    step = metadata_of(model).multiple
    most = metadata_of(model).patch or (64,) * 3
    patch = [min(-(-limit // step), -(-side // step)) * step for limit, side in zip(most, shape, strict=True)]
    padded = np.pad(pixels, [*((0, need - have) for have, need in zip(shape, patch, strict=True)), (0, 0)], mode="edge")
    whole = compiled(model)(padded[None]).numpy()[0]
    np.testing.assert_array_equal(result.mask, whole[tuple(slice(0, side) for side in shape)].argmax(-1))


def test_a_class_that_no_training_mask_holds_is_refused(tmp_path):
    study = easydl.load(_volumes(tmp_path, [[1], [1], [1, 4]]), mask="mask")
    train, val = study.rows([0, 1], name="train"), study.rows([2], name="val")
    model = easydl.unet3d(study, width=4)
    with pytest.raises(InputError, match="No training mask holds the class 'label 4'"):
        easydl.fit(model, train, val, epochs=1)


def test_a_test_set_with_another_label_is_refused_by_evaluate(small, tmp_path):
    _, model, _ = small
    other = easydl.load(_volumes(tmp_path, [[1, 2]]), mask="mask")
    with pytest.raises(ModelError, match="'label 2'"):
        easydl.evaluate(model, other)


@pytest.mark.real
def test_public_masks_of_every_kind(real):
    def load(images, masks, **options):
        pairs = list(zip(sorted(images), sorted(masks), strict=True))[:6]
        return easydl.load(
            pd.DataFrame(pairs, columns=["image", "mask"], dtype=str), mask="mask", patient=None, **options
        )

    drive = real / "drive_vessels/test"
    one = load((drive / "images").iterdir(), (drive / "masks").iterdir())
    two = load((drive / "images").iterdir(), (drive / "masks_observer2").iterdir())
    agree = [(one.reference(k) == two.reference(k)).mean() for k in range(3)]
    assert min(agree) > 0.93
    assert one.summary.label_values == (0, 255)
    assert two.summary.label_values == (0, 1)
    both = pd.DataFrame(
        {
            "image": [*one.frame["image"][:2]],
            "mask": [one.frame["mask"][0], two.frame["mask"][1]],
            "patient": ["a", "b"],
        }
    )
    mixed = easydl.load(both, mask="mask")
    assert list(mixed.classes) == ["background", "foreground"]

    kvasir = load((real / "kvasir_seg_sample/images").iterdir(), (real / "kvasir_seg_sample/masks").iterdir())
    assert list(kvasir.classes) == ["background", "foreground"]
    assert any("lossy JPEG" in note for note in kvasir.notes)

    nuclei = real / "dsb2018_nuclei"
    with pytest.raises(InputError, match="collapse_instances"):
        _ = load((nuclei / "images").iterdir(), (nuclei / "instances").iterdir()).classes
    merged = load((nuclei / "images").iterdir(), (nuclei / "instances").iterdir(), collapse_instances=True)
    union = load((nuclei / "images").iterdir(), (nuclei / "masks").iterdir())
    for k in range(6):
        np.testing.assert_array_equal(merged.reference(k), union.reference(k))

    brains = load((real / "msd_hippocampus/images").iterdir(), (real / "msd_hippocampus/masks").iterdir())
    assert brains.summary.label_values == (0, 1, 2)
    misc = real / "volumes_misc"
    organs = load([misc / "example_ct_sm.nii.gz"], [misc / "example_seg.nii.gz"])
    assert len(organs.classes) == 42 and organs.reference(0).shape == organs.scan(0).shape


@pytest.mark.real
def test_public_segmentations_are_read_and_overlaps_refused(real):
    from highdicom.seg import segread

    from easydl.images.dicom_seg import read_segments

    zoo = real / "dicom_zoo"
    scan, names = read_segments(zoo / "pydicom_data/liver.dcm")
    assert names == {1: "Liver"}
    assert scan.pixels.sum() == segread(zoo / "pydicom_data/liver.dcm").pixel_array.sum()
    with pytest.raises(InputError, match=r"overlap: .* and .* in \d+ voxels"):
        read_segments(zoo / "misc/SEG-ct-overlap.dcm")


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "mask"), [("ct_head_with_seg", "CT_head_seg"), ("ct_totalsegmentator", "model_prediction_seg")]
)
def test_a_nifti_mask_of_a_dicom_series_lands_where_simpleitk_puts_it(real, folder, mask):
    import SimpleITK

    path = real / "dicom_series" / folder
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path / "dicom")))
    image, moving = reader.Execute(), SimpleITK.ReadImage(str(path / f"{mask}.nii.gz"))
    truth = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(moving, image, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, 0)
    )
    frame = pd.DataFrame({"image": [str(path / "dicom")], "mask": [str(path / f"{mask}.nii.gz")]})
    study = easydl.load(frame, mask="mask", patient=None, resample_masks=True)
    found, scan = np.asarray(study.summary.label_values)[study.reference(0)], study.scan(0)
    corner = (scan.affine @ [0, 0, 0, 1])[:3]
    flipped = image.TransformPhysicalPointToIndex(corner.tolist())[2] != 0
    truth = truth[::-1] if flipped else truth
    assert found.any()
    assert (found == truth).mean() > 0.9995
