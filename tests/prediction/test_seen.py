"""A model knows what it was trained on: counted by the table's own split, on this computer and another, in every way in."""

import hashlib
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from made import mask_study, png_study

import easydl
from easydl.errors import LeakageError
from easydl.networks import attach, metadata_of
from easydl.networks.seen import DIGITS, MOST_IMAGES, Seen
from easydl.prediction.seen import (
    ELSEWHERE,
    IMAGES_ONLY,
    NOT_COMPLETE,
    NOT_KNOWN,
    READ_OTHERWISE,
    seen_rows,
    with_training,
)
from easydl.studies import Study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """80 images of 40 patients."""
    return easydl.load(png_study(tmp_path_factory.mktemp("s"), per_class=20, side=16, images_per_patient=2))


def trained(study, train, val, model=None):
    """A classifier that counts as trained on two parts."""
    model = model or easydl.classifier("tiny", study, size=16)
    seen = with_training(metadata_of(model).learned_from, train, val)
    return attach(model, metadata_of(model).model_copy(update={"seen": seen}))


@pytest.fixture
def parts(study):
    return study.split((0.5, 0.2, 0.3), seed=1)


def test_images_of_the_training_are_left_out_and_counted(study, parts):
    train, val, test = parts
    model = trained(study, train, val)
    found = easydl.evaluate(model, study, resamples=100)
    assert found.warnings[0] == (
        f"{len(train)} of these 80 images were in the training; {len(val)} more were in the validation part, by which the "
        f"model was chosen. They are left out: the numbers are of the other {len(test)} images."
    )
    assert repr(found).startswith(found.warnings[0]) and found.warnings[0] in found._repr_html_().split("<strong>")[0]
    alone = easydl.evaluate(model, test, resamples=100)
    assert found.table.equals(alone.table) and found.images == len(test) and found.seen == 0
    assert not any("training" in warning for warning in alone.warnings)
    predictions = easydl.predict(model, study)
    split = pd.concat(
        [part.frame.assign(part=name) for part, name in zip(parts, ("training", "validation", ""), strict=True)]
    )
    expected = study.frame["image"].map(split.set_index("image")["part"])
    assert predictions.frame["seen"].str.removesuffix(" image").tolist() == expected.tolist()
    assert predictions.notes[0].startswith(f"{len(train)} of these 80 images were in the training")
    assert easydl.evaluate(predictions, resamples=100).to_dict() == found.to_dict()


@pytest.mark.parametrize(
    ("part", "words"), [(0, "40 images were in the training"), (1, "16 images were in the validation")]
)
def test_a_test_on_what_was_trained_or_validated_on_is_refused_unless_a_reason_is_given(study, parts, part, words):
    model = trained(study, *parts[:2])
    for ask in (lambda **more: easydl.evaluate(model, parts[part], resamples=100, **more),
                lambda **more: easydl.evaluate(easydl.predict(model, parts[part]), resamples=100, **more)):  # fmt: skip
        with pytest.raises(LeakageError, match=f"All {words}"):
            ask()
        found = ask(override="to show overfitting")
        assert "memory, not of skill. Reason given: to show overfitting" in found.warnings[0]
        assert found.seen == found.images == len(parts[part])


def test_the_test_part_used_as_validation_is_known(study, parts):
    train, _, test = parts
    with pytest.raises(LeakageError, match="in the validation part, by which the model was chosen"):
        easydl.evaluate(trained(study, train, test), test)


def test_other_images_of_the_same_patients_are_not_new(study):
    frame = study.frame
    first = frame["image"].str.contains("_0.png")
    train, val = (
        study.rows(frame.index[first & (frame.index < 70)]),
        study.rows(frame.index[first & (frame.index >= 70)]),
    )
    other = study.rows(frame.index[~first])
    renamed = pd.DataFrame(other.frame).assign(
        patient=lambda table: table["patient"].str.upper().str.replace("0", "-0", n=1)
    )
    model = trained(study, train, val)
    for again in (other, Study(renamed, class_names=study.classes, files=study.files)):
        rows, notes = seen_rows([metadata_of(model)], again)
        assert set(rows) == {"training patient", "validation patient"} and notes == []
        with pytest.raises(LeakageError, match=r"(?s)are other images of patients.*another hospital"):
            easydl.evaluate(model, again)
        found = easydl.evaluate(model, again, override="another hospital", resamples=100)
        assert found.warnings[0].endswith("They are counted. Reason given: another hospital") and found.seen == 0
    unknown = Study(other.frame, patients_known=False, class_names=study.classes, files=study.files)
    assert set(seen_rows([metadata_of(model)], unknown)[0]) == {""}


def test_on_another_computer_images_are_compared_and_patients_are_not(study, parts, monkeypatch, tmp_path):
    model = trained(study, *parts[:2])
    monkeypatch.setenv("EASYDL_WORKSPACE", str(tmp_path / "elsewhere"))
    rows, notes = seen_rows([metadata_of(model)], study)
    assert rows.count("training image") == len(parts[0]) and notes == [ELSEWHERE]
    assert not (tmp_path / "elsewhere").exists(), "comparing makes no secret"


def test_without_a_secret_that_can_be_used_only_images_are_kept_and_it_is_said(study, parts, tmp_path):
    secret = tmp_path / "workspace/easydl.secret"
    secret.parent.mkdir()
    secret.write_text("too short")
    secret.chmod(0o600)
    model = trained(study, *parts[:2])
    assert metadata_of(model).seen.patients == {}
    rows, notes = seen_rows([metadata_of(model)], study)
    assert rows.count("training image") == len(parts[0]) and notes == [IMAGES_ONLY]


def test_the_file_keeps_it_and_tells_nobody_who_was_in_it(study, parts, tmp_path):
    model = trained(study, *parts[:2])
    path = easydl.save_model(model, tmp_path / "m.keras")
    again = easydl.load_model(path)
    assert metadata_of(again).seen == metadata_of(model).seen
    with zipfile.ZipFile(path) as archive:
        text = archive.read("easydl.json").decode()
    kept = json.loads(text)["metadata"]["seen"]
    assert len(kept["images"]["training"]) == DIGITS * len(parts[0])
    (patients,) = kept["patients"].values()
    assert len(patients["training"]) == DIGITS * parts[0].n_patients
    assert not any(digest[:DIGITS] in text for digest in parts[0].digests())
    plain = [hashlib.sha256(name.encode()).hexdigest()[:DIGITS] for name in study.frame["patient"]]
    assert not any(each in text for each in [*plain, *(f'"{name}"' for name in study.frame["patient"])])
    twin = metadata_of(trained(study, *parts[:2])).seen
    assert not set(twin.patients) & set(kept["patients"]) and twin.images != metadata_of(model).seen.images


def test_a_model_of_which_nothing_is_known_is_said_to_be_so(study, parts):
    model = easydl.classifier("tiny", study, size=16)
    assert NOT_KNOWN in easydl.evaluate(model, parts[2], resamples=100).notes
    assert NOT_KNOWN in easydl.predict(model, study).notes
    # A file of an earlier easydl: trained, but without digests.
    attach(model, metadata_of(model).model_copy(update={"training": {"images": 3}}))
    assert NOT_COMPLETE in easydl.predict(model, study).notes
    newer = trained(study, *parts[:2])
    read_otherwise = metadata_of(newer).seen.model_copy(update={"decoder": 1})
    assert seen_rows([metadata_of(newer).model_copy(update={"seen": read_otherwise})], study)[1] == [READ_OTHERWISE]
    later = trained(study, *parts[:2], model)
    assert not metadata_of(later).seen.complete


def test_what_a_second_training_and_borrowed_weights_have_seen_is_added(study, parts, tmp_path):
    train, val, test = parts
    model = trained(study, train, val)
    path = easydl.save_model(model, tmp_path / "first.keras")
    trained(study, val, test, model)
    rows, _ = seen_rows([metadata_of(model)], study)
    assert rows.count("training image") == len(train) + len(val) and rows.count("validation image") == len(test)
    borrowed = easydl.classifier("tiny", study, size=16, pretrained=str(path))
    rows, _ = seen_rows([metadata_of(borrowed)], study)
    assert rows.count("training image") == len(train)


def test_every_fold_is_tested_on_what_it_has_not_seen(study):
    for train, val, test in study.folds(3, seed=0):
        model = trained(study, train, val)
        assert easydl.evaluate(model, test, resamples=100).seen == 0
        with pytest.raises(LeakageError):
            easydl.evaluate(model, train)


def test_one_image_says_whether_it_was_in_the_training(study, parts):
    model = trained(study, *parts[:2])
    texts = {number: easydl.predict(model, parts[number].addresses(0)[0]).notes for number in range(3)}
    assert "This image was in the training" in texts[0][0] and "in the validation" in texts[1][0] and not texts[2]


def test_a_cascade_knows_what_both_have_seen(tmp_path):
    study = easydl.load(mask_study(tmp_path, cases=30))
    train, val, test = study.split(seed=0)
    first, second = (easydl.unet(classes=study.classes, width=4, levels=2, size=32) for _ in range(2))
    whole = easydl.cascade(trained(study, train, val, first), trained(study, val, train, second))
    with pytest.raises(LeakageError, match=f"{len(train) + len(val)} of these 30 images were in the training"):
        easydl.evaluate(whole, study)
    only = easydl.cascade(
        first, trained(study, train, test, easydl.unet(classes=study.classes, width=4, levels=2, size=32))
    )
    with pytest.raises(LeakageError, match="validation"):
        easydl.evaluate(only, study)
    notes = easydl.predict(whole, train.scan(0)).notes
    assert notes[0].startswith("This image was in the training")


def test_masks_are_tested_on_the_rest(tmp_path):
    study = easydl.load(mask_study(tmp_path, cases=60))
    train, val, test = study.split(seed=0)
    model = trained(study, train, val, easydl.unet(classes=study.classes, width=4, levels=2, size=32))
    found = easydl.evaluate(model, study, resamples=100)
    assert set(found.cases["image"]) == set(test.frame["image"])
    assert f"{len(train)} of these 60 images were in the training" in found.warnings[0]


def test_images_are_decoded_once_for_comparing_and_predicting(study, parts, monkeypatch):
    from easydl.studies import pixel_facts

    model, read, opened = trained(study, *parts[:2]), pixel_facts.read, []
    monkeypatch.setattr(pixel_facts, "read", lambda address: opened.append(address) or read(address))
    fresh = easydl.load(study.frame.drop(columns="split", errors="ignore"), patient="patient")
    monkeypatch.setattr(pixel_facts, "has_text", None)  # nor is text looked for
    easydl.evaluate(model, fresh, resamples=100)
    assert len(opened) == len(set(opened))


def test_ten_thousand_images_take_little_room_and_too_many_none():
    rng = np.random.default_rng(0)
    names = [rng.bytes(32).hex() for _ in range(10_000)]
    seen = Seen.new().with_images(names[:8000], names[8000:])
    assert len(seen.model_dump_json()) < 200_000
    assert [seen.images.where(seen.image(name)) for name in (names[0], names[9000], "other")] == [
        "training",
        "validation",
        "",
    ]
    huge = Seen.new().with_images(map(str, range(MOST_IMAGES + 1)), [])
    assert not huge.complete and not huge.images.training


def test_what_two_networks_have_seen_is_kept_side_by_side(study, parts, tmp_path):
    train, val, test = parts
    nothing = study.rows(study.frame.index[:0])
    own, teacher = with_training(None, train, nothing), with_training(None, nothing, val)
    both = own.beside(teacher)
    assert both.complete and [one.salt for one in both.lists] == [own.salt, teacher.salt]
    model = easydl.classifier("tiny", study, size=16)
    attach(model, metadata_of(model).model_copy(update={"seen": both}))
    rows, notes = seen_rows([metadata_of(model)], study)
    assert (rows.count("training image"), rows.count("validation image")) == (len(train), len(val)) and notes == []
    assert [both.where(part.digests()[0]) for part in parts] == ["training", "validation", ""]
    assert metadata_of(easydl.load_model(easydl.save_model(model, tmp_path / "m.keras"))).seen == both
    # Of one salt are two networks with the same beginning: their lists become one.
    later = both.beside(with_training(teacher, test, nothing))
    assert len(later.lists) == 2 and later.where(test.digests()[0]) == "training"
    assert later.where(val.digests()[0]) == "validation" and not own.where(val.digests()[0])
    unknown = own.beside(Seen.new(complete=False))
    assert NOT_COMPLETE in seen_rows([metadata_of(model).model_copy(update={"seen": unknown})], study)[1]
    with pytest.raises(ValueError, match="must not hold others"):
        Seen(salt=own.salt, others=(both,))
    many = Seen.new().with_images(map(str, range(MOST_IMAGES)), []).beside(teacher)
    assert not any(one.complete or one.images.training or one.images.validation for one in many.lists)
