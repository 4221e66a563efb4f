import nibabel
import numpy as np
import pytest
from PIL import Image

import easydl
from easydl.errors import InputError


def png(path, value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 9), value, np.uint8)).save(path)


def nifti(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.full((6, 7, 8), value, np.float32), np.eye(4)), path)


def pairs(study):
    def name(address):
        return address.replace("\\", "/").rsplit("/", 1)[-1]

    return dict(zip(map(name, study.frame["image"]), map(name, study.frame["mask"]), strict=True))


@pytest.mark.parametrize(
    ("images", "masks"), [("images", "masks"), ("image", "mask"), ("imagesTr", "labelsTr"), ("IMAGES", "Labels")]
)
def test_folders_of_images_and_masks_are_paired(tmp_path, images, masks):
    for k in range(4):
        png(tmp_path / images / f"case{k}.png")
        png(tmp_path / masks / f"case{k}.png", 0 if k else 1)
    study = easydl.load(tmp_path)
    assert study.task == "segmentation"
    assert pairs(study) == {f"case{k}.png": f"case{k}.png" for k in range(4)}
    assert not study.patients_known
    assert any("leakage" in note for note in study.notes)
    assert study.reference(0).max() == 1


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("7.png", "7_mask.png"), ("7.png", "7-seg.png"), ("7.png", "7_label.png"), ("21_training.png", "21_manual1.png"),
        ("a_0000.png", "a.png"), ("x.JPG.png", "x.jpg_mask.png"), ("07_left.png", "7_other.png"), ("7_image.png", "7_mask.png"),
    ],
)  # fmt: skip
def test_usual_endings_are_known(tmp_path, image, mask):
    png(tmp_path / "images" / image)
    png(tmp_path / "masks" / mask, 1)
    png(tmp_path / "images" / "other.png")
    png(tmp_path / "masks" / "other.png")
    assert pairs(easydl.load(tmp_path)) == {image: mask, "other.png": "other.png"}


def test_volumes_are_paired(tmp_path):
    for k in range(3):
        nifti(tmp_path / "imagesTr" / f"liver_{k}_0000.nii.gz", 50)
        nifti(tmp_path / "labelsTr" / f"liver_{k}.nii.gz", 1)
    study = easydl.load(tmp_path)
    assert study.dimension == 3
    assert pairs(study) == {f"liver_{k}_0000.nii.gz": f"liver_{k}.nii.gz" for k in range(3)}


def test_what_does_not_match_is_counted_and_never_guessed(tmp_path):
    for name in ("a", "b", "c", "alone"):
        png(tmp_path / "images" / f"{name}.png")
    png(tmp_path / "images" / "b.jpg")  # two images for one mask
    for name in ("a", "b", "c_mask", "c_seg", "orphan"):
        png(tmp_path / "masks" / f"{name}.png", 1)
    png(tmp_path / "extra" / "x.png")
    (tmp_path / "scans.csv").write_text("image,patient\n")
    study = easydl.load(tmp_path)
    assert pairs(study) == {"a.png": "a.png"}
    said = " ".join(study.notes)
    assert "1 image (alone.png) has no mask and was excluded" in said
    assert "1 mask (orphan.png) has no image and was excluded" in said
    assert "6 files (the first: b.jpg) have more than one possible partner and were excluded" in said
    assert "1 image lies elsewhere and was not used: extra (1)" in said
    assert "scans.csv lies in the folder and was not read" in said


def test_numbers_that_stand_twice_are_no_match(tmp_path):
    for side in ("left", "right"):
        png(tmp_path / "images" / f"7_{side}_eye.png")
        png(tmp_path / "masks" / f"7_{side}_vessels.png", 1)
    with pytest.raises(InputError, match="none of 2 images"):
        easydl.load(tmp_path)


def test_same_names_in_different_folders_stay_apart(tmp_path):
    for place in ("p1", "p2"):
        png(tmp_path / "images" / place / "1.png", 10)
        png(tmp_path / "masks" / place / "1.png", int(place == "p2"))
    study = easydl.load(tmp_path)
    assert len(study) == 2
    assert [study.reference(row).max() for row in range(2)] == [0, 1]
    for place in ("p1", "p2"):  # masks all in one folder: which 1.png is it?
        (tmp_path / "masks" / place / "1.png").rename(tmp_path / f"{place}.png")
        (tmp_path / "masks" / place).rmdir()
    (tmp_path / "p1.png").rename(tmp_path / "masks" / "1.png")
    with pytest.raises(InputError, match="has the name of a mask"):
        easydl.load(tmp_path)


@pytest.mark.parametrize("inside", [False, True])
def test_train_and_test_folders_are_a_given_split(tmp_path, inside):
    for part in ("train", "val", "test"):
        for k in range(2):
            where = ("images", part) if inside else (part, "images")
            png(tmp_path.joinpath(*where, f"{part}{k}.png"), 10 * k + len(part))
            png(tmp_path.joinpath(*[one.replace("images", "masks") for one in where], f"{part}{k}.png"), 1)
    study = easydl.load(tmp_path, split="split")
    assert study.frame["split"].value_counts().to_dict() == {"train": 2, "val": 2, "test": 2}


def test_two_folders_of_masks_are_asked_about(tmp_path):
    for name in ("images", "masks", "labels"):
        png(tmp_path / name / "a.png")
    with pytest.raises(InputError, match="several folders that could be the masks: labels, masks"):
        easydl.load(tmp_path)


def test_masks_beside_their_images(tmp_path):
    for k in range(3):
        png(tmp_path / f"{k}.png")
        png(tmp_path / f"{k}_mask.png", 1)
    png(tmp_path / "9.png")
    study = easydl.load(tmp_path)
    assert pairs(study) == {f"{k}.png": f"{k}_mask.png" for k in range(3)}
    assert any("1 image (9.png) has no mask" in note for note in study.notes)


def test_loose_images_are_no_study_and_the_message_says_what_lies_there(tmp_path):
    png(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"holds 1 image \(a.png\) but no class folders, no masks"):
        easydl.load(tmp_path)


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "count", "dimension", "words"),
    [
        ("msd_hippocampus", 180, 3, "1 image lies elsewhere and was not used: unlabelled_trap (1)"),
        ("drive_vessels", 40, 2, "60 images lie elsewhere and were not used: test/fov (20), test/masks_observer2 (20)"),
        ("isbi2012_em_membrane", 30, 2, "30 images lie elsewhere and were not used: test_unlabelled/images (30)"),
        ("dsb2018_nuclei", 120, 2, "instances (120)"),
        ("kvasir_seg_sample", 5, 2, "Patients are not known"),
    ],
)
def test_real_folders_are_paired(real, folder, count, dimension, words):
    study = easydl.load(real / folder, patient=None)
    assert (study.task, len(study), study.dimension) == ("segmentation", count, dimension)
    assert words in " ".join(study.notes)
    for image, mask in pairs(study).items():
        assert image.split(".")[0] == mask.split(".")[0]
    for row in (0, count - 1):
        assert study.scan(row).shape == easydl.read(study.frame["mask"].iloc[row]).shape


@pytest.mark.real
def test_the_observers_of_drive_are_no_mask_and_its_split_is_known(real):
    study = easydl.load(real / "drive_vessels", patient=None)
    assert study.frame["given_split"].value_counts().to_dict() == {"train": 20, "test": 20}
    assert not study.frame["mask"].str.contains("observer2").any()
    assert set(np.unique(study.reference(0))) == {0, 1}
