import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

import easydl
from easydl.errors import InputError
from easydl.studies.agreement import agreement
from easydl.studies.study import Study

SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
"""Six targets and four judges: table 2 of Shrout & Fleiss 1979."""


def raters(n, k, noise, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.choice(list("abc"), n, p=[0.6, 0.3, 0.1])
    read = {f"r{one}": np.where(rng.random(n) < noise, rng.choice(list("abc"), n), truth) for one in range(k)}
    return pd.DataFrame(read).astype(str)


def patients(n, each=1):
    return pd.Series([f"p{row // each}" for row in range(n)])


def test_kappas_are_those_of_scikit_learn_and_statsmodels():
    for seed in range(5):
        read = raters(80, 3, 0.4, seed)
        table = agreement(read, patients(80)).table.set_index("raters")
        fleiss = fleiss_kappa(aggregate_raters(read.to_numpy())[0])
        assert table.loc["3 raters", "value"] == pytest.approx(fleiss, abs=1e-12)
        for one, other in (("r0", "r1"), ("r0", "r2"), ("r1", "r2")):
            assert table.loc[f"{one} and {other}", "value"] == pytest.approx(cohen_kappa_score(read[one], read[other]))


def test_icc_is_that_of_shrout_and_fleiss():
    table = agreement(pd.DataFrame(SHROUT_FLEISS, columns=list("abcd"), dtype=float), patients(6), numeric=True).table
    assert table["statistic"].tolist() == ["ICC(2,1)", "ICC(3,1)"]
    assert table["value"].round(2).tolist() == [0.29, 0.71]
    assert table["low"].isna().all()  # six patients are too few for an interval
    assert table["images"].tolist() == [6, 6]


def test_icc_is_that_of_the_anova_also_for_large_numbers():
    rng = np.random.default_rng(3)
    x = 1e6 + rng.normal(0, 3, (40, 1)) + rng.normal(0, 2, (1, 3)) + rng.normal(0, 1, (40, 3))
    n, k = x.shape
    rows, columns = x - x.mean(1, keepdims=True), x.mean(1) - x.mean()
    bms = k * (columns**2).sum() / (n - 1)
    jms = n * ((x.mean(0) - x.mean()) ** 2).sum() / (k - 1)
    ems = ((rows - x.mean(0) + x.mean()) ** 2).sum() / ((n - 1) * (k - 1))
    table = agreement(pd.DataFrame(x, columns=list("abc")), patients(40), numeric=True).table
    assert table["value"].iloc[0] == pytest.approx((bms - ems) / (bms + (k - 1) * ems + k * (jms - ems) / n), rel=1e-8)
    assert table["value"].iloc[1] == pytest.approx((bms - ems) / (bms + (k - 1) * ems), rel=1e-8)


def test_the_interval_is_that_of_a_plain_bootstrap_over_patients():
    read, patient = raters(120, 2, 0.5, 1), patients(120, each=3)
    one = agreement(read, patient).table.iloc[0]
    assert (one["images"], one["patients"]) == (120, 40)
    rng = np.random.default_rng(9)
    rows = [np.flatnonzero(patient == name) for name in patient.unique()]
    drawn = []
    for _ in range(400):
        chosen = np.concatenate([rows[k] for k in rng.integers(0, 40, 40)])
        drawn.append(cohen_kappa_score(read["r0"].iloc[chosen], read["r1"].iloc[chosen]))
    low, high = np.percentile(drawn, (2.5, 97.5))
    assert (one["low"], one["high"]) == (pytest.approx(low, abs=0.04), pytest.approx(high, abs=0.04))
    shuffled = np.random.default_rng(0).permutation(120)
    again = agreement(read.iloc[shuffled], patient.iloc[shuffled]).table.iloc[0]
    assert (again["low"], again["high"]) == (one["low"], one["high"])


@pytest.mark.everything  # a wrong interval also differs from the plain bootstrap
def test_the_interval_covers_the_truth():
    """Kappa of a large cohort lies in 95% intervals of small ones about 19 times in 20."""
    truth = agreement(raters(20000, 3, 0.4, 99), patients(20000)).table["value"].iloc[0]
    inside = 0
    for seed in range(60):
        one = agreement(raters(80, 3, 0.4, seed), patients(80)).table.iloc[0]
        inside += one["low"] <= truth <= one["high"]
    assert inside >= 51  # 57 expected; 50 or fewer has a chance of 1%


def test_full_agreement_has_no_interval_and_one_class_no_kappa():
    same = pd.DataFrame({"a": ["x", "y"] * 20, "b": ["x", "y"] * 20})
    one = agreement(same, patients(40))
    assert one.table["value"].iloc[0] == 1
    assert "not computable" in one.sentence(0)
    flat = agreement(pd.DataFrame({"a": ["x"] * 20, "b": ["x"] * 20}), patients(20))
    assert "Cohen's kappa not computable" in repr(flat)


@pytest.fixture
def read_table(table):
    frame = pd.read_csv(table, dtype=str)
    rng = np.random.default_rng(0)
    other = np.where(frame["label"] == "disease", "healthy", "disease")
    for one in range(4):
        frame[f"r{one}"] = np.where(rng.random(16) < 0.15, other, frame["label"])
    frame["image"] = [str(table.parent / path) for path in frame["image"]]
    return frame


def test_the_majority_becomes_the_label_and_ties_are_excluded(read_table):
    read_table.loc[0, ["r0", "r1", "r2", "r3"]] = ["disease", "disease", "healthy", "healthy"]
    read_table.loc[1, ["r0", "r1", "r2", "r3"]] = ["disease", "disease", "", "healthy"]
    read_table.loc[2, ["r0", "r1", "r2", "r3"]] = ["", "", "", ""]
    study = easydl.load(read_table, raters=["r0", "r1", "r2", "r3"])
    assert study.task == "classification"
    said = " ".join(study.notes)
    assert "1 image excluded: rated by nobody" in said
    assert "most of the raters r0, r1, r2, r3" in said
    tied = sum(
        list(row).count("disease") == list(row).count("healthy") > 0
        for row in read_table[["r0", "r1", "r2", "r3"]].to_numpy()
    )
    assert f"{tied} image{'s' * (tied > 1)} excluded: the raters are evenly divided" in said
    assert len(study) == 16 - tied - 1
    for _, row in study.frame.iterrows():
        votes = [row[f"r{k}"] for k in range(4) if row[f"r{k}"]]
        assert votes.count(row["label"]) > len(votes) / 2
    assert "given_label" in study.frame.columns
    assert study.agreement.table["images"].iloc[0] == 14  # ties count for the agreement, blanks do not
    assert "Fleiss" in said
    assert "Cohen&#x27;s kappa" in study._repr_html_()
    assert study.rows(range(5)).agreement is study.agreement


def test_a_given_label_stays_and_raters_are_only_measured(read_table):
    study = easydl.load(read_table, label="label", raters=["r0", "r1"])
    assert study.frame["label"].tolist() == read_table["label"].tolist()
    assert study.agreement.table["statistic"].tolist() == ["Cohen's kappa"]


def test_numbers_are_averaged(read_table):
    read_table["a"] = [f"{k},5" for k in range(16)]
    read_table["b"] = [f"{k + 1},5" if k else "" for k in range(16)]
    study = easydl.load(read_table, raters=["a", "b"], task="regression")
    assert study.targets()[:3, 0].tolist() == [0.5, 2.0, 3.0]
    assert study.agreement.table["statistic"].tolist() == ["ICC(2,1)", "ICC(3,1)"]
    assert study.agreement.table["images"].tolist() == [15, 15]
    assert study.agreement.table["value"].iloc[1] == pytest.approx(1)
    assert study.agreement.table["value"].iloc[0] < 1
    assert study.frame["b"].iloc[0] == ""


def test_raters_do_not_count_as_confounders(read_table):
    found = easydl.audit(easydl.load(read_table, raters=["r0", "r1", "r2"]))
    assert not any("'r0'" in one.sentence for one in found.issues)


def test_raters_who_write_alike_words_differently_are_asked(read_table):
    read_table.loc[0, "r1"] = "Disease"
    with pytest.raises(InputError, match="spaces or case"):
        easydl.load(read_table, raters=["r0", "r1"])
    assert easydl.load(read_table, raters=["r0", "r1"], merge_labels=True).agreement is not None
    with pytest.raises(InputError, match="no column 'r9'"):
        easydl.load(read_table, raters=["r0", "r9"])


def test_a_study_without_raters_has_no_agreement(table):
    assert easydl.load(table).agreement is None
    assert Study(pd.DataFrame()).raters == []
