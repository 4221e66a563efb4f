"""`batch_size="auto"`: what memory holds, what the number of images makes sensible, and the rate that goes with it."""

import math

import pytest
from small_models import as_pretrained, tiny

import easydl
from easydl.errors import InputError
from easydl.training.batch_size import batch_by_memory


@pytest.mark.quick
def test_memory_and_the_number_of_images_are_both_limits():
    def choice(images, memory_gb, usual=16):
        return batch_by_memory(images, usual, activations=10**6, parameters=10**6, memory_gb=memory_gb)

    # An image needs 8 MB, the weights 16 MB, and half of the memory is used.
    assert choice(10**5, 1.0).fits == (500 - 16) // 8
    assert choice(10**5, 1.0).batch == 32 and choice(10**5, 0.1).batch == 4
    assert choice(10**5, 64.0).batch == 256 and choice(1000, 64.0).batch == 32
    assert choice(20, 64.0, usual=8).batch == 8 and choice(10**5, None).batch == 256
    assert choice(10**5, 0.001).batch == 1
    assert choice(1000, 64.0).rate == pytest.approx(math.sqrt(2))
    assert "not known" in choice(1000, None).sentence and "1.41" not in choice(1000, 64.0).sentence
    assert "1.4 times" in choice(1000, 64.0).sentence and "64 GB" in choice(1000, 64.0).sentence


def test_fit_trains_with_it_and_says_why(parts, stages, monkeypatch):
    train, val, _ = parts
    monkeypatch.setattr("easydl.training.batch_size.STEPS_LEFT", 1)
    history = easydl.fit(tiny(train), train, val, augment="none", epochs=2, batch_size="auto", verbose=False)
    stage, _, data, _ = stages[0]
    assert stage.steps == 1 and len(next(iter(data.feed()))[0]) == 16 == len(train)
    assert stage.learning_rate == pytest.approx(0.002 * math.sqrt(2))
    assert any(line.startswith("Batch size 16: ") for line in history.params["plan"])
    history = easydl.fit(as_pretrained(tiny(train)), train, val, augment="none", batch_size="auto", verbose=False)
    assert any("batch_size='auto' changes nothing here" in line for line in history.params["plan"])


def test_image_to_image_models_have_a_batch_of_their_own(parts):
    train, val, _ = parts
    with pytest.raises(InputError, match='batch_size="auto"'):
        easydl.fit(easydl.image_to_image("denoising_autoencoder"), train, val, batch_size="auto")
