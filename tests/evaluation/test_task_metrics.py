"""Several labels, values, ordered classes and several heads: every number against scikit-learn, SciPy or plain NumPy."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as oracle

from easydl.errors import InputError
from easydl.evaluation import Metrics, multilabel_metrics, ordinal_metrics, regression_metrics
from easydl.evaluation.formatting import unit_of
from easydl.evaluation.ordinal import weighted_kappa
from easydl.evaluation.tables import table_metrics
from easydl.networks.decision import Decision, median_class
from easydl.prediction.results import Predictions, output_columns
from easydl.tasks import Task

LABELS = ["effusion", "nodule", "rare"]
CLASSES = ["none", "mild", "severe"]


def multilabel(n=120, seed=0):
    rng = np.random.default_rng(seed)
    present = rng.random((n, 3)) < [0.4, 0.25, 0.03]
    present[0, 2] = True
    scores = np.clip(0.5 * rng.random((n, 3)) + 0.4 * present, 0, 1)
    labels = ["; ".join(np.array(LABELS)[row]) for row in present]
    frame = pd.DataFrame({"image": range(n), "patient": [f"p{k // 2}" for k in range(n)], "label": labels})
    return frame.assign(**{f"p({name})": scores[:, k] for k, name in enumerate(LABELS)}), present, scores


def measured(n=90, seed=0):
    rng = np.random.default_rng(seed)
    reference = rng.normal(60, 12, n)
    value = 0.8 * reference + 14 + rng.normal(0, 5, n)
    return pd.DataFrame(
        {
            "image": range(n),
            "patient": [f"p{k}" for k in range(n)],
            "label": map(repr, reference.tolist()),
            "value": value,
        }
    )


def graded(n=90, seed=0):
    rng = np.random.default_rng(seed)
    given = rng.integers(0, 3, n)
    called = np.clip(given + rng.choice([-1, 0, 0, 0, 1], n), 0, 2)
    probability = 0.7 * np.eye(3)[called] + 0.1
    frame = pd.DataFrame({"image": range(n), "patient": [f"p{k}" for k in range(n)], "label": np.array(CLASSES)[given]})
    return frame.assign(**output_columns(probability, Decision(Task.ORDINAL, tuple(CLASSES)))), given, called


def values(metrics):
    return metrics.table.set_index("name")["value"]


def test_labels_are_measured_one_by_one_and_on_average():
    frame, present, scores = multilabel()
    found = multilabel_metrics(frame, LABELS, resamples=200)
    table = values(found)
    aucs = [oracle.roc_auc_score(present[:, k], scores[:, k]) for k in range(3)]
    precisions = [oracle.average_precision_score(present[:, k], scores[:, k]) for k in range(3)]
    for k, name in enumerate(LABELS):
        called = scores[:, k] >= 0.5
        assert table[f"AUC, {name}"] == pytest.approx(aucs[k])
        assert table[f"average precision, {name}"] == pytest.approx(precisions[k])
        assert table[f"sensitivity, {name}"] == pytest.approx(oracle.recall_score(present[:, k], called))
        assert table[f"specificity, {name}"] == pytest.approx(oracle.recall_score(~present[:, k], ~called))
    assert table["AUC, mean over labels"] == pytest.approx(np.mean(aucs))
    assert table["average precision, mean over labels"] == pytest.approx(np.mean(precisions))
    rows = found.table.dropna(subset=["low"])
    assert (rows["low"] <= rows["value"]).all() and (rows["value"] <= rows["high"]).all()
    assert found.per_class["nodule"] == {
        "images": int(present[:, 1].sum()),
        "patients": frame["patient"][present[:, 1]].nunique(),
    }


def test_a_rare_label_is_named_and_one_that_nobody_has_has_no_number():
    frame, present, _ = multilabel()
    found = multilabel_metrics(frame, LABELS, resamples=200)
    patients = frame["patient"][present[:, 2]].nunique()
    assert any(f"with the label (rare {patients})" in note for note in found.notes)
    frame["label"] = frame["label"].str.replace("; rare", "").replace("rare", "")
    absent = multilabel_metrics(frame, LABELS, resamples=200)
    assert np.isnan(values(absent)["AUC, rare"])
    assert any("No test image has the label rare" in note for note in absent.notes)
    assert "over 2 labels" in absent.table["note"].iloc[0]
    absent.show()


def test_an_empty_cell_is_an_image_without_labels_and_nan_is_unlabelled():
    frame, _, _ = multilabel()
    frame.loc[:9, "label"] = None
    found = multilabel_metrics(frame, LABELS, resamples=200)
    assert found.images == 110
    assert any("10 of 120 images have no label" in note for note in found.notes)
    with pytest.raises(InputError, match="'mass'"):
        multilabel_metrics(frame.assign(label="mass"), LABELS)
    with pytest.raises(InputError, match="p\\(nodule\\)"):
        multilabel_metrics(frame.drop(columns="p(nodule)"), LABELS)


def test_values_are_measured_as_textbooks_do():
    frame = measured()
    reference, value = frame["label"].astype(float).to_numpy(), frame["value"].to_numpy()
    error = value - reference
    found = regression_metrics(frame, "age_years", resamples=500)
    table = values(found)
    assert table["mean absolute error"] == pytest.approx(oracle.mean_absolute_error(reference, value))
    assert table["RMSE"] == pytest.approx(oracle.root_mean_squared_error(reference, value))
    assert table["R²"] == pytest.approx(oracle.r2_score(reference, value))
    assert table["bias"] == pytest.approx(error.mean())
    assert table["lower limit of agreement"] == pytest.approx(error.mean() - 1.96 * error.std(ddof=1))
    assert table["upper limit of agreement"] == pytest.approx(error.mean() + 1.96 * error.std(ddof=1))
    # ICC(2,1) by the mean squares of Shrout and Fleiss.
    both = np.column_stack([reference, value])
    n, k = both.shape
    rows, columns = k * both.mean(axis=1).var(ddof=1), n * both.mean(axis=0).var(ddof=1)
    rest = ((both - both.mean(axis=1, keepdims=True) - both.mean(axis=0) + both.mean()) ** 2).sum() / (
        (n - 1) * (k - 1)
    )
    assert table["ICC(2,1)"] == pytest.approx((rows - rest) / (rows + (k - 1) * rest + k * (columns - rest) / n))
    typical = np.abs(reference - np.median(reference)).mean()
    assert any(f"mean absolute error of {typical:.2f} years" in note for note in found.notes)
    # One image a patient: the bootstrap's interval of the bias is about the classical one.
    row = found.table.set_index("name").loc["bias"]
    low, high = stats.t.interval(0.95, n - 1, error.mean(), stats.sem(error))
    assert (row["low"], row["high"]) == (pytest.approx(low, abs=0.3), pytest.approx(high, abs=0.3))


def test_images_of_one_patient_widen_the_interval():
    frame = measured()
    repeated = pd.concat([frame] * 4, ignore_index=True).assign(image=range(360))
    alone = regression_metrics(repeated, "age_years", patients_known=False, resamples=300).table.iloc[0]
    together = regression_metrics(repeated, "age_years", resamples=300).table.iloc[0]
    assert together["high"] - together["low"] > 1.6 * (alone["high"] - alone["low"])
    assert (together["n"], together["unit_of_n"], alone["unit_of_n"]) == (90, "patients", "images")
    assert ("patient-level" in together["note"], "image-level" in alone["note"]) == (True, True)


def test_values_that_cannot_be_tested_are_refused():
    frame = measured()
    with pytest.raises(InputError, match="not numbers"):
        regression_metrics(frame.assign(label="x"), "age")
    with pytest.raises(InputError, match="not a number"):
        regression_metrics(frame.assign(value=np.nan), "age")
    with pytest.raises(InputError, match="lack the column"):
        regression_metrics(frame.drop(columns="value"), "age")
    constant = regression_metrics(frame.assign(label="60"), "age", resamples=200)
    assert np.isnan(values(constant)["R²"])


@pytest.mark.parametrize(
    ("name", "unit"),
    [("age_years", "years"), ("volume (mL)", "mL"), ("size [mm]", "mm"), ("area_mm2", "mm²"), ("g", "units of g")],
)
def test_the_name_of_a_value_says_its_unit(name, unit):
    assert unit_of(name) == unit


def test_ordered_classes_are_tested_by_their_distance():
    frame, given, called = graded()
    found = ordinal_metrics(frame, CLASSES, resamples=300)
    table = values(found)
    assert table["quadratic-weighted kappa"] == pytest.approx(
        oracle.cohen_kappa_score(given, called, weights="quadratic")
    )
    assert table["mean absolute error"] == pytest.approx(np.abs(given - called).mean())
    assert table["accuracy"] == pytest.approx((given == called).mean())
    assert table["accuracy within one class"] == pytest.approx((np.abs(given - called) <= 1).mean())
    assert found.confusion.to_numpy().tolist() == oracle.confusion_matrix(given, called).tolist()
    assert "classes" in found.sentence(1)
    assert np.isnan(weighted_kappa(np.array([[[5.0, 0.0], [0.0, 0.0]]]))[0])


def test_the_median_class_has_the_least_expected_error():
    rng = np.random.default_rng(0)
    probability = rng.dirichlet(np.ones(5), 200)
    apart = np.abs(np.arange(5)[:, None] - np.arange(5)[None, :])
    best = (probability @ apart).min(axis=1)
    chosen = np.take_along_axis(probability @ apart, median_class(probability)[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(chosen, best)
    assert median_class(np.array([[0.1, 0.4, 0.5]])).tolist() == [1]


def several():
    frame, present, scores = multilabel()
    number = measured(120)
    heads = {
        "cancer": SimpleNamespace(task="classification", classes=("no", "yes")),
        "age_years": SimpleNamespace(task="regression", classes=("age_years",)),
    }
    columns = output_columns(
        np.column_stack([1 - scores[:, 0], scores[:, 0]]), Decision(Task.CLASSIFICATION, ("no", "yes"))
    )
    table = frame[["image", "patient"]].assign(
        **{"cancer: label": np.where(present[:, 0], "yes", "no")},
        **{f"cancer: {name}": cells for name, cells in columns.items()},
        **{"age_years: label": number["label"], "age_years: value": number["value"]},
    )
    table.loc[:9, "cancer: label"] = ""
    return Predictions(table, tuple(heads), True, "t", "multitask", heads, ["sex was not given."]), present, scores


def test_every_head_is_tested_on_the_images_that_are_labelled_for_it():
    predictions, present, scores = several()
    found = table_metrics(predictions, resamples=200)
    table = values(found)
    assert table["cancer: AUC"] == pytest.approx(oracle.roc_auc_score(present[10:, 0], scores[10:, 0]))
    assert (found.heads["cancer"].images, found.heads["age_years"].images, found.images) == (110, 120, 120)
    assert found.headline.startswith("cancer: AUC 0.") and "; age_years: mean absolute error" in found.headline
    assert found.notes.count("sex was not given.") == 1
    assert any(note.startswith("cancer: 10 of 120") for note in found.notes)
    with pytest.raises(InputError, match="no head 'density'"):
        predictions.head("density")


@pytest.mark.parametrize(
    "make",
    [
        lambda: multilabel_metrics(multilabel()[0], LABELS, resamples=200),
        lambda: regression_metrics(measured(), "age_years", resamples=200),
        lambda: ordinal_metrics(graded()[0], CLASSES, resamples=200),
        lambda: table_metrics(several()[0], resamples=200),
    ],
)
def test_what_is_written_is_read_back_and_drawn(make, tmp_path):
    import json

    from matplotlib.figure import Figure

    found = make()
    path = found.save(tmp_path)
    again = Metrics.from_dict(json.loads(path.read_text()))
    assert again.to_dict() == found.to_dict()
    assert again.headline == found.headline
    again.show().savefig(tmp_path / "a.png")
    axes = Figure().subplots()
    assert again.show(axes) is axes.figure
    assert axes.get_xlabel() or axes.get_title(loc="left")
    broken = {**found.to_dict(), "points": {"reference": [1.0]}}
    with pytest.raises(InputError, match=r"metrics\.json"):
        Metrics.from_dict(broken)
