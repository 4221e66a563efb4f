"""What a rule tells: sides, spacing, masks too small for Dice, identifiers, words of treatment; thumbnails; what is handed on."""

import io

import numpy as np
import pandas as pd
import pytest
from made import mask_study, png_study
from PIL import Image

import easydl
from easydl.traps.confounders import _once, confounders
from easydl.traps.fields import fields
from easydl.traps.issues import Audit, Issue
from easydl.traps.rules import rules
from easydl.traps.thumbnails import MARK, strip


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return png_study(tmp_path_factory.mktemp("films"), per_class=20)


def study(images, **columns):
    return easydl.load(pd.read_csv(images, dtype=str).assign(**columns), root=images.parent)


def said(found, number):
    return [issue for issue in found if issue.id == number]


def test_labels_that_name_a_side_are_said(images):
    frame = pd.read_csv(images, dtype=str)
    sided = study(images, label=frame["label"].map({"disease": "left hip", "healthy": "right hip"}))
    (issue,) = said(rules(sided), "A16")
    assert issue.severity == "NOTE" and "'left hip', 'right hip'" in issue.sentence and "flip" in issue.fix
    assert not said(rules(study(images)), "A16")


def test_a_side_that_contradicts_the_header_is_said(images):
    noted = study(images)
    noted.notes.append("3 of 40 images: column 'side' contradicts the laterality in the header, the first in row 4")
    (issue,) = said(rules(noted), "A16")
    assert issue.severity == "WARN" and "3 of 40 images" in issue.sentence


def test_columns_that_name_patients_are_said_and_others_are_not(images):
    named = study(images, patient_name="x", contact=["a.b@c.org"] + [""] * 39, report=["DOE^JANE"] + ["clear"] * 39)
    (issue,) = said(rules(named), "A21")
    assert all(word in issue.sentence for word in ("'patient_name'", "e-mail addresses in 'contact'", "names as DICOM"))
    assert "a.b@c.org" not in issue.sentence and "JANE" not in issue.sentence
    assert not said(rules(study(images, filename="x", age="61", renamed="y", date="2020-01-02")), "A21")


def test_masks_too_small_for_dice_are_counted(tmp_path):
    path = mask_study(tmp_path / "m", cases=6)
    names = pd.read_csv(path, dtype=str)["mask"]
    for name, box in ((names[0], 0), (names[1], 3)):
        mask = np.zeros((32, 32), np.uint8)
        mask[4 : 4 + box, 4 : 4 + box] = np.asarray(Image.open(path.parent / names[2])).max()
        Image.fromarray(mask).save(path.parent / name)
    (issue,) = said(rules(easydl.load(path)), "A18")
    assert "of 6 masks 1 without it and 1 with fewer than 10 pixels" in issue.sentence and issue.rows == (0, 1)


def test_a_mask_far_larger_than_the_others_is_named(tmp_path):
    path = mask_study(tmp_path / "m", cases=12)
    masks = easydl.load(path)
    for one in masks.facts():
        object.__setattr__(one, "spacing_mm", [2.0, 5.0])
    assert not said(rules(masks), "A17"), "all are of one kind"
    name = pd.read_csv(path, dtype=str)["mask"][3]
    Image.fromarray(np.full((32, 32), np.asarray(Image.open(path.parent / name)).max(), np.uint8)).save(
        path.parent / name
    )
    masks = easydl.load(path)
    for one in masks.facts():
        object.__setattr__(one, "spacing_mm", [2.0, 5.0])
    (issue,) = said(rules(masks), "A17")
    assert issue.rows == (3,) and issue.severity == "WARN"
    assert "1 of 12 masks" in issue.sentence and f"{32 * 32 * 10 / 100:.3g} cm²" in issue.sentence


def test_images_from_after_the_outcome_are_counted(images):
    days = pd.date_range("2024-01-01", periods=40).strftime("%d.%m.%Y")
    late = ["2024-01-05"] * 40
    (issue,) = said(rules(study(images, scan_date=days, biopsy_date=late)), "A19")
    assert "35 of 40 images" in issue.sentence and issue.rows[0] == 5
    assert not said(rules(study(images, scan_date=days, biopsy_date=["2024-12-24"] * 40)), "A19")
    assert not said(rules(study(images, scan_date=days, birthday=late)), "A19")


def test_mixed_and_thick_spacing_is_said(images):
    mixed = study(images)
    facts = mixed.facts()
    for one, mm in zip(facts, np.linspace(0.3, 1.2, len(facts)), strict=True):
        object.__setattr__(one, "spacing_mm", [float(mm)] * 2)
    (issue,) = said(rules(mixed), "A17")
    assert "from 0.39 to 1.1 mm" in issue.sentence
    for one in facts:
        object.__setattr__(one, "spacing_mm", [5.0, 1.0, 1.0])
    (issue,) = said(rules(mixed), "A17")
    assert "40 of 40 volumes have slices more than 3 times" in issue.sentence


def test_words_of_treatment_are_a_question_of_their_own(images):
    label = pd.read_csv(images, dtype=str)["label"]
    words = np.where(
        label == "disease", "Chest tube in place, image of the ward", "Routine image of the outpatient clinic"
    )
    text = [f"{word}, number {row}" for row, word in enumerate(words)]
    described = study(images, description=text)
    found = said(confounders(described, list(fields(described))), "A19")
    assert any("ords of treatment in 'description' alone separate the" in issue.sentence for issue in found)
    dates = np.where(label == "disease", "2024-03-", "2023-03-")
    dated = study(images, date=[f"{d}{1 + k % 28:02d}" for k, d in enumerate(dates)])
    found = said(confounders(dated, list(fields(dated))), "A19")
    assert any(
        "column 'date'" in issue.sentence and issue.severity == "WARN" and "time=" in issue.fix for issue in found
    )


def test_an_issue_shows_its_images_and_frames_its_place(images):
    placed = Issue("A5", "WARN", "x", rows=tuple(range(12)), place=(0.0, 0.1, 0.5, 0.75))
    shown = np.asarray(Image.open(io.BytesIO(strip(study(images), placed))))
    assert shown.shape == (96, 8 * 100 - 4, 3)
    framed = (shown == MARK).all(axis=2)
    assert framed[:18, 40:80].any() and not framed[20:].any() and not framed[:, 82:100].any()
    assert (
        strip(study(images), Issue("A5", "OK", "x", rows=(1,))) == b"" == strip(study(images), Issue("A5", "WARN", "x"))
    )


def test_a_tall_image_stays_tall_and_the_frame_is_inside(images):
    tall = study(images)
    tall.frame[["width", "height"]] = ["30", "60"]
    placed = Issue("A5", "WARN", "x", rows=(0,), place=(0.0, 0.1, 0.5, 1.0))
    shown = np.asarray(Image.open(io.BytesIO(strip(tall, placed))))
    columns = np.flatnonzero((shown != 255).any(axis=(0, 2)))
    assert (columns[0], columns[-1]) == (24, 71) and (shown == MARK).all(axis=2)[:, 71].any()


def test_one_thing_is_said_once():
    everything = "All columns of the table and headers of the files together predict the class"
    said_twice = [
        (True, Issue("A5", "WARN", "The border", low=0.7, place=(0, 1, 0, 1))),
        (True, Issue("A5", "WARN", "A place", low=0.8, place=(0, 1, 0, 1))),
        (True, Issue("A5", "WARN", "Anywhere", low=0.75)),
        (False, Issue("A4", "WARN", "A column", value=0.8)),
    ]
    kept = _once([*said_twice, (False, Issue("A4", "WARN", everything, value=0.81))])
    assert [issue.sentence for issue in kept] == ["A place", "A column"]
    assert _once([*said_twice, (False, Issue("A4", "WARN", everything, value=0.9))])[-1].sentence == everything


def test_thumbnails_are_in_the_notebook_and_not_in_the_file(images):
    found = Audit((Issue("A2", "WARN", "x", rows=(0,), exclude=("/d/a.png",), thumbnails=b"\x89PNG"),))
    assert '<img alt="Images of this issue" src="data:image/png;base64,iVBORw==">' in found._repr_html_()
    assert not {"thumbnails", "exclude"} & set(found.to_dict()["issues"][0])


def test_what_an_issue_names_is_left_out_by_one_argument(tmp_path):
    path = png_study(tmp_path / "s", per_class=6)
    for number in (1, 2):
        (tmp_path / f"s/healthy/00{number}_0.png").write_bytes((tmp_path / "s/healthy/000_0.png").read_bytes())
    (issue,) = [one for one in easydl.audit(easydl.load(path)).issues if one.id == "A2" and one.severity == "WARN"]
    assert [address[-17:] for address in issue.exclude] == ["healthy/001_0.png", "healthy/002_0.png"]
    for source in (path, path.parent):
        rest = easydl.load(source, exclude=issue.exclude)
        assert len(rest) == 10
        assert not [one for one in easydl.audit(rest).issues if one.id == "A2" and one.severity == "WARN"]
