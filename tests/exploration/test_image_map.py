"""`easydl.image_map`: islands are where they were planted, and named by the column that made them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import hypergeom
from statsmodels.stats.proportion import proportion_confint

import easydl
from easydl.errors import InputError, RunError
from easydl.exploration.positions import islands_of, reduced
from easydl.studies import Study
from easydl.traps.islands import named


@pytest.fixture(scope="module")
def drawn(two_scanners, untrained):
    return easydl.image_map(untrained, two_scanners)


def test_islands_are_named_by_the_scanner_that_made_them(two_scanners, drawn):
    assert [(island.column, island.images, island.patients) for island in drawn.islands] == [("scanner", 30, 30)] * 2
    assert {island.value for island in drawn.islands} == {"A", "B"}
    first = drawn.islands[0]
    low, high = proportion_confint(30, 30, method="wilson")
    assert (first.inside, first.low, first.high, first.outside) == pytest.approx((1, low, high, 0))
    assert f"100% have scanner '{first.value}' (95% CI 89%-100%), 0% of the others" in repr(drawn)
    scanner = two_scanners.frame["scanner"].to_numpy()
    assert pd.Series(scanner).groupby(drawn.table["island"].to_numpy()).nunique().max() == 1


def test_the_p_is_the_hypergeometric_one_times_what_was_looked_at(two_scanners):
    groups = np.where(two_scanners.frame["scanner"] == "B", 1, 0)
    groups[:4] = 1 - groups[:4]
    (island,) = named(groups, two_scanners)
    single = hypergeom.sf(27, 60, 30, 30)
    assert island.p == pytest.approx(single * round(island.p / single)) and round(island.p / single) >= 4


def test_a_group_drawn_by_chance_has_no_name(two_scanners):
    rng = np.random.default_rng(0)
    found = [named(rng.permutation(np.repeat([0, 1], 30)), two_scanners)[0] for _ in range(40)]
    assert sum(bool(island.column) for island in found) <= 2
    assert "no column says what they share" in found[0].sentence or found[0].column


def test_where_patients_are_unknown_images_are_counted(two_scanners):
    from dataclasses import replace

    unknown = replace(two_scanners, patients_known=False)
    (island,) = named(np.where(unknown.frame["scanner"] == "B", 1, 0), unknown)
    assert island.unit_of_n == "images" and "patients" not in island.sentence


def test_no_islands_in_one_cloud(two_scanners):
    cloud = np.random.default_rng(0).normal(size=(60, 2))
    assert islands_of(cloud).max() == 0 or (islands_of(cloud) == 0).any()
    assert islands_of(cloud[:9]).tolist() == [0] * 9


def test_components_are_those_of_standardised_features():
    values = np.random.default_rng(0).normal(size=(40, 3)) * [1, 100, 0]
    found = reduced(values)
    assert found.shape == (40, 2)
    scaled = (values[:, :2] - values[:, :2].mean(0)) / values[:, :2].std(0)
    assert (found**2).sum() == pytest.approx((scaled**2).sum())


def test_it_colours_by_column_error_and_island(drawn):
    for colour in ("scanner", "label", "error", "island"):
        texts = [text.get_text() for text in drawn.show(colour).axes[0].get_legend().get_texts()]
        counts = drawn.table[colour].astype(str).value_counts()
        assert sorted(texts) == sorted(f"{name} ({count})" for name, count in counts.items())
    assert drawn.show().axes[0].get_legend().get_title().get_text() == "label"
    with pytest.raises(InputError, match="scaner"):
        drawn.show("scaner")
    assert drawn._repr_html_().count("<img") == 1 and easydl.RESEARCH_USE in drawn._repr_html_()


def test_a_column_called_as_a_coordinate_does_not_become_one(two_scanners, untrained, drawn):
    study = replace(two_scanners, frame=two_scanners.frame.assign(x=two_scanners.frame["scanner"], error="none"))
    found = easydl.image_map(untrained, study)
    np.testing.assert_allclose(found.table["x"], drawn.table["x"])
    assert list(found.table["x (column)"]) == list(study.frame["x"]) and "x (column)" in found.colours


def test_errors_are_those_of_predict(two_scanners, untrained, drawn):
    answers = easydl.predict(untrained, two_scanners).frame
    assert ((drawn.table["error"] == "wrong") == (answers["prediction"] != answers["label"])).all()


def test_tsne_keeps_the_islands_apart(two_scanners, untrained):
    drawn = easydl.image_map(untrained, two_scanners, method="tsne")
    assert {island.column for island in drawn.islands} == {"scanner"} and drawn.method == "tsne"
    flat = easydl.image_map(untrained, two_scanners)
    assert not np.allclose(drawn.table[["x", "y"]], flat.table[["x", "y"]])


def test_what_cannot_be_drawn_is_said(two_scanners, untrained):
    with pytest.raises(RunError, match="umap"):
        easydl.image_map(untrained, two_scanners, method="umap")
    with pytest.raises(InputError, match="9 images"):
        easydl.image_map(untrained, two_scanners.rows(two_scanners.frame.index[:9]))


def of_two_views(rng, patients=400):
    """A table of patients with 1, 2 or 20 images, each of one of two views, drawn by chance."""
    patient = np.repeat(np.arange(patients), rng.choice([1, 1, 1, 2, 20], patients))
    view = np.where(rng.random(len(patient)) < 0.5, "ap", "pa")
    names = [f"{k}.png" for k in range(len(patient))]
    return pd.DataFrame({"image": names, "patient": patient.astype(str), "view": view, "label": "a"})


def test_a_group_of_noise_is_not_named_by_a_column_that_differs_within_patients():
    """By the hypergeometric distribution alone 23 of 60 were: patients of many images have both views."""
    frames, groups = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        frames.append(of_two_views(rng))
        groups.append((rng.random(len(frames[-1])) < 0.3).astype(int))
    chance = [hypergeometric(*one) for one in zip(frames, groups, strict=True)]
    assert min(chance) < 0.0005, "the distribution alone would name one"
    assert not any(named(group, Study(frame))[0].column for frame, group in zip(frames, groups, strict=True))


def hypergeometric(frame, group):
    having = {view: frame.loc[frame["view"] == view, "patient"].nunique() for view in ("ap", "pa")}
    inside = frame[group == 1]
    both = {view: inside.loc[inside["view"] == view, "patient"].nunique() for view in having}
    n, own = frame["patient"].nunique(), inside["patient"].nunique()
    return min(hypergeom.sf(both[view] - 1, n, having[view], own) for view in having if both[view] >= 0.6 * own)


def test_a_column_that_differs_within_patients_names_the_group_that_it_made():
    frame = of_two_views(np.random.default_rng(0), 100)
    (island,) = named((frame["view"] == "ap").to_numpy().astype(int), Study(frame))
    assert (island.column, island.value, island.inside) == ("view", "ap", 1)
