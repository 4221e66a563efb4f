"""The Metrics object: what it says, saves and draws; and `evaluate`, which fetches the predictions."""

import io
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from cohorts import ball, case, predictions

from easydl.errors import RESEARCH_USE, InputError, ModelError
from easydl.evaluation import Metrics, classification_metrics, evaluate, segmentation_metrics
from easydl.evaluation.formatting import interval_text, number
from easydl.prediction import Case, Predictions

CLASSES = ["normal", "effusion"]


@pytest.fixture(scope="module")
def classifier():
    return classification_metrics(predictions(), CLASSES, resamples=200)


@pytest.fixture(scope="module")
def segmenter():
    reference = ball((24, 24), (12, 12), 5)
    cases = [case(np.roll(reference, k % 3, 0), reference, f"P{k}") for k in range(5)]
    cases.append(case(reference, np.zeros((24, 24)), "P9"))
    return segmentation_metrics(cases, resamples=200)


@pytest.fixture(params=["classifier", "segmenter"])
def metrics(request):
    return request.getfixturevalue(request.param)


def test_repr_is_the_headline_with_interval_and_patients(classifier):
    first = classifier.table.iloc[0]
    interval = f"{first['low']:.2f}-{first['high']:.2f}"
    assert repr(classifier) == f"AUC {first['value']:.2f} (95% CI {interval}), {classifier.patients} patients"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.854, "", "0.85"),
        (1.0, "", "1.00"),
        (0.997, "", "0.997"),
        (0.99996, "", ">0.999"),
        (0.0001, "", "<0.001"),
        (0.0, "", "0.00"),
        (float("nan"), "", "n/a"),
        (None, "mm", "n/a"),
        (1.234, "mm", "1.23 mm"),
        (12.34, "mL", "12.3 mL"),
        (-1234.5, "mm²", "-1234 mm²"),
    ],
)
def test_numbers_never_look_better_than_they_are(value, unit, text):
    assert number(value, unit) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (0.91, 0.843, 0.961, "0.84-0.96"),
        (0.91, 0.843, 0.998, "0.84-1.00"),
        (0.997, 0.9912, 0.9993, "0.991-0.999"),
        (1.0, 0.9963, 1.0, "0.996-1.000"),
        (1.0, 0.99996, 1.0, ">0.999-1.000"),
        (0.9, np.nan, np.nan, "not computable"),
    ],
)
def test_intervals_keep_a_visible_width(value, low, high, text):
    assert interval_text({"value": value, "low": low, "high": high, "unit": ""}) == text


def test_json_and_back_is_the_same(metrics):
    text = json.dumps(metrics.to_dict(), allow_nan=False)
    back = Metrics.from_dict(json.loads(text))
    assert back.to_dict() == metrics.to_dict()
    pd.testing.assert_frame_equal(back.table, metrics.table, check_dtype=False)
    assert repr(back) == repr(metrics)
    assert metrics.to_dict()["research_use"] == RESEARCH_USE


def test_save_writes_all_or_nothing(metrics, tmp_path, monkeypatch):
    path = metrics.save(tmp_path)
    before = path.read_bytes()
    assert path == tmp_path / "metrics.json"
    assert json.loads(before)["table"][0]["name"] == metrics.table["name"].iloc[0]
    monkeypatch.setattr("os.replace", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        metrics.save(path)
    assert path.read_bytes() == before


def test_html_carries_every_number_and_the_research_sentence(metrics):
    shown = metrics._repr_html_()
    assert RESEARCH_USE in shown
    assert shown.count("<tr>") == len(metrics.table) + (2 if metrics.table["more"].any() else 1)
    for row in metrics.table.to_dict("records"):
        assert number(row["value"], row["unit"]) in shown


def test_html_keeps_hostile_names_inert():
    name = "<img src=x onerror=alert(1)>"
    frame = predictions(20, ["normal", name])
    shown = classification_metrics(frame, ["normal", name], resamples=100)._repr_html_()
    assert "<img" not in shown
    assert "&lt;img src=x" in shown


def texts(figure):
    found = figure.findobj(lambda artist: hasattr(artist, "get_text"))
    return " ".join(" ".join(text.get_text() for text in found).split())


def test_plots_show_headline_and_research_sentence(classifier, segmenter):
    shown = texts(classifier.show())
    first = classifier.table.iloc[0]
    assert f"AUC {first['value']:.2f}" in shown
    assert RESEARCH_USE in shown
    assert str(classifier.confusion.iloc[0, 0]) in shown
    shown = texts(segmenter.show())
    assert "one image" in shown
    assert RESEARCH_USE in shown


def test_a_plot_can_be_drawn_from_the_saved_file_alone(metrics):
    back = Metrics.from_dict(json.loads(json.dumps(metrics.to_dict())))

    def pixels(figure):
        figure.savefig(drawn := io.BytesIO(), format="png")
        return drawn.getvalue()

    assert pixels(back.show()) == pixels(metrics.show())


def test_a_plot_can_be_drawn_on_given_axes(metrics):
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert metrics.show(ax=ax) is ax.figure
    assert ax.lines


def test_class_names_with_dollar_signs_are_text_not_formulas():
    names = ["a$^", "b$_$"]
    figure = classification_metrics(predictions(20, names), names, resamples=100).show()
    figure.canvas.draw()
    assert "b\\$_\\$" in texts(figure)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"table": "?"}, "table"),
        ({"classes": None}, "classes"),
        ({"classes": ["one"]}, "confusion matrix"),
        ({"table": [{"n": "many"}]}, "table.0.name"),
        ({"task": "cooking"}, "task"),
        ({"curves": {"effusion": {"fpr": [0, 1], "tpr": [1]}}}, "curve"),
        ({"cases": [{"image": "a", "patient": "b", "class": "c", "dice": "high"}]}, "dice"),
    ],
)
def test_a_file_that_is_not_ours_is_one_clear_error(classifier, change, words):
    with pytest.raises(InputError, match=rf"metrics\.json.*{words}"):
        Metrics.from_dict(classifier.to_dict() | change)


def test_evaluate_takes_predictions(classifier):
    test = Predictions(predictions(), tuple(CLASSES))
    assert evaluate(test, resamples=200).model_copy(update={"look": None}).to_dict() == classifier.to_dict()
    unknown = Predictions(predictions(), tuple(CLASSES), patients_known=False)
    assert evaluate(unknown, resamples=200).patients_known is False
    for second in (None, test):
        with pytest.raises(InputError, match=r"evaluate\(predictions\) alone"):
            evaluate("a model", second)


class TestSet:
    """As much of a Study as `evaluate` looks at."""

    __test__ = False

    def __init__(self, task, patients_known=True):
        self.task, self.patients_known = task, patients_known
        self.frame = pd.DataFrame({"image": ["a.png"], "label": ["normal"], "patient": ["1"]})

    def __len__(self):
        return len(self.frame)


def test_evaluate_predicts_a_study_first(classifier, segmenter, monkeypatch):
    asked = []

    def predict(model, metadata, study):
        asked.append((model, study.task))
        return Predictions(predictions(), tuple(CLASSES))

    def cases(model, study):
        asked.append((model, study.task))
        yield case(ball((9, 9), (4, 4), 2), ball((9, 9), (4, 4), 2))

    monkeypatch.setattr("easydl.prediction.tables.predict_study", predict)
    monkeypatch.setattr("easydl.prediction.cases.segmented_cases", cases)
    monkeypatch.setattr("easydl.prediction.provenance.provenance", lambda *given: None)
    metadata = {"spacing_mm": None, "learned_from": None, "warnings": []}
    monkeypatch.setattr(
        "easydl.prediction.cascades.open_model", lambda model: (model, SimpleNamespace(task=model, **metadata))
    )
    metrics = evaluate("classification", TestSet("classification"), resamples=200)
    assert metrics.model_copy(update={"look": None}).to_dict() == classifier.to_dict()
    segmented = evaluate("segmentation", TestSet("segmentation", patients_known=False))
    assert segmented.table["unit_of_n"].iloc[0] == "images"
    assert not any("check the scale" in note for note in segmented.notes)
    assert asked == [("classification", "classification"), ("segmentation", "segmentation")]
    with pytest.raises(ModelError, match=r"task is classification; the test set's is regression"):
        evaluate("classification", TestSet("regression"))
    metadata["spacing_mm"] = (1.0, 1.0)
    monkeypatch.setattr(
        "easydl.prediction.cases.segmented_cases", lambda model, study: iter([flat(None), flat((1.0, 1.0))])
    )
    assert "1 of 2 scans is not known" in evaluate("segmentation", TestSet("segmentation")).notes[0]


def flat(spacing_mm):
    return case(ball((9, 9), (4, 4), 2), ball((9, 9), (4, 4), 2), image=str(spacing_mm), spacing=spacing_mm)


@pytest.mark.parametrize("name", ["mirror", "largest_component", "fill_holes"])
def test_options_for_masks_are_refused_for_a_table(name):
    with pytest.raises(InputError, match=f"{name}=True was given, and the model's task is classification"):
        evaluate(Predictions(predictions(), tuple(CLASSES)), **{name: True})


def test_the_room_loads_no_tensorflow():
    code = (
        "import sys, easydl.evaluation, easydl.evaluation.plots\n"
        "print([name for name in ('tensorflow', 'keras', 'torch') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("known", [True, False])
def test_a_saved_file_numbers_images_and_patients(tmp_path, known):
    """metrics.json is passed on: what the files and patients are called stays with the object."""
    masks = [np.eye(8, dtype=np.int32)] * 3
    cases = [Case(f"/films/Musterfrau {k}.dcm", f"4711-{k // 2}", one, one, None, ("background", "lesion")) for k, one in enumerate(masks)]  # fmt: skip
    found = segmentation_metrics(cases, patients_known=known, resamples=200)
    assert list(found.cases["image"]) == [case.image for case in cases]
    text = found.save(tmp_path).read_text()
    assert "Musterfrau" not in text and "4711" not in text
    again = Metrics.from_dict(json.loads(text))
    assert list(again.cases["image"]) == ["image 1", "image 2", "image 3"]
    assert list(again.cases["patient"]) == (["patient 1", "patient 1", "patient 2"] if known else ["", "", ""])
    assert Metrics.from_dict(json.loads(again.save(tmp_path).read_text())).to_dict() == again.to_dict()
    assert again.headline == found.headline
