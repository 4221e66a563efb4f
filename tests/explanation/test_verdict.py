import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

import easydl
from easydl.explanation import checks, model_checks
from easydl.explanation.checks import Results, astray, dependence, similarity, upsampled
from easydl.explanation.occlusion import blurred, filled, occlusion, patch_means, tiles, with_rim
from easydl.explanation.targets import Target
from easydl.explanation.verdict import WORDS, About, judge
from easydl.images import Scan
from easydl.networks import metadata_of, save_model
from easydl.networks.decision import Decision, Threshold
from easydl.tasks import Task

ONE = np.ones((1,), np.float32)
pytestmark = pytest.mark.quick


class Stub:
    """A network whose logit is how bright some pixels are, and whose map is given."""

    def __init__(self, where, maps=None, untrained=0.1):
        self.where, self.maps, self.untrained = where, maps, untrained

    def scores(self, batch, target, region, weights=None):
        return (batch[:, self.where].mean(axis=(1, 2)) - 100) / 10

    def set_covariates(self, encoded):
        pass

    def centres(self, method, size):
        return None

    def masked_scores(self, pair, keep, target, region, weights=None):
        return self.scores(pair[1] + keep[..., None] * (pair[0] - pair[1]), target, region, weights)

    def random_weights(self, draw, fraction=1.0):
        return (draw, fraction)

    def answer(self, batch, index, region, weights=None):
        score = float(self.scores(batch, index, region)[0]) * (1 if index else -1)
        maps = {"gradcam": self.maps(batch, index, weights)} if self.maps else {}
        return SimpleNamespace(maps=maps, logits=np.array([-score, score], np.float32))

    def cam(self, batch, target, region, weights=None):
        maps = self.maps(batch, target, weights)
        return maps, np.array([0.0, self.untrained if weights else 4.0])


def target_of(network, batch, logits=(0.0, 4.0), index=1):
    maps = {"gradcam": network.maps(batch, index, None)} if network.maps else {}
    logits = np.asarray(logits, np.float32)
    return Target(network, batch, index, ONE, logits, Task.CLASSIFICATION, "square", 0.98, maps=maps)


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


def judged(target, place, *, images=1, seed=0, warnings=(), right=None):
    """The verdict on a map that fills the frame, with the tests of the model made on this image."""
    scan = Scan(target.batch[0], "0-255")
    case = SimpleNamespace(encoded=None, scan=scan, shown=SimpleNamespace(on_scan=upsampled, size=1, grid=2))
    tested = model_checks.measured([(target, case)] * images, "gradcam", "digest")
    about = About(scan, upsampled(place, scan.shape), right, "square", warnings, tested)
    return judge(target, place, upsampled(place, scan.shape), method="gradcam", seed=seed, about=about)


def figures(verdict):
    return " ".join(f"{one.sentence} {one.figures}" for one in verdict.reasons)


def test_a_network_that_looks_at_the_corner_is_not_to_be_trusted(planted):
    """It learned a marker: its map is right, and shows that its answer is not."""
    for image in planted.images:
        heatmap = easydl.saliency(planted.model, image)
        corner = heatmap.array[: planted.square, : planted.square].sum() / heatmap.array.sum()
        assert heatmap.target == "square"
        assert corner > 0.5
        assert heatmap.verdict.level == "FAIL"
        assert heatmap.verdict.sentence.startswith("The model looked at the border of the image: ")
        numbers = heatmap.verdict.numbers
        assert numbers["spearman_random_all"] < 0.5
        assert numbers["deletion_p"] <= 0.05
        assert numbers["deletion_fraction"] > 0.5
        assert numbers["occlusion_spearman"] > 0.3


def test_the_same_network_with_random_weights_fails(planted):
    for number, image in enumerate(planted.images):
        heatmap = easydl.saliency(planted.untrained, image, seed=number)
        assert heatmap.verdict.level == "FAIL"
        assert "learned nothing are as sure" in figures(heatmap.verdict)


def test_numbers_are_json_with_their_n_and_the_sentence_has_none(planted):
    verdict = easydl.saliency(planted.model, planted.images[0]).verdict
    stored = json.loads(json.dumps(verdict.to_dict()))
    numbers = stored["numbers"]
    counts = {
        name: numbers[name] for name in ("n_random_maps", "n_random_networks", "n_blobs", "n_patches", "n_images")
    }
    assert counts == {"n_random_maps": 19, "n_random_networks": 19, "n_blobs": 19, "n_patches": 49, "n_images": 1}
    assert stored["reasons"][0]["sentence"] == stored["sentence"]
    assert not any(letter.isdigit() for letter in stored["sentence"])
    assert "n = 1 map" in stored["reasons"][0]["figures"]
    details = verdict.details
    assert list(details.columns) == ["level", "what", "measured"]
    assert details["measured"][details["what"] == "n blobs"].tolist() == ["19"]


def test_the_three_levels_have_words():
    assert WORDS == {"PASS": "Trust", "CAUTION": "Caution", "FAIL": "Do not trust"}
    assert easydl.explanation.Verdict("FAIL", "x").word == "Do not trust"


def test_the_verdict_is_settled_by_its_seed(planted):
    first, again, other = (easydl.saliency(planted.model, planted.images[0], seed=s).verdict for s in (3, 3, 4))
    assert first == again
    assert first.numbers != other.numbers


def test_the_tests_of_the_model_are_made_once_and_saved_with_it(planted, tmp_path, monkeypatch):
    """Until its weights change; then they are made again."""
    model = easydl.classifier("tiny", classes=["plain", "square"], size=32)
    image, other = (np.random.default_rng(k).uniform(0, 255, (32, 32)).astype(np.float32) for k in range(2))
    easydl.saliency(model, image)
    (reference,) = metadata_of(model).heatmaps.values()
    calls = []
    random_weights = easydl.explanation.gradcam.Network.random_weights

    def counted(self, *args):
        calls.append(args)
        return random_weights(self, *args)

    monkeypatch.setattr(easydl.explanation.gradcam.Network, "random_weights", counted)
    easydl.saliency(model, other)
    again = easydl.load_model(save_model(model, tmp_path / "model.keras"))
    verdict = easydl.saliency(again, other).verdict
    assert calls == [] and tuple(metadata_of(again).heatmaps.values()) == (reference,)
    assert verdict.numbers["n_random_networks"] == len(reference.random_margins) == 19
    logits = again.get_layer("logits")
    logits.bias.assign(logits.bias + 0.25)
    easydl.saliency(again, other)
    (fresh,) = metadata_of(again).heatmaps.values()
    assert len(calls) == 19 and fresh.weights != reference.weights


def test_a_study_gives_more_images_to_the_tests_of_the_model(table):
    study = easydl.load(table)
    model = easydl.classifier("tiny", study, size=32)
    easydl.saliency(model, study.scan(0))
    assert next(iter(metadata_of(model).heatmaps.values())).images == 1
    numbers = easydl.saliency(model, study, row=0).verdict.numbers
    assert numbers["n_images"] == min(len(study), model_checks.PROBES) > 1


def test_a_map_that_ignores_the_weights_fails(spot):
    """The edge detector of Adebayo 2018: beautiful, and the same for every network."""
    network = Stub(spot.where, lambda batch, target, weights: spot.there + 0.3 * np.abs(batch[0, ..., 0] - 100) / 100)
    coarse, _ = network.cam(spot.batch, 1, ONE)
    target = target_of(network, spot.batch)
    verdict = judged(target, coarse)
    assert verdict.level == "FAIL"
    assert "it shows the image and not the model" in verdict.sentence
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
        verdict = judged(target_of(network, spot.batch), place)
        assert verdict.level == level, figures(verdict)
    assert "Hiding what is marked does not change the answer" in verdict.sentence


def test_an_answer_that_nothing_is_there_has_no_place_and_is_no_failure(spot):
    """Of two classes the first; the second, or one of three, must lie somewhere."""
    network = Stub(spot.where, maps_of(spot.elsewhere))
    network.maps = lambda batch, target, weights: maps_of(spot.elsewhere)(batch, 1, weights)
    for logits, index, level in (((4.0, 0.0), 0, "CAUTION"), ((0.0, 4.0), 1, "FAIL"), ((4.0, 0.0, 0.0), 0, "FAIL")):
        verdict = judged(target_of(network, spot.batch, logits, index), spot.elsewhere)
        assert verdict.level == level, figures(verdict)
        assert ("where a finding could be overlooked" in verdict.sentence) == (level == "CAUTION")
    # Where the model was seen to look at nothing on images it called positive, this is no excuse.
    target = target_of(network, spot.batch, (4.0, 0.0), 0)
    about = About(Scan(spot.batch[0], "0-255"), spot.elsewhere, model=with_tests(positive=4, positive_failed=3))
    verdict = judge(target, spot.elsewhere, spot.elsewhere, method="gradcam", seed=0, about=about)
    assert verdict.level == "FAIL" and "3 of n = 4 images" in figures(verdict)


@pytest.mark.parametrize(("around", "levels"), [(12, ["CAUTION"]), (2, [])])
def test_absence_is_trusted_only_where_what_is_gone_decides_and_not_what_hiding_adds(around, levels):
    """A dark place in a dark area, where a grey patch looks like a finding; and a dark place in a bright one."""
    batch = np.full((1, 64, 64, 1), 200, np.float32)
    where = np.zeros((64, 64), bool)
    where[28:34, 28:34] = True
    batch[0, 28 - around : 34 + around, 28 - around : 34 + around] = 20
    network, results = Stub(where), Results()
    network.scores = lambda shown, *_: (60 - shown[:, where].mean(axis=(1, 2))) / 10
    dependence(target_of(network, batch, (4.0, 0.0), 0), where.astype(np.float32), 0, 19, results)
    assert results.numbers["deletion_fraction"] > 1 and results.numbers["deletion_p"] == 0.05
    assert [one.level for one in results.reasons] == levels
    assert all("where a finding could be overlooked" in one.sentence for one in results.reasons)


@pytest.mark.parametrize(
    ("name", "levels"), [("normal", ["CAUTION"]), ("lesion: No finding", ["CAUTION"]), ("benign", [])]
)
def test_no_place_shows_that_nothing_is_there(name, levels):
    """The answer hangs on one dark place; what the class is called says whether it can lie there."""
    batch = np.full((1, 64, 64, 1), 200, np.float32)
    where = np.zeros((64, 64), bool)
    where[28:34, 28:34] = True
    batch[0, 26:36, 26:36] = 20
    network, results = Stub(where), Results()
    network.scores = lambda shown, *_: (60 - shown[:, where].mean(axis=(1, 2))) / 10
    target = replace(target_of(network, batch, (4.0, 0.0), 0), name=name)
    dependence(target, where.astype(np.float32), 0, 19, results)
    assert [one.level for one in results.reasons] == levels
    assert all("no place can show that nothing is there" in one.sentence for one in results.reasons)


def test_a_filled_place_looks_like_what_is_around_it():
    image = np.arange(32, dtype=np.float32)[None, :, None, None] + np.zeros((1, 32, 32, 1), np.float32)
    hole = np.zeros((32, 32), bool)
    hole[12:18, 12:18] = True
    marked = image.copy()
    marked[0, hole] = 1000
    found = filled(marked, hole)
    assert np.array_equal(found[:, ~hole], image[:, ~hole])
    assert np.abs(found - image).max() < 2.5  # grey levels of a slope that goes up by one a pixel


class Brightness(Stub):
    """The second class is a bright place, the first a dark one."""

    def answer(self, batch, index, region, weights=None):
        score = float(self.scores(batch, index, region)[0])
        return SimpleNamespace(logits=np.array([-score, score], np.float32))


def in_a_frame(where, bright, logits, index):
    """A body in a dark frame, with one place that is bright or not, as a network sees it that looks at this place only."""
    batch = np.zeros((1, 64, 64, 1), np.float32)
    batch[0, 12:52, 12:52] = 120
    batch[0, where] = 255 if bright else batch[0, where].min()
    target = target_of(Brightness(where, lambda *_: where.astype(np.float32)), batch, logits, index)
    shown = SimpleNamespace(on_scan=upsampled, size=(64, 64), grid=(64, 64))
    return target, SimpleNamespace(encoded=None, scan=Scan(batch[0], "0-255"), shown=shown)


CORNER, LESION = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
CORNER[2:8, 2:8] = LESION[28:34, 28:34] = True


@pytest.mark.parametrize("where", [CORNER, LESION], ids=["marker", "lesion"])
@pytest.mark.parametrize("answers", [1, 2])
def test_a_model_that_reads_what_is_around_the_patient_is_never_trusted(where, answers):
    """Where both answers occur by what still separates them when that is hidden, else by how many answers become the other."""
    marker = where is CORNER
    dark = in_a_frame(where, False, (10.0, -10.0) if marker else (-2.0, 2.0), 0)
    images = [in_a_frame(where, True, (-15.5, 15.5), 1)] * 4 + ([dark] * 4 if answers == 2 else [])
    tested = model_checks.measured(images, "gradcam", "digest")
    if answers == 2 and marker:
        assert (tested.separation_kept, tested.separation_of) == (0, 8)
    elif answers == 1:
        assert (tested.turned, tested.turned_of, tested.separation_kept) == (4 if marker else 0, 4, None)
    results = Results()
    model_checks.learned(images[0][0], tested, results)
    said = [one for one in results.reasons if "differences around the patient" in one.sentence]
    assert bool(said) is marker and all(one.level == "FAIL" for one in said)
    assert all(("n = 8 images" if answers == 2 else "4 of n = 4 images") in one.figures for one in said)


def test_what_is_hidden_around_the_patient_may_shift_both_answers_alike(spot, monkeypatch):
    """Every negative answer becomes positive, and the positive ones become surer: nothing around the patient tells them apart."""
    network, case = Stub(spot.where, lambda *_: spot.there), type("Case", (), {"encoded": None})()
    negative, positive = (
        target_of(network, spot.batch, logits, k) for k, logits in enumerate([(4.0, 0.0), (0.0, 4.0)])
    )
    monkeypatch.setattr(model_checks, "_fails", lambda *_: False)
    for after, kept in (((1.0, 8.0), 1.0), ((4.0, 6.0), 0.2857), ((5.0, 8.5), 0.5)):

        def hidden(one, *_, after=after):
            return model_checks.Hidden(one.index == 0, (-3.0, 4.0)[one.index], after[one.index])

        monkeypatch.setattr(model_checks, "_hidden", hidden)
        found = model_checks.measured(((one, case) for one in [negative, positive] * 9), "gradcam", "digest")
        assert (found.turned, found.turned_of) == (4, 4) and found.separation_of == 8
        assert found.separation_kept == kept
        model_checks.learned(positive, found, results := Results())
        assert any("not the patient" in one.sentence for one in results.reasons) is (kept < 0.5)
        assert results.numbers["separation_kept"] == kept and results.numbers["n_separation"] == 8


def test_tests_of_a_model_are_made_on_every_label(tmp_path):
    from made import png_study

    study = easydl.load(png_study(tmp_path / "s", per_class=12))
    rows = model_checks.probe_rows(study)
    assert study.frame["label"].iloc[rows[: model_checks.PROBES]].value_counts().tolist() == [4, 4]
    assert sorted(rows) == list(range(24))  # and then the others, each once


def test_positive_answers_are_tested_until_it_is_clear_whether_their_maps_fail():
    """Six of eight fail the model: three maps that hold end the question, as do six that fail."""
    clear = model_checks._is_clear
    assert not clear([]) and not clear([False, False]) and not clear([True] * 5 + [False] * 2)
    assert clear([False] * 3) and clear([True] * 6) and clear([True, True, False, True, True, True, False, False])
    assert all(sum(said) < model_checks.MOST * len(said) for said in ([True] * 5 + [False] * 3, [False] * 3))


def test_the_rarer_answer_is_looked_for_in_further_images(spot, monkeypatch):
    """Of the first eight images one is negative: others are asked until four are; where there are none, the changes count."""
    network, case = Stub(spot.where, lambda *_: spot.there), type("Case", (), {"encoded": None})()
    negative, positive = (
        target_of(network, spot.batch, logits, k) for k, logits in enumerate([(4.0, 0.0), (0.0, 4.0)])
    )
    monkeypatch.setattr(model_checks, "_fails", lambda *_: False)
    monkeypatch.setattr(model_checks, "_hidden", lambda one, *_: model_checks.Hidden(True, 0.0, 0.0))
    images = iter([*[positive] * 7, negative, *[positive] * 20, *[negative] * 20])
    found = model_checks.measured(((one, case) for one in images), "gradcam", "digest")
    assert found.separation_of == 8 + 4 and len(list(images)) == 20 - 3  # eight of one answer, four of the other
    monkeypatch.setattr(model_checks, "_hidden", lambda *_: None)
    images = iter([negative, positive] * 20)
    found = model_checks.measured(((one, case) for one in images), "gradcam", "digest")
    assert found.separation_kept is None and len(list(images)) == 32  # nothing lies around the body in any
    monkeypatch.setattr(model_checks, "_hidden", lambda one, *_: model_checks.Hidden(True, 0.0, 0.0))
    one_answer = model_checks.measured(((one, case) for one in [positive] * 12), "gradcam", "digest")
    assert one_answer.separation_kept is None and (one_answer.turned, one_answer.turned_of) == (8, 8)


def test_two_maps_of_three_that_fail_by_chance_do_not_condemn_a_model(spot, monkeypatch):
    """Of 12 positive answers the first two fail: more of them are tested, and no more than that takes."""
    said = iter([True, True, *[False] * 10])
    asked = []
    monkeypatch.setattr(model_checks, "_fails", lambda *_: asked.append(1) or next(said))
    monkeypatch.setattr(model_checks, "_hidden", lambda *_: None)
    case = type("Case", (), {"encoded": None})()
    network = Stub(spot.where, maps_of(spot.there))
    found = model_checks.measured(((target_of(network, spot.batch), case) for _ in range(12)), "gradcam", "digest")
    assert (found.positive, found.positive_failed, found.images, len(asked)) == (5, 2, 8, 5)


def with_tests(**counts):
    from easydl.networks.heatmap_reference import HeatmapReference

    return HeatmapReference(
        weights="digest",
        images=8,
        ssim_random=0.1,
        spearman_random=0.1,
        random_maps=19,
        random_margins=(0.1,) * 19,
        **counts,
    )


def test_a_wrong_answer_never_passes(spot):
    network = Stub(spot.where, maps_of(spot.there))
    for right, level in ((True, "PASS"), (None, "PASS"), (False, "CAUTION")):
        assert judged(target_of(network, spot.batch), spot.there, right=right).level == level
    assert "what misled the model" in judged(target_of(network, spot.batch), spot.there, right=False).sentence


def test_a_model_that_is_no_better_than_chance_is_not_to_be_trusted(spot):
    """Such as one whose labels were shuffled: fit found it on the validation part."""
    network = Stub(spot.where, maps_of(spot.there))
    warning = "Not shown to be better than chance: AUC 0.51 (95% CI 0.27-0.75), 20 patients (chance is 0.5)."
    verdict = judged(target_of(network, spot.batch), spot.there, warnings=[warning])
    assert verdict.level == "FAIL" and verdict.reasons[0].figures == warning
    assert judged(target_of(network, spot.batch), spot.there, warnings=["Something else."]).level == "PASS"


def test_a_model_whose_maps_fail_on_most_images_is_not_to_be_trusted_on_the_next(spot):
    """Such as one that reads a marker, which this image does not have."""
    network = Stub(spot.where, maps_of(spot.elsewhere))
    target = target_of(network, spot.batch)
    for images, fails in ((2, False), (3, True)):
        verdict = judged(target, spot.there, images=images)
        assert (verdict.level == "FAIL") == fails
        assert ("3 of n = 3 images" in figures(verdict)) == fails


def test_a_coarse_map_gets_a_caution(spot):
    network = Stub(spot.where, lambda batch, target, weights: maps_of(spot.there)(batch, target, weights))
    results = Results()
    checks.resolution(np.ones((4, 4)), results)
    assert "coarse" in results.reasons[0].sentence and results.numbers["points_across"] == 4
    assert judged(target_of(network, spot.batch), spot.there).level == "PASS"


@pytest.mark.parametrize(
    ("logits", "index", "untrained", "level", "text"),
    [
        ((0.0, 0.2), 1, 0.1, "CAUTION", "probability 0.55, chance is 0.50"),
        ((0.0, 0.2), 1, 0.5, "FAIL", "learned nothing are as sure"),
        ((9.0, 4.0), 1, 0.1, "CAUTION", "did not answer square"),
        ((0.0, 4.0), 1, 5.0, "FAIL", "reached by 19 of n = 19"),
    ],
)
def test_an_uncertain_network_has_nothing_to_explain(spot, logits, index, untrained, level, text):
    network = Stub(spot.where, maps_of(spot.there), untrained)
    target = target_of(network, spot.batch, logits, index)
    verdict = judged(target, spot.there)
    assert verdict.level == level
    assert text in figures(verdict)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "probability 0.55, chance is 0.50"), (0.48, "probability 0.45, the threshold is")],
)
def test_an_answer_close_to_chance_is_told_with_the_score_of_its_own_class(spot, value, text):
    network = Stub(spot.where, maps_of(spot.there), 0.1)
    decision = Decision(Task.CLASSIFICATION, ("other", "square"), {"square": Threshold(value=value)})
    target = replace(target_of(network, spot.batch, (0.2, 0.0), 0), decision=decision)
    assert text in figures(judged(target, spot.there))


def test_an_empty_map_and_an_overflow_fail_in_words(spot):
    network = Stub(spot.where, maps_of(spot.there))
    empty = np.zeros((56, 56), np.float32)
    about = About(Scan(spot.batch[0], "0-255"), empty)
    verdict = judge(target_of(network, spot.batch), empty, empty, method="gradcam", seed=0, about=about)
    assert verdict.level == "FAIL"
    assert "map is empty" in verdict.sentence
    verdict = judge(target_of(network, spot.batch), empty * np.nan, empty, method="gradcam", seed=0, about=about)
    assert verdict.level == "FAIL"
    assert "overflow" in verdict.sentence


def test_classes_with_one_map_are_noticed(spot):
    results = Results()
    same = Stub(spot.where, lambda batch, target, weights: spot.there)
    checks.other_class(target_of(same, spot.batch, logits=(0.0, 4.0, 1.0)), spot.there, results)
    assert results.numbers["correlation_with_other_class"] == 1
    assert "Another answer has nearly the same map" in results.reasons[0].sentence
    checks.other_class(target_of(same, spot.batch), spot.there, two := Results())
    assert not two.numbers  # of two classes one is the negative of the other


def film(shape=(50, 40)):
    return Scan(np.random.default_rng(0).normal(120, 10, (*shape, 1)).astype(np.float32), "0-255")


def test_border_energy_is_a_fraction_of_what_is_there():
    """An even map has as much at the border as the border has area; a corner spot has nearly all."""
    results = Results()
    astray(film(), np.ones((50, 40), np.float32), (50, 40), results)
    area = 1 - (40 * 32) / (50 * 40)
    assert results.numbers["border_energy"] == pytest.approx(area) == results.numbers["border_area"]
    assert results.reasons == []
    corner = np.zeros((50, 40), np.float32)
    corner[:5, :8] = 1
    astray(film(), corner, (50, 40), results)
    assert results.numbers["border_energy"] == pytest.approx(1.0)
    assert results.reasons[0].level == "FAIL" and "100% of the map on 36% of the area" in results.reasons[0].figures


@pytest.mark.parametrize(("at", "level"), [((30, 30), "PASS"), ((3, 3), "FAIL")])
def test_a_map_outside_the_body_never_passes(at, level):
    y, x = np.mgrid[:60, :60]
    pixels = np.where((y - 30) ** 2 + (x - 30) ** 2 < 22**2, 40.0, -1000.0).astype(np.float32)[..., None]
    heat = np.zeros((60, 60), np.float32)
    heat[at[0] - 3 : at[0] + 4, at[1] - 3 : at[1] + 4] = 1
    results = Results()
    astray(Scan(pixels, "HU"), heat, (60, 60), results)
    assert [one.level for one in results.reasons] == ([level] if level == "FAIL" else [])
    if level == "FAIL":
        assert "outside the body" in results.reasons[0].sentence
        assert results.numbers["outside_energy"] == 1


@pytest.mark.parametrize(
    ("kept", "index", "level", "said"),
    [
        (0.9, 0, "CAUTION", "does not tell this model's answers apart"),
        (0.9, 1, "FAIL", "The model looked outside the body"),
        (0.4, 0, "FAIL", "The model looked outside the body"),
        (None, 0, "FAIL", "The model looked outside the body"),
    ],
)
def test_the_map_of_an_absence_may_lie_where_no_answer_is_told_apart(kept, index, level, said):
    """Of a model that was shown not to read what is around the patient; and it is no map to trust."""
    y, x = np.mgrid[:60, :60]
    batch = np.where((y - 30) ** 2 + (x - 30) ** 2 < 22**2, 40.0, -1000.0).astype(np.float32)[None, ..., None]
    heat = np.zeros((60, 60), np.float32)
    heat[:7, :7] = 1
    target = target_of(Stub(heat < 0.5, lambda *_: heat), batch, (0.0, 4.0) if index else (4.0, 0.0), index)
    about = About(Scan(batch[0], "HU"), heat, model=with_tests(separation_kept=kept, separation_of=8))
    verdict = judge(target, heat, heat, method="gradcam", seed=0, about=about)
    assert verdict.level == level and said in verdict.sentence
    assert verdict.numbers["outside_energy"] == 1


def test_a_coarse_map_may_reach_over_the_skin_by_half_a_point():
    y, x = np.mgrid[:64, :64]
    pixels = np.where((y - 32) ** 2 + (x - 32) ** 2 < 24**2, 40.0, -1000.0).astype(np.float32)[..., None]
    heat = np.zeros((64, 64), np.float32)
    heat[28:36, 4:10] = 1  # the body begins at column 9
    for points, fails in (((64, 64), True), ((8, 8), False)):
        results = Results()
        astray(Scan(pixels, "HU"), heat, points, results)
        assert any(one.level == "FAIL" for one in results.reasons) == fails


def test_dependence_is_the_drop_by_hand(spot):
    results = Results()
    target = target_of(Stub(spot.where), spot.batch)
    dependence(target, spot.there, 0, 19, results)
    kept = spot.batch[0, spot.where].mean() / 10
    gone = blurred(spot.batch)[0, spot.where].mean() / 10
    around = ndimage.binary_dilation(spot.where, np.ones((3, 3)), iterations=2)  # a thirty-second of 56 pixels
    assert results.numbers["deletion_drop"] == pytest.approx(kept - gone, rel=1e-3)
    assert results.numbers["deletion_fraction"] == pytest.approx((kept - gone) / (kept - 10), rel=1e-3)
    assert results.numbers["deletion_p"] == pytest.approx(1 / 20)
    assert results.numbers["hidden_area"] == pytest.approx(around.mean(), abs=1e-4)


def test_what_is_hidden_stays_a_tenth_of_the_image():
    top = np.zeros((64, 64), bool)
    top[20:39, 20:39] = True  # 8.8%; one pixel around it is 10.8%
    assert np.array_equal(with_rim(top, 0.1), top)
    top[37:] = False  # 7.9%: there is room for one pixel of two
    assert with_rim(top, 0.1).sum() == 19 * 21


def test_the_other_places_do_not_overlap_while_there_is_room(spot):
    masks = checks._moved(spot.where, 19, np.random.default_rng(0))
    assert len(masks) == 19 and not any((mask & spot.where).any() for mask in masks)
    assert len({mask.tobytes() for mask in masks}) > 10
    assert len(checks._moved(np.ones((8, 8), bool), 3, np.random.default_rng(0))) == 3  # no elsewhere


def test_dependence_p_is_even_when_the_map_means_nothing(spot):
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
        dependence(target_of(network, noise), place, seed, 19, results)
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
    astray(Scan(pixels[..., None].astype(np.float32), "0-255"), heat, heat.shape, results)
    levels = {one.level for one in results.reasons}
    assert ("FAIL" if "FAIL" in levels else "CAUTION" if levels else "PASS") == level
    if level != "PASS":
        assert "text in the image" in results.reasons[0].sentence


def test_where_there_is_no_text_none_is_found():
    from easydl.images.burned_in_text import where_text

    assert not where_text(np.random.default_rng(3).normal(90, 6, (128, 128))).any()


def test_the_verdict_of_a_model_that_reads_the_text_is_no_pass(planted, monkeypatch):
    """The corner that this network goes by is called text."""
    image = planted.images[0]
    letters = np.zeros(image.shape[:2], bool)
    letters[: planted.square, : planted.square] = True
    monkeypatch.setattr("easydl.explanation.places.where_text", lambda pixels: letters)
    verdict = easydl.saliency(planted.model, image).verdict
    assert verdict.level == "FAIL" and "text in the image" in verdict.sentence
