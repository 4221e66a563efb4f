"""A student learns from labels and from a teacher's answers: loss and targets by hand, and what may not be passed on."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, softmax

import easydl
from easydl.errors import InputError, LeakageError, ModelError
from easydl.networks import attach, metadata_of
from easydl.prediction.seen import seen_rows, with_training
from easydl.tasks import Task
from easydl.training.beyond_labels import BeyondLabels
from easydl.training.distillation import SOFT, TEMPERATURE, answers, softened, taught_loss

RNG = np.random.default_rng(0)


def having_seen(model, train, val):
    """The model as if it had been trained on these parts."""
    return attach(model, metadata_of(model).model_copy(update={"seen": with_training(None, train, val)}))


def test_softened_answers_are_those_of_divided_logits():
    logits = RNG.normal(size=(5, 3)) * 4
    assert softened(softmax(logits, axis=1), Task.CLASSIFICATION) == pytest.approx(
        softmax(logits / TEMPERATURE, axis=1), abs=1e-5
    )
    assert softened(expit(logits), Task.MULTILABEL) == pytest.approx(expit(logits / TEMPERATURE), abs=1e-4)
    assert softened(logits, Task.REGRESSION) == pytest.approx(logits, rel=1e-6)


def test_the_loss_is_hintons():
    hard, soft = np.eye(3)[[0, 2, 1, 1]], softmax(RNG.normal(size=(4, 3)), axis=1)
    logits = RNG.normal(size=(4, 3)) * 2
    student = softmax(logits, axis=1)
    loss = taught_loss(Task.CLASSIFICATION, "categorical_crossentropy", 3)
    cross_entropy = -(hard * np.log(student)).sum(1)
    apart = -(soft * np.log(softmax(logits / TEMPERATURE, axis=1))).sum(1)
    by_hand = (1 - SOFT) * cross_entropy + SOFT * TEMPERATURE**2 * apart
    as_float = [one.astype("float32") for one in (np.concatenate([hard, soft], 1), student, hard)]
    assert np.asarray(loss(as_float[0], as_float[1])) == pytest.approx(by_hand, rel=1e-4)
    assert np.asarray(loss(as_float[2], as_float[1])) == pytest.approx(cross_entropy, rel=1e-4), (
        "validation: labels alone"
    )


def test_labels_and_values_have_their_own():
    target, soft, logits = np.array([[1.0, 0]]), np.array([[0.8, 0.3]]), np.array([[1.5, -2.0]])
    loss = taught_loss(Task.MULTILABEL, "binary_crossentropy", 2)
    entropy = lambda t, p: -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()  # noqa: E731
    by_hand = (1 - SOFT) * entropy(target, expit(logits))
    by_hand += SOFT * TEMPERATURE**2 * entropy(soft, expit(logits / TEMPERATURE))
    both = np.concatenate([target, soft], 1).astype("float32")
    assert float(loss(both, expit(logits).astype("float32"))[0]) == pytest.approx(by_hand, rel=1e-4)
    value = taught_loss(Task.REGRESSION, "mean_squared_error", 1)
    given = np.array([[3.0, 5.0]], "float32"), np.array([[4.0]], "float32")
    assert float(value(*given)[0]) == pytest.approx((1 - SOFT) * 1 + SOFT * 1)


def test_a_teacher_answers_in_the_students_order_of_classes(parts):
    train = parts[0]
    teacher = easydl.classifier("tiny", classes=["healthy", "disease"], size=32)
    student = easydl.classifier("tiny", train, size=32)
    assert metadata_of(student).classes == ("disease", "healthy")
    said = answers(teacher, train, metadata_of(student))
    probabilities = easydl.predict(teacher, train).frame[["p(disease)", "p(healthy)"]].to_numpy()
    assert said == pytest.approx(softened(probabilities, Task.CLASSIFICATION), abs=1e-4)


def test_fit_with_a_teacher_says_so_and_asks_it_once(parts, monkeypatch):
    train, val, _ = parts
    asked = []
    monkeypatch.setattr("easydl.training.distillation.answers", lambda *given: asked.append(given) or answers(*given))
    teacher = having_seen(easydl.classifier("tiny", train, size=32, seed=5), train, val)
    student = easydl.classifier("lenet", train, size=32)
    history = easydl.fit(student, train, val, teacher=teacher, epochs=2, verbose=False, calibrate=False)
    plan = " ".join(history.params["plan"])
    assert len(asked) == 1
    assert (
        f"The teacher (tiny, {teacher.count_params():,} parameters) answered the {len(train)} training images" in plan
    )
    assert {"loss", "val_loss", "accuracy", "val_accuracy", "val_auc"} <= set(history.history)
    # The training loss holds the teacher's part, nine times as large; the validation loss is of the labels alone.
    assert history.history["val_loss"][0] < 2 < history.history["loss"][0]


def test_a_teacher_that_saw_the_validation_or_test_part_is_refused(parts):
    train, val, test = parts
    student = metadata_of(easydl.classifier("lenet", train, size=32))
    model = easydl.classifier("lenet", train, size=32)
    allowed = BeyondLabels.checked(student, (train, val), having_seen(model, train, val))
    assert allowed.teacher is model and not allowed.overrides
    for seen, where in (((val, train), "validation part"), ((test, val), "test part"), ((train, test), "test part")):
        with pytest.raises(LeakageError, match=where):
            BeyondLabels.checked(student, (train, val), having_seen(model, *seen))
    kept = BeyondLabels.checked(student, (train, val), having_seen(model, val, train), override="a trial")
    assert "a trial" in kept.overrides[0]


def test_what_a_teacher_has_seen_its_student_has_seen(parts):
    train, val, test = parts
    model = easydl.classifier("lenet", train, size=32)
    alone = replace(train, parent=None)  # from a table of its own: nobody knows of a test part
    beyond = BeyondLabels.checked(metadata_of(model), (alone, val), having_seen(model, test, val))
    metadata = metadata_of(easydl.classifier("lenet", train, size=32))
    seen = beyond.seen(metadata, train, val)
    rows, _ = seen_rows([metadata.model_copy(update={"seen": seen})], test)
    assert set(rows) == {"training image"}
    # So it is where the student has seen images before, too: pretrained on some, taught by one that knows others.
    started = metadata_of(having_seen(easydl.classifier("lenet", train, size=32), val, train))
    seen = beyond.seen(started, train, val)
    found = [seen_rows([metadata.model_copy(update={"seen": seen})], part) for part in (train, val, test)]
    assert [set(rows) for rows, _ in found] == [{"training image"}] * 3
    assert seen.complete and not any(notes for _, notes in found)


def test_what_has_no_use_for_a_teacher_is_refused(parts, masked_parts):
    train, val, _ = parts
    teacher = easydl.classifier("lenet", train, size=32)
    with pytest.raises(InputError, match="segmentation"):
        easydl.fit(easydl.unet(masked_parts[0], width=4, levels=2), *masked_parts[:2], teacher=teacher)
    with pytest.raises(ModelError, match="other"):
        easydl.fit(
            easydl.classifier("lenet", train, size=32),
            train,
            val,
            teacher=easydl.classifier("lenet", classes=["other", "x"], size=32),
        )
    with pytest.raises(InputError, match="together"):
        easydl.fit(teacher, train, val, teacher=teacher, unlabelled=train)
