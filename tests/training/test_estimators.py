"""How baselines learn: as scikit-learn does, from the training rows alone, never dividing a patient."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from easydl.tasks import Task
from easydl.training import estimators
from easydl.training.estimators import STRENGTHS, Problem, constant, forest, linear, linear_head


def problem(task=Task.CLASSIFICATION, rows=120, features=20, seed=0, per_patient=2):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, features))
    score = x[:, 0] + 0.5 * x[:, 1] + rng.normal(size=rows)
    if task.is_value:
        targets = 50 + 10 * score[:, None]
    elif task == Task.MULTILABEL:
        targets = np.stack([score > 0, x[:, 2] > 0.3], axis=1).astype(float)
    else:
        targets = np.eye(3 if task.ordered else 2)[np.digitize(score, [-1, 1] if task.ordered else [0])]
    patients = np.repeat(np.arange(rows // per_patient), per_patient).astype(str)
    return x, Problem(task, targets, np.ones(rows, bool), patients), np.arange(rows) < 80


@pytest.mark.parametrize("features", [20, 300])
def test_the_linear_model_is_scikit_learns_with_its_penalty_chosen_by_patient(features):
    x, one, train = problem(features=features)
    y = one.targets.argmax(axis=1)
    folds = list(StratifiedGroupKFold(5, shuffle=True, random_state=0).split(x[train], y[train], one.patients[train]))
    # Scaled before the folds here too: the scale looks at no label.
    grid = GridSearchCV(LogisticRegression(max_iter=5000), {"C": STRENGTHS}, cv=folds, scoring="neg_log_loss")
    oracle = make_pipeline(StandardScaler(), grid).fit(x[train], y[train])
    # scikit-learn averages over folds, this over rows: the folds are of 16 rows each.
    assert linear(x, one, train, 0) == pytest.approx(oracle.predict_proba(x), abs=0.01)


def test_the_ridge_of_a_value_is_scikit_learns():
    x, one, train = problem(Task.REGRESSION)
    found = linear(x, one, train, 0)
    scaled = StandardScaler().fit(x[train]).transform(x)
    choices = [
        Ridge(alpha=1 / strength).fit(scaled[train], one.targets[train, 0]).predict(scaled) for strength in STRENGTHS
    ]
    assert min(np.abs(found[:, 0] - choice).max() for choice in choices) < 1e-6
    assert np.corrcoef(found[~train, 0], one.targets[~train, 0])[0, 1] > 0.5


@pytest.mark.parametrize("learn", [linear, forest])
@pytest.mark.parametrize("task", [Task.CLASSIFICATION, Task.MULTILABEL, Task.REGRESSION, Task.ORDINAL])
def test_no_label_outside_the_training_rows_is_looked_at(learn, task, monkeypatch):
    monkeypatch.setattr(estimators, "TREES", 20)
    x, one, train = problem(task)
    found = learn(x, one, train, 0)
    other = one.targets.copy()
    other[~train] = other[~train][::-1]
    assert not np.array_equal(other, one.targets)
    changed = Problem(one.task, other, one.known, one.patients)
    assert np.array_equal(found, learn(x, changed, train, 0))
    assert found.shape == one.targets.shape and np.isfinite(found).all()
    if task.exclusive:
        assert found.sum(axis=1) == pytest.approx(1)


def test_rows_without_a_label_are_not_learnt_from():
    x, one, train = problem()
    known = np.ones(len(x), bool)
    known[:10] = False
    wrong = one.targets.copy()
    wrong[:10] = 0
    found = linear(x, Problem(one.task, wrong, known, one.patients), train, 0)
    assert np.array_equal(found, linear(x, one, train & known, 0))


def folds_of(x, one, train):
    (question,) = estimators._questions(x, one, train, 0, LogisticRegression)
    return question.folds


def test_folds_never_divide_a_patient():
    x, one, train = problem(per_patient=4)
    folds = folds_of(x, one, train)
    assert len(folds) == 5
    for learn, ask in folds:
        assert not set(one.patients[learn]) & set(one.patients[ask])


@pytest.mark.parametrize("seed", range(4))
def test_the_penalty_is_the_one_that_loses_least_out_of_fold(seed):
    """Though not all are tried: every one is by scikit-learn here."""
    x, one, train = problem(features=60, seed=seed)
    y, rows = one.targets.argmax(axis=1), np.flatnonzero(train)
    scaled = StandardScaler().fit(x[train]).transform(x)
    losses = []
    for strength in STRENGTHS:
        said = np.zeros((len(x), 2))
        for learn, ask in folds_of(x, one, train):
            said[ask] = (
                LogisticRegression(C=strength, max_iter=5000).fit(scaled[learn], y[learn]).predict_proba(scaled[ask])
            )
        losses.append(log_loss(y[rows], said[rows]))
    best = STRENGTHS[int(np.argmin(losses))]
    expected = LogisticRegression(C=best, max_iter=5000).fit(scaled[train], y[train]).predict_proba(scaled)
    assert linear(x, one, train, 0) == pytest.approx(expected, abs=1e-3)


def test_weaker_penalties_than_the_best_are_not_all_tried(monkeypatch):
    x, one, train = problem(features=60)
    fits = []

    def counted(strength):
        fits.append(strength)
        return LogisticRegression(C=strength, max_iter=2000)

    monkeypatch.setattr(estimators, "_linear_of", lambda _: counted)
    linear_head(x, one, train, 0)
    tried = sorted(set(fits))
    assert tried == list(STRENGTHS[: len(tried)]) and len(tried) < len(STRENGTHS)
    assert len(fits) == 5 * len(tried) + 1, "the answers out of fold are not fitted again"


def test_a_class_of_one_patient_leaves_the_others_their_folds(recwarn):
    x, one, train = problem()
    x, train = np.concatenate([x, x[:1] + 9]), np.append(train, True)
    targets = np.zeros((121, 3))
    targets[:120, :2], targets[120, 2] = one.targets, 1
    patients = np.append(one.patients, "rare")
    head = linear_head(x, Problem(one.task, targets, np.ones(121, bool), patients), train, 0)
    usual = train.copy()
    usual[120] = False
    without = linear_head(x, Problem(one.task, targets[:, :2], usual, patients), usual, 0).out_of_fold[usual, 1]
    found = head.out_of_fold[usual, 1]
    assert np.corrcoef(found, without)[0, 1] > 0.9, "NaN without folds"
    assert not recwarn.list


def test_the_forest_learns_what_no_line_can():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    one = Problem(Task.CLASSIFICATION, np.eye(2)[y], np.ones(300, bool), np.arange(300).astype(str))
    train = np.arange(300) < 200
    aucs = [roc_auc_score(y[~train], learn(x, one, train, 0)[~train, 1]) for learn in (forest, linear)]
    assert aucs[0] > 0.85 and aucs[1] < 0.7


def test_the_constant_is_the_prevalence_or_the_median():
    _, one, train = problem()
    assert constant(one, train)[0] == pytest.approx(one.targets[train].mean(axis=0))
    _, value, train = problem(Task.REGRESSION)
    assert set(constant(value, train)[:, 0]) == {np.median(value.targets[train])}


def test_one_class_or_too_few_patients_give_an_answer_all_the_same():
    x, one, train = problem()
    targets = np.eye(2)[np.zeros(len(x), int)]
    assert (linear(x, Problem(one.task, targets, one.known, one.patients), train, 0)[:, 0] == 1).all()
    few = np.arange(len(x)) < 3
    assert np.isfinite(linear(x, one, few, 0)).all()
    assert np.isfinite(linear(np.ones((len(x), 3)), one, train, 0)).all()


@pytest.mark.parametrize("task", [Task.CLASSIFICATION, Task.ORDINAL, Task.MULTILABEL, Task.REGRESSION])
@pytest.mark.parametrize("features", [20, 200])
def test_as_a_last_layer_it_says_what_the_model_says(task, features):
    x, one, train = problem(task, features=features)
    head = linear_head(3 * x + 5, one, train, 0)
    logits = (3 * x + 5) @ head.kernel + head.bias
    if task.exclusive:
        logits = softmax(logits, axis=1)
    elif not task.is_value:
        logits = expit(logits)
    assert logits == pytest.approx(linear(3 * x + 5, one, train, 0, one_unit=True), abs=1e-6)


def test_what_a_network_hardly_sees_counts_little():
    """Of features with one unit, many that hardly vary; the label is in two that do."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(300, 2)), 0.01 * rng.normal(size=(300, 400))], axis=1)
    y = (x[:, 0] + x[:, 1] + rng.normal(size=300) > 0).astype(int)
    one = Problem(Task.CLASSIFICATION, np.eye(2)[y], np.ones(300, bool), np.arange(300).astype(str))
    train = np.arange(300) < 100
    aucs = [roc_auc_score(y[~train], linear(x, one, train, 0, one_unit=unit)[~train, 1]) for unit in (True, False)]
    assert aucs[0] > 0.8 and aucs[0] > aucs[1] + 0.1


def test_out_of_fold_answers_are_scikit_learns():
    x, one, train = problem(features=30)
    y, rows = one.targets.argmax(axis=1), np.flatnonzero(train)
    scaled = (x[train] - x[train].mean(axis=0)) / np.sqrt(x[train].var(axis=0).mean())
    folds = [(np.searchsorted(rows, learn), np.searchsorted(rows, ask)) for learn, ask in folds_of(x, one, train)]
    grid = GridSearchCV(LogisticRegression(max_iter=5000), {"C": STRENGTHS}, cv=folds, scoring="neg_log_loss")
    best = grid.fit(scaled, y[train]).best_estimator_
    found = linear_head(x, one, train, 0).out_of_fold
    assert found[train] == pytest.approx(
        cross_val_predict(best, scaled, y[train], cv=folds, method="predict_proba"), abs=1e-3
    )
    assert np.isnan(found[~train]).all()
    ranked = linear_head(x, one, train, 0).ranked
    for _, ask in folds_of(x, one, train):
        assert ranked[ask] == pytest.approx(rankdata(found[ask], axis=0) / (len(ask) + 1))


@pytest.mark.parametrize("task", [Task.CLASSIFICATION, Task.REGRESSION, Task.MULTILABEL])
def test_a_row_that_counts_twice_is_two_rows(task, monkeypatch):
    monkeypatch.setattr(estimators, "STRENGTHS", np.array([0.1]))
    # The scale of the features is that of the rows, so they are scaled before.
    x, one, train = problem(task, rows=60)
    x = StandardScaler().fit(x).transform(x)
    train[:], weights = True, np.tile([1.0, 1.0, 2.0], 20)
    again = np.repeat(np.arange(60), weights.astype(int))

    def as_it_is(values, _, one_unit):
        return estimators._Turned(values, np.zeros(20), np.eye(20))

    monkeypatch.setattr(estimators, "_turned", as_it_is)
    twice = Problem(task, one.targets[again], one.known[again], one.patients[again])
    labels = np.stack([weights] * 2, axis=1) if task is Task.MULTILABEL else weights
    weighted, repeated = (
        linear_head(x, one, train, 0, labels),
        linear_head(x[again], twice, np.ones(len(again), bool), 0),
    )
    assert weighted.kernel == pytest.approx(repeated.kernel, abs=1e-4)
    assert weighted.bias == pytest.approx(repeated.bias, abs=1e-4)


def test_a_class_without_training_rows_is_never_called():
    x, one, train = problem()
    targets = np.pad(one.targets, ((0, 0), (0, 1)))
    head = linear_head(x, Problem(one.task, targets, one.known, one.patients), train, 0)
    assert softmax(x @ head.kernel + head.bias, axis=1)[:, 2].max() < 1e-3
