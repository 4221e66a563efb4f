"""The classifier's numbers against scikit-learn, and what is said when there is too little to say."""

import numpy as np
import pandas as pd
import pytest
from cohorts import predictions
from sklearn import metrics as oracle

from easydl.errors import InputError
from easydl.evaluation import classification_metrics

BINARY = ["normal", "effusion"]
THREE = ["glioma", "lymphoma", "metastasis"]


@pytest.fixture(scope="module")
def frame():
    return predictions()


@pytest.fixture(scope="module")
def binary(frame):
    return classification_metrics(frame, BINARY, resamples=400)


def value(metrics, name):
    return metrics.table.set_index("name").loc[name, "value"]


def test_two_classes_agree_with_scikit_learn(frame, binary):
    truth, called = frame["label"], frame["prediction"]
    expected = {
        "AUC": oracle.roc_auc_score(truth == "effusion", frame["p(effusion)"]),
        "sensitivity": oracle.recall_score(truth, called, pos_label="effusion"),
        "specificity": oracle.recall_score(truth, called, pos_label="normal"),
        "PPV": oracle.precision_score(truth, called, pos_label="effusion"),
        "NPV": oracle.precision_score(truth, called, pos_label="normal"),
        "accuracy": oracle.accuracy_score(truth, called),
        "balanced accuracy": oracle.balanced_accuracy_score(truth, called),
        "average precision": oracle.average_precision_score(truth == "effusion", frame["p(effusion)"]),
        "F1": oracle.f1_score(truth, called, pos_label="effusion"),
        "MCC": oracle.matthews_corrcoef(truth, called),
        "Brier score": oracle.brier_score_loss(truth == "effusion", frame["p(effusion)"]),
        "log loss": oracle.log_loss(truth == "effusion", frame["p(effusion)"]),
    }
    names = binary.table["name"].tolist()
    assert names[: len(expected)] == list(expected)
    assert names[len(expected) :] == ["ECE", "calibration slope", "calibration intercept"]
    assert names.index("balanced accuracy") == 6
    assert binary.table["more"].tolist() == [False] * 7 + [True] * 8
    assert binary.table["value"].tolist()[: len(expected)] == pytest.approx(list(expected.values()))
    assert (binary.confusion.to_numpy() == oracle.confusion_matrix(truth, called, labels=BINARY)).all()


def test_three_classes_agree_with_scikit_learn():
    frame = predictions(90, THREE, seed=3)
    result = classification_metrics(frame, THREE, resamples=200)
    shares = frame[[f"p({name})" for name in THREE]].to_numpy()
    truth, called = frame["label"], frame["prediction"]
    macro = oracle.roc_auc_score(truth, shares, multi_class="ovr", average="macro", labels=THREE)
    assert result.table["name"].iloc[0] == "AUC, mean over classes"
    assert value(result, "AUC, mean over classes") == pytest.approx(macro)
    assert value(result, "balanced accuracy") == pytest.approx(oracle.balanced_accuracy_score(truth, called))
    for name in THREE:
        assert value(result, f"AUC, {name}") == pytest.approx(oracle.roc_auc_score(truth == name, frame[f"p({name})"]))
        assert value(result, f"sensitivity, {name}") == pytest.approx((called == name)[truth == name].mean())
        assert value(result, f"specificity, {name}") == pytest.approx((called != name)[truth != name].mean())


def test_every_number_has_its_patients_its_images_and_an_interval_around_it(frame, binary):
    table = binary.table.set_index("name")
    assert ((table["low"] < table["value"]) & (table["value"] < table["high"])).all()
    assert (table["unit_of_n"] == "patients").all()
    assert table.loc["AUC", "n"] == frame["patient"].nunique()
    assert table.loc["AUC", "images"] == len(frame)
    sick = frame[frame["label"] == "effusion"]
    assert (table.loc["sensitivity", "n"], table.loc["sensitivity", "images"]) == (
        sick["patient"].nunique(),
        len(sick),
    )
    assert binary.positive == "effusion"
    assert "positive class: effusion" in table.loc["AUC", "note"]
    assert f"{100 * len(sick) / len(frame):.0f}% effusion" in table.loc["PPV", "note"]


def test_the_order_of_rows_changes_nothing_and_the_seed_is_kept(frame, binary):
    shuffled = frame.sample(frac=1, random_state=1)
    assert classification_metrics(shuffled, BINARY, resamples=400).to_dict() == binary.to_dict()
    other = classification_metrics(frame, BINARY, resamples=400, seed=1).to_dict()
    assert other["table"][0]["value"] == binary.to_dict()["table"][0]["value"]
    assert other["table"][10]["name"] == "Brier score"
    assert other["table"][10]["low"] != binary.to_dict()["table"][10]["low"]


def test_pseudonyms_in_the_place_of_names_change_no_limit(frame, binary):
    """Patients are drawn in the order of what is measured of them, not of what they are called."""
    names = frame["patient"].unique()
    others = np.random.default_rng(5).permutation(len(names)).astype(str)
    renamed = frame.assign(patient=frame["patient"].map(dict(zip(names, others, strict=True))), image="x")
    assert classification_metrics(renamed, BINARY, resamples=400).to_dict() == binary.to_dict()


def test_the_order_of_classes_decides_which_is_positive(frame, binary):
    turned = classification_metrics(frame, BINARY[::-1], resamples=200)
    assert turned.positive == "normal"
    assert value(turned, "sensitivity") == value(binary, "specificity")
    assert value(turned, "AUC") == pytest.approx(value(binary, "AUC"))


def test_unknown_patients_count_images_and_say_so(frame, binary):
    result = classification_metrics(frame.drop(columns="patient"), BINARY, patients_known=False, resamples=400)
    assert result.table["unit_of_n"].unique().tolist() == ["images"]
    assert not result.table["note"].str.contains("patient").any()
    assert binary.table["note"].str.contains("patient-level bootstrap").any()
    assert result.table["n"].iloc[0] == len(frame)
    assert any("Patients are unknown" in note for note in result.notes)
    assert repr(result).endswith(f"{len(frame)} images")

    def width(metrics):
        return metrics.table["high"].iloc[0] - metrics.table["low"].iloc[0]

    assert width(result) < width(binary)


def test_images_without_a_patient_are_patients_of_their_own(frame):
    lost = frame.copy()
    lost["patient"] = lost["patient"].where(lost.index >= 4)
    result = classification_metrics(lost, BINARY, resamples=200)
    assert result.patients == lost["patient"].nunique() + 4
    assert any("4 images have no patient" in note for note in result.notes)


@pytest.mark.parametrize(("patients", "words"), [(14, "Too few to mean much"), (40, "Read with caution")])
def test_few_patients_are_named(patients, words):
    result = classification_metrics(predictions(patients, seed=2), BINARY, resamples=200)
    assert any(note.startswith(words) and "effusion" in note for note in result.notes)


def test_enough_patients_get_no_warning_about_size():
    notes = classification_metrics(predictions(200, skill=2.5, seed=2), BINARY, resamples=200).notes
    assert not any(word in note for note in notes for word in ("Too few", "caution", "wider"))


def test_a_wide_interval_is_named():
    result = classification_metrics(predictions(24, skill=0.4, seed=5), BINARY, resamples=200)
    assert (result.table["high"] - result.table["low"]).iloc[0] > 0.2
    assert any("wider than ±0.10" in note for note in result.notes)


def test_a_perfect_model_on_few_patients_is_not_certain():
    labels = ["chest"] * 8 + ["abdomen"] * 7
    share = np.where(np.array(labels) == "chest", 0.9, 0.2)
    frame = pd.DataFrame(
        {
            "patient": [str(k) for k in range(15)],
            "label": labels,
            "prediction": labels,
            "p(abdomen)": 1 - share,
            "p(chest)": share,
        }
    )
    result = classification_metrics(frame, ["abdomen", "chest"])
    perfect = result.table.set_index("name").loc[:"MCC"]
    assert len(perfect) == 10
    assert (perfect["value"] == 1).all()
    assert (perfect["high"] == 1).all()
    assert perfect["low"].drop("MCC").between(0.5, 0.9).all()
    assert perfect.loc["MCC", "low"] == pytest.approx(2 * perfect.loc["sensitivity", "low"] - 1, abs=0.1)
    assert "Newcombe" in result.table["note"].iloc[0]
    assert repr(result) == "AUC 1.00 (95% CI 0.74-1.00), 15 patients"
    assert result.curves["chest"]["grid"] == []


def test_one_patient_in_a_class_leaves_the_number_and_withholds_the_interval():
    frame = predictions(20, seed=8)
    frame = frame[(frame["label"] == "normal") | (frame["patient"] == "P001")]
    result = classification_metrics(frame, BINARY, resamples=200)
    first = result.table.iloc[0]
    assert np.isfinite(first["value"])
    assert np.isnan(first["low"])
    assert "fewer than 2 patients in a class" in first["note"]
    assert "95% CI not computable" in repr(result)
    assert np.isfinite(result.table.set_index("name").loc["specificity", "low"])


def test_one_class_only_is_said_in_words_not_in_a_traceback():
    frame = predictions(20, seed=8)
    result = classification_metrics(frame[frame["label"] == "normal"], BINARY, resamples=200)
    table = result.table.set_index("name")
    assert table.loc[["AUC", "sensitivity", "balanced accuracy"], "value"].isna().all()
    assert np.isfinite(table.loc["specificity", "value"])
    assert any("No test image has the label effusion" in note for note in result.notes)
    assert result.headline.startswith("AUC n/a")
    assert repr(result).startswith(
        "Not shown to be better than chance: AUC n/a (95% CI not computable), 12 patients.\n"
    )


def test_a_class_that_is_absent_from_the_test_leaves_the_others_measured():
    frame = predictions(60, THREE, seed=4)
    result = classification_metrics(frame[frame["label"] != "lymphoma"], THREE, resamples=200)
    table = result.table.set_index("name")
    assert np.isnan(table.loc["AUC, lymphoma", "value"])
    assert table.loc["AUC, mean over classes", "value"] == pytest.approx(
        table.loc[["AUC, glioma", "AUC, metastasis"], "value"].mean()
    )
    assert "over 2 classes" in table.loc["AUC, mean over classes", "note"]


def test_a_model_that_never_calls_the_disease_has_no_ppv(frame):
    silent = frame.assign(prediction="normal")
    row = classification_metrics(silent, BINARY, resamples=200).table.set_index("name").loc["PPV"]
    assert np.isnan(row["value"])
    assert "no image was called effusion" in row["note"]


def test_images_without_a_label_are_left_out_and_counted(frame, binary):
    more = pd.concat([frame, frame.head(3).assign(label=[None, "", "  "], image=["x", "y", "z"])], ignore_index=True)
    result = classification_metrics(more, BINARY, resamples=400)
    assert result.table.equals(binary.table)
    assert f"3 of {len(more)} images have no label and were left out." in result.notes


def test_the_curve_is_scikit_learns_and_lies_in_its_band(frame, binary):
    curve = binary.curves["effusion"]
    false, true, _ = oracle.roc_curve(frame["label"] == "effusion", frame["p(effusion)"])
    assert curve["fpr"] == pytest.approx(false, abs=1e-4)
    assert curve["tpr"] == pytest.approx(true, abs=1e-4)
    grid, low, high = (np.array(curve[key]) for key in ("grid", "low", "high"))
    inside = np.interp(grid, false, true)
    assert ((low <= inside + 1e-4) & (inside <= high + 1e-4)).mean() > 0.97
    assert 0.05 < (high - low)[10:60].mean() < 0.5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns="p(effusion)"), "p(effusion)"),
        (lambda f: f.drop(columns="patient"), "patient"),
        (lambda f: f.assign(label="pneumonia"), "pneumonia"),
        (lambda f: f.assign(label=None), "No test image has a label"),
        (lambda f: f.head(0), "No test image has a label"),
        (lambda f: f.assign(**{"p(effusion)": np.nan}), "not a number"),
    ],
)
def test_a_table_that_cannot_be_tested_is_one_clear_error(frame, change, words):
    with pytest.raises(InputError, match=words.replace("(", r"\(").replace(")", r"\)")):
        classification_metrics(change(frame), BINARY)
