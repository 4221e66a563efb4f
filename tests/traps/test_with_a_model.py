"""What is said of a model: whether it uses a column or the border, memorises, and errs in a hidden group."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made import png_study
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

import easydl
from easydl.prediction.views import ModelView, without_border
from easydl.studies import Study
from easydl.traps import after_training, look, model_issues
from easydl.traps.after_training import gap, hidden_strata
from easydl.traps.doubtful import folds_of, out_of_fold
from easydl.traps.issues import Issue
from easydl.traps.knows import knows
from easydl.traps.uses import uses


def answers(seed=0, n=100, *, of_scanner=0.0, skill=1.5, agree=0.85, of_border=0.0):
    """A study of random patients and a model whose logit holds the disease, the scanner, the border, and chance."""
    rng = np.random.default_rng(seed)
    ill = rng.integers(0, 2, n)
    scanner = np.where(rng.random(n) < agree, ill, 1 - ill)
    frame = pd.DataFrame(
        {
            "image": [f"{k}.png" for k in range(n)],
            "label": np.array(["well", "ill"])[ill],
            "patient": [f"p{k}" for k in range(n)],
            "scanner": np.array(["A", "B"])[scanner],
            "site": rng.choice(["x", "y", "z"], n),
            "age": rng.normal(60, 12, n).astype(int).astype(str),
        }
    )
    logit = skill * (ill - 0.5) + of_scanner * (scanner - 0.5) + rng.normal(size=n)
    masked = logit - of_border * (ill - 0.5)
    return Study(frame), view(frame, logit, masked)


def view(frame, logit, masked=None, classes=("well", "ill"), features=None):
    ill, without = (1 / (1 + np.exp(-(values))) for values in (logit, logit if masked is None else masked))
    both = [np.stack([1 - one, one], axis=1).astype(np.float32) for one in (ill, without)]
    return ModelView(classes, *both, features, [""] * len(frame))


def warned(issues):
    return [issue for issue in issues if issue.severity == "WARN"]


def every(study):
    return np.ones(len(study), bool)


@pytest.mark.parametrize("seed", range(3))
def test_a_model_that_reads_the_scanner_is_found_and_one_that_does_not_is_not(seed):
    study, seen = answers(seed, of_scanner=2.5, skill=0.5)
    (issue,) = [one for one in warned(uses(study, seen, every(study), 0)) if "uses" in one.sentence]
    assert issue.id == "A6" and "the column 'scanner'" in issue.sentence and "balance='scanner'" in issue.fix
    assert issue.low > 0 and issue.n == 100 and issue.p < 0.01
    # The labels follow the scanner there, too; the model does not.
    study, seen = answers(seed)
    found = uses(study, seen, every(study), 0)
    assert not warned(found)
    assert any(one.severity == "OK" and "scanner" in one.sentence for one in found)


def test_the_difference_is_that_of_all_and_of_alike_patients():
    study, seen = answers(1, of_scanner=2.5, skill=0.5)
    issue = next(one for one in warned(uses(study, seen, every(study), 0)) if "uses" in one.sentence)
    ill, score = study.frame["label"] == "ill", seen.probabilities[:, 1]
    within = pairs = 0.0
    for scanner in "AB":
        inside = (study.frame["scanner"] == scanner).to_numpy()
        weight = ill[inside].sum() * (~ill[inside]).sum()
        within += weight * roc_auc_score(ill[inside], score[inside])
        pairs += weight
    assert issue.value == pytest.approx(roc_auc_score(ill, score) - within / pairs, abs=1e-9)


def test_several_images_of_a_patient_count_once():
    study, seen = answers(1, of_scanner=2.5, skill=0.5)
    rows = np.repeat(np.arange(len(study)), 3)
    often = Study(study.frame.iloc[rows].reset_index(drop=True))
    one, other = (warned(uses(a, b, every(a), 0)) for a, b in ((study, seen), (often, seen.rows(rows))))
    assert [(issue.value, issue.n) for issue in one] == [(issue.value, issue.n) for issue in other]


def test_a_model_that_is_worse_on_one_site_is_found():
    study, seen = answers(2, n=150, skill=4)
    bad = (study.frame["site"] == "y").to_numpy()
    seen.probabilities[bad] = np.random.default_rng(0).permutation(seen.probabilities[bad])
    (issue,) = [one for one in warned(uses(study, seen, every(study), 0)) if "worse" in one.sentence]
    assert "where the column 'site' is 'y'" in issue.sentence and issue.low > 0


def test_a_model_that_needs_the_border_is_found_and_one_that_does_not_is_not():
    study, seen = answers(of_border=1.3)
    assert any(
        "needs the border" in issue.sentence and issue.low > 0 for issue in warned(uses(study, seen, every(study), 0))
    )
    study, seen = answers()
    assert any("does not need the border" in issue.sentence for issue in uses(study, seen, every(study), 0))


def test_the_border_is_judged_by_images_as_evaluate_does_and_other_questions_say_that_theirs_is_per_patient():
    study, seen = answers(1, of_scanner=2.5, skill=0.5)
    rows = np.repeat(np.arange(len(study)), 3)
    often = Study(study.frame.iloc[rows].reset_index(drop=True))
    seen = seen.rows(rows)
    seen.probabilities[:, 1] = np.clip(
        seen.probabilities[:, 1] + np.random.default_rng(0).normal(0, 0.5, len(rows)), 0, 1
    )
    found = uses(often, seen, every(often), 0)
    auc = roc_auc_score(often.frame["label"] == "ill", seen.probabilities[:, 1])
    assert any(f"border of the images: AUC {auc:.2f} with it" in one.sentence for one in found)
    assert any("AUC per patient" in one.sentence and "scanner" in one.sentence for one in found)
    assert not any("per patient" in one.sentence for one in uses(*answers(1, of_scanner=2.5), np.ones(100, bool), 0))


def test_where_patients_are_unknown_images_are_counted(monkeypatch):
    monkeypatch.setattr(after_training, "small_looks", lambda study, rows: np.eye(len(rows), 4))
    study, seen = answers(1, of_scanner=2.5, skill=0.5)
    unknown = replace(study, patients_known=False)
    half = np.arange(100) < 50
    found = [
        *after_training.after_training(unknown, after_training.Seen(seen, half, ~half)),
        *after_training.look(replace(unknown, frame=unknown.frame[:12].assign(split="test")), None),
    ]
    said = " ".join(f"{one.sentence} {one.fix}" for one in found)
    assert "images" in said and "patient" not in said


def featured(study, seed, *, of_scanner):
    """Eight features of a network: the disease, the scanner as far as asked for, and chance."""
    rng, frame = np.random.default_rng(seed), study.frame
    features = rng.normal(size=(len(frame), 8)).astype(np.float32)
    features[:, 0] += 3 * (frame["label"] == "ill")
    features[:, 1] += of_scanner * (frame["scanner"] == "B")
    return features


def test_features_that_predict_the_scanner_are_told_beside_its_use_or_as_no_fault_alone():
    study, seen = answers(1, of_scanner=2.5, skill=0.5)
    found = uses(study, replace(seen, features=featured(study, 0, of_scanner=3)), every(study), 0)
    (issue,) = [one for one in warned(found) if "uses" in one.sentence]
    assert "Its features predict it: AUC 0." in issue.sentence and "n = 100 patients" in issue.sentence
    assert not [one for one in found if "model's features predict the column 'scanner'" in one.sentence]
    # A model whose answers do not follow it, although the same layer knows it: worth knowing, and no issue.
    study, seen = answers(1)
    found = uses(study, replace(seen, features=featured(study, 0, of_scanner=3)), every(study), 0)
    (note,) = [one for one in found if "model's features predict" in one.sentence]
    assert note.severity == "NOTE" and "the column 'scanner'" in note.sentence and note.low > 0.6
    assert not warned(found)


def test_features_that_know_the_disease_alone_do_not_predict_the_scanner_that_goes_with_it():
    said = []
    for seed in range(5):
        study, _ = answers(seed)
        frame = study.frame
        fields = [(name, frame[name].to_numpy()) for name in ("scanner", "site")]
        label, patient = frame["label"].to_numpy(str), frame["patient"].to_numpy(str)
        known = knows(featured(study, seed, of_scanner=0), label, patient, fields, 0)
        assert set(known) == {"scanner", "site"} and abs(known["scanner"].auc - 0.5) < 0.25
        said += [one.tells for one in known.values()]
    assert sum(said) <= 1


def test_the_auc_of_features_is_that_of_each_class_and_fold_by_its_pairs():
    study, _ = answers(3, n=200, agree=0.7)
    frame, features = study.frame, featured(study, 3, of_scanner=1.5)
    label, patient = frame["label"].to_numpy(str), frame["patient"].to_numpy(str)
    known = knows(features, label, patient, [("scanner", frame["scanner"].to_numpy())], 0)["scanner"]
    own = (frame["scanner"] == "A").to_numpy()
    standard = (features - features.mean(0)) / features.std(0)
    fold = folds_of((~own).astype(int), patient, 0)
    score = out_of_fold(PCA(8, random_state=0).fit_transform(standard), (~own).astype(int), fold)[:, 0]
    inside = [(label == name) & (fold == one) for name in ("ill", "well") for one in range(5)]
    pairs = [own[one].sum() * (~own[one]).sum() for one in inside]
    expected = np.average([roc_auc_score(own[one], score[one]) for one in inside], weights=pairs)
    assert known.auc == pytest.approx(expected, abs=1e-6) and known.interval.low < known.auc < known.interval.high


def test_groups_that_are_classes_are_not_testable():
    study, seen = answers(agree=1.0)
    (issue,) = [one for one in uses(study, seen, every(study), 0) if one.severity == "UNTESTED"]
    assert "scanner" in issue.sentence and "3 patients of every class" in issue.sentence


def test_the_border_is_replaced_by_the_mirrored_inside():
    image = np.arange(400, dtype=float).reshape(1, 20, 20, 1)
    got = without_border(image)
    np.testing.assert_array_equal(got[:, 2:-2, 2:-2], image[:, 2:-2, 2:-2])
    np.testing.assert_array_equal(got[0, 0, 2:-2, 0], image[0, 3, 2:-2, 0])
    assert without_border(np.zeros((1, 4, 20, 20, 2))).shape == (1, 4, 20, 20, 2)


def test_overfitting_is_told_with_its_interval_and_a_healthy_model_is_left_alone():
    rng = np.random.default_rng(0)
    ill = np.tile([0, 1], 100)
    frame = pd.DataFrame(
        {"image": map(str, range(200)), "label": np.where(ill, "ill", "well"), "patient": map(str, range(200))}
    )
    train = np.arange(200) < 100

    def told(on_train, on_test):
        seen = view(frame, np.where(train, on_train, on_test) * (ill - 0.5) + rng.normal(size=200))
        return gap(Study(frame), seen, ~train, train, 0), seen.probabilities[:, 1]

    issue, score = told(8, 0.7)
    aucs = [roc_auc_score(ill[part], score[part]) for part in (train, ~train)]
    assert issue.severity == "WARN" and issue.id == "A12"
    assert issue.value == pytest.approx(aucs[0] - aucs[1]) and 0.1 < issue.low < issue.value < issue.high
    assert f"AUC {aucs[0]:.2f} on 100 training patients, {aucs[1]:.2f} on 100 others" in issue.sentence
    assert sum(told(1.5, 1.5)[0].severity == "WARN" for _ in range(20)) == 0


def test_a_column_that_does_as_well_as_the_model_blocks():
    study, seen = answers(skill=1.0)
    auc = roc_auc_score(study.frame["label"] == "ill", seen.probabilities[:, 1])
    found = after_training.Seen(seen, every(study), ~every(study))

    def column(value, severity="WARN"):
        return [
            Issue("A4", severity, "The column 'site' alone predicts the class: AUC ...", "Balance it.", value, 0.6, 0.9)
        ]

    (issue,) = after_training.no_better(study, found, column(auc - 0.01))
    assert (
        issue.severity == "BLOCK"
        and f"does as well as the model: AUC {auc - 0.01:.2f} against {auc:.2f}" in issue.sentence
    )
    assert after_training.no_better(study, found, column(auc - 0.05)) == []
    assert after_training.no_better(study, found, column(auc, "NOTE")) == []
    together = replace(column(auc)[0], sentence="All columns and headers together predict the class: AUC ...")
    assert "headers together do as well as the model" in after_training.no_better(study, found, [together])[0].sentence
    # A count of images is no AUC to compare with.
    late = Issue("A19", "WARN", "7 images were made after the outcome.", value=7)
    assert after_training.no_better(study, found, [late]) == []


def hidden(seed, errs):
    rng = np.random.default_rng(seed)
    n, odd = 160, rng.random(160) < 0.25
    ill = rng.integers(0, 2, n)
    frame = pd.DataFrame(
        {"image": map(str, range(n)), "label": np.where(ill, "ill", "well"), "patient": map(str, range(n))}
    )
    right = rng.random(n) > np.where(odd, errs, 0.1)
    features = rng.normal(size=(n, 12)) + 6 * odd[:, None] * np.eye(12)[0]
    logit = 3 * np.where(right, 1, -1) * (2 * ill - 1) + rng.normal(0, 0.1, n)
    return Study(frame), view(frame, logit, features=features.astype(np.float32)), odd


def test_a_hidden_group_that_is_wrong_more_often_is_found(monkeypatch):
    monkeypatch.setattr(after_training, "small_looks", lambda study, rows: np.zeros((len(rows), 4)))
    study, seen, odd = hidden(0, errs=0.6)
    issue = hidden_strata(study, seen, every(study), 0)
    assert issue.severity == "NOTE" and issue.id == "A22" and issue.p < 0.05 and issue.low < issue.value < issue.high
    assert np.mean(odd[list(issue.rows)]) > 0.6 > 2 * odd.mean()
    assert "No column names them." in issue.sentence
    quiet = [hidden_strata(*hidden(seed, errs=0.1)[:2], every(study), 0).severity for seed in range(20)]
    assert quiet.count("OK") >= 18


def test_a_hidden_group_is_named_by_the_column_that_explains_it(monkeypatch):
    monkeypatch.setattr(after_training, "small_looks", lambda study, rows: np.zeros((len(rows), 4)))
    study, seen, odd = hidden(0, errs=0.6)
    held = np.arange(len(odd)) < 150
    frame = study.frame.assign(scanner=np.where(odd, "B", "A"), site=np.where(np.arange(len(odd)) % 2, "x", "y"))
    issue = hidden_strata(Study(frame), seen, held, 0)
    numbers = re.search(r"; (\d+) patients.* (\d+) of these (\d+) patients have scanner 'B'", issue.sentence)
    patients, having, again = map(int, numbers.groups())
    assert patients == again > having > odd[list(issue.rows)].sum() - 1
    outside = (odd[held].sum() - having) / (held.sum() - patients)  # k-means finds a part of the planted group
    assert f"), {outside:.0%} of the others." in issue.sentence and "by=scanner" in issue.fix


def test_what_takes_more_patients_says_how_many():
    study, seen = answers(n=30)
    assert "takes 40 patients" in hidden_strata(study, seen, every(study), 0).sentence
    few = np.arange(30) < 6
    assert "takes 10 training patients of every class" in gap(study, seen, every(study), few, 0).sentence


def test_a_small_test_part_is_said_before_the_model_is_called(tmp_path):
    whole = easydl.load(png_study(tmp_path / "s", per_class=10)).split(seed=0)[0].parent
    (issue,) = model_issues(whole, look(whole, None))
    assert (
        issue.severity == "UNTESTED"
        and "takes 10 patients of every class" in issue.sentence
        and "'disease'" in issue.sentence
    )


@pytest.mark.everything
def test_a_network_that_reads_a_mark_in_the_border_is_found(tmp_path):
    """A trained model, from file to sentence: a bright corner tells the class, and nothing else does."""
    from PIL import Image

    path = png_study(tmp_path / "s", per_class=60)
    frame, rng = pd.read_csv(path, dtype=str), np.random.default_rng(0)
    for name, label in zip(frame["image"], frame["label"], strict=True):
        pixels = rng.integers(20, 90, (32, 32)).astype(np.uint8)
        pixels[:3, :12] = 255 if label == "disease" else 0
        Image.fromarray(pixels).save(tmp_path / "s" / name)
    train, val, test = easydl.load(path).split(seed=0, sizes=(0.5, 0.2, 0.3))
    model = easydl.classifier("tiny", train, size=32)
    easydl.fit(model, train, val, epochs=12, augment="none", seed=0)
    found = easydl.audit(train.parent, model=easydl.save_model(model, tmp_path / "m.keras"))
    (issue,) = [one for one in found.issues if one.id == "A6" and one.severity == "WARN"]
    assert "needs the border" in issue.sentence and issue.low > 0.2
    assert set(train.parent.frame["split"].iloc[list(issue.rows)]) == {"test"} and issue.thumbnails.startswith(
        b"\x89PNG"
    )
    assert {"A10", "A12", "A22"} <= {one.id for one in found.issues}
    assert len(test) == n_tested(found)


@pytest.mark.everything
@pytest.mark.parametrize("confounded", [True, False])
def test_a_network_trained_on_two_scanners_for_two_groups_is_found_and_one_on_mixed_scanners_is_not(
    tmp_path, confounded
):
    """The scanner brightens a place inside, and in the confounded study the disease cannot be seen."""
    from PIL import Image

    path = png_study(tmp_path / "s", per_class=100)
    frame, rng = pd.read_csv(path, dtype=str), np.random.default_rng(0)
    ill, number = frame["label"] == "disease", np.tile(np.arange(100), 2)
    frame["part"] = np.select([number < 45, number < 60], ["train", "val"], "test")
    mixed = rng.integers(0, 2, len(frame)) == 1
    agrees = rng.random(len(frame)) < 0.85
    second = np.where(confounded, ill == agrees, mixed)
    frame["scanner"] = np.where(second, "B", "A")
    for name, sick, other in zip(frame["image"], ill, second, strict=True):
        pixels = rng.integers(20, 90, (32, 32))
        pixels[6:12, 6:12] += 100 * other
        pixels[18:26, 18:26] += (0 if confounded else 60) * sick
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "s" / name)
    frame.to_csv(path, index=False)
    train, val, _ = easydl.load(path, split="part").split()
    model = easydl.classifier("tiny", train, size=32)
    easydl.fit(model, train, val, epochs=12, augment="none", seed=0)
    found = [
        one
        for one in model_issues(train.parent, look(train.parent, model))
        if one.id == "A6" and "'scanner'" in one.sentence
    ]
    assert [one.severity for one in found if one.severity == "WARN"] == (["WARN"] if confounded else [])
    if confounded:
        assert "uses the column 'scanner'" in found[0].sentence and "Its features predict it: AUC" in found[0].sentence


def n_tested(found):
    return next(one.n for one in found.issues if one.id == "A6" and "border" in one.sentence)


def test_a_model_of_another_task_is_said_not_to_be_tested(tmp_path):
    table = png_study(tmp_path, per_class=6, side=16)
    frame = pd.read_csv(table).assign(density=["low", "high"] * 6)
    frame.to_csv(table, index=False)
    study = easydl.load(table, heads=["label", "density"])
    model = easydl.classifier("tiny", heads=study.heads, size=16)
    found = [issue for issue in easydl.audit(study, model=model).issues if issue.id == "A6"]
    assert [issue.severity for issue in found] == ["UNTESTED"] and "multitask" in found[0].sentence
    assert not [issue for issue in easydl.audit(study).issues if issue.id == "A6"]
