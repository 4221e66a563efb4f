"""easydl.export: files that other programs run, compared with the Keras model by independent arithmetic."""

import json
import zipfile

import numpy as np
import pytest
from made import mask_study, png_study
from statsmodels.stats.proportion import proportion_confint
from typer.testing import CliRunner

import easydl
from easydl.cli import app
from easydl.errors import InputError, MissingPackageError, ModelError
from easydl.exporting import pruned
from easydl.exporting.agreement import measured
from easydl.networks import metadata_of, set_temperature


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return easydl.load(png_study(tmp_path_factory.mktemp("exported"), per_class=12))


@pytest.fixture(scope="module")
def model(study):
    """Random weights whose answers are spread, so that rounding can change some of them."""
    model = easydl.classifier("tiny", study, size=32, seed=3)
    call = model.predict_on_batch(np.concatenate([x for x, _ in study.batches(24, size=(32, 32))]))
    logits = np.log(call[:, 1] / call[:, 0])
    last = model.get_layer("logits")
    kernel, bias = last.get_weights()
    last.set_weights([kernel * 2 / logits.std(), (bias - [0, logits.mean()]) * 2 / logits.std()])
    return model


def answers(path, study):
    """What the file says of every image, run without easydl."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_path=str(path))
    serve = interpreter.get_signature_runner("serve")
    images = np.concatenate([x for x, _ in study.batches(1, size=(32, 32))]).astype(np.float32)
    return np.concatenate([serve(image=one[None])["probability"] for one in images])


@pytest.fixture(scope="module")
def int8(model, study, tmp_path_factory):
    return easydl.export(model, tmp_path_factory.mktemp("int8") / "m.tflite", study, to="int8", verbose=False)


def test_int8_takes_30_percent_and_its_agreement_is_what_the_file_does(int8, model, study):
    keras, file = easydl.predict(model, study).frame["p(healthy)"].to_numpy(), answers(int8.path, study)[:, 1]
    assert int8.size.ratio <= 0.30
    assert int8.size.bytes == int8.path.stat().st_size
    same, largest, auc = int8.agreement
    equal = (keras > 0.5) == (file > 0.5)
    assert same.measure == "same decision" and same.value == equal.mean() >= 0.9
    assert (same.low, same.high) == pytest.approx(proportion_confint(equal.sum(), 24, method="wilson"), abs=1e-6)
    assert (same.n, same.images) == (24, 24)
    # What takes the files as uint8 and what as float32 differs by rounding.
    assert largest.value == pytest.approx(np.abs(keras - file).max(), abs=1e-4)
    assert auc.measure.startswith("difference in AUC")
    from sklearn.metrics import roc_auc_score

    truth = study.frame["label"] == "healthy"
    assert auc.value == pytest.approx(roc_auc_score(truth, file) - roc_auc_score(truth, keras), abs=1e-9)
    assert len(np.unique(file)) > 12, "the last step in 256 steps makes ties"


def test_the_sidecar_says_what_another_program_needs(int8, study):
    text = int8.sidecar.read_text()
    said = json.loads(text)
    assert int8.sidecar.name == "m.tflite.easydl.json", "one for each format"
    assert said["note"] == easydl.RESEARCH_USE
    assert said["image"]["size"] == [32, 32] and said["image"]["units"] == "0-255" and said["image"]["channels"] == 1
    assert said["outputs"][0]["classes"] == study.classes and said["outputs"][0]["name"] == "probability"
    assert said["agreement"][0]["n"] == 24 and said["size"]["ratio"] == int8.size.ratio
    assert not any(name in text for name in [*study.frame["image"], *study.frame["patient"]])


@pytest.mark.everything
def test_pruning_makes_the_zip_small_and_leaves_the_model_as_it_is(model, study, tmp_path):
    before = model.get_weights()
    made = easydl.export(model, tmp_path / "p.tflite", study, prune=0.5, verbose=False)
    assert all(np.array_equal(one, two) for one, two in zip(before, model.get_weights(), strict=True))
    with zipfile.ZipFile(tmp_path / "by_hand.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.write(made.path)
    assert made.size.zipped_ratio <= 0.6
    assert made.size.zipped == pytest.approx((tmp_path / "by_hand.zip").stat().st_size, rel=0.02)
    assert "50% of the weights pruned" in str(made)


def test_half_of_the_weights_pruned_is_a_zip_of_at_most_60_percent(tmp_path):
    model = easydl.classifier("tiny", size=32)
    sizes = []
    for number, one in enumerate((model, pruned(model, 0.5))):
        np.savez_compressed(tmp_path / f"{number}.npz", *one.get_weights())
        sizes.append((tmp_path / f"{number}.npz").stat().st_size)
    assert sizes[1] / sizes[0] <= 0.6


def test_the_least_weights_of_a_layer_go_first_and_small_layers_stay():
    model = easydl.classifier("tiny", size=32)
    kernel = model.get_layer("stage4_2_conv").get_weights()[0]
    found = pruned(model, 0.5).get_layer("stage4_2_conv").get_weights()[0]
    assert np.abs(kernel[found == 0]).max() <= np.abs(kernel[found != 0]).min()
    small = pruned(model, 0.99)
    for name in ("logits", "stage1_1_conv"):
        assert np.array_equal(small.get_layer(name).get_weights()[0], model.get_layer(name).get_weights()[0])


def test_the_statistics_of_a_pruned_network_are_those_of_the_examples():
    model = easydl.classifier("tiny", size=32)
    images = [{"image": x[None]} for x in np.random.default_rng(0).uniform(0, 255, (32, 32, 32, 1)).astype("float32")]
    small = pruned(model, 0.5, images)
    first = small.get_layer("stage1_1_bn")
    import keras

    before = keras.Model(small.input, small.get_layer("stage1_1_conv").output)
    maps = before.predict_on_batch(np.concatenate([one["image"] for one in images]))
    assert np.asarray(first.moving_mean) == pytest.approx(maps.mean((0, 1, 2)), abs=1e-3)
    assert np.asarray(first.moving_variance) == pytest.approx(maps.var((0, 1, 2)), rel=1e-2)


def test_without_a_study_the_agreement_is_said_not_to_be_measured(model, tmp_path, capsys):
    made = easydl.export(model, tmp_path / "m.tflite")
    assert made.agreement == [] and "not measured" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "options", "found"),
    [
        ("m.tflite", {"to": "int8"}, "without a study"),
        ("m.pb", {}, "m.pb"),
        ("m.keras", {}, "save_model"),
    ],
)
def test_what_cannot_work_is_refused_in_three_parts(model, tmp_path, name, options, found):
    with pytest.raises(InputError) as caught:
        easydl.export(model, tmp_path / name, **options)
    assert found in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_setting_out_of_its_range_is_named(model, tmp_path):
    for options in ({"to": "int4"}, {"prune": 1.0}):
        with pytest.raises(easydl.EasyDLError, match=next(iter(options))):
            easydl.export(model, tmp_path / "m.tflite", **options)


def test_a_format_whose_package_is_not_there_names_it(model, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None)
    with pytest.raises(MissingPackageError, match="onnx"):
        easydl.export(model, tmp_path / "m.onnx")
    with pytest.raises(MissingPackageError, match="openvino"):
        easydl.export(model, tmp_path / "m.xml")


def test_what_the_converter_cannot_do_is_one_sentence(model, tmp_path, monkeypatch):
    def fails(*_):
        raise RuntimeError("Could not translate\n" + "loc(fused[...])\n" * 1000)

    monkeypatch.setattr("easydl.exporting.converters.to_tflite", fails)
    with pytest.raises(ModelError, match="converter cannot convert") as caught:
        easydl.export(model, tmp_path / "v.tflite")
    assert len(str(caught.value)) < 600 and "loc(" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.everything
def test_volumes_become_onnx_or_openvino_but_not_tensorflow_lite(tmp_path):
    volumes = easydl.classifier("tiny3d", size=16)
    with pytest.raises(ModelError, match="converter cannot convert"):
        easydl.export(volumes, tmp_path / "v.tflite")
    for suffix, package in ((".onnx", "onnxruntime"), (".xml", "openvino")):
        pytest.importorskip(package)
        assert "largest difference" in str(easydl.export(volumes, tmp_path / f"v{suffix}", verbose=False))


@pytest.mark.everything
def test_several_heads_and_covariates_go_by_their_names(tmp_path):
    import pandas as pd

    table = png_study(tmp_path, per_class=6)
    frame = pd.read_csv(table, dtype=str).rename(columns={"label": "finding"})
    frame = frame.assign(image=[str(tmp_path / one) for one in frame["image"]])
    frame["age"], frame["size"] = [f"{40 + 1.5 * k}" for k in range(12)], [f"{3 * (k % 5)}" for k in range(12)]
    study = easydl.load(frame, heads={"finding": ["disease", "healthy"], "size": 1})
    model = easydl.classifier("tiny", study, size=32, covariates=["age"])
    made = easydl.export(model, tmp_path / "m.tflite", study, verbose=False)
    assert [one.measure for one in made.agreement] == [
        "finding: same decision", "finding: largest difference of a probability",
        "size: mean difference of the value", "size: largest difference of the value",
    ]  # fmt: skip
    assert made.agreement[0].value == 1 and made.agreement[3].value < 1e-4
    said = json.loads(made.sidecar.read_text())
    assert [one["head"] for one in said["outputs"]] == ["finding", "size"]
    assert said["covariates"][0]["name"] == "age" and set(said["covariates"][0]) >= {"mean", "standard_deviation"}


def test_masks_are_compared_through_the_same_windows(tmp_path):
    study = easydl.load(mask_study(tmp_path / "masks", cases=3))
    model = easydl.unet(study, width=4, levels=2, size=32)
    foreground = lambda batch: np.broadcast_to(np.eye(2, dtype="float32")[1], (*batch.shape[:3], 2))  # noqa: E731
    pixels, dice = measured(model, foreground, (32, 32), study)
    masks = [easydl.predict(model, study.scan(row)).array > 0 for row in range(3)]
    assert pixels.value == pytest.approx(np.mean([one.mean() for one in masks]))
    assert dice.value == pytest.approx(np.mean([2 * one.sum() / (one.sum() + one.size) for one in masks]))
    same, dice = measured(model, model.predict_on_batch, (32, 32), study)
    assert (same.value, dice.value, same.n) == (1, 1, 3)


@pytest.mark.everything
@pytest.mark.parametrize("to", ["float32", "int8"])
def test_masks_of_a_converted_network_are_those_of_keras(tmp_path, to):
    train, val, _ = easydl.load(mask_study(tmp_path / "masks", cases=9)).split(seed=1)
    model = easydl.unet(train, width=4, levels=2)
    easydl.fit(model, train, val, epochs=3, verbose=False)
    made = easydl.export(model, tmp_path / "m.tflite", val, to=to, verbose=False)
    assert made.same_decisions.value >= (0.999 if to == "float32" else 0.9)
    assert json.loads(made.sidecar.read_text())["outputs"][0]["classes"] == train.classes


def test_the_decision_follows_the_threshold_of_the_model(model, study):
    """A difference that changes no class at 0.5 changes one at the model's own threshold."""
    from easydl.networks.decision import Threshold

    other = easydl.classifier("tiny", study, size=32, seed=3)
    other.set_weights(model.get_weights())
    probabilities = easydl.predict(other, study).frame["p(healthy)"].to_numpy()
    between = float(np.sort(probabilities)[-1] + 0.5 * (1 - np.sort(probabilities)[-1]))
    metadata = metadata_of(other)
    easydl.networks.attach(
        other, metadata.model_copy(update={"thresholds": {"healthy": Threshold(value=min(between, 0.999))}})
    )
    sharper = easydl.classifier("tiny", study, size=32, seed=3)
    sharper.set_weights(model.get_weights())
    set_temperature(sharper, 0.05)
    same = measured(other, sharper.predict_on_batch, (32, 32), study)[0]
    assert same.value < 1


def test_the_command_prints_it_with_n_and_interval(model, study, tmp_path):
    easydl.save_model(model, tmp_path / "m.keras")
    study.frame.to_csv(tmp_path / "t.csv", index=False)
    words = [*(str(tmp_path / name) for name in ("m.keras", "m.tflite", "t.csv")), "--root", "/"]
    done = CliRunner().invoke(app, ["export", *words])
    assert done.exit_code == 0, (done.output, done.exception)
    said = done.stdout
    assert "Same decision: 100.0% (95% CI 86.2% to 100.0%, 24 patients, 24 images)" in said
    assert "of float32" in said and easydl.RESEARCH_USE in said
    assert (tmp_path / "m.tflite").exists() and (tmp_path / "m.tflite.easydl.json").exists()


@pytest.mark.everything
@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_other_formats_answer_alike(model, study, tmp_path, suffix):
    pytest.importorskip("onnxruntime" if suffix == ".onnx" else "openvino")
    for to, apart, ratio in (("float32", 1e-4, 1.01), ("float16", 0.01, 0.6), ("int8", 0.3, 0.35)):
        made = easydl.export(model, tmp_path / f"{to}{suffix}", study, to=to, verbose=False)
        assert made.agreement[1].value < apart, to
        assert made.size.ratio < ratio, to
        assert made.path.exists() and (suffix == ".onnx" or made.path.with_suffix(".bin").exists())
