"""Folders of subjects are patients with channels, masks and covariates; no subject is a class or in two parts."""

import json
import os

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import easydl
from easydl.errors import InputError

SHAPE = (8, 9, 7)
EIGHT = ["t1", "t1ce", "t2", "flair", "dwi", "adc", "swi", "pd"]


def volume(path, k=0, *, shape=SHAPE, mm=1.0, mask=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(abs(hash(str(path))) % 2**32)
    pixels = np.zeros(shape, np.uint8) if mask else rng.normal(100 + k, 9, shape).astype(np.float32)
    if mask:
        pixels[2:5, 2:5, 2:5] = 1
    nibabel.save(nibabel.Nifti1Image(pixels, np.diag([mm, mm, mm, 1.0])), path)


def number(k):
    return f"{k + 1:03d}"


def brats(root, k):
    for kind in EIGHT:
        volume(root / f"BraTS_{number(k)}" / f"BraTS_{number(k)}_{kind}.nii.gz", k)
    volume(root / f"BraTS_{number(k)}" / f"BraTS_{number(k)}_seg.nii.gz", mask=True)


def graded(root, k):
    brats(root / ("HGG" if k % 2 else "LGG"), k)


def plain_names(root, k):
    for kind in EIGHT:
        volume(
            root
            / ["Anna", "Berta", "Carl", "Dora", "Emil", "Fritz", "Gina", "Hans", "Ida", "Jan", "Kim", "Leo"][k]
            / f"{kind}.nii.gz"
        )


def numbered_files(root, k):
    for n in range(8):
        volume(root / f"patient_{number(k)}" / f"scan_{n}.nii.gz")


def odd_files(root, k):
    for n in range(8):
        volume(root / f"IXI{number(k)}-Guys" / f"{(k * 8 + n) * 7919 % 100003:x}q.nii.gz")


def sessions(root, k):
    for visit in ("baseline", "followup"):
        for kind in EIGHT[:4]:
            volume(root / f"S{number(k)}" / visit / f"{kind}.nii.gz")


def dated(root, k):
    for visit in range(2):
        for kind in EIGHT[:4]:
            volume(root / f"S{number(k)}" / f"20{10 + k}-0{visit + 1}-11" / f"{kind}.nii.gz")


def sequence_folders_inside(root, k):
    for kind in EIGHT:
        volume(root / f"P{number(k)}" / kind.upper() / "image.nii.gz")


def sequence_folders_outside(root, k):
    for kind in EIGHT:
        volume(root / kind.upper() / f"{number(k)}.nii.gz")


def classes_of_patients(root, k):
    for kind in EIGHT:
        volume(root / ("AD" if k % 2 else "CN") / f"{number(k)}_S_{k * 37}" / f"{kind}.nii.gz")


def classes_of_odd_files(root, k):
    for n in range(8):
        volume(root / ("AD" if k % 2 else "CN") / f"subj{number(k)}" / f"{(k * 8 + n) * 7919 % 100003:x}q.nii.gz")


def flat(root, k):
    for kind in EIGHT:
        volume(root / f"UPENN-{number(k)}_{kind}.nii.gz")


def bids(root, k):
    for kind in ("T1w", "T2w", "FLAIR", "PDw", "T2star", "acq-gd_T1w", "inplaneT1", "PDT2"):
        volume(root / f"sub-{number(k)}" / "anat" / f"sub-{number(k)}_{kind}.nii.gz")


def bids_sessions(root, k):
    for visit in ("ses-1", "ses-2"):
        for kind in ("T1w", "T2w", "FLAIR", "PDw"):
            place = root / f"sub-{number(k)}" / visit / "anat"
            volume(place / f"sub-{number(k)}_{visit}_{kind}.nii.gz")


def bids_runs(root, k):
    for run in range(8):
        volume(root / f"sub-{number(k)}" / "anat" / f"sub-{number(k)}_run-{run + 1}_T1w.nii.gz")


def split_folders(root, k):
    numbered_files(root / ("train" if k < 6 else "test"), k)


TREES = {
    brats: (8, 1), graded: (8, 1), plain_names: (8, 1), numbered_files: (1, 8), odd_files: (1, 8), sessions: (4, 2),
    dated: (4, 2), sequence_folders_inside: (8, 1), sequence_folders_outside: (8, 1), classes_of_patients: (8, 1),
    classes_of_odd_files: (1, 8), flat: (8, 1), bids: (8, 1), bids_sessions: (4, 2), bids_runs: (1, 8), split_folders: (1, 8),
}  # fmt: skip
"""Ways to keep eight volumes of each subject: channels, and rows a subject."""
LABELLED = {graded: ["HGG", "LGG"], classes_of_patients: ["AD", "CN"], classes_of_odd_files: ["AD", "CN"]}


@pytest.mark.parametrize("tree", TREES)
def test_no_subject_is_a_class_or_in_two_parts(tree, tmp_path):
    for k in range(12):
        tree(tmp_path, k)
    channels, rows = TREES[tree]
    study = easydl.load(tmp_path)
    assert (study.n_patients, study.patients_known) == (12, True)
    assert (len(study.image_columns), len(study)) == (channels, 12 * rows)
    files = study.frame[study.image_columns].to_numpy().ravel()
    assert len(set(files)) == 96
    for patient, own in study.frame.groupby("patient"):
        assert all(str(patient).removeprefix("sub-") in path for path in own[study.image_columns].to_numpy().ravel())
    assert study.classes == sorted(LABELLED.get(tree, ["background", "foreground"] if tree is brats else []))
    assert study.scan(0).pixels.shape[-1] == channels
    for seed in range(3):
        whole = study.split(seed=seed)[0].parent.frame
        assert whole.groupby("patient")["split"].nunique().max() == 1
        assert set(whole["split"]) == {"train", "val", "test"}


def test_channels_of_a_patient_are_the_files_of_that_patient(tmp_path):
    for k in range(6):
        brats(tmp_path, k)
    study = easydl.load(tmp_path)
    assert study.task == "segmentation"
    assert study.image_columns == [f"image_{kind}" for kind in sorted(EIGHT)]
    for row in range(6):
        files = [*study.addresses(row), study.frame["mask"].iloc[row]]
        assert [os.path.basename(path) for path in files] == [
            f"BraTS_{number(row)}_{kind}.nii.gz" for kind in [*sorted(EIGHT), "seg"]
        ]
    assert study.reference(0).sum() == 27
    chosen = easydl.load(tmp_path, image=["t1", "FLAIR"])
    assert chosen.image_columns == ["image_t1", "image_flair"]
    np.testing.assert_array_equal(
        chosen.scan(2).pixels[..., 1], easydl.read(tmp_path / "BraTS_003" / "BraTS_003_flair.nii.gz").pixels[..., 0]
    )
    with pytest.raises(InputError, match="no image 't3'"):
        easydl.load(tmp_path, image="t3")


def test_participants_become_covariates_and_labels(tmp_path):
    for k in range(12):
        bids(tmp_path, k)
        mask = f"sub-{number(k)}_space-T1w_label-lesion_mask.nii.gz"
        volume(tmp_path / "derivatives" / "manual" / f"sub-{number(k)}" / "anat" / mask, mask=True)
    people = [
        {
            "participant_id": f"sub-{number(k)}",
            "age": 40 + k,
            "sex": "FM"[k % 2],
            "group": ["patient", "control"][k % 2],
        }
        for k in range(12)
    ]
    pd.DataFrame(people[::-1]).to_csv(tmp_path / "participants.tsv", sep="\t", index=False)
    study = easydl.load(tmp_path)
    assert study.task == "segmentation"
    assert study.frame["age"].tolist() == [str(40 + k) for k in range(12)]
    assert study.reference(3).sum() == 27
    labelled = easydl.load(tmp_path, image="T1w", label="group")
    assert (labelled.classes, labelled.n_patients) == (["control", "patient"], 12)
    assert "age" in labelled.summary.covariates
    assert labelled.frame["image"].map(os.path.basename).iloc[2] == "sub-003_T1w.nii.gz"


def test_kinds_on_different_grids_are_asked_about(tmp_path):
    for k in range(4):
        volume(tmp_path / f"sub-{number(k)}" / "anat" / f"sub-{number(k)}_T1w.nii.gz")
        volume(tmp_path / f"sub-{number(k)}" / "anat" / f"sub-{number(k)}_T2w.nii.gz", shape=(5, 6, 7))
        volume(tmp_path / f"sub-{number(k)}" / "func" / f"sub-{number(k)}_task-rest_bold.nii.gz", shape=(5, 6, 7, 4))
    with pytest.raises(InputError, match="2 kinds on different grids: T1w; T2w") as caught:
        easydl.load(tmp_path)
    assert "image=" in caught.value.do
    with pytest.raises(InputError, match="different grids"):
        easydl.load(tmp_path, image=["T1w", "T2w"])
    study = easydl.load(tmp_path, image="T2w")
    assert (study.scan(0).shape[0], study.n_patients) == (7, 4)
    assert any("task-rest_bold" in note for note in study.notes)


def test_an_examination_without_a_kind_is_counted(tmp_path):
    for k in range(5):
        brats(tmp_path, k)
    (tmp_path / "BraTS_002" / "BraTS_002_flair.nii.gz").unlink()
    study = easydl.load(tmp_path)
    assert study.n_patients == 4
    assert any(note.startswith("1 examination without") for note in study.notes)


def test_several_structures_of_a_tree_are_named(tmp_path):
    for k in range(4):
        place = tmp_path / f"s{number(k)}"
        volume(place / "ct.nii.gz")
        for n, organ in enumerate(("liver", "spleen")):
            volume(place / "segmentations" / f"{organ}.nii.gz", mask=True)
            image = nibabel.load(place / "segmentations" / f"{organ}.nii.gz")
            moved = np.roll(np.asarray(image.dataobj), 3 * n, axis=0)
            nibabel.save(nibabel.Nifti1Image(moved, image.affine), place / "segmentations" / f"{organ}.nii.gz")
    study = easydl.load(tmp_path)
    assert any("2 kinds of mask" in note and "liver, spleen" in note for note in study.notes)
    both = easydl.load(tmp_path, mask=["liver", "spleen"])
    assert both.classes == ["background", "liver", "spleen"]
    assert np.bincount(both.reference(1).ravel()).tolist() == [8 * 9 * 7 - 54, 27, 27]
    assert easydl.load(tmp_path, mask="spleen").reference(0).sum() == 27


@pytest.mark.parametrize("version", [1, 2])
def test_the_format_of_nnunet_is_read(version, tmp_path):
    for k in range(4):
        for channel in range(2):
            volume(tmp_path / "imagesTr" / f"BRATS_{number(k)}_{channel:04d}.nii.gz", 10 * channel)
        volume(tmp_path / "labelsTr" / f"BRATS_{number(k)}.nii.gz", mask=True)
    volume(tmp_path / "imagesTr" / "BRATS_009_0000.nii.gz")
    names = {"0": "FLAIR", "1": "T1w"}
    described = {"modality": names, "labels": {"0": "background", "1": "edema"}}
    if version == 2:
        described = {"channel_names": names, "labels": {"background": 0, "edema": 1}}
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    study = easydl.load(tmp_path)
    assert (len(study), study.image_columns) == (4, ["image_FLAIR", "image_T1w"])
    assert study.classes == ["background", "edema"]
    assert not study.patients_known
    assert any("1 case without a mask or without" in note for note in study.notes)


def test_patients_are_read_from_the_names_of_frames(tmp_path):
    for k in range(4):
        for frame in (1, 12):
            volume(tmp_path / "images" / f"patient{number(k)}_frame{frame:02d}.nii.gz")
            volume(tmp_path / "masks" / f"patient{number(k)}_frame{frame:02d}_gt.nii.gz", mask=True)
    study = easydl.load(tmp_path)
    assert (len(study), study.n_patients, study.patients_known) == (8, 4, True)


@pytest.mark.parametrize("below", ["", "sick"])
def test_folders_called_after_patients_are_no_classes_of_pictures(below, tmp_path):
    for k in range(12):
        for n in range(2):
            label = ("sick" if k % 2 else "well") if below else ""
            path = tmp_path / label / f"patient_{number(k)}" / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(2 * k + n).integers(0, 255, (16, 16), np.uint8)).save(path)
    study = easydl.load(tmp_path)
    assert (study.n_patients, study.patients_known, "label" in study.frame) == (12, True, bool(below))


@pytest.mark.parametrize(
    "names", [("grade1", "grade2"), ("0", "1"), ("AD", "CN"), ("T1", "T2"), ("covid-19", "sars-cov-2")]
)
def test_classes_of_volumes_stay_classes(names, tmp_path):
    for place, name in enumerate(names):
        for k in range(6):
            volume(tmp_path / name / f"{place}{k}x{k * 7919 % 101}.nii.gz")
    study = easydl.load(tmp_path)
    assert study.classes == sorted(names)
    assert not study.patients_known
