"""Mirror images, pieces and holes: the options of masks in `predict`, `evaluate` and their commands."""

import os
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

import easydl
from easydl import cli
from easydl.errors import InputError, Stopped
from easydl.networks import attach, metadata_of, save_model
from easydl.prediction.segmentation import post_processed

OPTIONS = ["mirror", "largest_component", "fill_holes"]


def bright() -> keras.Model:
    """A segmenter of what is above 200: known without training."""
    image = keras.Input((None, None, 1))
    layer = keras.layers.Conv2D(2, 1, activation="softmax")
    model = keras.Model(image, layer(image))
    layer.set_weights([np.array([[[[0.0, 1.0]]]], "float32"), np.array([0.0, -200.0], "float32")])
    return model


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Squares of 8 x 8 whose reference is whole; the image has a hole of 2 x 2 in each and a piece of 3 x 3 beside it."""
    folder = tmp_path_factory.mktemp("squares")
    for number in range(3):
        mask = np.zeros((32, 32), np.uint8)
        mask[4 + number : 12 + number, 4:12] = 1
        pixels = 250 * mask
        pixels[7 + number : 9 + number, 7:9] = 0
        pixels[24:27, 24:27] = 250
        Image.fromarray(pixels).save(folder / f"i{number}.png")
        Image.fromarray(mask).save(folder / f"m{number}.png")
    rows = [{"image": f"i{k}.png", "mask": f"m{k}.png", "patient": f"p{k}"} for k in range(3)]
    pd.DataFrame(rows).to_csv(folder / "scans.csv", index=False)
    return easydl.load(folder / "scans.csv", mask="mask", mask_labels={"class 1": 1})


WHOLE, HOLE, PIECE = 64, 4, 9


@pytest.mark.parametrize(
    ("options", "predicted"),
    [
        ({}, WHOLE - HOLE + PIECE),
        ({"largest_component": True}, WHOLE - HOLE),
        ({"fill_holes": True}, WHOLE + PIECE),
        ({"largest_component": True, "fill_holes": True}, WHOLE),
    ],
)
def test_dice_is_of_the_post_processed_mask_and_the_notes_say_so(study, options, predicted):
    hole = 0 if options.get("fill_holes") else HOLE
    metrics = easydl.evaluate(bright(), study, **options)
    assert metrics.table["value"].iloc[0] == pytest.approx(2 * (WHOLE - hole) / (WHOLE + predicted))
    assert (easydl.predict(bright(), study.scan(0), **options).mask == 1).sum() == predicted
    notes = [note for note in metrics.notes if note.startswith("The masks were made with")]
    assert len(notes) == bool(options)
    for name in OPTIONS:
        assert (name in "".join(notes)) == (name in options)
    assert type(metrics).from_dict(metrics.to_dict()).notes == metrics.notes


@pytest.mark.quick
def test_mirror_images_need_a_model_that_was_trained_with_them(study):
    model = bright()
    for use in (easydl.evaluate, easydl.predict):
        with pytest.raises(InputError, match="trained without mirror images"):
            use(model, study if use is easydl.evaluate else study.scan(0), mirror=True)
    attach(model, metadata_of(model).model_copy(update={"training": {"mirrors": ["left-right"]}}))
    metrics = easydl.evaluate(model, study, mirror=True)
    assert metrics.notes[0] == "The masks were made with mirror (averaged over mirror images)."
    plain = easydl.evaluate(model, study)
    assert plain.look.number == 2, "other options are another look"
    assert plain.table["value"].equals(metrics.table["value"]), "this model is the same on both sides"


def test_a_cascade_is_tested_with_them_too(study):
    whole = easydl.cascade(bright(), bright(), margin_mm=0)
    found = easydl.evaluate(whole, study, largest_component=True, fill_holes=True)
    assert found.table["value"].iloc[0] == 1.0
    assert "largest_component" in found.notes[0] and "fill_holes" in found.notes[0]


@pytest.mark.parametrize("name", OPTIONS)
def test_a_model_that_makes_no_masks_refuses_them(study, name):
    pixels = np.zeros((32, 32), np.float32)
    for model in (easydl.classifier("tiny", size=32), easydl.image_to_image("autoencoder", size=32, width=4)):
        with pytest.raises(InputError, match=f"{name}=True was given"):
            easydl.predict(model, pixels, **{name: True})
        with pytest.raises(InputError, match=f"{name}=True was given"):
            easydl.evaluate(model, study, **{name: True})


@pytest.mark.parametrize("command", ["predict", "evaluate"])
@pytest.mark.parametrize("name", [None, *OPTIONS])
def test_each_option_says_the_same_as_its_argument(command, name, monkeypatch):
    monkeypatch.setattr("easydl.cli.commands.check_paths", lambda model, source: None)  # there are no files here
    asked = []

    def spy(model, source, **given):
        asked.append(given)
        raise Stopped

    monkeypatch.setattr(easydl, command, spy, raising=False)
    for opened in ("load", "load_model"):
        monkeypatch.setattr(easydl, opened, lambda path, **given: None, raising=False)
    words = [f"--{name.replace('_', '-')}"] if name else []
    result = CliRunner().invoke(cli.app, [command, "m.keras", "scans.csv", *words])
    assert isinstance(result.exception, Stopped), result.output
    assert {option: asked[0][option] for option in OPTIONS} == {option: option == name for option in OPTIONS}


def test_the_commands_post_process_and_say_so(study, tmp_path):
    model = easydl.unet(study, width=4, levels=2, seed=3)
    save_model(model, tmp_path / "m.keras")
    scan = study.addresses(0)[0]
    words = ["--largest-component", "--fill-holes", "-o", str(tmp_path / "o.png")]
    out = CliRunner().invoke(cli.app, ["predict", str(tmp_path / "m.keras"), scan, *words])
    assert out.exit_code == 0, out.output
    plain = easydl.predict(model, scan).mask
    with Image.open(tmp_path / "o.png") as written:
        np.testing.assert_array_equal(
            np.asarray(written), post_processed(plain, largest_component=True, fill_holes=True)
        )
    table = os.path.join(os.path.dirname(scan), "scans.csv")
    words = ["--mask", "mask", "--mask-labels", "class 1=1", "--fill-holes"]
    out = CliRunner().invoke(cli.app, ["evaluate", str(tmp_path / "m.keras"), table, *words])
    assert out.exit_code == 0, out.output
    assert "The masks were made with fill_holes (what a structure encloses filled)." in out.output


@pytest.mark.everything
def test_a_classifier_refuses_them_on_the_command_line_in_three_lines(study, tmp_path):
    save_model(easydl.classifier("tiny", size=32), tmp_path / "c.keras")
    out = subprocess.run(
        [sys.executable, "-m", "easydl", "predict", tmp_path / "c.keras", study.addresses(0)[0], "--fill-holes"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert out.returncode == 1
    assert "fill_holes=True was given, and the model's task is classification" in out.stderr + out.stdout
    assert "Traceback" not in out.stderr + out.stdout
