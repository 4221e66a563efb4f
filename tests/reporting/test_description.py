"""One case in sentences: the numbers are those of predict, the template may be somebody's own, no name is in it."""

import json
import stat

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

import easydl
from easydl import cli
from easydl.errors import RESEARCH_USE, InputError
from easydl.networks import attach, metadata_of
from easydl.networks.decision import Threshold


@pytest.fixture
def case(tmp_path):
    path = tmp_path / "SECRET_Doe_Jane.png"
    Image.fromarray(np.random.default_rng(0).integers(20, 200, (32, 32)).astype(np.uint8)).save(path)
    return path


def with_thresholds(model, **values):
    thresholds = {name: Threshold(value=value, n=124, rule="for sensitivity 0.95") for name, value in values.items()}
    return attach(model, metadata_of(model).model_copy(update={"thresholds": thresholds}))


@pytest.fixture
def effusion():
    return with_thresholds(easydl.classifier("tiny", classes=["healthy", "effusion"], size=32), effusion=0.31)


@pytest.mark.parametrize(("threshold", "called"), [(0.01, "present"), (0.99, "absent")])
def test_a_class_is_called_by_its_threshold_and_said_how_that_was_chosen(case, threshold, called):
    model = with_thresholds(easydl.classifier("tiny", classes=["healthy", "effusion"], size=32), effusion=threshold)
    found = easydl.describe(model, case, heatmap=False)
    score = easydl.predict(model, case).frame["p(effusion)"][0]
    assert found.sentences == (
        f"effusion is called {called}: score {score:.2f}, threshold {threshold:.2f}, chosen on 124 validation patients "
        "for sensitivity 0.95.",
    )
    assert found.answers[0].present == (called == "present") and found.answers[0].threshold == threshold
    assert RESEARCH_USE in found.text and "SECRET" not in found.text
    assert RESEARCH_USE in found._repr_html_()


def test_without_a_chosen_threshold_that_is_said(case):
    found = easydl.describe(easydl.classifier("tiny", size=32), case, heatmap=False)
    assert found.sentences[0].endswith(", threshold 0.50 (not chosen on validation images).")


def test_labels_grades_values_and_several_tasks_are_one_paragraph(case):
    model = easydl.classifier(
        "tiny", heads={"cancer": ["no", "yes"], "grade": ["1", "2", "3"], "age_years": 1}, size=32
    )
    found, row = easydl.describe(model, case, heatmap=False), easydl.predict(model, case).frame.iloc[0]
    cancer, grade, age = found.sentences
    assert cancer.startswith("cancer: yes is called ") and f"score {row['cancer: p(yes)']:.2f}" in cancer
    assert grade.startswith(f"grade: {row['grade: prediction']} is the answer: score ")
    assert all(f"{row[f'grade: p({name})']:.2f}" in grade for name in "123")
    assert "age_years is estimated as " in age and age.endswith("years.")
    assert " ".join(found.sentences) in found.text
    labels = easydl.describe(
        easydl.classifier("tiny", task="multilabel", classes=["a", "b"], size=32), case, heatmap=False
    )
    assert [one.name for one in labels.answers] == ["a", "b"]
    ordered = easydl.classifier("tiny", task="ordinal", classes=["low", "mid", "high"], size=32)
    assert "the median of the ordered classes" in easydl.describe(ordered, case, heatmap=False).sentences[0]


def test_structures_have_their_size(case):
    model = easydl.unet(classes=["background", "tumour"], width=4, levels=2)
    found, mask = easydl.describe(model, case), easydl.predict(model, case)
    size, unit = mask.sizes()["tumour"]
    said = f"measures {size:,.0f} {unit}" if size else f"was not found (0 {unit})"
    assert found.sentences == (f"tumour {said}.",)
    assert found.heatmap == ""


def test_the_heatmap_is_said_with_its_verdict_and_its_place(case, effusion):
    found, heatmap = easydl.describe(effusion, case, seed=4), easydl.saliency(effusion, case, seed=4)
    judged = f"{heatmap.verdict.word}. {heatmap.verdict.sentence}"
    where = f"Where it lies: {heatmap.in_words()}"
    assert found.heatmap == f"Heatmap of {heatmap.prediction()}: {judged} {where}" and "third" in where
    assert found.heatmap in found.text


def test_a_template_of_ones_own_puts_it_together(case, effusion, tmp_path):
    own = tmp_path / "own.txt"
    own.write_text(
        "{% for one in answers %}{{ one.name|upper }}={{ one.number }};{% endfor %} {{ notes|length }} notes"
    )
    found = easydl.describe(effusion, case, heatmap=False, template=str(own))
    assert found.text == f"EFFUSION={found.answers[0].number}; {len(found.notes)} notes\n{RESEARCH_USE}"


@pytest.mark.parametrize(
    "text",
    ["{% for %}", "{{ patient }}", "{{ answers.__class__.__mro__[1].__subclasses__() }}", None, "{{ 1 / 0 }}"],
)
def test_a_template_that_cannot_be_used_is_one_error(case, effusion, tmp_path, text):
    own = tmp_path / "own.txt"
    if text is not None:
        own.write_text(text)
    with pytest.raises(InputError, match="template"):
        easydl.describe(effusion, case, heatmap=False, template=str(own))


def test_what_a_table_says_stands_beside_it_and_two_cases_are_refused(case, effusion):
    other = case.with_name("other.png")
    Image.fromarray(np.full((32, 32), 90, np.uint8)).save(other)
    table = pd.DataFrame({"image": [str(case), str(other)], "label": ["healthy", "effusion"], "patient": ["p1", "p2"]})
    both = easydl.load(table, classes=["healthy", "effusion"])
    study = both.rows(both.frame.index[:1])
    assert "The table says: healthy." in easydl.describe(effusion, study, heatmap=False).text
    with pytest.raises(InputError, match="2 images"):
        easydl.describe(effusion, both, heatmap=False)


def test_a_model_that_makes_images_is_refused(case):
    with pytest.raises(InputError, match="makes an image"):
        easydl.describe(easydl.image_to_image("denoising_unet", width=4, size=32), case)


def test_the_command_says_the_same(case, effusion, tmp_path):
    easydl.save_model(effusion, tmp_path / "m.keras")
    words = ["describe", str(tmp_path / "m.keras"), str(case), "--no-heatmap", "-o", str(tmp_path / "case.txt")]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 0, result.output
    text = easydl.describe(effusion, case, heatmap=False).text
    assert text in result.output
    written = tmp_path / "case.txt"
    assert written.read_text() == f"{text}\n" and stat.S_IMODE(written.stat().st_mode) == 0o600
    as_json = CliRunner().invoke(cli.app, [*words[:4], "--json"])
    assert json.loads(as_json.stdout)["answers"][0]["name"] == "effusion"
