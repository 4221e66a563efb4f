"""Which images to label next: against entropies by hand, planted copies, patients, images unlike the training, and the command."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_tasks import discs
from PIL import Image
from scipy.stats import entropy
from typer.testing import CliRunner

import easydl
from easydl.cli import app
from easydl.errors import InputError
from easydl.prediction.most_useful import kept_features
from easydl.prediction.results import Predictions


def pool(shares, features, *, classes=("no", "yes"), task="classification", **columns):
    """Predictions as a model might make them: shares ``(rows, classes)``, and what the network sees."""
    count = len(shares)
    facts = {"image": [f"{k}.png" for k in range(count)], "patient": [f"P{k}" for k in range(count)]}
    frame = pd.DataFrame(facts | {f"p({name})": np.asarray(shares, float)[:, k] for k, name in enumerate(classes)})
    frame = frame.assign(**columns)
    return Predictions(frame, classes, task=task, features=pd.DataFrame(np.asarray(features, float), index=frame.index))


def doubtful(yes):
    return np.column_stack([1 - np.asarray(yes), yes])


@pytest.mark.quick
@pytest.mark.parametrize(
    ("task", "shares", "expected"),
    [
        ("classification", [[0.2, 0.3, 0.5]], entropy([0.2, 0.3, 0.5], base=3)),
        ("ordinal", [[0.1, 0.8, 0.1]], entropy([0.1, 0.8, 0.1], base=3)),
        ("multilabel", [[0.5, 0.1, 0.9]], np.mean([entropy([p, 1 - p], base=2) for p in (0.5, 0.1, 0.9)])),
    ],
)
def test_the_score_is_the_entropy_as_a_fraction_of_the_largest(task, shares, expected):
    found = pool(shares, [[0.0]], classes=("a", "b", "c"), task=task).most_useful(1)
    assert list(found.columns) == ["image", "patient", "score", "reason"]
    assert found["score"].iloc[0] == pytest.approx(expected, abs=6e-4)
    assert ("c 0.50, b 0.30" in found["reason"].iloc[0]) == (task == "classification")


@pytest.mark.quick
def test_a_spread_counts_half_and_is_said():
    plain, spread = pool(doubtful([0.5]), [[0.0]]), pool(doubtful([0.5]), [[0.0]], spread=[0.1])
    assert plain.most_useful(1)["score"].iloc[0] == 1
    found = spread.most_useful(1).iloc[0]
    assert found["score"] == pytest.approx((1 + 0.1 / 0.5) / 2) and "answers differ by 0.10 SD" in found["reason"]


@pytest.mark.quick
def test_of_near_copies_one_is_chosen_and_stands_for_them():
    rng = np.random.default_rng(0)
    # 12 copies of the most doubtful image, then three other kinds, of which the model is surer.
    yes = np.concatenate([[0.5], np.full(11, 0.49), [0.2, 0.1, 0.15, 0.16]])
    places = np.concatenate([np.zeros(12), [10, 30, 20, 20.5]])
    features = np.column_stack([places, rng.normal(0, 0.01, len(places))])
    found = pool(doubtful(yes), features).most_useful(4)
    # By hand: the surest doubt first (0), then the farthest (30), then the farthest from both (15 lies between: 20 or 10).
    assert list(found.index[:2]) == [0, 13] and set(found.index[2:]) in ({12, 14}, {12, 15})
    stands = dict(zip(found.index, found["reason"], strict=True))
    assert "It stands for 12 images of the pool." in stands[0]
    assert "Nothing else in the pool is like it." in stands[12] and "Nothing else in the pool" in stands[13]
    assert "It stands for 2 images" in stands[next(iter({14, 15} & set(found.index)))]
    by_doubt_alone = np.argsort(-entropy(doubtful(yes), axis=1))[:4]
    assert all(row < 12 for row in by_doubt_alone)


@pytest.mark.quick
def test_each_is_the_farthest_from_those_before_it():
    rng = np.random.default_rng(1)
    yes, features = rng.uniform(0.05, 0.95, 60), rng.normal(0, 1, (60, 5))
    found = list(pool(doubtful(yes), features).most_useful(12).index)
    assert found[0] == int(np.argmin(np.abs(yes - 0.5)))
    for place in range(1, 12):
        far = np.array(
            [min(np.sum((features[row] - features[one]) ** 2) for one in found[:place]) for row in range(60)]
        )
        assert found[place] == int(np.argmax(far))
    copies = pool(doubtful(np.full(6, 0.5)), np.zeros((6, 1))).most_useful(4)
    assert copies.index.is_unique and len(copies) == 4


@pytest.mark.quick
def test_one_image_of_a_patient_unless_asked_and_none_of_those_seen():
    patients = ["A", "A", "A", "B", "C"]
    found = pool(doubtful([0.5, 0.49, 0.48, 0.4, 0.3]), np.arange(5)[:, None], patient=patients)
    assert list(found.most_useful(5)["image"]) == ["0.png", "3.png", "4.png"]
    assert len(found.most_useful(5, per_patient=2)) == 4 and len(found.most_useful(5, per_patient=None)) == 5
    found.patients_known = False
    assert len(found.most_useful(5)) == 5
    seen = pool(doubtful([0.5, 0.4]), [[0.0], [1.0]], seen=["training image", ""])
    assert list(seen.most_useful(2)["image"]) == ["1.png"]


@pytest.mark.quick
def test_what_is_unlike_the_training_comes_last_and_is_said():
    yes, unlike = [0.5, 0.45, 0.1, 0.05], ["Its modality is CR; the training images are CT.", "", "", ""]
    found = pool(doubtful(yes), [[0.0], [0.0], [10.0], [10.5]], unlike=unlike)
    assert list(found.most_useful(2)["image"]) == ["1.png", "3.png"]
    every = found.most_useful(4)
    assert list(every["image"])[-1] == "0.png"
    assert "unlike the training images: Its modality is CR" in every["reason"].iloc[-1]


@pytest.mark.quick
def test_several_heads_are_averaged_and_values_need_a_spread():
    heads = {
        "cancer": SimpleNamespace(classes=("no", "yes"), task="classification"),
        "age": SimpleNamespace(classes=(), task="regression"),
    }
    frame = pd.DataFrame(
        {"image": ["a", "b"], "patient": ["A", "B"], "cancer: p(no)": [0.5, 0.9], "cancer: p(yes)": [0.5, 0.1], "age: value": [61.0, 70.0]}
    )  # fmt: skip
    features = pd.DataFrame([[0.0], [1.0]])
    several = Predictions(frame, tuple(heads), task="multitask", heads=heads, features=features)
    found = several.most_useful(2)
    assert list(found["score"]) == pytest.approx([1, entropy([0.9, 0.1], base=2)], abs=6e-4)
    assert found["reason"].iloc[0].startswith("The model says: cancer: ")
    value = Predictions(
        frame[["image", "patient"]].assign(value=[61.0, 70.0]), (), task="regression", features=features
    )
    with pytest.raises(InputError, match="gives one value") as caught:
        value.most_useful(1)
    assert "members=5" in caught.value.do
    value.frame["spread"] = [1.0, 4.0]
    assert list(value.most_useful(2)["image"]) == ["b", "a"] and "differ by 4" in value.most_useful(1)["reason"].iloc[0]


@pytest.mark.quick
@pytest.mark.parametrize("options", [{"n": 0}, {"n": 2.5}, {"n": True}, {"per_patient": 0}])
def test_numbers_that_are_none_are_refused(options):
    with pytest.raises(InputError, match=f"{next(iter(options))}=") as caught:
        pool(doubtful([0.5]), [[0.0]]).most_useful(**options)
    assert caught.value.expected and caught.value.do


@pytest.mark.quick
def test_without_features_it_is_refused_and_many_features_keep_their_distances():
    alone = pool(doubtful([0.5]), [[0.0]])
    alone.features = None
    with pytest.raises(InputError, match="do not hold what the network sees"):
        alone.most_useful(1)
    rng = np.random.default_rng(0)
    seen = rng.normal(0, 1, (60, 1280)) + 4 * rng.integers(0, 2, (60, 1))
    kept = kept_features(seen, pd.RangeIndex(60)).to_numpy()
    pairs = np.triu_indices(60, 1)
    far, near = (np.linalg.norm(one[pairs[0]] - one[pairs[1]], axis=1) for one in (seen, kept))
    assert kept.shape == (60, 64) and np.corrcoef(far, near)[0, 1] > 0.9
    assert np.median(np.abs(near / far - 1)) < 0.15


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return easydl.load(discs(tmp_path_factory.mktemp("d") / "s", n=24), label="outcome")


def test_predictions_of_a_study_hold_what_its_network_sees(study):
    model = easydl.classifier("tiny", study, size=32)
    found = easydl.predict(model, study)
    assert found.features.shape == (24, 64) and list(found.features.index) == list(found.frame.index)
    chosen = found.most_useful(5)
    assert len(chosen) == 5 and chosen["patient"].is_unique and set(chosen.index) <= set(study.frame.index)
    assert chosen.equals(easydl.predict(model, study).most_useful(5))
    part = easydl.predict(model, study.rows(study.frame.index[10:]))
    assert set(part.most_useful(3)["image"]) <= set(study.frame["image"][10:])
    with pytest.raises(InputError, match="do not hold"):
        easydl.predict(model, study.scan(0)).most_useful(1)


def test_an_ensemble_and_covariates_are_chosen_from_too(study):
    from easydl.networks import ensembled

    nets = [easydl.classifier("tiny", study, size=32, covariates=["sex"], seed=seed) for seed in (1, 2)]
    found = easydl.predict(ensembled(nets[0], nets), study)
    assert "spread" in found.frame and len(found.most_useful(4)) == 4


def test_the_command_writes_the_list(study, tmp_path):
    model = easydl.save_model(easydl.classifier("tiny", study, size=32), tmp_path / "m.keras")
    pool = Path(study.addresses(0)[0]).parent / "pool.csv"
    study.frame[["image", "patient"]].to_csv(pool, index=False)
    words = ["predict", str(model), str(pool), "--most-useful", "3", "-o", str(tmp_path / "next.csv")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, (result.output, result.exception)
    written = pd.read_csv(tmp_path / "next.csv", comment="#")
    assert list(written.columns) == ["image", "patient", "score", "reason"] and len(written) == 3
    assert (tmp_path / "next.csv").stat().st_mode & 0o777 == 0o600


def test_a_segmentation_model_is_refused(tmp_path):
    model = easydl.save_model(easydl.unet(classes=["background", "nodule"], width=4, size=32), tmp_path / "m.keras")
    image = tmp_path / "a.png"
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(image)
    result = CliRunner().invoke(app, ["predict", str(model), str(image), "--most-useful", "3"])
    assert isinstance(result.exception, InputError) and "the model makes a segmentation" in result.exception.found
    assert result.exception.expected and result.exception.do
