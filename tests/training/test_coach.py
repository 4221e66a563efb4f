"""The coach on planted curves and counts, each beside a healthy twin of which it says nothing."""

import numpy as np
import pytest

from easydl.training.coach import (
    Curve,
    chance_losses,
    chance_of_labels,
    coached,
    judged_findings,
    settled,
)

pytestmark = pytest.mark.quick
EPOCHS = 30
LN2 = float(np.log(2))


def falling(epochs=EPOCHS, start=0.7, end=0.1, noise=0.01, seed=0):
    steps = np.random.default_rng(seed).normal(0, noise, epochs)
    return end + (start - end) * np.exp(-5 * np.arange(epochs) / epochs) + steps


def curve(training, validation, **facts):
    options = {"epochs": len(training), "learning_rate": 2e-3, "first": 0.71, "chance": (LN2, LN2)} | facts
    return Curve(np.asarray(training, float), np.asarray(validation, float), **options)


def codes(one):
    return [finding.code for finding in coached(one)]


HEALTHY = curve(falling(), falling(end=0.2, seed=1))


def test_healthy_curves_are_met_with_silence():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        end, noise = rng.uniform(0.02, 0.3), rng.uniform(0.002, 0.06)
        epochs = int(rng.integers(3, 60))
        training = falling(epochs, end=end, noise=noise / 2, seed=seed)
        validation = falling(epochs, end=end + rng.uniform(0, 0.15), noise=noise, seed=seed + 100)
        assert codes(curve(training, validation, epochs=60)) == []
    assert codes(curve([0.6], [0.5])) == codes(curve([], [])) == []


@pytest.mark.parametrize("first", [0.71, float("nan")])
def test_a_loss_that_jumps_up_has_too_high_a_rate(first):
    jumped = [70.0, 900.0, 30.0, *falling(10)]
    (found,) = coached(curve(jumped, falling(13), learning_rate=1e4, first=first))
    assert found.code == "learning rate too high" and found.grave
    assert "with 10000" in found.sentence and "to 900 in epoch 2" in found.sentence
    assert "1e+03 or less" in found.advice
    # Known from its first epoch on, while it runs; a loss that begins high is no jump.
    assert codes(curve([70.0], [3.0], first=first)) == ["learning rate too high"]
    assert codes(curve(falling(start=9), falling(start=9, end=0.2), first=9.5)) == []
    # Fine-tuning begins with a trained head: small losses that grow are small losses.
    assert codes(curve([0.2, 0.15, 0.1], [0.2, 0.2, 0.2], first=0.01)) == []


def test_a_loss_that_is_not_finite_names_its_epoch():
    (found,) = coached(curve([0.7, 0.6, np.nan], [0.7, 0.6, np.nan]))
    assert (found.code, found.grave) == ("not finite", True)
    assert "diverged in epoch 3" in found.sentence and "below 0.002" in found.advice


def still(epochs=EPOCHS, level=0.75, noise=0.02):
    return level + np.random.default_rng(3).normal(0, noise, epochs)


def test_a_loss_that_does_not_move_has_a_cause():
    gradients = ("conv1", "logits", 1e-6)
    low = coached(curve(still(), still(), learning_rate=1e-7))
    assert [one.code for one in low] == ["learning rate too low"]
    assert "1e-07" in low[0].sentence and "30 epochs" in low[0].sentence
    (vanishing,) = coached(curve(still(), still(), gradients=gradients))
    assert vanishing.code == "vanishing gradients"
    assert "conv1" in vanishing.sentence and "1e-06" in vanishing.sentence and "logits" in vanishing.sentence
    assert codes(curve(still(), still(), gradients=("conv1", "logits", 0.2))) == ["underfitting"]
    # At a small rate a loss that moves, or that was low from the start, is no fault.
    assert codes(curve(falling(), falling(end=0.2), learning_rate=1e-7)) == []
    assert codes(curve(still(level=0.1), still(level=0.12), learning_rate=1e-7)) == []
    assert curve(still(), still()).stuck and not HEALTHY.stuck and not curve(still(level=0.1), still()).stuck


def test_overfitting_is_told_with_its_epochs_and_by_how_much():
    validation = np.concatenate([np.linspace(0.7, 0.4, 10), np.linspace(0.4, 0.9, 20)])
    validation += np.random.default_rng(0).normal(0, 0.01, 30)
    (found,) = coached(curve(falling(), validation))
    assert found.code == "overfitting"
    after, rise = len(validation) - int(np.argmin(validation)) - 1, np.median(validation[-10:]) - validation.min()
    said = float(found.sentence.split("rose by ")[1].split(" ")[0])
    assert said == pytest.approx(rise, abs=0.03)
    assert int(found.sentence.split("in the ")[1].split(" ")[0].lower()) == pytest.approx(after, abs=2)
    # The same rise where training does not fall, where nothing of the stage is kept, and within the noise.
    assert "overfitting" not in codes(curve(falling()[::-1] + 0.1, validation))
    assert codes(curve(falling(), validation, kept=False)) == []
    shallow = np.concatenate([np.linspace(0.7, 0.4, 10), np.linspace(0.4, 0.45, 20)])
    assert codes(curve(falling(), shallow)) == []


def test_underfitting_at_the_level_of_one_answer_and_still_falling():
    (found,) = coached(curve(still(level=LN2 + 0.01, noise=0.004), still(level=LN2 + 0.02, noise=0.004)))
    assert found.code == "underfitting" and "0.693 and 0.693" in found.sentence
    assert codes(curve(still(level=LN2 + 0.01), falling(end=0.3), gradients=None)) == [], "validation shows it learns"
    slow = np.linspace(0.9, 0.62, EPOCHS)
    (found,) = coached(curve(slow, slow + 0.01))
    assert found.code == "underfitting" and "still falling" in found.sentence
    assert codes(curve(slow, slow + 0.01, epochs=60)) == [], "stopped before its end"
    assert codes(curve(np.linspace(0.9, 0.1, EPOCHS), np.linspace(0.9, 0.2, EPOCHS))) == [], "not high"


def test_a_validation_that_jumps_by_more_than_it_gained():
    jumping = 0.6 + 0.25 * (-1.0) ** np.arange(EPOCHS) + np.random.default_rng(0).normal(0, 0.05, EPOCHS)
    (found,) = coached(curve(falling(), jumping))
    assert found.code == "noisy validation"
    noise = float(found.sentence.split("jumps by ")[1].split(" ")[0])
    assert noise == pytest.approx(np.abs(np.diff(jumping, 2)).mean() * 1.4826 / np.sqrt(6), rel=0.3)
    assert codes(curve(falling(), falling(end=0.2, noise=0.05, seed=4))) == []


def headline(value, low, high, name="AUC", n=60):
    return {"name": name, "value": value, "low": low, "high": high, "n": n, "unit_of_n": "patients", "unit": ""}


def judged(learnt, row, warnings=()):
    return [one.code for one in judged_findings(learnt, row, warnings)]


def test_labels_that_look_shuffled_and_patients_that_are_too_few():
    (found,) = judged_findings(True, headline(0.52, 0.41, 0.63), [])
    assert found.code == "shuffled labels"
    assert all(said in found.sentence for said in ("AUC 0.52", "0.41-0.63", "60 patients"))
    assert judged(False, headline(0.52, 0.41, 0.63)) == [], "the training images were not learnt either"
    assert judged(True, headline(0.8, 0.7, 0.9)) == judged(True, headline(0.62, 0.49, 0.76)) == judged(True, {}) == []
    (few,) = judged_findings(True, headline(0.6, 0.3, 0.9, n=6), [])
    assert few.code == "too few patients" and "6 patients" in few.sentence and "0.30-0.90" in few.sentence
    assert judged(True, headline(0.6, np.nan, np.nan)) == ["too few patients"]
    assert judged(True, headline(0.1, -0.35, 0.55, "quadratic-weighted kappa")) == ["too few patients"]
    assert judged(True, headline(0.1, -0.05, 0.35, "quadratic-weighted kappa")) == ["shuffled labels"]
    assert judged(True, headline(3.0, 2.0, 9.0, "mean absolute error")) == []


def test_one_answer_is_the_sentence_of_the_test_with_what_to_do():
    warning = "One answer for every image: all 60 were called B, also the 30 that are not."
    (found,) = judged_findings(False, headline(0.8, 0.7, 0.9), ["Another sentence.", warning])
    assert (found.code, found.sentence) == ("one answer", warning)
    assert judged(False, headline(0.8, 0.7, 0.9), ["Another sentence."]) == []


def test_a_cause_explains_what_follows_from_it():
    over = coached(curve(falling(), np.concatenate([np.linspace(0.7, 0.4, 10), np.linspace(0.4, 0.9, 20)])))
    shuffled = judged_findings(True, headline(0.52, 0.41, 0.63), [])
    assert [one.code for one in settled([*over, *shuffled])] == ["shuffled labels"]
    one_answer = judged_findings(False, {}, ["One answer for every image: all."])
    low = coached(curve(still(), still(), learning_rate=1e-7))
    assert [one.code for one in settled([*low, *low, *one_answer])] == ["learning rate too low"]
    assert [one.code for one in settled([*over, *one_answer])] == ["overfitting", "one answer"]


def test_the_loss_of_one_answer_for_every_image():
    from sklearn.metrics import log_loss
    from sklearn.utils.class_weight import compute_sample_weight

    labels = np.repeat([0, 1, 2], [50, 30, 20])
    targets, share = np.eye(3)[labels], np.bincount(labels) / 100
    assert chance_losses(targets) == pytest.approx((log_loss(labels, np.tile(share, (100, 1))),) * 2)
    weights = {k: float(w) for k, w in zip((0, 1, 2), 1 / (3 * share), strict=True)}
    equal = np.full((100, 3), 1 / 3)
    sample = compute_sample_weight("balanced", labels)
    expected = (log_loss(labels, equal, sample_weight=sample), log_loss(labels, equal))
    assert chance_losses(targets, weights) == pytest.approx(expected)
    many = np.stack([labels == 0, labels == 2], axis=1).astype(float)
    binary = [log_loss(column, np.full(100, column.mean())) for column in many.T]
    assert chance_of_labels(many) == pytest.approx(np.mean(binary))
