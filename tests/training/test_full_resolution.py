"""Thin structures decide whether long images are downsampled: what survives, what it costs, and what a model then does."""

import functools

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import easydl
from easydl.errors import InputError
from easydl.networks import metadata_of
from easydl.prediction.segmentation import segment
from easydl.training.callbacks import Progress
from easydl.training.full_resolution import check_full_resolution, choose_resolution, survival
from easydl.training.plan import Settings
from easydl.training.segmentation import SegmenterFeeder

SIDE = 960
"""Half as long again as the working grid."""


def mask_of(kind):
    mask = np.zeros((SIDE - 160, SIDE), np.uint8)
    if kind == "lines":  # one pixel wide, as the finest vessels
        mask[20:-20:40] = 1
    elif kind == "disc":
        rows, columns = np.indices(mask.shape)
        mask[(rows - 400) ** 2 + (columns - 400) ** 2 < 200**2] = 1
    return mask


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """``films(kind)``: a study of six films of 800 x 960 with masks, split."""

    @functools.cache
    def make(kind, side=None):
        folder, rows = tmp_path_factory.mktemp(kind), []
        for number in range(6):
            mask = mask_of(kind)[:side, :side]
            noise = np.random.default_rng(number).integers(0, 60, mask.shape)
            Image.fromarray((100 * mask + noise).astype(np.uint8)).save(folder / f"image{number}.png")
            Image.fromarray(mask * 255).save(folder / f"mask{number}.png")
            part = ("train",) * 4 + ("val", "test")
            rows.append({"image": f"image{number}.png", "mask": f"mask{number}.png", "split": part[number]})
        pd.DataFrame(rows).to_csv(folder / "films.csv", index=False)
        study = easydl.load(folder / "films.csv", patient=None, split="split", collapse_instances=True)
        return study.split()

    return make


def read(parts, **options):
    """A feeder that has read its scans."""
    model = easydl.unet(parts[0], width=4, levels=2)
    feeder = SegmenterFeeder(model, parts[:2], metadata_of(model), Settings(None, **options), Progress(None))
    feeder.read()
    return feeder


def test_a_line_of_a_pixel_does_not_survive_and_a_disc_does():
    # Of 960 columns 640 are kept: two of three lines at most, and what is put back is wider than it was.
    assert survival(mask_of("lines"), 1) < 0.7
    assert survival(mask_of("disc"), 1) > 0.99
    assert survival(mask_of("disc")[:500, :500], 1) == 1.0  # not long


@pytest.mark.parametrize(
    ("kind", "wanted", "full", "said"),
    [
        ("lines", "auto", True, "takes 42 windows of 256 pixels instead of 16, 2.6 times as long"),
        ("lines", False, False, "as asked"),
        ("disc", "auto", False, "downsampled to 640: of 'class 1' a Dice of 0.99"),
        ("disc", True, True, "at full resolution"),
    ],
)
def test_what_is_thin_decides_and_the_cost_is_said(films, kind, wanted, full, said):
    train = films(kind)[0]
    metadata = metadata_of(easydl.unet(classes=2, width=4, levels=2))
    chosen = choose_resolution(wanted, train, metadata, 256)
    assert chosen.full is full and said in chosen.reason
    assert "95% CI" in chosen.reason and "4 images" in chosen.reason


def test_what_cannot_be_afforded_is_left_and_said(films, monkeypatch):
    monkeypatch.setattr("easydl.training.full_resolution.MOST_WINDOWS", 41)
    metadata = metadata_of(easydl.unet(classes=2, width=4, levels=2))
    train = films("lines")[0]
    chosen = choose_resolution("auto", train, metadata, 256)
    assert not chosen.full and "more than 41 windows. full_resolution=True does it" in chosen.reason
    assert choose_resolution(True, train, metadata, 256).full


@pytest.mark.everything
def test_a_model_is_trained_and_predicts_at_full_resolution(films, tmp_path):
    parts = films("lines")
    model = easydl.unet(parts[0], width=4, levels=2, size=64)
    history = easydl.fit(model, *parts[:2], epochs=1, batch_size=2, augment="none", verbose=False, run=tmp_path)
    many = "4 of 4 images are longer than 640 pixels and are used at full resolution, patch by patch: of "
    assert any(one.startswith(many) for one in history.params["plan"])
    again = easydl.load_model(tmp_path / "model.keras")
    metadata, scan, seen = metadata_of(again), parts[2].scan(0), []
    assert (metadata.max_side, metadata.reduced) == (SIDE, False)
    assert easydl.predict(again, scan).mask.shape == scan.shape == (SIDE - 160, SIDE)

    def call(batch):
        seen.extend(batch)
        return np.eye(2, dtype="float32")[(batch[..., 0] > 90).astype(int)]

    # Pixels are seen as they are, window by window: a rule on them gives the mask to the pixel.
    mask = segment(call, (256, 256), metadata, scan)
    assert len(seen) == 42
    np.testing.assert_array_equal(mask, mask_of("lines"))


def test_the_working_grid_is_the_one_that_was_chosen(films):
    lines = films("lines")
    for wanted, side, reduced in (("auto", SIDE, False), (False, 640, True)):
        feeder = read(lines, full_resolution=wanted)
        assert (feeder.metadata.max_side, feeder.metadata.reduced) == (side, reduced)
        assert feeder.grid_reason.startswith("4 of 4 images are longer than 640 pixels and are ")
        assert {max(image.shape) for image in (*feeder.images, *feeder.validation_images)} == {side}
    short = read(films("disc", side=620), full_resolution="auto")
    assert (short.metadata.max_side, short.metadata.reduced, short.grid_reason) == (640, False, "")


@pytest.mark.parametrize(
    ("build", "wanted", "spacing", "expected"),
    [
        (lambda: easydl.classifier("tiny", size=32), True, None, "2D segmentation"),
        (lambda: easydl.unet3d(width=4), False, None, "2D segmentation"),
        (lambda: easydl.unet(width=4, levels=2), True, (1.0, 1.0), "one of the two"),
        (lambda: easydl.unet(width=4, levels=2), "yes", None, "True, False"),
    ],
)
def test_what_it_is_no_use_for_is_refused(build, wanted, spacing, expected):
    with pytest.raises(InputError) as caught:
        check_full_resolution(metadata_of(build()), wanted, spacing)
    assert expected in caught.value.expected
