"""Segmenters: each architecture's shape, learning, files and published counts; backbones as encoders; deep supervision."""

import keras
import numpy as np
import pandas as pd
import pytest
from made import nifti_study
from PIL import Image

import easydl
from easydl.errors import InputError, ModelError
from easydl.networks import backbone_layers, classifier, load_network, metadata_of, save_model, segmenter, supervised
from easydl.networks.architectures.encoders import backbone_scales
from easydl.networks.listing import ENTRIES
from easydl.networks.registry import TAKE_ENCODER
from easydl.prediction import compiled

# The longer tiramisu is the same function with more layers.
SEGMENTERS = [one.name for one in ENTRIES.values() if one.kind == "segmenter" and one.name != "tiramisu103"]
ODD = {"multiscale3d": (12, 8, 20), "unet3d": (8, 24, 16), "vnet": (16, 16, 32)}
# One of every family of backbones; the rest differ in depth and width only.
FAMILIES = (
    "resnet", "resnet18", "resnet50", "densenet121", "vgg16", "inceptionv3", "inceptionresnetv2", "xception",
    "mobilenet_025", "mobilenetv2_035", "mobilenetv3small", "efficientnetb0", "efficientnetv2b0", "convnexttiny",
    "nasnetmobile", "nin", "squeezenet", "tiny",
)  # fmt: skip
# Those that crop, scale by themselves, end in a vector, or are laid out here; the others are laid out by the same code.
BY_DEFAULT = {"resnet18", "mobilenet_025", "efficientnetb0", "convnexttiny", "squeezenet", "tiny"}


def some(names, by_default):
    return [pytest.param(name, marks=[pytest.mark.everything] * (name not in by_default)) for name in names]


def batch(model: keras.Model, shape: tuple[int, ...], n: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, (n, *shape, model.input_shape[-1])).astype("float32")


def small(name: str) -> tuple[int, ...]:
    entry = ENTRIES[name]
    return (2 * entry.multiple, 3 * entry.multiple) if entry.dimension == 2 else ODD[name]


def call(model: keras.Model, x: np.ndarray) -> np.ndarray:
    return np.asarray(model(x, training=False))


@pytest.mark.parametrize("name", SEGMENTERS)
def test_takes_a_fixed_size(name):
    model = segmenter(name, channels=3, width=4, size=small(name))
    assert model.input_shape == (None, *small(name), 3)
    assert metadata_of(model).multiple % ENTRIES[name].multiple == 0
    assert model.output_shape == (None, *small(name), 2)


@pytest.mark.parametrize("name", some(SEGMENTERS, {"unet3d"}))
def test_a_compiled_prediction_is_the_same(name, built):
    model = built(name, width=4)
    x = batch(model, small(name), 1)
    np.testing.assert_allclose(np.asarray(compiled(model)(x)), call(model, x), atol=1e-5)


def test_every_pixel_can_see_far_and_its_own_place():
    # The reach of the context pathway, which the detail pathway (17 voxels) does not have.
    model = segmenter("multiscale3d", width=4)
    x = np.full((1, 8, 8, 64, 1), 100, "float32")
    changed = x.copy()
    changed[0, :, :, 56:] = 200
    context = keras.Model(model.input, model.get_layer("context_upsample").output)
    detail = keras.Model(model.input, model.get_layer("detail1_conv").output)
    assert np.abs(call(context, x) - call(context, changed))[0, :, :, :8].max() > 1e-6
    assert np.abs(call(detail, x) - call(detail, changed))[0, :, :, :40].max() == 0


@pytest.mark.parametrize(
    ("name", "encoder"),
    [("fpn", "mobilenetv3small"), pytest.param("unet", "efficientnetb0", marks=pytest.mark.everything)],
)
def test_networks_on_an_encoder_open_in_plain_keras_without_easydl_and_in_easydl(
    name, encoder, fresh_process, tmp_path
):
    model = segmenter(name, encoder=encoder, classes=3, width=4)
    path = save_model(model, tmp_path / f"{name}.keras")
    x = batch(model, (64, 32))
    np.testing.assert_allclose(fresh_process(path, x), call(model, x), atol=1e-6)
    again = load_network(path)
    np.testing.assert_allclose(call(again, x), call(model, x), atol=1e-6)
    assert metadata_of(again).arguments == metadata_of(model).arguments


def kernels(model: keras.Model, kinds: tuple[str, ...], side: int) -> int:
    """Parameters in the kernels of one size, the last 1x1 convolution left out."""
    found = [layer.kernel.shape for layer in model.layers if type(layer).__name__ in kinds and layer.name != "logits"]
    return sum(int(np.prod(shape)) for shape in found if shape[0] == side)


def test_the_unet_has_the_convolutions_of_the_paper():
    # Ronneberger 2015, figure 1, added up by hand: with biases and two classes 31,030,658.
    total, three, into = 0, 0, 1
    for filters in (64, 128, 256, 512, 1024):
        for given in (into, filters):
            total, three = total + 9 * given * filters + filters, three + 9 * given * filters
        into = filters
    for filters in (512, 256, 128, 64):
        total += 4 * 2 * filters * filters + filters
        for given in (2 * filters, filters):
            total, three = total + 9 * given * filters + filters, three + 9 * given * filters
    assert total + 64 * 2 + 2 == 31_030_658
    model = segmenter("unet", width=64)
    assert kernels(model, ("Conv2D",), 3) == three == 28_238_400
    assert model.count_params() == 30_339_330, "as its docstring says"


def test_vnet_has_the_kernels_of_the_papers_figure():
    # Milletari 2016, figure 2: filters and number of 5x5x5 convolutions of each stage, down and up again.
    stages = [(16, 1), (32, 2), (64, 3), (128, 3), (256, 3), (256, 3), (128, 3), (64, 2), (32, 1)]
    five = 125 * (16 + sum(f * f * n for f, n in stages[1:]))
    # From each stage of the encoder to the next and, in the decoder, from its full width to half of the one above.
    two = 8 * (16 * 32 + 32 * 64 + 64 * 128 + 128 * 256 + 256 * 128 + 256 * 64 + 128 * 32 + 64 * 16)
    model = segmenter("vnet", width=16)
    assert kernels(model, ("Conv3D",), 5) == five
    assert kernels(model, ("Conv3D", "Conv3DTranspose"), 2) == two


@pytest.mark.parametrize(
    ("name", "options", "published", "tolerance"),
    [
        # Jegou 2017, table 1; Badrinarayanan 2015 as Jegou counts it; Chaurasia 2017, table 3; Zhou 2018, table 3.
        ("tiramisu103", {"width": 16, "channels": 3, "classes": 11}, 9.4e6, 0.02),
        ("segnet", {"width": 64, "channels": 3, "classes": 12}, 29.5e6, 0.01),
        ("linknet", {"encoder": "resnet18", "width": 32, "channels": 3}, 11.5e6, 0.01),
        ("unetplusplus", {"width": 32}, 9.04e6, 0.03),
    ],
)
def test_counts_are_near_the_published_ones(name, options, published, tolerance):
    assert segmenter(name, **options).count_params() == pytest.approx(published, rel=tolerance)


@pytest.mark.parametrize("name", some(FAMILIES, BY_DEFAULT))
def test_a_backbone_gives_maps_at_every_scale_and_keeps_its_weights_in_order(name):
    image = keras.Input((64, 96, 3))
    scales, end = backbone_scales(ENTRIES[name], image)
    assert len(scales) >= 3 and max(scales) <= 32
    for stride, maps in scales.items():
        assert maps.shape[1:3] == (64 // stride, 96 // stride), f"stride {stride} is exact"
        assert not isinstance(maps._keras_history.operation, keras.layers.ZeroPadding2D)

    def shapes(layers) -> list:
        return [[tuple(one.shape) for one in layer.weights] for layer in layers if layer.weights]

    # Published weights are copied in the order of the classifier's layers: it has to be the same here.
    assert shapes(keras.Model(image, end).layers) == shapes(backbone_layers(classifier(name, size=96, channels=3)))


def test_an_encoder_sees_the_image_as_its_classifier_does(tmp_path):
    whole = classifier("resnet18", size=64, channels=1, seed=5)
    save_model(whole, tmp_path / "whole.keras")
    model = segmenter("fpn", encoder="resnet18", pretrained=tmp_path / "whole.keras", width=4)
    assert metadata_of(model).pretrained.startswith("our own model")
    x = batch(model, (64, 64))
    for layer in ("stem_relu", "stage2_2_relu", "stage4_2_relu"):
        one = call(keras.Model(whole.input, whole.get_layer(layer).output), x)
        other = call(keras.Model(model.input, model.get_layer(layer).output), x)
        np.testing.assert_allclose(one, other, atol=1e-5)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms and not any(layer.trainable for layer in norms), "batches of patches are small"
    assert model.get_layer("logits").trainable


def test_published_weights_reach_the_encoder_in_its_colours(tmp_path, write_official):
    # VGG was trained with blue first: the file's first kernel is turned around, here as in the classifier.
    flat = keras.applications.VGG16(include_top=False, weights=None, input_shape=(64, 64, 3))
    path = write_official(flat, tmp_path / "vgg16.h5")
    model = segmenter("linknet", encoder="vgg16", pretrained=path, channels=3, width=4)
    x = batch(model, (64, 64), 1)
    caffe = keras.applications.vgg16.preprocess_input(x.copy())
    np.testing.assert_allclose(
        call(keras.Model(model.input, model.get_layer("block5_conv3").output), x),
        call(keras.Model(flat.input, flat.get_layer("block5_conv3").output), caffe), atol=1e-3, rtol=1e-3,
    )  # fmt: skip


@pytest.mark.real
def test_imagenet_weights_give_the_maps_of_keras(real_weights):
    model = segmenter("deeplabv3plus", encoder="mobilenet_025", pretrained=True, channels=3, width=4)
    theirs = keras.applications.MobileNet(
        alpha=0.25, include_top=False, input_shape=(128, 128, 3), weights=str(next(real_weights.glob("mobilenet_2_5*")))
    )
    x = batch(model, (128, 128), 1)
    scaled = keras.applications.mobilenet.preprocess_input(x.copy())
    np.testing.assert_allclose(
        call(keras.Model(model.input, model.get_layer("conv_pw_11_relu").output), x),
        call(keras.Model(theirs.input, theirs.get_layer("conv_pw_11_relu").output), scaled), atol=1e-4,
    )  # fmt: skip


@pytest.mark.real
def test_a_pretrained_encoder_keeps_its_statistics_after_the_file_as_before(real_weights, tmp_path):
    def moving(model):
        kinds = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
        return [layer.trainable for layer in kinds]

    model = segmenter("unet", encoder="mobilenet_025", pretrained=True, width=4)
    again = load_network(save_model(model, tmp_path / "m.keras"))
    assert moving(model) and not any(moving(model))
    assert moving(again) == moving(model)
    fresh = segmenter("unet", encoder="mobilenet_025", width=4)
    assert all(moving(load_network(save_model(fresh, tmp_path / "f.keras")))), "there is nothing to keep"


@pytest.mark.parametrize("name", TAKE_ENCODER)
@pytest.mark.parametrize("encoder", ["tiny", *some(["squeezenet", "nin"], {"squeezenet"})])
def test_every_decoder_takes_backbones_of_any_depth(name, encoder):
    model = segmenter(name, encoder=encoder, width=4, channels=2, classes=4)
    assert call(model, batch(model, (32, 64), 1)).shape == (1, 32, 64, 4)
    assert metadata_of(model).multiple == 32


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unet", {"encoder": "alexnet"}),
        ("unet", {"encoder": "lenet"}),
        ("unet", {"encoder": "resnet3d18"}),
        ("unet", {"encoder": "vnet"}),
        ("segnet", {"encoder": "tiny"}),
        ("unet", {"pretrained": True}),
        ("unet", {"encoder": "tiny", "size": 48}),
        ("unet", {"deep_supervision": True}),
        ("fcn", {"size": 48}),
        ("unet", {"width": 6}),
        ("unet", {"width": 68}),
    ],
)
def test_refuses_what_does_not_fit(name, options):
    with pytest.raises(InputError) as caught:
        segmenter(name, **options)
    assert caught.value.found and caught.value.expected and caught.value.do


def test_deep_supervision_trains_the_model_through_its_coarser_levels():
    model = segmenter("unet3d", classes=["background", "a", "b"], width=4, deep_supervision=True)
    x = batch(model, (16, 16, 16), 1)
    before, deep = call(model, x), supervised(model)
    outputs = deep(x, training=False)
    assert {name: tuple(one.shape) for name, one in outputs.items()} == dict.fromkeys(
        ("probability", "level2", "level3"), (1, 16, 16, 16, 3)
    )
    np.testing.assert_array_equal(outputs["probability"], before)
    for name in ("level2", "level3"):
        step = int(name[-1]) * 2 - 2
        blocks = np.asarray(outputs[name])
        np.testing.assert_allclose(blocks.sum(-1), 1, atol=1e-5)
        np.testing.assert_array_equal(blocks[:, ::step], blocks[:, step - 1 :: step], "one value per coarse voxel")
    assert [layer.name for layer in model.layers][-1] == "probability", "the model itself stays as it was"
    y = np.eye(3, dtype="float32")[np.random.default_rng(0).integers(0, 3, (1, 16, 16, 16))]
    deep.compile(keras.optimizers.SGD(0.1), {"level3": "categorical_crossentropy"}, jit_compile=False)
    frozen = model.get_layer("up1_conv1").get_weights()[0].copy()
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        deep.fit(x, {"level3": y}, verbose=0)
    assert np.abs(call(model, x) - before).max() > 1e-6, "what a coarse level learns is in the model"
    np.testing.assert_array_equal(model.get_layer("up1_conv1").get_weights()[0], frozen)
    with pytest.raises(ModelError):
        supervised(segmenter("vnet", width=4))


def test_fit_uses_deep_supervision_when_the_model_asks_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr("easydl.training.patch_plan.LEAST_STEPS_AN_EPOCH", 8)
    study = easydl.load(nifti_study(tmp_path / "n", cases=6, shape=(16, 20, 16)), mask="mask")
    train, val, test = study.split(seed=0)
    model = easydl.unet3d(study, width=4, deep_supervision=True)
    history = easydl.fit(model, train, val, augment="none", epochs=2, verbose=False)
    assert {"level2_loss", "level3_loss", "probability_dice"} <= set(history.history)
    assert history.history["probability_loss"][-1] < history.history["probability_loss"][0]
    found = easydl.predict(model, test.addresses(0)[0])
    assert found.mask.shape == test.scan(0).shape
    save_model(model, tmp_path / "m.keras")
    assert metadata_of(load_network(tmp_path / "m.keras")).arguments["deep_supervision"] is True


def test_thick_slices_are_downsampled_later(tmp_path):
    study = easydl.load(nifti_study(tmp_path / "n", cases=2, shape=(42, 38, 11), mm=(1.0, 1.0, 5.0)), mask="mask")
    assert study.summary.spacing_mm == (5.0, 1.0, 1.0)
    coarse = supervised(easydl.unet3d(study, width=4, deep_supervision=True))
    outputs = coarse(np.zeros((1, 12, 40, 48, 1), "float32"), training=False)
    assert {one.shape for one in outputs.values()} == {(1, 12, 40, 48, 2)}
    model = easydl.unet3d(study, width=4)
    assert metadata_of(model).arguments["levels"] == [[1, 2, 2], [1, 2, 2], [2, 2, 2]]


@pytest.mark.everything
def test_thick_slices_are_downsampled_later_in_training_files_and_prediction(tmp_path):
    study = easydl.load(nifti_study(tmp_path / "n", cases=6, shape=(42, 38, 11), mm=(1.0, 1.0, 5.0)), mask="mask")
    train, val, test = study.split(seed=0)
    model = easydl.unet3d(study, width=4)
    history = easydl.fit(model, train, val, augment="none", epochs=1, verbose=False)
    assert "the axis of the thick slices later than the others" in " ".join(history.params["plan"])
    assert metadata_of(model).patch == (12, 40, 48)
    save_model(model, tmp_path / "m.keras")
    again = load_network(tmp_path / "m.keras")
    assert metadata_of(again) == metadata_of(model).model_copy(update={"easydl": metadata_of(again).easydl})
    one, other = (easydl.predict(which, test.addresses(0)[0]).mask for which in (model, again))
    assert one.shape == test.scan(0).shape == (11, 38, 42)
    np.testing.assert_array_equal(one, other)
    assert easydl.saliency(again, test.addresses(0)[0], target=1, verdict=False).array.shape == (11, 38, 42)


@pytest.mark.everything
def test_a_network_on_an_encoder_trains_and_segments_images_of_odd_sizes(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(9):
        mask = np.zeros((43, 70), np.uint8)
        row, column = rng.integers(5, 20), rng.integers(5, 40)
        mask[row : row + 16, column : column + 16] = 1
        Image.fromarray((rng.integers(20, 60, mask.shape) + 150 * mask).astype(np.uint8)).save(
            tmp_path / f"i{number}.png"
        )
        Image.fromarray(mask).save(tmp_path / f"m{number}.png")
    rows = [{"image": f"i{k}.png", "mask": f"m{k}.png", "patient": f"p{k}"} for k in range(9)]
    pd.DataFrame(rows).to_csv(tmp_path / "scans.csv", index=False)
    train, val, test = easydl.load(tmp_path / "scans.csv", mask="mask").split(seed=0)
    model = easydl.unet(train, encoder="tiny", width=8)
    easydl.fit(model, train, val, augment="none", epochs=3, verbose=False)
    assert metadata_of(model).patch == (64, 96), "patches are multiples of what the encoder downsamples by"
    table = easydl.evaluate(model, test).table
    assert table["value"].iloc[0] > 0.8
