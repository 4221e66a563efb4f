"""What lies between the parts: slices of one scan, labels that can be learned though they are drawn at random, drift."""

import numpy as np
import pandas as pd
import pytest

from easydl.studies import Study
from easydl.traps.fields import fields
from easydl.traps.parts import canary, drift, slices

PATIENTS, SLICES = 40, 4


def cohort(seed, *, by_patient, known=True, per_patient=SLICES):
    """Patients with a look of their own, several slices each; the split keeps them together, or not."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(PATIENTS), per_patient)
    looks = rng.normal(size=(PATIENTS, 30))[who] + 0.3 * rng.normal(size=(len(who), 30))
    test = np.isin(who, rng.permutation(PATIENTS)[: PATIENTS // 3]) if by_patient else rng.random(len(who)) < 1 / 3
    frame = pd.DataFrame(
        {
            "image": [f"/d/case{one:03d}_{number}.png" for number, one in enumerate(who)],
            "label": np.where(rng.integers(0, 2, PATIENTS), "ill", "well")[who],
            "patient": [f"p{one}" if known else f"image {row}" for row, one in enumerate(who)],
            "split": np.where(test, "test", "train"),
        }
    )
    return Study(frame, patients_known=known), looks


def one(issues):
    (issue,) = issues
    return issue


@pytest.mark.parametrize("known", [True, False])
def test_slices_in_two_parts_let_random_labels_be_learned(known):
    issue = one(canary(*cohort(0, by_patient=False, known=known)))
    assert issue.id == "A10" and issue.severity == ("BLOCK" if known else "WARN")
    assert issue.low > 0.8 and issue.p < 0.001 and issue.n == PATIENTS
    assert one(canary(*cohort(0, by_patient=True, known=known))).severity == "OK"


def test_the_canary_is_silent_in_sound_splits():
    found = [one(canary(*cohort(seed, by_patient=True, per_patient=2))).severity for seed in range(60)]
    assert found.count("OK") >= 59


def test_the_canary_says_what_it_takes():
    study, looks = cohort(0, by_patient=True)
    chosen = study.frame["patient"].isin([f"p{k}" for k in range(12)]).to_numpy()
    issue = one(canary(study.rows(study.frame.index[chosen]), looks[chosen]))
    assert issue.severity == "UNTESTED" and "takes 20 patients" in issue.sentence and issue.n == 12


def test_slices_of_one_series_in_two_parts_block():
    study, _ = cohort(0, by_patient=False)
    study = Study(study.frame.assign(series=study.frame["patient"], patient=study.frame["image"]))
    issue = one(slices(study))
    assert issue.severity == "BLOCK" and "series have images in more than one part" in issue.sentence
    whole = study.frame.assign(split=np.where(study.frame["series"].isin(["p1", "p2"]), "test", "train"))
    assert one(slices(Study(whole))).severity == "OK"


def test_frames_of_one_file_in_two_parts_block():
    frame = pd.DataFrame(
        {"image": [f"/d/{k // 2}.dcm#{k % 2}" for k in range(8)], "label": "a", "patient": map(str, range(8))}
    )
    assert one(slices(Study(frame.assign(split=["train", "test"] * 4)))).severity == "BLOCK"
    assert one(slices(Study(frame.assign(split=["train"] * 4 + ["test"] * 4)))).severity == "OK"


def test_names_with_a_number_at_the_end_are_a_hint_only_where_patients_may_be_wrong():
    study, _ = cohort(0, by_patient=False, known=False)
    assert one(slices(study)).severity == "WARN"
    known, _ = cohort(0, by_patient=False)  # their patients are known: A1 speaks of them
    assert one(slices(known)).severity == "OK"
    # The same name in two folders is not one scan.
    frame = pd.DataFrame(
        {"image": [f"/d/{k}/007_{k}.png" for k in range(8)], "label": "a", "patient": map(str, range(8))}
    )
    assert one(slices(Study(frame.assign(split=["train", "test"] * 4)))).severity == "OK"


def parts(seed, shift):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"image": [f"/d/{k}.png" for k in range(120)], "label": "a", "patient": [f"p{k}" for k in range(120)]}
    )
    test = rng.random(120) < 0.4
    frame = frame.assign(
        split=np.where(test, "test", "train"), scanner=np.where(rng.random(120) < 0.5 + shift * test, "A", "B")
    )
    return Study(frame), rng.normal(size=(120, 20)) + 2 * shift * test[:, None]


def drift_of(seed, shift):
    study, looks = parts(seed, shift)
    return drift(study, looks, list(fields(study)))


def test_parts_that_differ_are_told_apart_and_others_are_not():
    issues = drift_of(0, shift=0.5)
    assert [(issue.id, issue.severity) for issue in issues] == [("A14", "NOTE")] * 2
    assert {"images" in issue.sentence for issue in issues} == {True, False}
    assert all(issue.p < 0.01 and issue.low > 0.5 for issue in issues)
    assert sum(issue.severity == "NOTE" for seed in range(12) for issue in drift_of(seed, shift=0)) <= 1
