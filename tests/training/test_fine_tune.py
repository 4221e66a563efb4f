"""`fit(fine_tune=)`: which layers the steps move, what the plan says, and what is refused."""

import keras
import numpy as np
import pytest
from small_models import as_pretrained, tiny

import easydl
from easydl.errors import InputError


class Watch(keras.callbacks.Callback):
    """The kernels after the last step of fine-tuning, before anything is taken back."""

    def __init__(self):
        super().__init__()
        self.kernels = {}

    def on_train_batch_end(self, batch, logs=None):
        if any(layer.name == "stage1_1_conv" for layer in self.model.layers):
            self.kernels = kernels(self.model)


def kernels(model):
    return {
        layer.name: np.asarray(layer.kernel) for layer in model.layers if layer.name.endswith("_conv")
    }  # fmt: skip


def test_the_last_stage_and_the_head_are_trained_and_nothing_else(parts):
    train, val, _ = parts
    model, watch = as_pretrained(tiny(train), train), Watch()
    before = kernels(model)
    options = {"augment": "none", "epochs": 1, "callbacks": [watch], "verbose": False}
    plan = " ".join(easydl.fit(model, train, val, fine_tune=1, **options).params["plan"])
    moved = {name for name, kernel in watch.kernels.items() if not np.array_equal(kernel, before[name])}
    assert moved == {"stage4_1_conv", "stage4_2_conv"}
    assert "Strategy finetune" in plan and "its last stages are fine-tuned gently" in plan
    assert "Fine-tuned are the last of 4 stages of the backbone (stride 8; 221,184 parameters)" in plan


def test_none_of_the_backbone_is_trained_with_0(parts, stages):
    train, val, _ = parts
    model = as_pretrained(tiny(train), train)
    plan = " ".join(easydl.fit(model, train, val, fine_tune=0, augment="none", verbose=False).params["plan"])
    assert "Strategy features" in plan and not stages and "Fine-tuned are" not in plan


def test_fit_refuses_before_an_image_is_decoded(parts):
    train, val, _ = parts
    for model, fine_tune, found in (
        (tiny(train), 2, "trained as a whole"),
        (as_pretrained(tiny(train)), 9, "has 4 stages"),
        (tiny(train), -1, "fine_tune=-1"),
        (tiny(train), "most", "fine_tune='most'"),
    ):
        with pytest.raises(InputError, match=found):
            easydl.fit(model, train, val, fine_tune=fine_tune, verbose=False)
