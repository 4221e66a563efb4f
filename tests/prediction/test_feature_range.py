"""What a network sees in an image is told from what it saw in its training: distance, limit, and a trained network."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

import easydl
from easydl.networks import metadata_of
from easydl.prediction.feature_range import FEWEST, feature_range, unlike_features


def features(n, seed, width=6, shift=0.0):
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, width)) @ np.random.default_rng(99).normal(size=(width, width))
    return (mixed + shift).astype(np.float32)


def test_the_distance_is_that_of_scikit_learns_shrunk_covariance():
    training, new = features(100, 0), features(30, 2)
    found = feature_range(training, features(60, 1))
    pca = PCA().fit(training)
    scaler = StandardScaler(with_mean=False).fit(pca.transform(training))
    known, fresh = (scaler.transform(pca.transform(rows)) for rows in (training, new))
    expected = np.sqrt(LedoitWolf().fit(known).mahalanobis(fresh))
    np.testing.assert_allclose(found.distances(new) * found.limit, expected, rtol=2e-3)
    # The limit is the order statistic of split conformal prediction: of 60 scores the 60th at 97%.
    assert found.limit == pytest.approx((found.distances(features(60, 1)) * found.limit).max(), rel=1e-3)


@pytest.mark.parametrize("width", [6, 60])
def test_usual_images_lie_within_the_limit_and_others_do_not(width):
    rates = []
    for seed in range(0, 400, 4):
        found = feature_range(features(100, seed, width), features(80, seed + 1, width))
        rates.append((found.distances(features(50, seed + 2, width)) > 1).mean())
        assert (found.distances(features(20, seed + 3, width, shift=40.0)) > 1).all()
    assert np.mean(rates) < 0.03 + 3 * np.std(rates) / 10


def test_too_few_images_have_no_range_and_another_network_says_nothing():
    assert feature_range(features(FEWEST - 1, 0), features(60, 1)) is None
    assert feature_range(features(100, 0), features(32, 1)) is None
    assert feature_range(np.zeros((100, 6), np.float32), features(60, 1)) is None
    kept = {"features": feature_range(features(100, 0), features(60, 1)).model_dump()}
    (near, far) = unlike_features(kept, np.stack([features(100, 0).mean(0), features(1, 3, shift=40.0)[0]]))
    assert (
        near == []
        and "What the network sees in it is unlike the training images" in far[0]
        and "(n = 60 images)" in far[0]
    )
    assert unlike_features(kept, features(2, 0, width=8)) == [[], []] == unlike_features({}, features(2, 0))


@pytest.mark.everything
def test_a_network_of_the_pelvis_tells_chests_and_noise_by_its_features(tmp_path):
    options = {"images_per_patient": 1, "size": 48}
    study = easydl.load(easydl.simulate(tmp_path / "pelvis", kind="pelvis", patients=200, seed=1, **options))
    train, val, test = study.split(seed=0)
    model = easydl.classifier("tiny", train, size=48)
    easydl.fit(model, train, val, epochs=6, augment="none", seed=0)
    model = easydl.load_model(easydl.save_model(model, tmp_path / "m.keras"))
    assert metadata_of(model).training["features"]["validation"] == len(val) == 40

    def told(scans):
        found = [easydl.predict(model, scan) for scan in scans]
        return np.mean([any("What the network sees" in text for text in one.unlike) for one in found])

    usual = [test.scan(row) for row in range(len(test))]
    assert told(usual) <= 0.15
    table = easydl.predict(model, test)
    alone = [any("What the network sees" in text for text in easydl.predict(model, scan).unlike) for scan in usual]
    column = table.frame["unlike"] if "unlike" in table.frame.columns else [""] * len(test)
    assert ["What the network sees" in text for text in column] == alone
    rng = np.random.default_rng(0)
    noise = [replace(one, pixels=rng.permutation(one.pixels.ravel()).reshape(one.pixels.shape)) for one in usual[:20]]
    chests = easydl.load(easydl.simulate(tmp_path / "chest", patients=20, seed=2, **options))
    chests = [replace(chests.scan(row), units=usual[0].units) for row in range(20)]  # as if exported without its units
    rates = {"noise": told(noise), "another modality and body part": told(chests)}
    assert min(rates.values()) >= 0.9, rates
