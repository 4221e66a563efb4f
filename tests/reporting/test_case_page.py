"""The page of one new case, for every kind of model, and what it calls unlike the training images."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import easydl
from easydl.errors import EasyDLError
from easydl.explanation.drawing import height_below
from easydl.images import Scan
from easydl.networks import attach, metadata_of
from easydl.networks.decision import Threshold
from easydl.prediction.likeness import likeness_of, unlike
from easydl.reporting.case_page import case_page
from easydl.reporting.figures import without_text_below

KEYS = {
    "answer", "probabilities", "doubt", "threshold", "rules", "reference", "verdict", "unlike", "volumes_ml", "images", "notes",
    "research_use",
}  # fmt: skip


def film(seed: int = 0, low: int = 20, high: int = 90, side: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (side, side)).astype(np.uint8)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Twenty films of 32 pixels with grey values from 20 to 89."""
    folder = tmp_path_factory.mktemp("films")
    for number in range(20):
        (folder / ("no", "yes")[number % 2]).mkdir(exist_ok=True)
        Image.fromarray(film(number)).save(folder / ("no", "yes")[number % 2] / f"{number:02d}.png")
    return easydl.load(folder, patient=None)


@pytest.fixture
def case(tmp_path):
    path = tmp_path / "SECRET_Doe_Jane.png"
    Image.fromarray(film(99)).save(path)
    return path


def opened(page) -> dict:
    facts = json.loads((page.parent / "case.json").read_text())
    text = page.read_text()
    assert set(facts) == KEYS
    assert text.count("Research use only") == 1
    words = re.sub(r'data:image/[^"]*', "", text)  # four given letters stand somewhere in a megabyte of base64
    assert "http" not in words.replace("http-equiv", "") and 'src="data:image/' in text
    assert "Doe_Jane" not in text + json.dumps(facts) and "SECRET_" not in text + json.dumps(facts)
    assert all((page.parent / name).stat().st_size > 500 for name in facts["images"])
    return facts


def test_a_classifier_and_its_threshold(case, tmp_path):
    model = easydl.classifier("tiny", classes=["no", "yes"], size=32)
    facts = opened(case_page(model, case, tmp_path / "page"))
    predicted = easydl.predict(model, case).frame.iloc[0]
    assert facts["answer"] == predicted["prediction"]
    assert facts["probabilities"]["yes"] == pytest.approx(predicted["p(yes)"], abs=1e-4)
    assert facts["threshold"] == 0.5 and facts["reference"] is None and facts["volumes_ml"] == {}
    assert facts["verdict"]["level"] in ("PASS", "CAUTION", "FAIL")
    text = (tmp_path / "page/case.html").read_text()
    assert "yes is called from a score of 0.50 on" in text
    # Nothing is said to be alike where nothing is known.
    assert facts["unlike"] == [] and "is not known" in text


def with_scores(model, kept):
    attach(model, metadata_of(model).model_copy(update={"training": {"conformal": {"": kept}}}))
    return model


def test_what_else_the_answer_may_be_is_said_where_the_validation_part_says_it(case, tmp_path):
    model = easydl.classifier("tiny", classes=["no", "yes"], size=32)
    wide = with_scores(model, {"no": [0.9] * 20, "yes": [0.9] * 20})
    (sentence,) = opened(case_page(wide, case, tmp_path / "wide"))["doubt"]
    assert (
        sentence == "What holds the right answer for 90% of new patients: no or yes. It cannot distinguish them here."
    )
    assert sentence in (tmp_path / "wide/case.html").read_text()
    narrow = with_scores(model, {"no": [0.01] * 20, "yes": [0.01] * 20})
    answer = easydl.predict(model, case).frame["prediction"].iloc[0]
    assert opened(case_page(narrow, case, tmp_path / "narrow"))["doubt"] == [
        f"What holds the right answer for 90% of new patients: {answer}."
    ]
    few = with_scores(model, {"no": [0.9] * 2, "yes": [0.9] * 2})
    assert opened(case_page(few, case, tmp_path / "few"))["doubt"] == []
    age = with_scores(
        easydl.classifier("tiny", classes=["age_years"], task="regression", size=32), {"value": [4.0] * 20}
    )
    value = easydl.predict(age, case).frame["value"].iloc[0]
    (sentence,) = opened(case_page(age, case, tmp_path / "age"))["doubt"]
    assert sentence == f"What holds the value for 90% of new patients: {value - 4:.2f} to {value + 4:.2f}."


def test_how_far_the_members_of_an_ensemble_differ_is_said(case, tmp_path):
    from easydl.networks.ensembles import ensembled

    first, other = (easydl.classifier("tiny", classes=["no", "yes"], size=32, seed=seed) for seed in (0, 1))
    model = ensembled(first, [first, other])
    spread = easydl.predict(model, case).frame["spread"].iloc[0]
    (sentence,) = opened(case_page(model, case, tmp_path / "page"))["doubt"]
    assert sentence == f"The answers of the ensemble's members differ by {spread:.2f} (standard deviation)."


def test_how_the_threshold_was_chosen_stands_behind_it_and_nothing_is_said_twice(case, tmp_path):
    model = easydl.classifier("tiny", classes=["no", "yes"], size=32)
    attach(model, metadata_of(model).model_copy(update={"thresholds": {"yes": Threshold(value=0.31, n=24)}}))
    page = case_page(model, case, tmp_path / "page")
    facts, text = opened(page), page.read_text()
    assert facts["rules"] == [
        "yes is called from a score of 0.31 on, a threshold chosen on 24 validation patients.",
        "One case (n = 1) has no interval, and a score is not the probability that the answer is right.",
    ]
    assert all(text.count(rule) == 1 for rule in facts["rules"]) and text.count("interval") == 1
    assert text.count(facts["verdict"]["sentence"]) == 1
    assert text.count(f"Where the map lies: {facts['verdict']['words']}") == 1
    # The figure on the page ends above the sentences that the file of its own carries.
    alone = (page.parent / "heatmap.png").read_bytes()
    with Image.open(io.BytesIO(alone)) as whole, Image.open(io.BytesIO(without_text_below(alone))) as cut:
        rows = round(height_below(facts["verdict"]["sentence"]) * 150)
        assert cut.height == whole.height - rows and cut.width == whole.width
        assert not np.any(np.asarray(cut) != np.asarray(whole)[: cut.height])
    assert without_text_below(b"no image") == b"no image"


@pytest.mark.parametrize(
    ("options", "answer", "threshold"),
    [
        ({"classes": ["a", "b", "c"]}, None, None),
        ({"classes": ["a", "b"], "task": "multilabel"}, None, {"a": 0.5, "b": 0.5}),
        ({"classes": ["size_mm"], "task": "regression"}, None, None),
        ({"heads": {"cancer": ["no", "yes"], "age": 1}}, "cancer: ", {"cancer: yes": 0.5}),
    ],
)
def test_other_answers(options, answer, threshold, case, tmp_path):
    model = easydl.classifier("tiny", size=32, **options)
    facts = opened(case_page(model, case, tmp_path / "page"))
    assert facts["threshold"] == threshold
    assert facts["answer"].startswith(answer or "") and facts["answer"]


def test_volumes_of_a_mask(tmp_path):
    model = easydl.unet3d(classes=["background", "liver"], width=4, levels=2)
    scan = Scan(np.random.default_rng(0).normal(0, 50, (8, 32, 32, 1)).astype(np.float32), "relative", (5.0, 1.0, 1.0))
    page = case_page(model, scan, tmp_path / "page")
    facts = opened(page)
    mask = easydl.predict(model, scan).mask
    # mL by hand: voxels of 5 mm3.
    assert facts["volumes_ml"] == {"liver": pytest.approx((mask == 1).sum() * 5 / 1000, abs=1e-3)}
    assert facts["images"] == ["segmentation.png"] and " mL" in page.read_text()
    assert facts["rules"] == ["One case (n = 1) has no interval."] and page.read_text().count("no interval") == 1


def test_the_reference_of_a_table_and_one_case_only(study, tmp_path):
    model = easydl.classifier("tiny", study, size=32)
    row = study.rows([study.frame.index[3]])
    assert opened(case_page(model, row, tmp_path / "page"))["reference"] == row.frame["label"].iloc[0]
    with pytest.raises(EasyDLError, match="one case"):
        case_page(model, study, tmp_path / "page2")
    assert not (tmp_path / "page2").exists()


def test_what_is_unlike_is_said_and_what_is_alike_is_not(study):
    training = {"likeness": likeness_of(study).model_dump(mode="json")}
    alike = Scan(film(1234)[..., None].astype(np.float32), "0-255")
    assert unlike(training, alike) == []
    other = {
        "pixels": replace(alike, pixels=film(5, side=128)[..., None].astype(np.float32)),
        "brightest": replace(alike, pixels=film(5, 20, 250)[..., None].astype(np.float32)),
        "middle": replace(alike, pixels=255 - alike.pixels),
        "red and blue": replace(alike, pixels=alike.pixels * np.float32([1, 0.6, 0.2])),
        "values without a unit": replace(alike, units="relative"),
    }
    for said, scan in other.items():
        assert said in " ".join(unlike(training, scan)), said
    assert unlike({}, other["pixels"]) == []


def test_modalities_and_spacing(study):
    likeness = likeness_of(study).model_copy(update={"modalities": ("DX",), "spacing_mm": ((0.1, 0.2), (0.1, 0.2))})
    training = {"likeness": likeness.model_dump(mode="json")}
    scan = Scan(film(7)[..., None].astype(np.float32), "0-255", (0.5, 0.5), header={"modality": "US"})
    said = " ".join(unlike(training, scan))
    assert "Its modality is US; the training images are DX." in said and "Its spacing is 0.5 x 0.5 mm" in said
    # What stands in a header and is no modality is not repeated.
    strange = replace(scan, header={"modality": "DOE^JANE"}, spacing_mm=(0.15, 0.15))
    assert unlike(training, strange) == []


def test_the_likeness_is_kept_in_the_model(study, tmp_path):
    model = easydl.classifier("tiny", study, size=32)
    record = {"likeness": likeness_of(study).model_dump(mode="json")}
    attach(model, metadata_of(model).model_copy(update={"training": record}))
    easydl.save_model(model, tmp_path / "model.keras")
    bright = Scan(film(5, 20, 250)[..., None].astype(np.float32), "0-255")
    facts = opened(case_page(tmp_path / "model.keras", bright, tmp_path / "page"))
    assert any("brightest" in sentence for sentence in facts["unlike"])
    assert "Unlike the training images" in (tmp_path / "page/case.html").read_text()
