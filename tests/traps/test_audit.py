import json

import numpy as np
import pandas as pd
import pytest
from made import png_study
from PIL import Image

import easydl
from easydl.errors import LeakageError
from easydl.traps import refuse_leakage


def severities(study, trap):
    return {issue.severity for issue in easydl.audit(study).issues if issue.id == trap}


def test_a_clean_study_raises_no_alarm(tmp_path):
    study = easydl.load(png_study(tmp_path / "s", per_class=40)).split(seed=1)[0].parent
    found = easydl.audit(study)
    assert not found.blocking
    assert severities(study, "A1") == severities(study, "A2") == {"OK"}
    assert "WARN" not in severities(study, "A4")


def test_film_size_that_tells_the_class_is_noticed(tmp_path):
    path = png_study(tmp_path / "s", per_class=20)
    rng = np.random.default_rng(0)
    for file in (tmp_path / "s/healthy").iterdir():
        side = int(rng.integers(40, 60))
        Image.fromarray(rng.integers(0, 90, (side, side)).astype(np.uint8)).save(file)
    issue = next(issue for issue in easydl.audit(easydl.load(path)).issues if issue.id == "A4")
    assert issue.severity == "WARN"
    assert "size of the image" in issue.sentence
    assert "95% CI" in issue.sentence
    assert issue.p < 0.05


def test_a_scanner_that_tells_the_class_is_noticed_and_its_balanced_twin_is_not(tmp_path):
    path = png_study(tmp_path / "s", per_class=30)
    frame = pd.read_csv(path, dtype=str)
    frame.assign(scanner=np.where(frame["label"] == "disease", "A", "B")).to_csv(path, index=False)
    assert any(
        "'scanner'" in issue.sentence and issue.severity == "WARN" for issue in easydl.audit(easydl.load(path)).issues
    )
    frame.assign(scanner=["A", "B"] * 30).to_csv(path, index=False)
    assert not any(issue.severity == "WARN" and issue.id == "A4" for issue in easydl.audit(easydl.load(path)).issues)


def test_identical_images_across_parts_and_conflicting_labels_block(tmp_path):
    path = png_study(tmp_path / "s", per_class=8)
    for other in ("disease/002_0.png", "healthy/003_0.png"):
        (tmp_path / "s" / other).write_bytes((tmp_path / "s/disease/001_0.png").read_bytes())
    study = easydl.load(path).split(seed=0)[0].parent
    assert "BLOCK" in severities(study, "A7")
    study.frame["split"] = ["train", "test"] * 8
    assert "BLOCK" in severities(study, "A2")


def test_patients_in_two_parts_block(tmp_path):
    study = easydl.load(png_study(tmp_path / "s", images_per_patient=2))
    study.frame["split"] = ["train", "test"] * 16
    assert severities(study, "A1") == {"BLOCK"}


def test_unknown_patients_are_untested_with_a_hint_at_names(table):
    for file in sorted((table.parent / "disease").iterdir())[:4]:
        file.rename(file.with_name(f"00000231_{file.stem[-5:-2]}.png"))
    issue = next(issue for issue in easydl.audit(easydl.load(table.parent)).issues if issue.id == "A1")
    assert issue.severity == "UNTESTED"
    # The four renamed ones, and the eight 004_0 ... 007_0 that occur in both class folders.
    assert "12 file names share a stem" in issue.sentence


def test_small_test_sets_and_imbalanced_classes_are_noted(tmp_path):
    path = png_study(tmp_path / "s", per_class=40)
    frame = pd.read_csv(path, dtype=str)
    pd.concat([frame[:6], frame[40:]]).to_csv(path, index=False)
    study = easydl.load(path).split(seed=0)[0].parent
    sentences = " ".join(issue.sentence for issue in easydl.audit(study).issues if issue.severity == "WARN")
    assert "imbalanced" in sentences
    assert "will mean little" in sentences


def test_the_audit_shows_itself_and_is_json(table):
    found = easydl.audit(easydl.load(table))
    assert "Research use only" in repr(found)
    assert "Research use only" in found._repr_html_()
    assert json.loads(json.dumps(found.to_dict()))["issues"][0]["severity"] in (
        "WARN",
        "NOTE",
        "OK",
        "UNTESTED",
        "BLOCK",
    )


def test_fit_refuses_leakage_unless_a_reason_is_given(tmp_path):
    study = easydl.load(png_study(tmp_path / "s", images_per_patient=2))
    with pytest.raises(LeakageError, match="16 patients and 0 identical"):
        refuse_leakage(study.rows(range(0, 32, 2)), study.rows(range(1, 32, 2)))
    record = refuse_leakage(study.rows(range(0, 32, 2)), study.rows(range(1, 32, 2)), "teaching")
    assert "teaching" in record[0]
    assert refuse_leakage(study.rows(range(16)), study.rows(range(16, 32))) == []


@pytest.mark.real
def test_openi_film_size_alone_separates_the_classes(real):
    issues = easydl.audit(easydl.load(real / "openi_abd_vs_cxr")).issues
    size = next(issue for issue in issues if issue.id == "A4")
    assert "alone separates the classes" in size.sentence
    assert size.low > 0.75
    assert any("1 image occurs more than once (2 rows)" in issue.sentence for issue in issues)
