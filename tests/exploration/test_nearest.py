"""`easydl.nearest` against scikit-learn's neighbours, and the figures of maps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import easydl
from easydl.errors import InputError, ModelError, RunError
from easydl.exploration.neighbours import FeatureSpace
from easydl.tasks import Task


def test_they_are_scikit_learns_of_other_patients(two_scanners, untrained):
    found = easydl.nearest(untrained, two_scanners, two_scanners, k=4, row=7)
    values = easydl.features(untrained, two_scanners).to_numpy(float)
    scaled = (values - values.mean(0)) / (values.std(0) + 1e-9)
    others = np.delete(np.arange(60), 7)
    distance, place = NearestNeighbors(n_neighbors=4, metric="cosine").fit(scaled[others]).kneighbors(scaled[7:8])
    assert list(found.table["row"]) == list(others[place[0]])
    np.testing.assert_allclose(found.table["distance"], distance[0], atol=1e-5)
    scanner = two_scanners.frame["scanner"].to_numpy()
    assert set(scanner[found.table["row"]]) == {scanner[7]}
    alone = NearestNeighbors(n_neighbors=2, metric="cosine").fit(scaled).kneighbors(scaled)[0][:, 1]
    assert found.farther == pytest.approx((alone[others] > distance[0][0] + 1e-5).mean())


def test_images_of_the_same_patient_are_left_out(two_scanners, untrained):
    frame = two_scanners.frame.copy()
    frame.loc[frame.index[:30], "patient"] = "one"
    study = replace(two_scanners, frame=frame)
    found = easydl.nearest(untrained, study, study, k=3, row=0)
    assert found.n == 30 and not (found.table["patient"] == "one").any()
    with pytest.raises(InputError, match="15 images of other patients"):
        easydl.nearest(untrained, study, study.rows(study.frame.index[15:45]), k=16, row=0)
    with pytest.raises(RunError, match="k is 0"):
        easydl.nearest(untrained, study, study, k=0)
    for row in (60, -1):
        with pytest.raises(InputError, match=f"no row {row}"):
            easydl.nearest(untrained, study, study, row=row)


def test_a_file_is_asked_about_and_shown(two_scanners, untrained, monkeypatch):
    path = two_scanners.frame["image"].iloc[0]
    found = easydl.nearest(untrained, path, two_scanners)
    assert path not in set(found.table["image"]) and len(found.table) == 5
    monkeypatch.chdir(Path(path).parent.parent)
    relative = easydl.nearest(untrained, str(Path(path).relative_to(Path.cwd())), two_scanners)
    assert list(relative.table["row"]) == list(found.table["row"])
    frame = two_scanners.frame.assign(patient=["one"] * 30 + list(two_scanners.frame["patient"][30:]))
    assert easydl.nearest(untrained, path, replace(two_scanners, frame=frame)).n == 30
    with pytest.raises(InputError, match="is a str"):
        easydl.nearest(untrained, path, "table.csv")
    assert len(found.show().axes) == 6 and "5 nearest cases" in found.sentence
    assert repr(found).endswith(easydl.RESEARCH_USE) and easydl.RESEARCH_USE in found._repr_html_()


def test_references_of_every_task_are_said(two_scanners, untrained):
    values = np.linspace(10, 40, 60)
    frame = two_scanners.frame.assign(label=values.astype(str))
    study = replace(two_scanners, frame=frame, task=Task.REGRESSION)
    found = easydl.nearest(untrained, study, study, k=3)
    chosen = values[found.table["row"]]
    assert f"{chosen.min():.3g} to {chosen.max():.3g}, mean {chosen.mean():.3g}" in found.sentence
    unknown = replace(two_scanners, patients_known=False)
    assert "from their own nearest image than" in easydl.nearest(untrained, unknown, unknown).sentence


def test_maps_of_a_layer_are_drawn(two_scanners, untrained):
    figure = easydl.feature_maps(untrained, two_scanners, row=1)
    shown = [ax for ax in figure.axes if ax.images]
    assert len(shown) > 17
    maps = np.asarray(shown[-16].images[0].get_array())
    assert maps.shape == (8, 8) or maps.shape[0] > 8
    first = next(layer for layer in untrained.layers if hasattr(layer, "kernel"))
    kernel = np.asarray(first.kernel).mean(axis=-2)[..., 0]
    np.testing.assert_allclose(np.asarray(shown[1].images[0].get_array()), kernel)
    chosen = easydl.feature_maps(untrained, two_scanners, layer=first.name)
    assert any(first.name in ax.get_title(loc="left") for ax in chosen.axes)
    with pytest.raises(InputError, match="no layer"):
        easydl.feature_maps(untrained, two_scanners, layer="convolution")
    with pytest.raises(ModelError, match="no maps"):
        easydl.feature_maps(untrained, two_scanners, layer="features")


def test_maps_of_a_volume_are_of_one_slice():
    model = easydl.classifier("tiny3d", size=16)
    assert easydl.feature_maps(model, np.zeros((16, 16, 16, 1), np.float32)).axes


def test_a_feature_that_does_not_vary_where_is_looked_decides_nothing(two_scanners):
    values = np.random.default_rng(0).normal(size=(60, 3))
    values[:, 1] = 0
    space = FeatureSpace.of(values, two_scanners)
    other = space.directions_of(values[:1] + np.array([[0, 5, 0]]))[0]
    assert other[1] == 0
    np.testing.assert_allclose(other, space.directions[0])


def test_whether_one_may_be_of_the_same_patient_is_said(two_scanners, untrained, tmp_path):
    def said(case, study=two_scanners, **how):
        return easydl.nearest(untrained, case, study, k=2, **how).same_patient

    assert said(two_scanners, row=3) == "None of these is of the same patient: those were left out."
    assert "does not say which images are of one patient" in said(
        two_scanners, replace(two_scanners, patients_known=False)
    )
    elsewhere = tmp_path / "case.png"
    elsewhere.write_bytes(Path(two_scanners.frame["image"].iloc[0]).read_bytes())
    found = easydl.nearest(untrained, elsewhere, two_scanners, k=2)
    assert "does not say whose it is" in found.same_patient and found.sentence.endswith(found.same_patient)
    half = two_scanners.rows(two_scanners.frame.index[:30])
    assert "has the patient number of this case" in said(two_scanners, half, row=40)
