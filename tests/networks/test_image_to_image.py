"""Image-to-image networks: shape, unit, learning, files, the drawn code, noise, training without labels, measures."""

import json

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image
from scipy import ndimage, stats

import easydl
from easydl.errors import InputError, ModelError
from easydl.evaluation import Metrics, reconstruction_metrics
from easydl.images import Scan
from easydl.networks import image_to_image, load_network, metadata_of, save_model, set_classes, set_window
from easydl.networks.listing import ENTRIES
from easydl.prediction import ReconstructedCase, Reconstruction, compiled
from easydl.prediction.image_to_image import NOISE, corrupted, corruption_of
from easydl.training.losses import divergence

IMAGE_TO_IMAGE = [entry.name for entry in ENTRIES.values() if entry.kind == "image_to_image"]
CORRECTING = [name for name in IMAGE_TO_IMAGE if name.startswith(("denoising_unet", "super_resolution"))]


def some(names, by_default):
    """All of them, but only some by default: the others share their layers."""
    return [pytest.param(name, marks=[pytest.mark.everything] * (name not in by_default)) for name in names]


def batch(name: str, channels: int = 1, n: int = 2) -> np.ndarray:
    shape = (16, 24) if ENTRIES[name].dimension == 2 else (8, 12, 4)
    return np.random.default_rng(0).uniform(0, 255, (n, *shape, channels)).astype("float32")


def call(model: keras.Model, x: np.ndarray) -> np.ndarray:
    return np.asarray(model(x, training=False))


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Images of blobs with sharp edges, without labels, split by patient."""
    folder, rng = tmp_path_factory.mktemp("blobs"), np.random.default_rng(0)
    for number in range(10):
        smooth = ndimage.gaussian_filter(rng.normal(size=(37, 50)), 4)
        pixels = 40 + 150 * (smooth > 0) + 20 * (smooth / np.abs(smooth).max())
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    rows = [{"image": f"{number}.png", "patient": f"p{number}"} for number in range(10)]
    pd.DataFrame(rows).to_csv(folder / "scans.csv", index=False)
    return easydl.load(folder / "scans.csv").split(seed=0)


@pytest.mark.parametrize("name", some(IMAGE_TO_IMAGE, {"variational_autoencoder", "denoising_unet3d"}))
def test_gives_an_image_of_the_same_grid_from_a_flat_graph(name, built):
    model, x = built(name, width=4), batch(name)
    y = np.asarray(compiled(model)(x))
    assert y.shape == x.shape and y.dtype == np.float32
    np.testing.assert_allclose(y, call(model, x), atol=1e-3)
    metadata = metadata_of(model)
    known = ("reconstruction", "image_to_image", ENTRIES[name].dimension)
    assert (metadata.task, metadata.builder, metadata.dimension) == known


@pytest.mark.parametrize(
    "name", some([name for name in IMAGE_TO_IMAGE if name != "denoising_autoencoder"], {"variational_autoencoder"})
)
@pytest.mark.parametrize("channels", [pytest.param(1, marks=pytest.mark.everything), 3, 5])
def test_one_step_down_the_gradient_lowers_the_loss(name, channels):
    model, x = image_to_image(name, width=4, channels=channels, seed=1), batch(name, channels)
    target = 255 - x

    def loss() -> tf.Tensor:
        # Without the draw of the code: the same function before and after the step.
        return tf.reduce_mean(tf.square((model(x, training=False) - target) / 127.5))

    with tf.GradientTape() as tape:
        before = loss()
    variables = [weight.value for weight in model.trainable_weights]
    gradients = tape.gradient(before, variables)
    assert all(gradient is not None for gradient in gradients)
    norm = tf.linalg.global_norm(gradients)
    assert float(norm) > 0
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.assign_sub(0.001 * gradient / norm)
    assert float(loss()) < float(before)


@pytest.mark.parametrize("name", some(CORRECTING, {"denoising_unet"}))
def test_a_correcting_network_begins_as_the_identity_in_the_units_of_the_scan(name):
    model = set_window(image_to_image(name, width=4), (-160.0, 240.0), "HU")
    x = batch(name) * 6 - 700
    np.testing.assert_allclose(call(model, x), np.clip(x, -160, 240), atol=1e-3)


@pytest.mark.everything
@pytest.mark.parametrize("name", IMAGE_TO_IMAGE)
def test_files_open_in_plain_keras_without_easydl_and_in_easydl_with_equal_images(name, fresh_process, tmp_path):
    model, x = set_window(image_to_image(name, width=4, seed=2), (-100.0, 300.0), "HU"), batch(name)
    path = save_model(model, tmp_path / f"{name}.keras")
    # 1e-6 of a window of 400.
    np.testing.assert_allclose(fresh_process(path, x), call(model, x), atol=4e-4)
    again = load_network(path)
    np.testing.assert_allclose(call(again, x), call(model, x), atol=4e-4)
    assert metadata_of(again).window == (-100.0, 300.0)


def test_an_autoencoder_passes_everything_through_its_code():
    model = image_to_image("autoencoder", width=8, size=32)
    code = model.get_layer("code").output
    assert code.shape[1:] == (4, 4, 8), "an eighth of each side, `width` maps"
    zero = keras.Model(model.input, code)
    model.get_layer("code").set_weights([np.zeros(w.shape, "float32") for w in model.get_layer("code").get_weights()])
    x = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 1)).astype("float32")
    assert np.abs(call(zero, x)).max() == 0
    y = call(model, x)
    np.testing.assert_array_equal(y[0], y[1])


def test_a_variational_code_is_drawn_in_training_and_is_its_mean_otherwise():
    model, x = image_to_image("variational_autoencoder", width=8, size=64), batch("autoencoder", n=16)
    x = np.tile(x[:, :16, :16], (1, 4, 4, 1))
    both = keras.Model(model.input, [model.get_layer(name).output for name in ("code", "code_mean", "code_std")])
    code, mean, std = (np.asarray(one) for one in both(x, training=True))
    drawn = ((code - mean) / std).ravel()
    assert stats.kstest(drawn[:2000], "norm").pvalue > 0.001
    assert drawn.std() == pytest.approx(1.0, abs=0.05) and abs(drawn.mean()) < 0.05
    code, mean, _ = (np.asarray(one) for one in both(x, training=False))
    np.testing.assert_array_equal(code, mean)
    assert np.abs(np.asarray(model(x, training=True)) - np.asarray(model(x, training=True))).max() > 0


def test_divergence_is_that_of_two_normal_distributions():
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=(3, 2, 2, 4)), rng.uniform(0.2, 2.0, (3, 2, 2, 4))
    nodes = np.linspace(-12, 12, 20001)
    expected = np.zeros(3)
    for place in np.ndindex(mean.shape):
        # By the definition: the integral of q log(q / p).
        q = stats.norm(mean[place], std[place])
        expected[place[0]] += np.trapezoid(q.pdf(nodes) * (q.logpdf(nodes) - stats.norm.logpdf(nodes)), nodes)
    np.testing.assert_allclose(divergence(mean.astype("float32"), std.astype("float32")), expected, rtol=1e-3)
    assert float(divergence(np.zeros((1, 4)), np.ones((1, 4)))[0]) == pytest.approx(0, abs=1e-5)


def test_scans_are_corrupted_as_it_is_said(built):
    rng = np.random.default_rng(0)
    flat = np.full((64, 64, 1), 100.0, np.float32)
    noisy = metadata_of(built("denoising_unet", width=4))
    first = corrupted(noisy, flat, rng)
    assert (first - flat).std() == pytest.approx(NOISE * 255, rel=0.05)
    assert np.abs(corrupted(noisy, flat, rng) - first).max() > 0, "drawn anew"
    reduced = metadata_of(built("super_resolution", width=4))
    stripes = np.zeros((32, 32, 1), np.float32)
    stripes[::2] = 200
    np.testing.assert_allclose(corrupted(reduced, stripes, rng)[4:-4], 100, atol=20)
    np.testing.assert_allclose(corrupted(reduced, flat, rng), flat, atol=1e-3)
    np.testing.assert_array_equal(corrupted(metadata_of(built("autoencoder", width=4)), stripes, rng), stripes)
    assert {corruption_of(metadata_of(built(name, width=4))) for name in IMAGE_TO_IMAGE} == {"noise", "reduced", ""}


def test_fit_learns_to_take_noise_away_without_labels(parts, tmp_path):
    train, val, test = parts
    model = easydl.image_to_image("denoising_unet", width=8)
    history = easydl.fit(model, train, val, epochs=4, verbose=False)
    assert history.history["val_loss"][-1] < history.history["val_loss"][0]
    metadata = metadata_of(model)
    assert metadata.patch == (40, 56) and metadata.training["augment"] == "none"
    assert any("25.5" in sentence for sentence in metadata.training["plan"]), "the strength of the noise is on record"
    metrics = easydl.evaluate(model, test)
    table = metrics.table.set_index("name")
    assert table.loc["gain in PSNR", "value"] > 3
    assert table.loc["gain in PSNR", "value"] == pytest.approx(
        table.loc["PSNR", "value"] - table.loc["PSNR of the corrupted image", "value"]
    )
    assert (table["n"] == test.n_patients).all() and table.loc["SSIM", "value"] > table.loc[
        "SSIM of the corrupted image", "value"
    ]
    again = Metrics.from_dict(json.loads(metrics.save(tmp_path / "metrics.json").read_text("utf-8")))
    pd.testing.assert_frame_equal(again.table, metrics.table)
    saved, own = (one.drop(columns=["image", "patient"], errors="ignore") for one in (again.cases, metrics.cases))
    pd.testing.assert_frame_equal(saved, own, check_dtype=False)  # images are numbered, not named
    metrics.show().savefig(tmp_path / "psnr.png")
    easydl.evaluate(save_model(model, tmp_path / "m.keras"), test)


def test_fit_trains_the_code_of_a_variational_one_and_leaves_the_model_plain(parts, tmp_path):
    train, val, _ = parts
    model = easydl.image_to_image("variational_autoencoder", width=4)
    before = model.get_layer("code_std").get_weights()[0].copy()
    history = easydl.fit(model, train, val, epochs=3, verbose=False, augment="mri")
    assert {"codes_loss", "image_out_loss", "val_codes_loss"} <= set(history.history)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert np.abs(model.get_layer("code_std").get_weights()[0] - before).max() > 0
    assert metadata_of(model).training["augment"] == "mri"
    model.save(tmp_path / "m.keras")
    assert keras.models.load_model(tmp_path / "m.keras").output_shape == model.output_shape


def test_predict_gives_an_image_on_the_grid_of_the_scan(tmp_path, built):
    rng = np.random.default_rng(0)
    model = set_window(image_to_image("denoising_unet3d", width=4), (-160.0, 240.0), "HU")
    affine = np.array([[0, 0, 1.5, -20.0], [0, 1.5, 0, 7.0], [3.0, 0, 0, 5.0], [0, 0, 0, 1]])
    scan = Scan(rng.uniform(-900, 900, (9, 21, 18, 1)).astype(np.float32), "HU", (3.0, 1.5, 1.5), affine)
    found = easydl.predict(model, scan)
    assert isinstance(found, Reconstruction)
    np.testing.assert_allclose(found.array, np.clip(scan.pixels, -160, 240), atol=1e-3)
    assert any("never measured" in note for note in found.notes) and "never measured" in repr(found)
    back = easydl.read(found.save(tmp_path / "out.nii.gz")).on_source()
    np.testing.assert_allclose(back.pixels, found.array, atol=1e-3)
    np.testing.assert_allclose(back.affine, affine, atol=1e-4)
    found.show().savefig(tmp_path / "out.png")
    with pytest.raises(InputError):
        found.save(tmp_path / "out.jpg")
    with pytest.raises(ModelError):
        easydl.predict(model, rng.uniform(0, 255, (20, 20)))
    flat = easydl.predict(built("super_resolution", width=4), rng.uniform(0, 255, (21, 34)))
    png = Image.open(flat.save(tmp_path / "flat.png"))
    np.testing.assert_allclose(np.asarray(png), flat.array[..., 0], atol=0.51)
    assert "never measured" in png.text["Comment"]


def test_measures_are_those_of_the_definition_and_equal_images_are_left_out():
    rng = np.random.default_rng(0)
    cases, expected = [], []
    for number in range(6):
        clean = rng.uniform(0, 255, (20, 20, 1)).astype(np.float32)
        made = clean + rng.normal(0, 5 + number, clean.shape).astype(np.float32)
        expected.append(10 * np.log10(255**2 / np.mean((made - clean) ** 2)))
        cases.append(ReconstructedCase(f"{number}.png", f"p{number}", clean, clean + 20, made))
    cases.append(ReconstructedCase("same.png", "p9", clean, clean + 20, clean))
    metrics = reconstruction_metrics(cases, window=(0, 255), channels=("channel 1",), corruption="noise")
    table = metrics.table.set_index("name")
    assert table.loc["PSNR", "value"] == pytest.approx(np.mean(expected), rel=1e-5)
    assert table.loc["PSNR", "images"] == 6 and "left out" in table.loc["PSNR", "note"]
    assert table.loc["PSNR of the corrupted image", "value"] == pytest.approx(10 * np.log10(255**2 / 400), rel=1e-5)
    assert table.loc["SSIM", "images"] == 7
    assert table.loc["PSNR", "low"] < table.loc["PSNR", "value"] < table.loc["PSNR", "high"]


def test_refuses_what_does_not_fit(parts, built):
    train, val, _ = parts
    for options in ({"name": "unet"}, {"channels": 0}, {"size": 30}, {"width": 3}, {"seed": -1}):
        with pytest.raises(InputError) as caught:
            image_to_image(**{"name": "autoencoder", **options})
        assert caught.value.found and caught.value.expected and caught.value.do
    with pytest.raises(ModelError):
        easydl.fit(image_to_image("autoencoder3d", width=4), train, val, epochs=1, verbose=False)
    with pytest.raises(ModelError):
        set_classes(built("autoencoder", width=4), ["a"])
    with pytest.raises(InputError, match="no labels"):
        easydl.fit(easydl.classifier("tiny", size=32), train, val, epochs=1, verbose=False)


def test_a_loss_by_name_is_refused(parts):
    with pytest.raises(InputError, match="have their own"):
        easydl.fit(image_to_image("autoencoder", width=4), *parts[:2], loss="dice", verbose=False)
