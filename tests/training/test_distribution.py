"""The loop for several replicas does what Keras' `fit` does on one device."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def found():
    script = Path(__file__).with_name("replicas.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_one_replica_is_as_fit_with_dropout_statistics_and_weights(found):
    weights, values = found["one"]
    assert weights <= 1e-6 and values <= 1e-6


@pytest.mark.parametrize("case", ["two", "classes"])
def test_two_replicas_are_as_one_device_though_the_last_batch_is_uneven(found, case):
    # 37 rows in batches of 12: the last has one row, and one of the replicas none.
    weights, values = found[case]
    assert weights <= 1e-3 and values <= 1e-3


def test_moving_statistics_are_the_mean_over_the_replicas(found):
    expected, first, second, of_one_half, _ = found["statistics"]
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, expected, rtol=1e-5)
    assert np.abs(np.subtract(of_one_half, expected)).max() > 1e-3


def test_a_model_built_for_one_device_is_taken_over_and_given_back(found):
    differences, outside, inside = found["taken over"]
    assert max(differences) <= 1e-6
    # One call of the own loop; of plain and of distributed variables; 2 epochs of 5 steps, with which its optimizer can go on.
    assert outside == [1, False, 10, True] and inside == [1, True, 10, True]


def test_datasets_and_a_compiled_model_train_alike(found):
    *differences, steps = found["dataset"]
    assert max(differences) <= 1e-3 and steps == 10


def test_a_model_that_cannot_be_copied_is_refused_in_three_parts(found):
    what, expected, do = found["not copied"]
    assert "cannot copy" in what and "keras.Model(inputs, outputs)" in expected and "scope()" in do


def test_what_stops_a_training_stops_it_after_the_step(found):
    assert found["stopped"] == [0, 1]


def test_masks_on_two_replicas_have_the_loss_of_one_device(found):
    # The Dice of a batch is no mean of those of its parts; 11 validation images in batches of 5 leave a replica without any.
    weights, values = found["masks"]
    assert weights <= 1e-3 and values <= 1e-3


def test_a_step_that_overflows_on_one_replica_is_skipped_on_all(found):
    (kernel, scale, steps), (after, halved, still), (later, kept, went_on) = found["scaled"]
    assert kernel[0] == kernel[1] != [1.0, 1.0] and scale == [[4.0]] * 2 and steps[0] == [1]
    assert after == kernel and halved == [[2.0]] * 2 and still[0] == [1]
    assert later[0] == later[1] != after[0] and kept == [[2.0]] * 2 and went_on[0] == [2]
