"""Masks whose edges an interpolation softened, and masks with a file for each structure."""

import nibabel
import numpy as np
import pandas as pd
import pytest
from made import dicom_series, dicom_slice
from PIL import Image

import easydl
from easydl.errors import InputError

HALF, LINEAR, CUBIC = Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC


def study_of(folder, masks, **options):
    """A segmentation study of noise images with these masks."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, rows = np.random.default_rng(0), []
    for k, mask in enumerate(masks):
        Image.fromarray(rng.integers(0, 255, np.shape(mask)).astype(np.uint8)).save(folder / f"i{k}.png")
        Image.fromarray(np.asarray(mask)).save(folder / f"m{k}.png")
        rows.append({"image": f"i{k}.png", "mask": f"m{k}.png", "patient": f"p{k}"})
    pd.DataFrame(rows).to_csv(folder / "s.csv", index=False)
    return easydl.load(folder / "s.csv", mask="mask", **options)


def disc(side, radius, value=255):
    y, x = np.mgrid[:side, :side]
    return ((np.hypot(y - side * 0.52, x - side * 0.47) < radius) * value).astype(np.uint8)


def resized(mask, side, how):
    return np.asarray(Image.fromarray(mask).resize((side, side), how))


@pytest.mark.parametrize("how", [HALF, LINEAR, CUBIC])
@pytest.mark.parametrize(("drawn", "side"), [(512, 128), (300, 128), (48, 160), (64, 256)])
def test_soft_edges_are_two_classes(how, drawn, side, tmp_path):
    plain = [disc(drawn, drawn * (0.12 + 0.03 * k)) for k in range(4)]
    soft = [resized(mask, side, how) for mask in plain]
    if how == HALF and drawn < side:
        pytest.skip("the box filter repeats pixels when it enlarges")
    study = study_of(tmp_path, soft)
    assert study.classes == ["background", "foreground"]
    assert study.label_map.values == (0, 255)
    for row, mask in enumerate(soft):
        np.testing.assert_array_equal(study.reference(row), mask >= 127.5)
    assert any("4 of 4 masks have soft edges" in note for note in study.notes)
    named = study_of(tmp_path / "named", soft, mask_labels={"background": 0, "lesion": 255})
    np.testing.assert_array_equal(named.reference(0), soft[0] >= 127.5)


def test_hard_edges_stay_and_one_grey_ring_is_asked_about(tmp_path):
    hard = study_of(tmp_path / "hard", [disc(64, 20, 255)])
    assert (hard.classes, [note for note in hard.notes if "soft" in note]) == (["background", "foreground"], [])
    wide = np.maximum(disc(64, 24, 128), disc(64, 14, 255))
    assert study_of(tmp_path / "wide", [wide]).classes == ["background", "label 128", "label 255"]
    small = np.maximum(disc(64, 24, 1), disc(64, 23, 2))
    assert study_of(tmp_path / "small", [small]).classes == ["background", "label 1", "label 2"]
    thin = np.maximum(disc(64, 21, 128), disc(64, 20, 255))
    with pytest.raises(InputError, match="128 occurs only along the edges between 0 and 255") as caught:
        _ = study_of(tmp_path / "thin", [thin]).classes
    assert "foreground=255,128" in caught.value.do
    edge = study_of(tmp_path / "edge", [thin], mask_labels={"background": 0, "foreground": [255, 128]})
    np.testing.assert_array_equal(edge.reference(0), thin > 0)
    ring = study_of(tmp_path / "ring", [thin], mask_labels={"wall": 128, "lumen": 255})
    np.testing.assert_array_equal(ring.reference(0) == 1, thin == 128)


def test_soft_edges_between_three_classes_are_refused(tmp_path):
    drawn = np.maximum(disc(512, 200, 127), disc(512, 120, 255))
    with pytest.raises(InputError, match=r"resized with interpolation.*between 0, 127, 255"):
        _ = study_of(tmp_path, [resized(drawn, 150, LINEAR)] * 2).classes


def test_an_image_given_as_a_mask_is_still_refused(tmp_path):
    rng = np.random.default_rng(0)
    smooth = np.asarray(Image.fromarray(rng.integers(0, 255, (8, 8)).astype(np.uint8)).resize((64, 64), CUBIC))
    for k, picture in enumerate((smooth, np.where(disc(64, 16) > 0, smooth, 0).astype(np.uint8))):
        with pytest.raises(InputError, match="looks like an image"):
            _ = study_of(tmp_path / str(k), [picture]).classes


ORGANS = ["liver", "spleen"]


def organs(folder, rows=3, *, overlap=0, kind="nii", shape=(10, 16, 12), **cells):
    """Volumes with a mask file for each organ; two boxes, which may overlap by some planes."""
    folder.mkdir(parents=True, exist_ok=True)
    table, truth = [], []
    for k in range(rows):
        row, true = {"image": f"i{k}.nii.gz", "patient": f"p{k}"}, np.zeros(shape, int)
        nibabel.save(nibabel.Nifti1Image(np.full(shape, 5 + k, np.float32), np.eye(4)), folder / row["image"])
        for place, organ in enumerate(ORGANS):
            mask = np.zeros(shape, np.uint8)
            start = 1 + 4 * place - overlap * place
            mask[start : start + 4, 3 + k : 9, 2:6] = 255 if place else 1
            true[mask > 0] = place + 1
            nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), folder / f"{organ}{k}.nii.gz")
            row[organ] = f"{organ}{k}.nii.gz"
        table.append(row)
        truth.append(true)
    frame = pd.DataFrame(table)
    for name, values in cells.items():
        frame[name] = values
    frame.to_csv(folder / "t.csv", index=False)
    return folder / "t.csv", truth


def test_a_file_for_each_structure_gives_a_class_for_each(tmp_path):
    table, truth = organs(tmp_path)
    study = easydl.load(table, mask=ORGANS)
    assert (study.task, study.classes, study.label_map.values) == (
        "segmentation", ["background", "liver", "spleen"], (0, 1, 2),
    )  # fmt: skip
    assert all(study.has_mask(row) for row in range(3))
    for row, true in enumerate(truth):
        alone = [easydl.load(table, mask=organ).reference(row) for organ in ORGANS]
        np.testing.assert_array_equal(study.reference(row), alone[0] + 2 * alone[1])
        assert np.bincount(study.reference(row).ravel()).tolist() == np.bincount(true.ravel()).tolist()
    assert list(study.summary.label_values) == [0, 1, 2]
    assert not {"mask_liver", "mask_spleen"} & set(study.summary.covariates or ())


def test_structures_that_overlap_are_refused_with_their_names(tmp_path):
    table, _ = organs(tmp_path, overlap=2)
    study = easydl.load(table, mask=ORGANS)
    with pytest.raises(InputError, match=r"'liver' and 'spleen' overlap in 48 pixels of i0.nii.gz"):
        study.reference(0)


def test_a_structure_without_a_file_is_no_empty_mask(tmp_path):
    table, _ = organs(tmp_path, spleen=["spleen0.nii.gz", "", "spleen2.nii.gz"])
    with pytest.raises(InputError, match="row 3: no file is named for the structure 'spleen'"):
        easydl.load(table, mask=ORGANS)
    table, _ = organs(
        tmp_path, liver=["liver0.nii.gz", "", "liver2.nii.gz"], spleen=["spleen0.nii.gz", "", "spleen2.nii.gz"]
    )
    study = easydl.load(table, mask=ORGANS)
    assert [study.has_mask(row) for row in range(3)] == [True, False, True]
    assert study.classes == ["background", *ORGANS]


def test_a_structure_has_one_value(tmp_path):
    table, _ = organs(tmp_path)
    mask = np.zeros((10, 16, 12), np.uint8)
    mask[1:3, 4:8, 3:5], mask[3:5, 4:8, 3:5] = 1, 2
    nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), tmp_path / "liver1.nii.gz")
    with pytest.raises(InputError, match="masks of 'liver' hold 2 values beside the background"):
        _ = easydl.load(table, mask=ORGANS).classes
    study = easydl.load(table, mask=ORGANS, collapse_instances=True)
    assert int((study.reference(1) == 1).sum()) == int((mask > 0).sum())


@pytest.mark.parametrize("options", [{"mask": ["liver", "liver"]}, {"mask": ORGANS, "mask_labels": {"liver": 1}}])
def test_what_does_not_go_with_several_masks_is_refused(options, tmp_path):
    with pytest.raises(InputError, match="mask="):
        easydl.load(organs(tmp_path)[0], **options)


def test_contours_are_refused_with_a_library_that_converts_them(tmp_path):
    series = dicom_series(tmp_path / "ct", np.zeros((5, 16, 16), np.int16))
    dicom_slice(
        tmp_path / "rt.dcm", np.zeros((4, 4), np.int16), Modality="RTSTRUCT", PixelData=None, Rows=None, Columns=None,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3",
    )  # fmt: skip
    pd.DataFrame([{"image": series.name, "mask": "rt.dcm", "patient": "1"}]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError, match="holds contours and no pixels") as caught:
        easydl.load(tmp_path / "t.csv")
    assert "platipy" in caught.value.do
