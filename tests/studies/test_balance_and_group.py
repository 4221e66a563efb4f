"""``balance=`` makes a column alike in the classes; ``group=`` keeps what belongs together in one part."""

import numpy as np
import pandas as pd
import pytest
from made import png_study
from scipy.stats import chi2_contingency

import easydl
from easydl.errors import InputError

N = 30
"""Patients of each class."""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return png_study(tmp_path_factory.mktemp("films"), per_class=N, side=32)


@pytest.fixture
def confounded(images):
    def make(agree=0.85, **columns):
        frame, rng = pd.read_csv(images, dtype=str), np.random.default_rng(0)
        ill = frame["label"] == "disease"
        frame["scanner"] = np.where((rng.random(len(frame)) < agree) == ill, "A", "B")
        return easydl.load(frame.assign(**columns), root=images.parent)

    return make


def kept(parts):
    return pd.concat([part.frame for part in parts], ignore_index=True)


def test_a_balanced_column_no_longer_tells_the_classes_apart(confounded):
    study = confounded(agree=0.7)
    assert chi2_contingency(pd.crosstab(study.frame["label"], study.frame["scanner"])).pvalue < 0.05
    parts = study.split(seed=3, balance="scanner")
    table = pd.crosstab(*(kept(parts)[name] for name in ("label", "scanner")))
    assert (table.loc["disease"] == table.loc["healthy"]).all()
    assert table.to_numpy().sum() < len(study)
    whole = parts[0].parent.frame
    assert (whole["split"] == "").sum() == len(study) - table.to_numpy().sum()
    assert "that were too many are in no part" in " ".join(parts[0].notes)
    # Every part holds both scanners of both classes.
    for part in parts:
        assert (pd.crosstab(part.frame["label"], part.frame["scanner"]).to_numpy() > 0).all()


def test_two_columns_are_balanced_by_their_combinations(confounded):
    # Each column alone is balanced; women of scanner A are ill, men of scanner A are well, and the other way round.
    side = np.tile([0, 0, 0, 0, 1], 12)[: 2 * N]
    ill, woman = np.repeat([1, 0], N), np.tile([0, 1], N)
    scanner = np.where((ill ^ woman ^ side) == 1, "A", "B")
    study = confounded(agree=0.5, scanner=scanner, sex=np.array(["m", "f"])[woman])
    for names in (["scanner"], ["sex"]):
        rest = kept(study.split(seed=0, balance=names))
        joint = rest["scanner"] + rest["sex"]
        assert chi2_contingency(pd.crosstab(rest["label"], joint)).pvalue < 0.01
    parts = study.split(seed=0, balance=["scanner", "sex"])
    rest = kept(parts)
    table = pd.crosstab(rest["label"], rest["scanner"] + rest["sex"])
    assert table.shape == (2, 4) and (table.loc["disease"] == table.loc["healthy"]).all()
    assert "'scanner' and 'sex' together are alike in the classes" in " ".join(parts[0].notes)
    one, other = (kept(study.split(seed=0, balance=name))["image"].tolist() for name in ("sex", ["sex"]))
    assert one == other


def test_combinations_that_leave_too_few_are_counted(confounded):
    ill = np.repeat([1, 0], N)
    odd = np.arange(2 * N) % 20 == 0
    study = confounded(agree=0.5, site=np.where((ill == 1) ^ odd, "x", "y"), sex=np.tile(["m", "f"], N))
    said = "'site' and 'sex' cannot be balanced: 3 patients of 'disease' would be left"
    with pytest.raises(InputError, match=said) as refused:
        study.split(seed=0, balance=["site", "sex"])
    assert "x, f: disease 15, healthy 0" in refused.value.found and "6 of each class" in refused.value.expected


def test_the_same_seed_balances_alike_and_another_does_not(confounded):
    study = confounded()
    one, again, other = (study.split(seed=seed, balance="scanner")[0].frame["image"].tolist() for seed in (1, 1, 2))
    assert one == again != other


def test_classes_of_unequal_size_keep_their_ratio(images):
    frame = pd.read_csv(images, dtype=str)
    frame = pd.concat([frame[:12], frame[N : N + 24]], ignore_index=True)  # 12 of the disease, 24 healthy
    frame["scanner"] = ["A"] * 6 + ["B"] * 6 + ["A"] * 6 + ["B"] * 18
    rest = kept(easydl.load(frame, root=images.parent).split(seed=0, balance="scanner"))
    # Of A the classes have 6 of 12 and 6 of 24, so a quarter of each is kept; of B 6 of 12 and 18 of 24, so half.
    assert pd.crosstab(rest["label"], rest["scanner"]).to_numpy().tolist() == [[3, 6], [6, 12]]


def test_a_number_is_balanced_by_thirds(confounded):
    rng = np.random.default_rng(1)
    ages = np.concatenate([rng.normal(70, 8, N), rng.normal(55, 8, N)])
    study = confounded(age=ages)
    rest = kept(study.split(seed=0, balance="age"))
    age, ill = pd.to_numeric(rest["age"]), rest["label"] == "disease"
    assert abs(age[ill].mean() - age[~ill].mean()) < 0.5 * (ages[:N].mean() - ages[N:].mean())


def test_what_cannot_be_balanced_is_said(confounded):
    study = confounded(agree=1.0)
    with pytest.raises(
        InputError, match="'scanner' cannot be balanced: 0 patients of 'disease' would be left"
    ) as refused:
        study.split(seed=0, balance="scanner")
    assert "(A: disease 30, healthy 0; B: disease 0, healthy 30)" in refused.value.found
    with pytest.raises(InputError, match="has 60 values"):
        study.split(seed=0, balance="patient")
    with pytest.raises(InputError, match="one of the two"):
        study.split(seed=0, balance="scanner", time="scanner")
    with pytest.raises(InputError, match="a study that is split"):
        study.split(seed=0)[0].parent.split(balance="scanner")


def test_rows_of_one_group_stay_in_one_part(confounded):
    family = [f"f{number // 4}" for number in range(N)] * 2
    study = confounded(family=family)
    apart = study.split(seed=0)[0].parent.frame
    assert (apart.groupby("family")["split"].nunique() > 1).any()
    together = study.split(seed=0, group="family")[0].parent.frame
    assert (together.groupby("family")["split"].nunique() == 1).all()
    assert set(together["split"]) == {"train", "val", "test"}


def test_an_empty_group_ties_nothing(confounded):
    study = confounded(family="")
    parts = study.split(seed=0, group="family")
    assert [len(part) for part in parts] == [len(part) for part in study.split(seed=0)]
