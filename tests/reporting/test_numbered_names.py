"""Images and patients by numbers: the table of the run is the only key, and texts name neither files nor patients."""

import io

import pandas as pd
import pytest

import easydl
from easydl.fileio import csv_text
from easydl.reporting.names import Names, shown


@pytest.fixture
def place(tmp_path):
    for name in ("normal/IM 1.dcm", "normal/=2.dcm", "nodule/IM 1.dcm", "nodule/film.png", "Erika_empty/x.txt", "old/y.txt", "lost file.dcm"):  # fmt: skip
        path = tmp_path / "study" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return tmp_path / "study"


def frame_of(place):
    files = ["normal/IM 1.dcm", "normal/=2.dcm", "nodule/IM 1.dcm", "nodule/film.png"]
    patients = ["MRN-0047", "p7", "mrn 47", "12"]
    return pd.DataFrame({"image": [f"{place}/{file}" for file in files], "patient": patients, "label": "x"})


def test_the_table_has_relative_paths_and_the_numbers(place):
    names = Names(frame_of(place), {"source": str(place)})
    read = pd.read_csv(io.StringIO(csv_text(names.table(frame_of(place)))), dtype=str)
    assert list(read["image"]) == ["normal/IM 1.dcm", "normal/=2.dcm", "nodule/IM 1.dcm", "nodule/film.png"]
    assert list(read["shown_image"]) == ["image 1", "image 2", "image 3", "image 4"]
    # MRN-0047 and mrn 47 are one patient.
    assert list(read["shown_patient"]) == ["patient 1", "patient 2", "patient 1", "patient 3"]


@pytest.mark.parametrize("name", ["=1.dcm", "-a.dcm", "+1.dcm", "@x.dcm"])
def test_a_path_that_begins_as_a_formula_leads_to_its_file(tmp_path, name):
    frame = pd.DataFrame({"image": [f"{tmp_path}/{name}"], "patient": ["a"]})
    text = csv_text(Names(frame, {"source": str(tmp_path)}).relative(frame))
    written = pd.read_csv(io.StringIO(text), dtype=str)["image"][0]
    assert (tmp_path / written) == tmp_path / name


def test_texts_name_no_file_folder_or_patient(place):
    names = Names(frame_of(place), {"source": str(place)}, classes=["normal", "nodule"])
    texts = [
        f"the file {place}/normal/=2.dcm is large", "film.png and IM 1.dcm repeat", "lost file.dcm in no class folder",
        "the folder 'old' holds no images", "Erika_empty was not read", "MRN-0047 and p7 differ", "12 images, 7 normal",
        "the old scanner", "nodule 12, normal 30",
    ]  # fmt: skip
    assert names.clean(texts, disk=True) == [
        "the file image 2 is large", "image 4 and an image repeat", "a file in no class folder",
        "the folder a folder holds no images", "a folder was not read", "patient 1 and patient 2 differ",
        "12 images, 7 normal", "the old scanner", "nodule 12, normal 30",
    ]  # fmt: skip


def test_a_folder_named_by_a_bare_number_leaves_the_numbers_of_a_text(place):
    (place / "12").mkdir()
    assert Names(frame_of(place), {"source": str(place)}).clean(["Row 12 of 30"], disk=True) == ["Row 12 of 30"]


def test_unknown_patients_get_no_number(place):
    names = Names(frame_of(place), {"source": str(place)}, patients_known=False)
    assert set(names.table(frame_of(place))["shown_patient"]) == {""}


def test_of_a_table_only_folders_with_images_are_looked_through(place, monkeypatch):
    (place / "scans.csv").write_text("")
    looked = []
    walk = __import__("os").walk
    monkeypatch.setattr("os.walk", lambda top: looked.append(str(top)) or walk(top))
    names = Names(frame_of(place), {"source": str(place / "scans.csv")})
    assert names.clean(["lost file.dcm", "x.txt"], disk=True) == ["a file", "x.txt"]
    assert sorted(looked) == sorted([str(place), f"{place}/normal", f"{place}/nodule"])


def test_a_root_is_what_paths_are_relative_to(tmp_path):
    frame = pd.DataFrame({"image": [f"{tmp_path}/films/a.png", "/elsewhere/b.png"], "patient": ["a", "b"]})
    names = Names(frame, {"source": "scans.csv", "root": str(tmp_path / "films")})
    assert list(names.relative(frame)["image"]) == ["a.png", "/elsewhere/b.png"]


@pytest.mark.parametrize(("name", "kept"), [("image 3", True), ("patient 12", True), ("image 3.dcm", False), ("", False), (None, False), ("Doe", False)])  # fmt: skip
def test_only_numbered_names_are_shown(name, kept):
    assert shown(name, "else") == (name if kept else "else")


def test_predictions_that_a_user_saves_are_for_this_user_alone(tmp_path):
    frame = pd.DataFrame({"image": ["a"], "patient": ["b"], "prediction": ["x"]})
    path = easydl.prediction.Predictions(frame, ("x", "y"), True, "films", easydl.tasks.Task.CLASSIFICATION).save(tmp_path / "p.csv")  # fmt: skip
    assert path.stat().st_mode & 0o077 == 0
