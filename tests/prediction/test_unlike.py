"""Images of another kind are told from those of the training, and clean ones seldom taken for such."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import easydl
from easydl.images import Scan
from easydl.networks import attach, metadata_of
from easydl.prediction.appearance import FEWEST, appearance_of, looks_of
from easydl.prediction.image_to_image import error_limit, reconstruction_error
from easydl.prediction.likeness import likeness_of, unlike

REAL = Path(os.environ.get("EASYDL_REAL_DATA", ""))


def phantom(kind, seed, side=64):
    """Films of a chest (two dark lungs), a head (a bright ring) or a knee (two shafts with a gap between)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side - 0.5
    wide, high, shift = 1 + rng.normal(0, 0.08, 3)[:2], rng.normal(0, 0.02), rng.normal(0, 0.02)
    if kind == "chest":
        body = 170.0 * np.ones_like(x)
        for middle in (-0.22, 0.22):
            body -= 110 * (((x - middle - shift) / (0.15 * wide[0])) ** 2 + ((y - high) / (0.33 * wide[1])) ** 2 < 1)
    elif kind == "head":
        radius = np.hypot(x / wide[0], y / (1.2 * wide[1]))
        body = 90.0 * (radius < 0.38) + 120 * ((radius > 0.33) & (radius < 0.38))
    else:
        shaft = np.abs(x - shift) < 0.14 * wide[0] + 0.08 * np.exp(-((y - high) ** 2) / 0.01)
        body = 30 + 160.0 * (shaft & (np.abs(y - high) > 0.02))
    pixels = body * rng.uniform(0.9, 1.1) + rng.normal(0, 8, body.shape)
    return Scan(pixels.clip(0, 255).astype(np.float32)[..., None], "0-255")


def trained(count=60):
    return appearance_of([looks_of(phantom("chest", seed)) for seed in range(count)])


def test_another_body_part_is_far_and_clean_images_are_near():
    appearance = trained()
    clean = np.array([appearance.distance(phantom("chest", seed)) for seed in range(1000, 1300)])
    assert (clean > 1).mean() <= 0.05
    for kind in ("head", "knee"):
        other = np.array([appearance.distance(phantom(kind, seed)) for seed in range(50)])
        assert (other > 1).all() and other.min() > clean.max(), kind
    sideways = [replace(one, pixels=np.swapaxes(one.pixels, 0, 1)) for one in (phantom("chest", k) for k in range(20))]
    assert all(appearance.distance(one) > 1 for one in sideways)


def test_the_grey_scale_is_no_matter_of_looks_and_too_few_have_none():
    appearance, one = trained(), phantom("chest", 2000)
    darker = replace(one, pixels=0.5 * one.pixels + 20)
    assert appearance.distance(darker) == pytest.approx(appearance.distance(one), rel=0.05)
    assert appearance_of([looks_of(phantom("chest", seed)) for seed in range(FEWEST - 1)]) is None


def films(folder, kind, seeds):
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in seeds:
        Image.fromarray(phantom(kind, seed).pixels[..., 0].astype(np.uint8)).save(folder / f"{kind}{seed}.png")
        rows.append({"image": f"{kind}{seed}.png", "patient": f"{kind}{seed}", "label": "no" if seed % 2 else "yes"})
    pd.DataFrame(rows).to_csv(folder / "scans.csv", index=False)
    return easydl.load(folder / "scans.csv", label="label")


def test_predictions_say_which_images_and_in_what(tmp_path):
    chests, knees = films(tmp_path / "a", "chest", range(30)), films(tmp_path / "b", "knee", range(40, 44))
    model = easydl.classifier("tiny", chests, size=32)
    training = {"likeness": likeness_of(chests).model_dump(mode="json")}
    attach(model, metadata_of(model).model_copy(update={"training": training}))
    model = easydl.load_model(easydl.save_model(model, tmp_path / "m.keras"))
    strange = easydl.predict(model, knees)
    assert len(strange.unlike) == 4 and all("looks unlike" in text for text in strange.frame["unlike"])
    assert any("4 of these 4 images are unlike" in note for note in strange.notes)
    fresh = easydl.predict(model, films(tmp_path / "c", "chest", range(100, 140)))
    assert len(fresh.unlike) <= 2
    one = easydl.predict(model, knees.scan(0))
    assert one.unlike and one.notes[0].startswith("Not like the training images, so the answer may mean nothing")


def test_a_mask_says_in_what_its_scan_is_unlike_those_of_the_training(tmp_path):
    import keras

    chests, knees = films(tmp_path / "a", "chest", range(30)), films(tmp_path / "b", "knee", range(40, 42))
    image = keras.Input((None, None, 1))
    model = keras.Model(image, keras.layers.Conv2D(2, 1, activation="softmax")(image))
    known = likeness_of(chests).model_dump(mode="json") | {"modalities": ["DX"]}
    attach(model, metadata_of(model).model_copy(update={"training": {"likeness": known}}))
    strange = easydl.predict(model, replace(knees.scan(0), header={"modality": "MR"}))
    assert any("modality is MR" in one for one in strange.unlike) and any(
        "looks unlike" in one for one in strange.unlike
    )
    assert strange.notes[0].startswith(
        "Not like the training images, so the answer may mean nothing: Its modality is MR"
    )
    # Masks are made window by window: twice the field of view is the same kind of image.
    chest = phantom("chest", 500)
    assert easydl.predict(model, chest).unlike == []
    wide = replace(chest, pixels=np.kron(chest.pixels[..., 0], np.ones((2, 2)))[..., None].astype(np.float32))
    assert not any("128 x 128 pixels" in one for one in easydl.predict(model, wide).unlike)
    assert "128 x 128 pixels" in unlike({"likeness": known}, wide)[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"header": {"modality": "US"}}, "Its modality is US"),
        ({"spacing_mm": (3.0, 3.0)}, "Its spacing is 3 x 3 mm"),
        ({"spacing_mm": None}, "not known"),
        ({"units": "HU"}, "Hounsfield units"),
    ],
)
def test_a_wrong_header_is_told(change, said):
    known = {
        "n": 40, "modalities": ("DX",), "units": "0-255", "sides": ((64, 64), (64, 64)),
        "spacing_mm": ((0.2, 0.4), (0.2, 0.4)), "values": {},
    }  # fmt: skip
    right = replace(phantom("chest", 1), spacing_mm=(0.3, 0.3), header={"modality": "DX"})
    assert unlike({"likeness": known}, right) == []
    assert said in " ".join(unlike({"likeness": known}, replace(right, **change)))


def test_what_an_autoencoder_cannot_reconstruct_is_told(tmp_path):
    study = films(tmp_path / "a", "chest", range(12))
    model = easydl.image_to_image("autoencoder", study, size=32)
    scan = study.scan(0)
    made = easydl.predict(model, scan)
    error = reconstruction_error(scan.pixels, made.array)
    for limit, strange in ((error * 0.9, True), (error * 1.1, False)):
        training = {"error_limit": limit, "validation_images": 12}
        attach(model, metadata_of(model).model_copy(update={"training": training}))
        found = easydl.predict(model, scan)
        assert bool(found.unlike) == strange == any("cannot reconstruct" in note for note in found.notes)
    assert error_limit([0.1] * 4) is None and error_limit([0.1, 0.2] * 5) == pytest.approx(0.22)
    assert error_limit(list(np.linspace(0, 1, 101))) == pytest.approx(0.97)


@pytest.mark.everything
def test_an_autoencoder_of_chests_knows_heads_and_knees(tmp_path):
    train, val, _ = films(tmp_path / "a", "chest", range(120)).split(seed=1)
    model = easydl.image_to_image("autoencoder", train, size=32)
    easydl.fit(model, train, val, epochs=40, verbose=False)

    def strange(kind, seeds):
        return np.array([bool(easydl.predict(model, phantom(kind, seed)).unlike) for seed in seeds])

    assert strange("chest", range(500, 600)).mean() <= 0.05
    assert strange("head", range(30)).mean() >= 0.95 and strange("knee", range(30)).mean() >= 0.95


@pytest.mark.real
def test_real_chest_films_against_brains_and_endoscopies():
    def scans(pattern, n):
        paths = sorted(path for path in REAL.glob(pattern) if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
        return [looks_of(easydl.read(path)) for path in paths[:: max(1, len(paths) // n)][:n]]

    def times(rows):
        return appearance._distances(np.array(rows)) / appearance.limit

    chests = scans("nih1000_cxr/**/*", 300)
    appearance = appearance_of(chests[::3])
    clean = times([one for k, one in enumerate(chests) if k % 3])
    assert (clean > 1).mean() <= 0.05, clean
    assert (times(scans("brain_mri_tumor/**/*", 60)) > 1).mean() >= 0.9
    assert (times(scans("kvasir_seg_sample/images/*", 60)) > 1).mean() >= 0.8
