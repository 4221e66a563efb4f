import numpy as np
import pandas as pd
import pytest
from made import dicom_series, dicom_slice, nifti_study, png_study, square
from PIL import Image

import easydl
from easydl.errors import InputError, LeakageError


def test_a_table_becomes_a_study(table):
    study = easydl.load(table)
    assert (len(study), study.n_patients, list(study.classes)) == (16, 16, ["disease", "healthy"])
    assert (study.summary.channels, study.summary.image_size, study.units) == (1, (32, 32), "0-255")
    assert "16 images" in repr(study)
    assert "Research use only" in study._repr_html_()


def test_a_folder_of_classes_says_that_patients_are_unknown(table):
    study = easydl.load(table.parent)
    assert len(study) == 16
    assert not study.patients_known
    assert any("leakage" in note for note in study.notes)


def test_excel_semicolons_latin1_and_leading_zeros(table, tmp_path):
    frame = pd.read_csv(table, dtype=str)
    frame["patient"] = [f"00{k}" for k in range(len(frame))]
    frame["label"] = frame["label"].replace("healthy", "gesund-ä")
    frame.to_excel(table.parent / "s.xlsx", index=False)
    frame.to_csv(table.parent / "s.csv", index=False, sep=";", encoding="latin-1")
    for name in ("s.xlsx", "s.csv"):
        study = easydl.load(table.parent / name)
        assert list(study.classes) == ["disease", "gesund-ä"]
        assert study.frame["patient"].iloc[3] == "003"


def test_na_is_asked_about_and_can_be_a_class_or_no_label(table):
    frame = pd.read_csv(table, dtype=str).iloc[:14]
    frame["image"] = [str(table.parent / path) for path in frame["image"]]
    frame.loc[12:, "label"] = "NA"
    with pytest.raises(InputError, match=r"'NA' \(2 rows\)"):
        easydl.load(frame)
    study = easydl.load(frame, classes=["NA", "healthy", "disease"])
    assert list(study.classes) == ["NA", "healthy", "disease"]
    assert len(study) == 14
    study = easydl.load(frame, classes=["healthy", "disease"])
    assert list(study.classes) == ["healthy", "disease"]
    assert len(study) == 12
    assert any("2 images without a label (NA) excluded" in note for note in study.notes)


def test_dicom_folder_gives_one_row_per_series_with_safe_fields(tmp_path):
    volume = np.random.default_rng(0).integers(0, 2000, (3, 8, 8)).astype(np.uint16)
    dicom_series(tmp_path / "a", volume, SeriesInstanceUID="1.2.1")
    dicom_series(tmp_path / "b", volume, SeriesInstanceUID="1.2.2", PatientID="SECRET-8")
    (tmp_path / "b" / ".DS_Store").write_text("x")
    study = easydl.load(tmp_path, patient="auto")
    assert len(study) == 2
    assert study.n_patients == 2
    assert {"sex", "age_years", "scanner", "date"} <= set(study.frame.columns)
    text = study.frame.drop(columns="image").to_csv() + study._repr_html_()
    assert "SECRET" not in text
    assert "Doe" not in text


def test_several_image_columns_become_channels(tmp_path):
    path = nifti_study(tmp_path / "n", cases=3)
    frame = pd.read_csv(path, dtype=str).assign(t2=lambda f: f["image"])
    frame.to_csv(path, index=False)
    study = easydl.load(path, image=["image", "t2"], mask="mask")
    assert study.channels == 2
    assert study.scan(0).pixels.shape == (24, 28, 20, 2)
    assert study.task == "segmentation"
    assert list(study.classes) == ["background", "foreground"]
    assert set(np.unique(study.reference(0))) == {0, 1}


BAD = {
    "missing file": (lambda f: f.assign(image=["gone.png", *f["image"][1:]]), "does not exist"),
    "one class": (lambda f: f.assign(label="healthy"), "All 16 images"),
    "labels by case": (lambda f: f.assign(label=["Disease", *f["label"][1:]]), "spaces or case"),
    "labels by space": (lambda f: f.assign(label=["disease ", *f["label"][1:]]), "spaces or case"),
    "empty label": (lambda f: f.assign(label=["", *f["label"][1:]]), "label is empty"),
    "no patient": (lambda f: f.drop(columns="patient"), "which patient"),
    "empty patient": (lambda f: f.assign(patient=["", *f["patient"][1:]]), "patient is empty"),
    "conflict": (lambda f: pd.concat([f, f[:1].assign(label="healthy")]), "listed twice with different"),
    "no image column": (lambda f: f.rename(columns={"image": "scanfile"}), "recognised as the image"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tables_are_refused_in_three_parts(table, name):
    change, words = BAD[name]
    change(pd.read_csv(table, dtype=str)).to_csv(table, index=False)
    with pytest.raises(InputError) as caught:
        easydl.load(table)
    assert words in caught.value.found
    assert caught.value.expected
    assert caught.value.do


def test_all_bad_rows_are_counted_and_five_are_named(table):
    frame = pd.read_csv(table, dtype=str)
    frame["image"] = [f"gone{k}.png" for k in range(len(frame))]
    frame.to_csv(table, index=False)
    with pytest.raises(InputError, match="16 of 16 rows") as caught:
        easydl.load(table)
    assert caught.value.found.count("does not exist") == 5


def test_merge_labels_is_on_the_record(table):
    frame = pd.read_csv(table, dtype=str)
    frame.loc[0, "label"] = "Disease "
    frame.to_csv(table, index=False)
    study = easydl.load(table, merge_labels=True)
    assert list(study.classes) == ["disease", "healthy"]
    assert any("Disease" in note for note in study.notes)


def test_patient_none_is_on_the_record(table):
    study = easydl.load(table, patient=None)
    assert not study.patients_known
    assert any("not known" in note for note in study.notes)


def test_the_split_does_not_depend_on_the_order_of_rows(table):
    frame = pd.read_csv(table, dtype=str)
    frame["image"] = [str(table.parent / p) for p in frame["image"]]
    one, other = easydl.load(frame), easydl.load(frame.sample(frac=1, random_state=3))
    for a, b in zip(one.split(seed=7), other.split(seed=7), strict=True):
        assert set(a.frame["patient"]) == set(b.frame["patient"])
    three = easydl.load(frame).split(seed=8)
    assert set(three[2].frame["patient"]) != set(one.split(seed=7)[2].frame["patient"])


def test_every_class_is_in_every_part_and_sizes_count_patients(table):
    train, val, test = easydl.load(table).split((0.5, 0.25, 0.25), seed=1)
    for part in (train, val, test):
        assert set(part.frame["label"]) == {"disease", "healthy"}
    assert (train.n_patients, val.n_patients, test.n_patients) == (8, 4, 4)


@pytest.mark.parametrize("sizes", [(0.5, 0.5, 0.5), (1, 0, 0), (0.5, 0.5)])
def test_impossible_sizes_are_refused(table, sizes):
    with pytest.raises(InputError, match="fractions"):
        easydl.load(table).split(sizes)


def test_too_few_patients_in_a_class_are_refused_with_the_counts(table):
    frame = pd.read_csv(table, dtype=str)
    frame.loc[frame["label"] == "disease", "patient"] = "the same"
    frame.to_csv(table, index=False)
    with pytest.raises(InputError, match="'disease': 1"):
        easydl.load(table).split()


def test_identical_images_stay_in_one_part(tmp_path):
    path = png_study(tmp_path / "s", per_class=10)
    rng = np.random.default_rng(5)
    Image.fromarray(square(True, rng)).save(tmp_path / "s/disease/001_0.png")
    (tmp_path / "s/disease/007_0.png").write_bytes((tmp_path / "s/disease/001_0.png").read_bytes())
    for seed in range(12):
        study = easydl.load(path).split(seed=seed)[0].parent
        parts = study.frame.loc[study.frame["image"].str.contains("00[17]_0.png") & (study.frame["label"] == "disease")]
        assert parts["split"].nunique() == 1


def test_a_leaking_split_is_refused_or_goes_on_the_record(table):
    frame = pd.read_csv(table, dtype=str)
    frame["patient"] = [f"p{k // 2}" for k in range(len(frame))]
    frame["split"] = (["train", "train", "valid", "test"] * 4)[: len(frame)]
    frame.to_csv(table, index=False)
    with pytest.raises(LeakageError, match="4 of 8 patients"):
        easydl.load(table, split="split")
    with pytest.raises(LeakageError):
        easydl.load(table).split(column="split")
    with pytest.raises(LeakageError):
        easydl.load(table, split="split", override="  ")
    study = easydl.load(table, split="split", override="to show what it does")
    assert set(study.split()[1].frame["split"]) == {"val"}
    assert "to show what it does" in study.overrides[0]


def test_batches_are_what_keras_takes(table):
    x, y = next(iter(easydl.load(table).batches(5, size=(24, 20))))
    assert x.shape == (5, 24, 20, 1)
    assert y.shape == (5, 2)
    assert float(x.numpy().max()) > 100


def test_a_training_part_is_shuffled_in_each_epoch_and_the_others_are_not(table):
    study = easydl.load(table)
    before = study.frame.copy()
    train, val, test = study.split(seed=1)
    pd.testing.assert_frame_equal(study.frame, before)  # the study itself is not split
    assert study.seed is None and study.parent is None

    def passes(part, **options):
        batches = part.batches(3, size=(8, 8), **options)
        return [np.concatenate([y.numpy().argmax(axis=1) for _, y in batches]).tolist() for _ in range(2)]

    def images(part, **options):
        batches = part.batches(3, size=(8, 8), **options)
        return [np.concatenate([x.numpy().mean(axis=(1, 2, 3)) for x, _ in batches]) for _ in range(2)]

    first, second = images(train)
    stored = images(train, shuffle=False)[0]
    assert sorted(first) == sorted(second) == sorted(stored)
    assert not np.array_equal(first, stored) and not np.array_equal(first, second), "another order in each epoch"
    np.testing.assert_array_equal(images(train)[1], second)  # by the seed
    assert not np.array_equal(images(train, seed=1)[0], first)
    for part in (val, test, study):
        labels = part.targets().argmax(axis=1).tolist()
        assert passes(part) == [labels, labels]


def test_show_draws_every_class(table):
    figure = easydl.load(table).show(4)
    titles = " ".join(axis.get_title() for axis in figure.axes)
    assert "disease" in titles
    assert "healthy" in titles


def test_a_mask_on_another_grid_is_refused(tmp_path):
    import nibabel

    path = nifti_study(tmp_path / "n", cases=3)
    moved = nibabel.load(tmp_path / "n/mask1.nii.gz")
    affine = moved.affine.copy()
    affine[0, 3] += 5
    nibabel.save(nibabel.Nifti1Image(np.asarray(moved.dataobj), affine), tmp_path / "n/mask1.nii.gz")
    with pytest.raises(InputError, match="elsewhere in space"):
        easydl.load(path, mask="mask").reference(1)
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 3, 3), np.uint8), affine), tmp_path / "n/mask1.nii.gz")
    with pytest.raises(InputError, match="has the shape"):
        easydl.load(path, mask="mask").reference(1)


def test_mixed_ct_and_films_are_refused(tmp_path):
    dicom_slice(tmp_path / "a.dcm", np.ones((8, 8), np.uint16))
    Image.fromarray(np.ones((8, 8), np.uint8)).save(tmp_path / "b.png")
    frame = pd.DataFrame({"image": [str(tmp_path / "a.dcm"), str(tmp_path / "b.png")], "label": ["a", "b"]})
    with pytest.raises(InputError, match="mixes"):
        easydl.load(frame, patient=None)


@pytest.mark.real
def test_nih_split_never_leaks_and_the_given_one_is_refused(real):
    path = real / "nih1000_cxr/metadata.csv"
    study = easydl.load(path)
    for seed in range(5):
        parts = study.split(seed=seed)
        patients = [set(part.frame["patient"]) for part in parts]
        assert sum(map(len, patients)) == len(set.union(*patients)) == 264
    with pytest.raises(LeakageError, match="30 of 264 patients"):
        easydl.load(path, split="split")


@pytest.mark.everything
@pytest.mark.real
def test_openi_folder_is_loaded_as_the_published_75_films(real):
    study = easydl.load(real / "openi_abd_vs_cxr")
    assert study.frame["label"].value_counts().to_dict() == {"chest": 38, "abdomen": 37}
    assert set(study.split(seed=7)[2].frame["label"]) == {"abdomen", "chest"}


def test_folders_of_patients_are_no_classes(tmp_path):
    """A PACS exports one folder for each patient: pseudonyms must not become labels."""
    pixels = np.zeros((8, 8), np.uint16)
    for patient in "abc":
        for film in range(2):
            dicom_slice(tmp_path / patient / f"{film}.dcm", pixels + film, Modality="DX", PatientID=patient,
                        SOPInstanceUID=f"1.2.{ord(patient)}.{film}")  # fmt: skip
    study = easydl.load(tmp_path)
    assert "label" not in study.frame.columns
    assert study.n_patients == 3
    assert any("not taken for classes" in note for note in study.notes)
    dicom_slice(tmp_path / "a/other.dcm", pixels + 7, Modality="DX", PatientID="d", SOPInstanceUID="1.2.9")
    assert set(easydl.load(tmp_path).frame["label"]) == {"a", "b", "c"}
