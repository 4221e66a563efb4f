"""Grid, patch, batch and steps from the data's fingerprint, and half precision that leaves no trace."""

import keras
import numpy as np
import pytest

import easydl
from easydl.machine import gpu_memory_gb
from easydl.networks import metadata_of, supervised
from easydl.networks.cost import outputs
from easydl.training import mixed_precision
from easydl.training.fingerprint import STEP_PIXELS, Fingerprint, choose_patch, grid_spacing, plan_segmenter
from easydl.training.losses import dice_cross_entropy

EIGHT = (8, 8, 8)


def found(shape, spacing=None, **changes):
    facts = {"scans": 50, "device": "CPU", "memory_gb": 24.0, "bytes_per_pixel": 2000.0}
    return Fingerprint(shape=shape, spacing_mm=spacing, **facts | changes)


def test_the_median_spacing_is_kept_but_for_thick_slices():
    spacing, words = grid_spacing([(1.0, 1.0, 1.0)] * 3)
    assert spacing == (1.0, 1.0, 1.0)
    assert "keep it" in words
    spacing, words = grid_spacing([(1.0, 0.5, 0.5), (1.2, 0.7, 0.7), (1.4, 0.6, 0.6)])
    assert spacing == (1.2, 0.6, 0.6)
    assert "median spacing, 1.2 x 0.6 x 0.6 mm" in words
    thick = [(mm, 0.5, 0.5) for mm in (2.0, 5.0, 5.0, 6.0, 7.0)]
    spacing, words = grid_spacing(thick)
    assert spacing == (pytest.approx(np.percentile([2, 5, 5, 6, 7], 10)), 0.5, 0.5)
    assert "thick slices" in words


@pytest.mark.parametrize(
    ("shape", "spacing", "patch"),
    [
        ((36.0, 50.0, 35.0), (1.0, 1.0, 1.0), (40, 56, 40)),
        ((300.0, 300.0, 300.0), (1.0, 1.0, 1.0), (64, 64, 64)),
        ((20.0, 512.0, 512.0), (5.0, 0.5, 0.5), (8, 160, 160)),
        ((5.0, 30.0, 30.0), None, (8, 32, 32)),
    ],
)
def test_the_patch_holds_what_the_machine_allows_and_is_cut_where_it_is_longest(shape, spacing, patch):
    chosen, words = choose_patch(found(shape, spacing), EIGHT, 2)
    assert chosen == patch
    assert " x ".join(map(str, patch)) in words
    assert ("whole of the median scan" in words) == all(one >= side for one, side in zip(patch, shape, strict=True))


def test_little_memory_and_a_gpu_change_the_patch():
    large = found((300.0,) * 3, (1.0,) * 3)
    small, words = choose_patch(found((300.0,) * 3, (1.0,) * 3, memory_gb=1.0, bytes_per_pixel=4000.0), EIGHT, 2)
    assert np.prod(small) < np.prod(choose_patch(large, EIGHT, 2)[0])
    assert np.prod(small) * 4000 * 2 * 2 <= 0.5e9
    assert "1 GB of memory" in words
    card = {"device": "GPU", "bytes_per_pixel": 4000.0}
    gpu, _ = choose_patch(found((300.0,) * 3, (1.0,) * 3, memory_gb=None, **card), EIGHT, 2)
    assert gpu == (128, 128, 128)
    gpu, words = choose_patch(found((300.0,) * 3, (1.0,) * 3, memory_gb=12.0, **card), EIGHT, 2)
    assert np.prod(gpu) * 4000 * 2 * 2 <= 6e9
    assert "12 GB of memory" in words


def test_a_patch_of_thick_slices_is_cut_in_their_own_small_steps():
    chosen, _ = choose_patch(found((20.0, 512.0, 512.0), (5.0, 0.5, 0.5)), (2, 16, 16), 2)
    assert np.prod(chosen) <= 64**3
    assert chosen[0] % 2 == 0 and chosen[0] % 8, "not whole eighths"
    height, width = (side * mm for side, mm in zip(chosen[:2], (5.0, 0.5), strict=True))
    assert 0.8 < height / width < 1.25, "as far in every direction, in mm"


def test_the_batch_fits_the_memory_as_the_patch_does():
    from types import SimpleNamespace

    model = easydl.unet3d(width=4)
    asked = SimpleNamespace(batch_size=None, epochs=None, learning_rate=None, preset=(SimpleNamespace(name="none"), ""))
    study = SimpleNamespace(units="0-255")

    def plan(**facts):
        return plan_segmenter(metadata_of(model), study, found((16.0,) * 3, **facts), asked, ((0, 255), ""))

    assert plan().batch_size == 8
    tight = plan(memory_gb=1.0, bytes_per_pixel=20_000.0)
    assert tight.patch == (16, 16, 16)
    assert tight.batch_size == int(0.5e9 // (16**3 * 20_000 * 2)) == 3


def test_the_drivers_word_about_the_card(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_memory_gb() is None
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '81559\\n24564\\n'\n")
    tool.chmod(0o755)
    assert gpu_memory_gb() == 25.8
    tool.write_text("#!/bin/sh\necho '[N/A]'\n")
    assert gpu_memory_gb() is None


def test_memory_is_counted_from_the_layers():
    model = easydl.unet3d(width=4)
    one, two = outputs(model, (16, 16, 16)), outputs(model, (32, 16, 16))
    assert 1.99 < two / one < 2.01
    tiny = easydl.classifier("tiny", size=32)
    assert outputs(tiny) == sum(int(np.prod(layer.output.shape[1:])) for layer in tiny.layers)


def batch(n=2, side=16):
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (n, side, side, side, 1)).astype("float32")
    return x, np.eye(2, dtype="float32")[(x[..., 0] > 128).astype(int)]


def test_half_precision_computes_in_bfloat16_and_leaves_no_trace(tmp_path):
    model = easydl.unet3d(width=8)
    x, _ = batch()
    whole = np.asarray(model(x))
    with mixed_precision.half(model):
        assert model.get_layer("bottom_conv1").compute_dtype == "bfloat16"
        assert model.get_layer("logits").compute_dtype == "float32"
        assert {weight.dtype for weight in model.weights} == {"float32"}
        rough = np.asarray(model(x))
    assert 0 < np.abs(rough - whole).max() < 0.1
    np.testing.assert_array_equal(np.asarray(model(x)), whole)
    easydl.save_model(model, tmp_path / "m.keras")
    assert {layer.dtype_policy.name for layer in keras.models.load_model(tmp_path / "m.keras").layers} == {"float32"}


def test_the_probabilities_of_coarser_levels_stay_whole():
    twin = supervised(easydl.unet3d(width=4, deep_supervision=True))
    with mixed_precision.half(twin):
        kinds = {
            name: twin.get_layer(name).compute_dtype for name in ("level2", "level3_logits", "level3", "up1_conv1")
        }
    assert kinds == {"level2": "float32", "level3_logits": "float32", "level3": "float32", "up1_conv1": "bfloat16"}


def test_the_race_measures_and_changes_nothing():
    model = easydl.unet3d(width=4)
    before = model.get_weights()
    gain = mixed_precision.race(model, dice_cross_entropy, *batch())
    assert gain > 0
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}


@pytest.mark.parametrize(("gain", "used"), [(1.6, True), (1.0, False)])
def test_fit_takes_half_precision_only_when_it_won_the_race(gain, used, tmp_path, monkeypatch):
    from made import nifti_study

    monkeypatch.setattr(mixed_precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(mixed_precision, "WORTH_STEPS", 1)
    monkeypatch.setattr(mixed_precision, "race", lambda *given: gain)
    study = easydl.load(nifti_study(tmp_path, cases=10))
    train, val, _ = study.split(seed=0)
    model = easydl.unet3d(study, width=4)
    seen = []
    monkeypatch.setattr(
        "easydl.training.segmentation.run_stage",
        lambda learner, *given, **more: (
            seen.append(learner.get_layer("bottom_conv1").compute_dtype) or learner.compile("sgd", "mse")
        ),
    )
    history = easydl.fit(model, train, val, epochs=1, verbose=False)
    assert seen == ["bfloat16" if used else "float32"]
    assert any("1.6 times as fast" in line for line in history.params["plan"]) == used
    assert model.get_layer("bottom_conv1").compute_dtype == "float32"


def test_the_plan_is_said_in_words_and_travels_with_the_model(tmp_path):
    from made import nifti_study

    study = easydl.load(nifti_study(tmp_path, cases=10))
    train, val, _ = study.split(seed=0)
    model = easydl.unet3d(study, width=4)
    history = easydl.fit(model, train, val, epochs=1, loss="tversky", verbose=False)
    words = " ".join(history.params["plan"])
    assert "hold the whole of the median scan" in words
    assert f"halves a patch {metadata_of(model).arguments['levels']} times, to " in words
    assert "each structure equally often" in words
    patch = metadata_of(model).patch
    assert patch is not None
    assert all(side % metadata_of(model).multiple == 0 for side in patch)
    assert np.prod(patch) <= STEP_PIXELS["CPU"]


@pytest.mark.parametrize(
    ("mm", "axis"), [((5.0, 1.0, 1.0), "axis of the thick slices"), ((1.0, 1.0, 1.0), "axis with few pixels"), (None, "axis with few pixels")]
)  # fmt: skip
def test_slices_are_called_thick_only_where_the_spacing_says_so(mm, axis):
    from types import SimpleNamespace

    from easydl.training.fingerprint import _scales

    metadata = SimpleNamespace(arguments={"levels": [[1, 2, 2], [2, 2, 2]]}, dimension=3, multiples=(2, 4, 4))
    assert _scales(metadata, (12, 40, 48), SimpleNamespace(spacing_mm=mm)) == [
        f"The network halves a patch 2 times, the {axis} later than the others, to 6 x 10 x 12."
    ]
