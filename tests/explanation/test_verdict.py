import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import easydl
from easydl.explanation import checks
from easydl.explanation.checks import Results, border, deletion, similarity, upsampled
from easydl.explanation.occlusion import blurred, occlusion, patch_means, tiles
from easydl.explanation.targets import Target
from easydl.explanation.verdict import judge
from easydl.networks.decision import Decision, Threshold
from easydl.tasks import Task

ONE = np.ones((1,), np.float32)
pytestmark = pytest.mark.quick


class Stub:
    """A network whose logit is the mean brightness of some pixels, and whose map is given."""

    def __init__(self, where, maps=None, untrained=0.1):
        self.where, self.maps, self.untrained = where, maps, untrained

    def scores(self, batch, target, region, weights=None):
        return batch[:, self.where].mean(axis=(1, 2)) / 10

    def masked_scores(self, pair, keep, target, region, weights=None):
        return self.scores(pair[1] + keep[..., None] * (pair[0] - pair[1]), target, region, weights)

    def random_weights(self, draw, fraction=1.0):
        return (draw, fraction)

    def cam(self, batch, target, region, weights=None):
        maps = self.maps(batch, target, weights)
        return maps, np.array([0.0, self.untrained if weights else 4.0])


def target_of(network, batch, logits=(0.0, 4.0), index=1):
    return Target(network, batch, index, ONE, np.asarray(logits, np.float32), Task.CLASSIFICATION, "square", 0.98)


@pytest.fixture
def spot():
    """Noise with a bright spot; only the spot matters; a map of the spot and one of elsewhere."""
    rng = np.random.default_rng(0)
    batch = rng.normal(100, 5, (1, 56, 56, 1)).astype(np.float32)
    where = np.zeros((56, 56), bool)
    where[16:24, 16:24] = True
    batch[0, where] += 100
    there = np.where(where, 1.0, 0.0).astype(np.float32)
    elsewhere = np.roll(there, (24, 24), axis=(0, 1))
    return SimpleNamespace(batch=batch, where=where, there=there, elsewhere=elsewhere)


def test_a_trained_network_looks_at_the_planted_corner(planted):
    for image in planted.images:
        heatmap = easydl.saliency(planted.model, image)
        corner = heatmap.array[: planted.square, : planted.square].sum() / heatmap.array.sum()
        assert heatmap.target == "square"
        assert corner > 0.5
        assert heatmap.verdict.level != "FAIL"
        assert "outer border" in heatmap.verdict.sentence
        numbers = heatmap.verdict.numbers
        assert numbers["spearman_random_all"] < 0.5
        assert numbers["deletion_p"] <= 0.05
        assert numbers["occlusion_spearman_low"] > 0


def test_the_same_network_with_random_weights_fails(planted):
    for number, image in enumerate(planted.images):
        heatmap = easydl.saliency(planted.untrained, image, seed=number)
        assert heatmap.verdict.level == "FAIL"
        assert heatmap.verdict.sentence.startswith("Do not interpret: ")
        assert "untrained networks are as confident" in heatmap.verdict.sentence


def test_numbers_are_json_with_their_n(planted):
    numbers = json.loads(json.dumps(easydl.saliency(planted.model, planted.images[0]).verdict.to_dict()))["numbers"]
    assert {"n_random_maps", "n_random_networks", "n_blobs", "n_patches", "n_points"} <= set(numbers)
    assert (numbers["n_random_maps"], numbers["n_blobs"], numbers["n_patches"]) == (19, 39, 49)
    assert -1 <= numbers["ssim_random_all_low"] <= numbers["ssim_random_all"] <= numbers["ssim_random_all_high"] <= 1


def test_the_verdict_is_settled_by_its_seed(planted):
    first, again, other = (easydl.saliency(planted.model, planted.images[0], seed=s).verdict for s in (3, 3, 4))
    assert first == again
    assert first.numbers != other.numbers


def test_a_map_that_ignores_the_weights_fails(spot):
    """The edge detector of Adebayo 2018: beautiful, and the same for every network."""
    network = Stub(spot.where, lambda batch, target, weights: spot.there + 0.3 * np.abs(batch[0, ..., 0] - 100) / 100)
    coarse, _ = network.cam(spot.batch, 1, ONE)
    verdict = judge(target_of(network, spot.batch), coarse, upsampled(coarse, (56, 56)), method="gradcam", seed=0)
    assert verdict.level == "FAIL"
    assert "it shows the image, not the model" in verdict.sentence
    assert verdict.numbers["ssim_random_all"] > 0.9


def maps_of(trained, shape=(56, 56)):
    def maps(batch, target, weights):
        if weights is None:
            return trained if target == 1 else np.zeros(shape, np.float32)
        return np.random.default_rng(weights[0]).uniform(size=shape).astype(np.float32)

    return maps


def test_a_true_map_passes_and_a_displaced_one_does_not(spot):
    for place, level in ((spot.there, "PASS"), (spot.elsewhere, "FAIL")):
        network = Stub(spot.where, maps_of(place))
        verdict = judge(target_of(network, spot.batch), place, place, method="gradcam", seed=0)
        assert verdict.level == level, verdict.sentence
    assert "the prediction depends less on what it marks" in verdict.sentence


@pytest.mark.parametrize(
    ("logits", "index", "untrained", "level", "text"),
    [
        ((0.0, 0.2), 1, 0.1, "CAUTION", "close to chance (0.55, chance is 0.50)"),
        ((0.0, 0.2), 1, 0.5, "FAIL", "untrained networks are as confident"),
        ((9.0, 4.0), 1, 0.1, "CAUTION", "did not choose square"),
        ((0.0, 4.0), 1, 5.0, "FAIL", "reached by 19 of 19"),
    ],
)
def test_an_uncertain_network_has_nothing_to_explain(spot, logits, index, untrained, level, text):
    network = Stub(spot.where, maps_of(spot.there), untrained)
    target = target_of(network, spot.batch, logits, index)
    verdict = judge(target, spot.there, spot.there, method="gradcam", seed=0)
    assert verdict.level == level
    assert text in verdict.sentence


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "close to chance (0.55, chance is 0.50)"), (0.48, "the threshold (0.45, the threshold is")],
)
def test_an_answer_close_to_chance_is_told_with_the_score_of_its_own_class(spot, value, text):
    network = Stub(spot.where, maps_of(spot.there), 0.1)
    decision = Decision(Task.CLASSIFICATION, ("other", "square"), {"square": Threshold(value=value)})
    target = replace(target_of(network, spot.batch, (0.2, 0.0), 0), decision=decision)
    assert text in judge(target, spot.there, spot.there, method="gradcam", seed=0).sentence


def test_an_empty_map_and_an_overflow_fail_in_words(spot):
    network = Stub(spot.where, maps_of(spot.there))
    empty = np.zeros((56, 56), np.float32)
    verdict = judge(target_of(network, spot.batch), empty, empty, method="gradcam", seed=0)
    assert verdict.level == "FAIL"
    assert "the map is empty" in verdict.sentence
    verdict = judge(target_of(network, spot.batch), empty * np.nan, empty, method="gradcam", seed=0)
    assert verdict.level == "FAIL"
    assert "overflow" in verdict.sentence


def test_two_classes_with_one_map_are_noticed(spot):
    results = Results()
    same = Stub(spot.where, lambda batch, target, weights: spot.there)
    checks.other_class(target_of(same, spot.batch), spot.there, results)
    assert results.numbers["correlation_with_other_class"] == 1
    assert "another class has nearly the same map" in results.cautions[0]


def test_border_energy_is_a_fraction_of_what_is_there():
    """An even map has as much at the border as the border has area; a corner spot has nearly all."""
    results = Results()
    border(np.ones((50, 40), np.float32), results)
    area = 1 - (40 * 32) / (50 * 40)
    assert results.numbers == {"border_energy": pytest.approx(area), "border_area": pytest.approx(area)}
    assert results.cautions == []
    corner = np.zeros((5, 50, 40), np.float32)
    corner[:, :5, :8] = 1
    border(corner, results)
    assert results.numbers["border_energy"] == pytest.approx(1.0)
    assert "100% of it lies in the outer border (36% of the area)" in results.cautions[0]


def test_deletion_is_the_drop_by_hand(spot):
    results = Results()
    target = target_of(Stub(spot.where), spot.batch)
    deletion(target, spot.there, 0, 39, results)
    kept = spot.batch[0, spot.where].mean() / 10
    gone = blurred(spot.batch)[0, spot.where].mean() / 10
    assert results.numbers["deletion_drop"] == pytest.approx(kept - gone, rel=1e-3)
    assert results.numbers["deletion_p"] == pytest.approx(1 / 40)
    assert results.cautions == []


def test_deletion_p_is_even_when_the_map_means_nothing(spot):
    """Under no relation between map and answer, p is even on 0..1: false alarms in one of twenty."""
    p = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        place = np.roll(spot.there, rng.integers(56, size=2), axis=(0, 1))
        results = Results()
        network = Stub(spot.where)
        everywhere = rng.normal(size=(56, 56))
        network.scores = lambda batch, *rest, by=everywhere: (batch[..., 0] * by).sum(axis=(1, 2))
        noise = rng.normal(100, 5, spot.batch.shape).astype(np.float32)
        deletion(target_of(network, noise), place, seed, 19, results)
        p.append(results.numbers["deletion_p"])
    assert np.mean(np.asarray(p) <= 0.05) < 0.15
    assert 0.4 < np.mean(p) < 0.65


def test_occlusion_is_the_drop_of_each_patch_by_hand(spot):
    drops = occlusion(Stub(spot.where), spot.batch, 1, ONE)
    assert drops.shape == (7, 7)
    hidden = spot.batch.copy()
    hidden[:, 16:24, 16:24] = blurred(spot.batch)[:, 16:24, 16:24]
    by_hand = (spot.batch[0, spot.where].mean() - hidden[0, spot.where].mean()) / 10
    assert drops[2, 2] == pytest.approx(by_hand, rel=1e-4)
    assert np.count_nonzero(drops) == 1
    assert np.count_nonzero(patch_means(spot.there)) == 1
    assert patch_means(spot.there)[2, 2] == pytest.approx(1)


@pytest.mark.parametrize("size", [(64, 50), (5, 9), (17, 33, 20), (2, 8, 8)])
def test_patches_cover_everything_once(size):
    count = np.zeros(size, int)
    for view in tiles(size):
        count[view] += 1
    assert (count == 1).all()
    assert patch_means(count.astype(float)).shape == tuple(
        min(n, s) for n, s in zip((7, 7) if len(size) == 2 else (3, 3, 3), size, strict=True)
    )


def test_similarity_needs_more_than_shared_black():
    """Two spots in different corners share their black: SSIM calls that alike, the ranks do not."""
    first = np.zeros((64, 64), np.float32)
    first[4:12, 4:12] = 1
    second = first[::-1, ::-1].copy()
    ssim, rank = similarity(first, second)
    assert ssim > 0.5
    assert rank < 0.1
    assert similarity(first, first) == (pytest.approx(1), pytest.approx(1))
    assert similarity(first, first * 0)[1] == 0


def test_upsampling_keeps_the_place_and_the_range():
    coarse = np.zeros((4, 4), np.float32)
    coarse[1, 2] = 7.0
    fine = upsampled(coarse, (64, 64))
    assert fine.dtype == np.float32
    assert (fine.min(), fine.max()) == (0, 1)
    assert np.unravel_index(fine.argmax(), fine.shape)[0] // 16 == 1
    assert np.unravel_index(fine.argmax(), fine.shape)[1] // 16 == 2
    assert upsampled(np.array([[np.nan, -1.0], [np.inf, 0.5]]), (2, 2)).max() == 1


def written(side=128):
    """A film with a line of text, and where the letters are, by the pixels that drawing it changed."""
    from PIL import Image, ImageDraw, ImageFont

    plain = np.random.default_rng(3).normal(90, 6, (side, side)).clip(0, 200).astype(np.uint8)
    picture = Image.fromarray(plain)
    ImageDraw.Draw(picture).text((20, 50), "PORTABLE 12", fill=255, font=ImageFont.load_default(14))
    return np.asarray(picture), np.asarray(picture) != plain


@pytest.mark.parametrize(
    ("on_text", "elsewhere", "level"), [(1.0, 0.0, "FAIL"), (0.5, 1.0, "CAUTION"), (0.0, 1.0, "PASS")]
)
def test_a_map_that_is_hot_on_text_never_passes(on_text, elsewhere, level):
    from easydl.images.burned_in_text import where_text

    pixels, letters = written()
    found = where_text(pixels)
    assert found[letters].mean() > 0.9 and found.mean() < 0.2
    heat = np.zeros((128, 128), np.float32)
    heat[letters] = on_text
    heat[90:120, 90:120] = elsewhere
    results = Results()
    checks.text(heat, found, results)
    assert ("FAIL" if results.fails else "CAUTION" if results.cautions else "PASS") == level
    if level != "PASS":
        assert "text in the image" in " ".join(results.fails + results.cautions)


def test_where_there_is_no_text_none_is_found():
    from easydl.images.burned_in_text import where_text

    assert not where_text(np.random.default_rng(3).normal(90, 6, (128, 128))).any()
    results = Results()
    checks.text(np.ones((8, 8)), np.zeros((8, 8), bool), results)
    assert not (results.fails or results.cautions or results.numbers)


def test_the_verdict_of_a_model_that_reads_the_text_is_no_pass(planted, monkeypatch):
    """The corner that this network goes by is called text."""
    image = planted.images[0]
    letters = np.zeros(image.shape[:2], bool)
    letters[: planted.square, : planted.square] = True
    monkeypatch.setattr("easydl.explanation.explain.where_text", lambda pixels: letters)
    verdict = easydl.saliency(planted.model, image).verdict
    assert verdict.level == "FAIL" and "text in the image" in verdict.sentence
