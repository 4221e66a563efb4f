"""Columns in every written form become evidence; what says the label is recognised."""

import numpy as np
import pandas as pd
import pytest
from made import png_study

import easydl
from easydl.traps.association import Labels
from easydl.traps.fields import fields, says_the_label

N = 80


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    png_study(folder, per_class=N // 2)
    return folder


def study_with(place, column, cells):
    frame = pd.read_csv(place / "scans.csv", dtype=str) if (place / "scans.csv").exists() else None
    frame = frame if frame is not None else pd.read_csv(next(place.glob("*.csv")), dtype=str)
    rng = np.random.default_rng(0)
    y = (frame["label"] == frame["label"].iloc[0]).to_numpy().astype(int)
    frame[column] = [cells(rng, k) for k in y]
    path = place / f"{column}.csv"
    frame.sample(frac=1, random_state=0).to_csv(path, index=False)
    return easydl.load(path)


def day(rng, k):
    return pd.Timestamp("2023-01-01") + pd.Timedelta(int(rng.integers(0, 365)) + 365 * k, "D")


PLANTED = {
    "iso_day": lambda rng, k: day(rng, k).strftime("%Y-%m-%d"),
    "number_day": lambda rng, k: day(rng, k).strftime("%Y%m%d"),
    "german_day": lambda rng, k: day(rng, k).strftime("%d.%m.%Y"),
    "clock": lambda rng, k: f"{rng.integers(8, 12) + 5 * k:02d}:{rng.integers(0, 60):02d}:{rng.integers(0, 60):02d}",
    "hospital": lambda rng, k: f"Hospital {'ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÜ'[rng.integers(0, 14) + 14 * k]}-{'x' * 2}",
    "accession": lambda rng, k: f"A{rng.integers(0, 4000) + 5000 * k:05d}",
    "biopsy": lambda rng, k: "carcinoma" if k else "none",
    "report": lambda rng, k: f"Exam {rng.integers(1e6)}. " + ("Suspicious mass." if k else "No suspicious finding."),
    "age": lambda rng, k: int(rng.normal(50 + 18 * k, 12)),
    "weight": lambda rng, k: "" if k and rng.random() < 0.8 else int(rng.normal(70, 12)),
    "dose": lambda rng, k: f"{rng.normal(2 + 2 * k, 1):.2f}".replace(".", ","),
}


@pytest.mark.parametrize("column", PLANTED)
def test_a_column_that_tells_the_class_is_found_however_it_is_written(place, column):
    study = study_with(place, column, PLANTED[column])
    labels = Labels(study.frame["label"], study.frame["patient"])
    told = {field.name: labels.associate(field.evidence) for field in fields(study) if column in field.name}
    assert told, f"{column} was not tested"
    best = max(told.values(), key=lambda found: found.auc)
    assert best.p < 0.01
    assert best.low > 0.6


@pytest.mark.parametrize("column", PLANTED)
def test_its_clean_twin_is_not(place, column):
    study = study_with(place, column, lambda rng, k: PLANTED[column](rng, int(rng.random() < 0.5)))
    labels = Labels(study.frame["label"], study.frame["patient"])
    for field in fields(study):
        if column in field.name:
            found = labels.associate(field.evidence)
            assert not (found.p < 0.005 and found.low > 0.6)


def test_a_column_that_is_the_label_in_other_words_is_recognised(place):
    study = study_with(place, "diagnosis", lambda rng, k: "pneumonia" if k else "no finding")
    assert says_the_label(study) == ["diagnosis"]
    sentences = [issue.sentence for issue in easydl.audit(study).issues if issue.severity in ("WARN", "BLOCK")]
    assert not any("diagnosis" in sentence for sentence in sentences)
    assert any("'diagnosis' names the label" in issue.sentence for issue in easydl.audit(study).issues)


def test_names_that_were_numbered_class_by_class_are_found(place):
    study = study_with(place, "note", lambda rng, k: "x" if rng.random() < 0.5 else "y")
    frame = study.frame.sort_values("label").reset_index(drop=True)
    frame["image"] = [str(place / f"im{i:03d}.png") for i in range(len(frame))]
    for old, new in zip(study.frame.sort_values("label")["image"], frame["image"], strict=True):
        (place / new).write_bytes((place / old).read_bytes())
    frame = frame.sample(frac=1, random_state=1)
    issues = easydl.audit(easydl.load(frame[["image", "label", "patient"]])).issues
    assert any("number in the file's name" in issue.sentence and issue.severity == "WARN" for issue in issues)


def test_a_finer_label_is_recognised_and_a_column_of_another_name_is_not():
    frame = pd.DataFrame(
        {"label": ["ill", "well"] * 20, "image": [f"/d/{k}.png" for k in range(40)], "patient": range(40)}
    )
    finer = np.where(frame["label"] == "well", "none", np.where(np.arange(40) % 4 == 0, "mass", "nodule"))
    mixed = np.where(np.arange(40) == 1, "mass", finer)
    study = easydl.studies.Study(frame.astype(str).assign(finding=finer, target=mixed, scanner=finer))
    assert says_the_label(study) == ["finding"]
