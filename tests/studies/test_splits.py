import numpy as np
import pandas as pd
import pytest
from made import png_study

import easydl
from easydl.errors import InputError, LeakageError
from easydl.images.patients import patient_key
from easydl.studies import splits
from easydl.studies.cohort import Cohort, cohort, shared_patients
from easydl.studies.schema import LabelSchema
from easydl.studies.study import Study
from easydl.tasks import Task

PARTS = ("train", "val", "test")


def random_study(seed):
    """A study without files: random sizes, patients, classes, sites, dates; a tenth of the images are copies."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(12, 160))
    people = rng.integers(0, max(9, n // int(rng.integers(1, 5))), n)
    names = [f"p{k}" if rng.random() < 0.9 else f"P-{k:03d} " for k in people]
    copies = [f"{int(rng.integers(n)) if rng.random() < 0.1 else k}" for k in range(n)]
    task = ("classification", "classification", "classification", "multilabel", "regression", "segmentation")[seed % 6]
    kinds = ["a", "b", "c"][: int(rng.integers(2, 4))]
    labels = {
        "multilabel": ["; ".join(kind for kind in kinds if rng.random() < 0.5) for _ in range(n)],
        "regression": [repr(float(value)) for value in rng.normal(size=n)],
    }.get(task, rng.choice(kinds, n))
    frame = pd.DataFrame(
        {
            "image": [f"{k}" for k in range(n)], "label": labels, "patient": names,
            "site": [f"site {k % 3}" if rng.random() < 0.9 else "site 0" for k in people],
            "date": [f"20{int(rng.integers(10, 24))}-{int(rng.integers(1, 13)):02d}-01" for _ in range(n)],
        }
    )  # fmt: skip
    return without_files(frame, copies, task, kinds)


class Fileless(Study):
    """A study whose images are only what the column ``content`` says."""

    near_copies = ()

    def digests(self):
        return self.frame["content"].tolist()


def without_files(frame, copies=None, task="classification", kinds=("a", "b")):
    return Fileless(
        frame.assign(content=frame["image"] if copies is None else copies), task=task, class_names=list(kinds)
    )


def of_labels(labels, task="classification", kinds=("a", "b")):
    """One image of every patient, with these labels."""
    numbers = [str(k) for k in range(len(labels))]
    frame = pd.DataFrame({"image": numbers, "label": labels, "patient": [f"p{k}" for k in numbers]}, dtype=str)
    return without_files(frame, task=task, kinds=kinds)


def cohort_of(study) -> Cohort:
    return cohort(study.frame, study.schema, study.digests(), patients_known=True)


def assert_apart(parts):
    people = [set(part.frame["patient"].map(patient_key)) for part in parts]
    images = [set(part.digests()) for part in parts]
    for one in (people, images):
        assert not (one[0] & one[1] or one[0] & one[2] or one[1] & one[2])


def by_image(parts):
    return [frozenset(part.frame["image"]) for part in parts]


def attempt(work, refused):
    try:
        return work()
    except InputError as problem:
        refused.append(problem.found)
        return None


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=pytest.mark.everything if seed >= 40 else ()) for seed in range(0, 200, 10)]
)
def test_200_random_tables_never_share_a_patient(seed):
    refused, done = [], 0
    for one in range(seed, seed + 10):
        study = random_study(one)
        other = study.rows(study.frame.sample(frac=1, random_state=one).index)
        for work in (
            lambda s: [s.split(seed=one)],  # noqa: B023
            lambda s: s.folds(int(3 + one % 3), seed=one),  # noqa: B023
            lambda s: s.folds(site="site", seed=one),  # noqa: B023
            lambda s: [s.split(time="date")],
        ):
            found, again = attempt(lambda: work(study), refused), attempt(lambda: work(other), refused)  # noqa: B023
            assert (found is None) == (again is None)
            if found is None:
                continue
            done += 1
            for parts, same in zip(found, again, strict=True):
                assert_apart(parts)
                assert by_image(parts) == by_image(same), "the order of the rows changed the split"
                if study.task == "classification" and not any("site" in note for note in parts[0].notes):
                    assert all(set(part.frame["label"]) == set(study.frame["label"]) for part in parts)
    known = ("too few patients", "without a class")
    assert all(any(words in one for words in known) for one in refused), refused
    assert done > 15


def test_every_image_is_tested_once_in_k_folds(tmp_path):
    study = easydl.load(png_study(tmp_path / "s", per_class=11, images_per_patient=2))
    folds = study.folds(5, seed=3)
    for place in (1, 2):  # validation and test
        seen = [image for fold in folds for image in fold[place].frame["image"]]
        assert sorted(seen) == sorted(study.frame["image"])
    assert [sum(map(len, fold)) for fold in folds] == [44] * 5
    sizes = [fold[2].n_patients for fold in folds]
    assert max(sizes) - min(sizes) <= 1
    assert "split" not in study.frame.columns
    assert any("fold 2 of 5" in note and "patients" in note for note in folds[1][0].notes)
    assert not any("fold" in note for note in study.notes)
    assert by_image(study.folds(5, seed=3)[0]) == by_image(folds[0]) != by_image(study.folds(5, seed=4)[0])


def test_k_folds_that_cannot_be_are_refused(table):
    study = easydl.load(table)
    with pytest.raises(InputError, match="k=2"):
        study.folds(2)
    with pytest.raises(InputError, match="'disease': 8"):
        study.folds(9)


def test_a_site_is_left_out_with_all_its_patients():
    people = [f"p{k // 2}" for k in range(60)]
    sites = ["north" if k // 2 < 10 else "south" if k // 2 < 20 else "west" for k in range(60)]
    sites[1] = "south"  # a patient who was at two sites
    labels = [("a", "b")[(k // 2) % 2] for k in range(60)]
    frame = pd.DataFrame({"image": map(str, range(60)), "patient": people, "site": sites, "label": labels}, dtype=str)
    folds = without_files(frame).folds(site="site")
    assert [set(fold[2].frame["site"]) for fold in folds] == [{"north"}, {"south"}, {"west"}]
    for name, fold in zip(("north", "south", "west"), folds, strict=True):
        assert_apart(fold)
        assert name not in set(fold[0].frame["site"]) | set(fold[1].frame["site"])
        assert set(fold[0].frame["label"]) == set(fold[1].frame["label"]) == {"a", "b"}
    assert [sum(map(len, fold)) for fold in folds] == [59, 59, 60]
    assert any("1 image of its patients at other sites in no part" in note for note in folds[0][0].notes)


def test_sites_that_cannot_be_left_out_are_refused():
    frame = pd.DataFrame(
        {"image": map(str, range(20)), "patient": map(str, range(20)), "label": ["a", "b"] * 10}, dtype=str
    )
    with pytest.raises(InputError, match="one site"):
        without_files(frame.assign(site="x")).folds(site="site")
    with pytest.raises(InputError, match="row 3: the site is empty"):
        without_files(frame.assign(site=["x", "", *["y"] * 18])).folds(site="site")
    with pytest.raises(InputError, match="no column 'hospital'"):
        without_files(frame).folds(site="hospital")
    with pytest.raises(InputError, match="Without the site 'x': there are too few"):
        without_files(frame.assign(site=["x"] * 18 + ["y"] * 2)).folds(site="site")
    one_class = frame.assign(label=["a"] * 6 + ["a", "b"] * 7, site=["x"] * 6 + ["y"] * 14)
    assert any("no image of b" in note for note in without_files(one_class).folds(site="site")[0][0].notes)


@pytest.mark.parametrize(
    "write",
    [
        lambda day: f"{day:%Y-%m-%d}", lambda day: f"{day:%Y%m%d}", lambda day: f"{day:%d.%m.%Y}",
        lambda day: f"{day:%B %d, %Y}", lambda day: f"{day:%d/%m/%Y}", lambda day: str(day.toordinal()),
    ],
)  # fmt: skip
def test_training_is_earlier_than_testing_however_dates_are_written(write):
    days = pd.date_range("2019-12-20", periods=60, freq="17D")
    order = np.random.default_rng(0).permutation(60)
    frame = pd.DataFrame(
        {
            "image": map(str, range(60)), "patient": [f"p{k}" for k in order], "label": [("a", "b")[k % 2] for k in order],
            "day": [write(days[k]) for k in order], "true": order,
        }
    )  # fmt: skip
    study = without_files(frame)
    train, val, test = study.split(time="day")
    assert train.frame["true"].max() < val.frame["true"].min()
    assert val.frame["true"].max() < test.frame["true"].min()
    assert (len(train), len(val), len(test)) == (36, 12, 12)
    assert any("Split by time" in note and write(days[48]) in note for note in train.notes)
    assert train.parent.seed is None


def test_a_patient_with_several_dates_goes_by_the_last():
    frame = pd.DataFrame(
        {
            "image": map(str, range(42)), "patient": ["old"] + [f"p{k}" for k in range(40)] + ["old"],
            "label": ["a", "b"] * 21, "year": [str(1980 + k) for k in range(42)],
        }
    )  # fmt: skip
    test = without_files(frame).split(time="year")[2]
    assert set(test.frame.loc[test.frame["patient"] == "old", "year"]) == {"1980", "2021"}


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["03/04/2020", "05/06/2020", "07/08/2020"] * 10, "day or the month first"),
        (["2020-01-01", "", "2021-01-01"] * 10, "10 of 30 rows"),
        (["2020-01-01", "spring", "2021-01-01"] * 10, "row 3: 'spring'"),
        (["2020", "2021"] * 15, "2 different times"),
        (["2020"] * 27 + ["2021", "2022", "2023"], "too few patients of a class"),
    ],
)
def test_dates_that_cannot_be_used_are_refused(cells, words):
    frame = pd.DataFrame(
        {"image": map(str, range(30)), "patient": map(str, range(30)), "label": ["a", "b"] * 15, "t": cells}
    )
    with pytest.raises(InputError, match=words):
        without_files(frame.astype(str)).split(time="t")


def test_another_seed_splits_anew_and_no_seed_keeps_what_is(table):
    parts = easydl.load(table).split(seed=7)
    one, split = by_image(parts), parts[0].parent
    assert by_image(split.split()) == one
    assert by_image(split.split(seed=8)) != one
    again = split.split(seed=8)[0].parent.split(seed=7)
    assert by_image(again) == one
    assert sum("Split by patient" in note for note in again[0].notes) == 1


def test_splitting_changes_no_study(table):
    study = easydl.load(table)
    before = (study.frame.copy(), list(study.notes), list(study.overrides), study.seed, study.classes, repr(study))
    parts = study.split(seed=7)
    study.folds(3)
    study.rows([0, 1]).notes.append("a note of two rows")
    parts[0].overrides.append("a reason of one part")
    parts[0].parent.notes.append("a note of the split")
    pd.testing.assert_frame_equal(study.frame, before[0])
    assert (study.notes, study.overrides, study.seed, study.classes, repr(study)) == before[1:]
    assert not any("a note of" in note for part in parts for note in part.notes)
    assert parts[1].overrides == []
    assert {part.name for part in parts} == set(parts[0].parent.frame["split"]) == set(PARTS)
    assert list(parts[0].parent.frame["image"]) == list(study.frame["image"])


def test_a_part_can_be_split_again(table):
    train = easydl.load(table).split((0.6, 0.2, 0.2), seed=7)[0]
    frame = pd.concat(
        [train.frame, train.frame.assign(image=train.frame["image"], patient=train.frame["patient"] + "b")]
    )
    again = without_files(
        frame.reset_index(drop=True), [str(k) for k in range(len(frame))], kinds=train.classes
    ).split()
    assert all(len(part) for part in again)


def test_sizes_are_said_in_patients(tmp_path):
    study = easydl.load(png_study(tmp_path / "s", per_class=10, images_per_patient=2))
    notes = study.split(seed=0)[0].notes
    assert any(
        "12 patients (24 images) for training, 4 patients (8 images) for validation, 4 patients (8 images) for test"
        in note
        for note in notes
    )


def test_the_split_is_this_one_on_every_machine():
    frame = pd.DataFrame(
        {"image": map(str, range(20)), "patient": [f"p{k}" for k in range(20)], "label": ["a", "b"] * 10}
    )
    parts = without_files(frame.astype(str)).split(seed=7)
    assert [sorted(part.frame["patient"], key=lambda name: int(name[1:])) for part in parts[1:]] == EXPECTED


EXPECTED = [["p2", "p6", "p13", "p15"], ["p3", "p4", "p11", "p18"]]


def test_identifiers_written_in_two_ways_are_one_patient():
    for one, other in (
        ("P-01", "p01 "),
        ("001", "1"),
        ("Ａ１", "a1"),
        ("x_7", "X 07"),
        ("P0\u200b1", "P01"),
        ("1.0", "01"),
        ("1,0", "1"),
    ):
        assert patient_key(one) == patient_key(other)
    for one, other in (
        ("1-11", "11-1"),
        ("p1", "p10"),
        ("a", "b"),
        ("--", "-"),
        ("1.2", "12"),
        ("1.10", "1.1"),
        ("1.0.0", "1"),
    ):
        assert patient_key(one) != patient_key(other)


def test_a_given_split_that_tears_spellings_apart_is_refused(table):
    frame = pd.read_csv(table, dtype=str)
    frame.loc[:1, "patient"] = ["P-01", "p01"]
    frame["split"] = ["train", "test", "val", "train"] * 4
    frame.to_csv(table, index=False)
    with pytest.raises(LeakageError, match="1 of 15 patients"):
        easydl.load(table, split="split")


def test_a_number_of_zeros_only_stays_a_number():
    assert patient_key("0") == patient_key("000")
    assert patient_key("P-0") == patient_key("p00") != patient_key("P")


def test_a_split_that_leaks_is_refused_whoever_made_it():
    frame = pd.DataFrame({"image": list("123"), "patient": ["p-1", "P1", "p2"], "label": list("aba")}, dtype=str)
    rows = cohort_of(without_files(frame))
    leaking, whole = np.array(["train", "test", "train"]), np.array(["train", "train", "test"])
    with pytest.raises(LeakageError) as caught:
        splits._assignment(rows, leaking, "By hand", per_group=False)
    assert "2 of 3 patients" in caught.value.found
    assert list(splits._assignment(rows, whole, "By hand", per_group=False).part) == list(whole)
    assert shared_patients(frame.assign(split=leaking), "split") == ["P1", "p-1"]
    assert shared_patients(frame.assign(split=whole), "split") == []


def test_the_sizes_decide_where_there_are_more_patients_than_the_minimum():
    parts = of_labels(["a", "b"] * 100).split(sizes=(0.5, 0.3, 0.2), seed=1)
    assert [len(part) for part in parts] == [100, 60, 40]
    for part in parts:
        assert part.frame["label"].value_counts().nunique() == 1


def test_a_regression_needs_one_patient_in_every_part():
    assert [len(part) for part in of_labels(["1.5", "2.5", "3.5"], "regression").split(seed=0)] == [1, 1, 1]
    with pytest.raises(InputError, match="too few patients"):
        of_labels(["1.5", "2.5"], "regression").split(seed=0)


def test_every_label_of_an_image_counts_alone():
    rows = cohort_of(of_labels(["a; b", "a", "b", ""], "multilabel"))
    assert list(rows.classes) == ["a", "b"]
    assert rows.has.tolist() == [[True, True], [True, False], [False, True], [False, False]]


def test_a_rare_combination_of_labels_is_not_a_class():
    study = of_labels(["a"] * 10 + ["b"] * 10 + ["a; b"] + [""] * 10, "multilabel")
    assert sum(len(part) for part in study.split(seed=0)) == 31


def test_five_rare_classes_are_named_and_the_others_counted():
    with pytest.raises(InputError) as caught:
        splits.refuse_few({f"c{k}": 1 for k in range(7)}, 6, 3)
    assert "'c4': 1, and 2 more)" in caught.value.found
    assert "c5" not in str(caught.value)


def test_a_draw_without_a_class_in_a_part_is_repeated_with_the_next_key():
    rows = cohort_of(of_labels(["a", "b"] * 3))
    bad = np.array(["train", "train", "val", "val", "test", "train"])
    good = np.array(["train", "train", "val", "val", "test", "test"])
    keys = []

    def at_the_third(key):
        keys.append(key)
        return good if len(keys) == 3 else bad

    assert splits._drawn(rows, PARTS, at_the_third, "7") is good
    assert keys == ["7", "7|again 1", "7|again 2"]
    keys.clear()

    def never(key):
        keys.append(key)
        return bad

    with pytest.raises(InputError, match="no image of 'b' in test"):
        splits._drawn(rows, PARTS, never, "7")
    assert len(keys) == splits.DRAWS


def test_five_classes_missing_in_a_part_are_named():
    names = [f"c{k}" for k in range(7)]
    rows = cohort_of(of_labels(names, kinds=names))
    with pytest.raises(InputError) as caught:
        splits._drawn(rows, ("train", "test"), lambda key: np.full(7, "train"), "0")
    assert "'c4' in test" in caught.value.found
    assert "'c5'" not in str(caught.value)


def test_every_part_needs_the_classes_of_the_first_head():
    frame = pd.DataFrame({"side": list("lrl"), "view": list("xyy"), "patient": list("123")})
    schema = LabelSchema(Task.MULTITASK, heads={"side": ["l", "r"], "view": ["x", "y"]})
    rows = cohort(frame, schema, ["1", "2", "3"], patients_known=True)
    assert list(rows.classes) == ["l", "r"]
    with pytest.raises(InputError) as caught:
        splits._drawn(rows, ("train", "test"), lambda key: np.array(["train", "train", "test"]), "0")
    assert caught.value.found.endswith("no image of 'r' in test.")


@pytest.mark.everything
@pytest.mark.real
def test_covid_by_time_and_by_view(real, tmp_path):
    frame = pd.read_csv(real / "covid_cxr_metadata/metadata.csv", dtype=str, keep_default_na=False)
    frame = frame.assign(image=[str(real / "covid_cxr_metadata/images" / name) for name in frame["filename"]])
    study = easydl.load(frame[frame["label"] != "No Finding"], image="image", patient="patientid")
    for fold in study.folds(site="view"):
        assert_apart(fold)
    with pytest.raises(InputError, match="rows cannot be used"):  # some dates are years, some are missing
        study.split(time="date")


def test_a_ready_made_split_with_other_words_is_refused():
    frame = pd.DataFrame(
        {
            "image": ["a", "b", "c"],
            "label": ["x", "y", "x"],
            "patient": ["1", "2", "3"],
            "part": ["train", "val", "later"],
        }
    )
    with pytest.raises(InputError) as refused:
        without_files(frame, kinds=("x", "y")).split(column="part")
    assert "'later'" in refused.value.found


def test_a_fifth_of_the_other_sites_patients_validates():
    frame = pd.DataFrame(
        {
            "image": [f"{n}.png" for n in range(60)],
            "label": ["x", "y"] * 30,
            "patient": [str(n) for n in range(60)],
            "site": ["a"] * 10 + ["b"] * 50,
        }
    )
    parts = without_files(frame, kinds=("x", "y")).folds(site="site")[0]
    assert [part.n_patients for part in parts] == [40, 10, 10]
