"""Labels that were swapped are among those to look at again."""

import importlib.util

import numpy as np
import pandas as pd
import pytest
from made import png_study

import easydl
from easydl.prediction.views import ModelView
from easydl.studies import Study
from easydl.traps.doubtful import doubted_by, doubtful_labels

cleanlab = pytest.mark.skipif(importlib.util.find_spec("cleanlab") is None, reason="cleanlab is not installed")


def made(seed=0, n=200, swapped=0.06, apart=5.0):
    rng = np.random.default_rng(seed)
    ill = rng.integers(0, 2, n)
    looks = rng.normal(size=(n, 40))
    looks[:, :5] += apart / np.sqrt(5) * ill[:, None]
    wrong = rng.random(n) < swapped
    label = np.where(ill ^ wrong, "ill", "well")
    frame = pd.DataFrame(
        {"image": [f"/d/{k}.png" for k in range(n)], "label": label, "patient": [f"p{k}" for k in range(n)]}
    )
    return Study(frame), looks, wrong


@cleanlab
@pytest.mark.parametrize("seed", range(3))
def test_swapped_labels_are_found(seed):
    study, looks, wrong = made(seed)
    (issue,) = doubtful_labels(study, looks)
    assert issue.id == "A7" and issue.severity == "NOTE" and issue.n == 200
    listed = np.array(issue.rows)
    assert len(listed) <= 12 and f"Look at these {len(listed)} labels again" in issue.sentence
    precision, recall = wrong[listed].mean(), wrong[listed].sum() / wrong.sum()
    # At random a twentieth of those listed would be wrong, and as small a part of the wrong ones listed.
    assert precision > 0.6 > 8 * wrong.mean() and recall > 0.5
    assert issue.exclude == tuple(study.frame["image"].iloc[listed])


@cleanlab
def test_sound_labels_are_left_alone():
    found = [doubtful_labels(*made(seed, swapped=0)[:2])[0] for seed in range(5)]
    assert sum(len(issue.rows) for issue in found) <= 5


@cleanlab
def test_a_learner_that_knows_little_has_no_say():
    (issue,) = doubtful_labels(*made(apart=0.5)[:2])
    assert issue.severity == "UNTESTED" and "it takes 0.85" in issue.sentence


@cleanlab
def test_a_model_doubts_the_labels_it_has_not_seen():
    study, _, wrong = made()
    truth = (study.frame["label"] == "ill").to_numpy() ^ wrong
    ill = np.clip(truth + np.random.default_rng(0).normal(0, 0.15, len(study)), 0.02, 0.98)
    both = np.stack([1 - ill, ill], axis=1)
    seen = ModelView(("well", "ill"), both, both, None, [""] * len(study))
    held = np.arange(len(study)) >= 60
    (issue,) = doubted_by(study, seen, held)
    assert "the model says otherwise" in issue.sentence and min(issue.rows) >= 60
    assert wrong[list(issue.rows)].mean() > 0.7
    assert doubted_by(study, seen, np.arange(len(study)) < 20) == []


def test_few_patients_and_a_missing_package_are_said(monkeypatch):
    (issue,) = doubtful_labels(*made(n=30)[:2])
    assert issue.severity == "UNTESTED" and "takes 20 patients of every class" in issue.sentence
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (issue,) = doubtful_labels(*made()[:2])
    assert issue.severity == "UNTESTED" and "cleanlab" in issue.sentence and "pip install cleanlab" in issue.fix


@cleanlab
def test_swapped_labels_of_images_are_found_by_a_small_look_at_them(tmp_path):
    path = png_study(tmp_path / "s", per_class=40)
    frame = pd.read_csv(path, dtype=str)
    swapped = [3, 50]
    frame.loc[swapped, "label"] = frame.loc[swapped[::-1], "label"].to_numpy()
    frame.to_csv(path, index=False)
    issues = [issue for issue in easydl.audit(easydl.load(path)).issues if "again" in issue.sentence]
    assert len(issues) == 1 and set(swapped) <= set(issues[0].rows) and issues[0].thumbnails.startswith(b"\x89PNG")
