"""Grid, patch, batch and steps from the data's fingerprint."""

import numpy as np
import pytest

import easydl
from easydl.machine import gpu_memory_gb
from easydl.networks import metadata_of
from easydl.networks.cost import outputs
from easydl.training.patch_plan import (
    STEP_PIXELS,
    Fingerprint,
    choose_patch,
    downsampling,
    grid_spacing,
    plan_segmenter,
)
from easydl.training.plan import Settings, Window

EIGHT = (8, 8, 8)


def found(shape, spacing=None, **changes):
    facts = {"scans": 50, "device": "CPU", "memory_gb": 24.0, "bytes_per_pixel": 2000.0}
    return Fingerprint(shape=shape, spacing_mm=spacing, **facts | changes)


def test_the_median_spacing_is_kept_but_for_thick_slices():
    spacing, reason = grid_spacing([(1.0, 1.0, 1.0)] * 3)
    assert spacing == (1.0, 1.0, 1.0)
    assert "keep it" in reason
    spacing, reason = grid_spacing([(1.0, 0.5, 0.5), (1.2, 0.7, 0.7), (1.4, 0.6, 0.6)])
    assert spacing == (1.2, 0.6, 0.6)
    assert "median spacing, 1.2 x 0.6 x 0.6 mm" in reason
    thick = [(mm, 0.5, 0.5) for mm in (2.0, 5.0, 5.0, 6.0, 7.0)]
    spacing, reason = grid_spacing(thick)
    assert spacing == (pytest.approx(np.percentile([2, 5, 5, 6, 7], 10)), 0.5, 0.5)
    assert "thick slices" in reason


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
    chosen, reason = choose_patch(found(shape, spacing), EIGHT, 2)
    assert chosen == patch
    assert " x ".join(map(str, patch)) in reason
    assert ("whole of the median scan" in reason) == all(one >= side for one, side in zip(patch, shape, strict=True))


def test_little_memory_and_a_gpu_change_the_patch():
    large = found((300.0,) * 3, (1.0,) * 3)
    small, reason = choose_patch(found((300.0,) * 3, (1.0,) * 3, memory_gb=1.0, bytes_per_pixel=4000.0), EIGHT, 2)
    assert np.prod(small) < np.prod(choose_patch(large, EIGHT, 2)[0])
    assert np.prod(small) * 4000 * 2 * 2 <= 0.5e9
    assert "1 GB of memory" in reason
    card = {"device": "GPU", "bytes_per_pixel": 4000.0}
    gpu, _ = choose_patch(found((300.0,) * 3, (1.0,) * 3, memory_gb=None, **card), EIGHT, 2)
    assert gpu == (128, 128, 128)
    gpu, reason = choose_patch(found((300.0,) * 3, (1.0,) * 3, memory_gb=12.0, **card), EIGHT, 2)
    assert np.prod(gpu) * 4000 * 2 * 2 <= 6e9
    assert "12 GB of memory" in reason


def test_a_patch_of_thick_slices_is_cut_in_their_own_small_steps():
    chosen, _ = choose_patch(found((20.0, 512.0, 512.0), (5.0, 0.5, 0.5)), (2, 16, 16), 2)
    assert np.prod(chosen) <= 64**3
    assert chosen[0] % 2 == 0 and chosen[0] % 8, "not whole eighths"
    height, width = (side * mm for side, mm in zip(chosen[:2], (5.0, 0.5), strict=True))
    assert 0.8 < height / width < 1.25, "as far in every direction, in mm"


def test_the_batch_fits_the_memory_as_the_patch_does():
    from types import SimpleNamespace

    model = easydl.unet3d(width=4)
    settings = Settings(SimpleNamespace(name="none"))
    study = SimpleNamespace(units="0-255")

    def plan(**facts):
        return plan_segmenter(metadata_of(model), study, found((16.0,) * 3, **facts), settings, Window((0, 255), ""))

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


def test_the_plan_is_explained_and_travels_with_the_model(volume_parts, stages):
    train, val, _ = volume_parts
    model = easydl.unet3d(train, width=4)
    history = easydl.fit(model, train, val, epochs=1, loss="tversky", verbose=False)
    reason = " ".join(history.params["plan"])
    assert "hold the whole of the median scan" in reason
    assert f"downsamples a patch {metadata_of(model).arguments['levels']} times, to " in reason
    assert "each structure equally often" in reason
    patch = metadata_of(model).patch
    assert patch is not None
    assert all(side % metadata_of(model).multiple == 0 for side in patch)
    assert np.prod(patch) <= STEP_PIXELS["CPU"]


@pytest.mark.parametrize(
    ("mm", "axis"), [((5.0, 1.0, 1.0), "axis of the thick slices"), ((1.0, 1.0, 1.0), "axis with few pixels"), (None, "axis with few pixels")]
)  # fmt: skip
def test_slices_are_called_thick_only_where_the_spacing_says_so(mm, axis):
    from types import SimpleNamespace

    metadata = SimpleNamespace(arguments={"levels": [[1, 2, 2], [2, 2, 2]]}, dimension=3, multiples=(2, 4, 4))
    assert downsampling(metadata, (12, 40, 48), found((12.0, 40.0, 48.0), mm)) == [
        f"The network downsamples a patch 2 times, the {axis} later than the others, to 6 x 10 x 12."
    ]
