"""Receptive fields by gradients and from the literature; stages by hand; what is trained of each."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import easydl
from easydl.errors import InputError
from easydl.networks import ModelMetadata, attach, metadata_of, unfreeze
from easydl.networks.freezing import stages_of, stages_sentence
from easydl.networks.receptive_field import reaches, receptive_field_sentence
from easydl.training.argument_checks import check_fine_tune


def branched(side=64, dimension=2):
    """Strides, dilation, two branches and a squeeze: all weights are ones, so that a gradient shows what is seen."""
    convolution, pool, average = (
        getattr(layers, f"{name}{dimension}D") for name in ("Conv", "AveragePooling", "GlobalAveragePooling")
    )
    ones = {"kernel_initializer": "ones", "padding": "same"}
    image = layers.Input((side,) * dimension + (1,), name="image")
    x = convolution(1, 3, 2, name="strided", **ones)(image)
    x = pool(2, name="pooled")(x)
    wide = convolution(1, 3, dilation_rate=2, name="wide", **ones)(x)
    narrow = convolution(1, 1, name="narrow", **ones)(x)
    x = joined = layers.Add(name="joined")([wide, narrow])
    gate = layers.Reshape((1,) * dimension + (1,), name="gate")(average(name="squeeze")(x))
    x = layers.Multiply(name="gated")([x, gate])
    features = average(name="features")(x)
    out = layers.Softmax(name="probability")(layers.Dense(2, name="logits")(features))
    facts = {"classes": ("no", "yes"), "dimension": dimension, "channels": 1, "size": (side,) * dimension}
    metadata = ModelMetadata(builder="classifier", task="classification", units="0-255", **facts)
    return attach(keras.Model(image, out), metadata), joined


@pytest.mark.parametrize(("dimension", "side"), [(2, 64), (3, 48)])
def test_what_a_point_sees_is_where_its_gradient_is(dimension, side):
    model, joined = branched(side, dimension)
    found = reaches(model)
    x, middle = tf.ones((1, *(side,) * dimension, 1)), (side // 8,) * dimension
    maps = keras.Model(model.input, joined)
    with tf.GradientTape() as tape:
        tape.watch(x)
        points = maps(x)
        point = points[(0, *middle, 0)]
    seen = np.argwhere(np.asarray(tape.gradient(point, x))[0, ..., 0] > 0)
    assert found["joined"].sees == tuple(seen.max(axis=0) - seen.min(axis=0) + 1) == (21,) * dimension
    assert found["joined"].stride == tuple(side // width for width in points.shape[1:-1])
    assert found["gated"] == found["joined"]  # how strongly, not where
    assert found["squeeze"].sees is None and found["features"].sees is None


@pytest.mark.parametrize(
    ("name", "sees"),
    # Araujo et al. 2019, table of receptive fields.
    [("mobilenet_025", 315), pytest.param("vgg16", 212, marks=pytest.mark.everything)],
)
def test_receptive_fields_are_those_of_the_literature(name, sees):
    found = [one for one in reaches(easydl.classifier(name, size=32)).values() if one.sees]
    assert found[-1].sees == (sees, sees) and found[-1].stride == (32, 32)


def test_the_plan_says_what_is_not_seen_and_nothing_where_all_is():
    # tiny: 3 + 1 | + 2 * 4 + 2 | + 2 * 8 + 4 | + 2 * 16 = 66 pixels.
    assert receptive_field_sentence(easydl.classifier("tiny", size=128)) == (
        "One point of the last feature map sees 66 x 66 of the image's 128 x 128 pixels: what is larger is seen in parts."
    )
    assert receptive_field_sentence(easydl.classifier("tiny", size=64)) == ""
    small = receptive_field_sentence(easydl.classifier("mobilenet_025", size=32))
    assert "a single point for images of 32 x 32 pixels" in small and "From 64 x 64 pixels on" in small
    assert "voxels" in receptive_field_sentence(easydl.classifier("tiny3d", size=96))
    foreign, _ = branched(64)
    attach(foreign, ModelMetadata(builder="keras", task="classification", units="0-255", classes=("no", "yes"), dimension=2,
                                  channels=1, size=(64, 64)))  # fmt: skip
    assert receptive_field_sentence(foreign) == ""


def test_stages_are_the_blocks_between_strides():
    model = easydl.classifier("tiny", size=32, channels=2)
    names = [[layer.name.split("_")[0] for layer in stage.layers] for stage in stages_of(model)]
    assert [stage.stride[0] for stage in stages_of(model)] == [1, 2, 4, 8]
    assert [set(one) for one in names] == [{"stage1"}, {"stage2"}, {"stage3"}, {"stage4"}]
    colour = easydl.classifier("mobilenet_025", size=32, channels=2)
    first = stages_of(colour)[0]
    assert first.layers[0].name == "to_rgb" and first.stride == (2, 2) and len(stages_of(colour)) == 5


@pytest.mark.everything
def test_a_layer_that_only_scales_is_no_stage():
    assert [one.stride[0] for one in stages_of(easydl.classifier("efficientnet", size=32))] == [2, 4, 8, 16, 32]


@pytest.mark.parametrize("stages", [0, 1, 3, 4, None])
def test_the_last_stages_are_trained_and_the_sentence_counts_their_parameters(stages):
    model = unfreeze(easydl.classifier("tiny", size=32, classes=3), stages)
    trained = {weight.path.split("/")[0] for weight in model.trainable_weights}
    last = range(5 - (4 if stages is None else stages), 5)
    expected = {f"stage{stage}_{number}_conv" for stage in last for number in (1, 2) if (stage, number) != (1, 2)}
    assert trained == expected | {"logits"}
    if stages == 0:
        return
    kernels = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights if "conv" in weight.path)
    said = stages_sentence(model, stages)
    assert f"{kernels:,} parameters) and the head ({128 * 3 + 3})" in said
    every = [9 * a * b for a, b in ((1, 16), (16, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128))]
    frozen = sum(every) - kernels
    assert (f"{frozen:,} parameters) and all batch" in said) == bool(frozen)
    assert ("all 4 stages" in said) == (stages in (4, None))


@pytest.mark.parametrize(
    ("options", "pretrained", "found"),
    [
        ({"fine_tune": 3}, False, "trained as a whole from the start"),
        ({"fine_tune": 5}, True, "the backbone has 4 stages"),
        ({"fine_tune": 2, "strategy": "features"}, True, 'strategy="features"'),
        ({"fine_tune": 0, "strategy": "finetune"}, True, 'strategy="finetune"'),
    ],
)
def test_what_makes_no_sense_is_refused(options, pretrained, found):
    model = easydl.classifier("tiny", size=32)
    if pretrained:
        attach(model, metadata_of(model).model_copy(update={"pretrained": "made for this test"}))
    with pytest.raises(InputError, match=found) as caught:
        check_fine_tune(model, metadata_of(model), options.pop("strategy", "auto"), **options)
    assert caught.value.expected and caught.value.do
