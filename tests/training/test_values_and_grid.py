"""The window, the normalisation and the spacing that were chosen travel with the model."""

import numpy as np
import pytest
from made import dicom_series, mask_study
from small_models import tiny

import easydl
from easydl.errors import InputError
from easydl.images import Scan, prepare
from easydl.images.ct_windows import CT_WINDOWS_HU
from easydl.images.resampling import standardise
from easydl.networks import metadata_of
from easydl.prediction import inputs
from easydl.prediction.grid import working_grid


def test_windows_are_level_and_width():
    """Radiopaedia's level and width of each, by hand."""
    for name, level, width in [("lung", -600, 1500), ("brain", 40, 80), ("stroke", 40, 40), ("subdural", 75, 200),
                               ("bone", 400, 1800), ("liver", 30, 150), ("abdomen", 50, 400), ("spine", 50, 250),
                               ("temporal_bone", 600, 2800), ("angiography", 100, 700),
                               ("mediastinum", 40, 400)]:  # fmt: skip
        assert CT_WINDOWS_HU[name] == (level - width / 2, level + width / 2)


def test_z_score_is_that_of_the_voxels_above_air():
    rng = np.random.default_rng(0)
    values = np.zeros((10, 10, 10, 1), np.float32)
    inside = rng.normal(300, 40, (6, 6, 6)).astype(np.float32)
    values[2:8, 2:8, 2:8, 0] = inside
    out = standardise(values)
    expected = 127.5 + 25.5 * (inside - inside.mean()) / inside.std()
    np.testing.assert_allclose(out[2:8, 2:8, 2:8, 0], expected, atol=1e-2)
    assert out[0, 0, 0, 0] == 0
    assert (standardise(np.full((4, 4, 1), 7.0, np.float32)) == 127.5).all()
    doubled = standardise(values * 3.5)
    np.testing.assert_allclose(doubled, out, atol=1e-2)  # The scanner's gain does not matter.
    with_units = prepare(Scan(values, "relative"), channels=1, units="0-255", normalise="z-score")
    np.testing.assert_array_equal(with_units, out)


def test_z_score_travels_with_a_classifier(parts, tmp_path):
    train, val, test = parts
    model = tiny(train)
    easydl.fit(model, train, val, augment="none", epochs=1, normalise="z-score", verbose=False)
    path = easydl.save_model(model, tmp_path / "m.keras")
    again = easydl.load_model(path)
    assert metadata_of(again).normalise == "z-score"
    scan = test.scan(0)
    np.testing.assert_allclose(inputs(again, scan)[0], standardise(scan.pixels), atol=1e-3)
    plain = easydl.predict(model, test).frame.filter(like="p(").to_numpy()
    np.testing.assert_allclose(easydl.predict(again, test).frame.filter(like="p(").to_numpy(), plain, atol=1e-5)


def test_spacing_travels_with_a_segmentation_model(volume_parts, few_steps):
    train, val, test = volume_parts
    model = easydl.unet3d(train, width=4)
    easydl.fit(model, train, val, augment="none", epochs=1, batch_size=1, spacing_mm=(4.0, 3.0, 3.0), verbose=False)
    metadata = metadata_of(model)
    assert metadata.spacing_mm == (4.0, 3.0, 3.0)
    scan = test.scan(0)  # 24 x 28 x 20 voxels of 2 x 1.5 x 1.5 mm
    assert working_grid(metadata, scan).shape[:3] == (12, 14, 10)
    assert easydl.predict(model, scan).mask.shape == scan.shape


def test_long_images_are_downsampled_and_the_plan_says_so(tmp_path, stages):
    study = easydl.load(mask_study(tmp_path / "s", cases=9, shapes=((40, 640), (40, 800), (36, 48))))
    train, val, _ = study.split(seed=1)
    model = easydl.unet(study, width=4)
    options = {"augment": "none", "epochs": 1, "verbose": False, "full_resolution": False}
    plan = easydl.fit(model, train, val, **options).params["plan"]
    longer = sum(train.reference(row).shape == (40, 800) for row in range(len(train)))
    assert 0 < longer < len(train)
    said = f"{longer} of {len(train)} images are longer than 640 pixels and are downsampled to 640, as asked: of "
    assert any(one.startswith(said) for one in plan), plan
    by_width = {scan.shape[1]: scan for scan in (study.scan(row) for row in range(3))}
    shapes = {width: working_grid(metadata_of(model), scan).shape[:2] for width, scan in by_width.items()}
    assert shapes == {640: (40, 640), 800: (32, 640), 48: (36, 48)}
    assert easydl.predict(model, by_width[800]).mask.shape == (40, 800)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"normalise": "minmax"}, "minmax"),
        ({"spacing_mm": (1.0, 1.0)}, "segmentation model"),
        ({"window": "lungs"}, "lungs"),
    ],
)
def test_choices_that_do_not_fit_are_refused(parts, choice, words):
    train, val, _ = parts
    model = tiny(train)
    with pytest.raises(InputError, match=words):
        easydl.fit(model, train, val, epochs=1, verbose=False, **choice)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.0, 1.0, 1.0), (np.nan, 1.0, 1.0)])
def test_a_spacing_that_is_not_valid_is_refused(volume_parts, spacing):
    train, val, _ = volume_parts
    with pytest.raises(InputError, match="not a valid spacing"):
        easydl.fit(easydl.unet3d(train, width=4), train, val, spacing_mm=spacing, verbose=False)


def test_z_score_is_refused_for_ct(tmp_path):
    import pandas as pd

    rng = np.random.default_rng(0)
    rows = []
    for number in range(18):
        volume = rng.integers(0, 2000, (4, 16, 16)).astype(np.uint16)
        dicom_series(tmp_path / f"{number}", volume, SeriesInstanceUID=f"1.2.{number}", PatientID=f"p{number}")
        rows.append({"image": f"{number}", "label": "ab"[number % 2], "patient": f"p{number}"})
    pd.DataFrame(rows).to_csv(tmp_path / "scans.csv", index=False)
    study = easydl.load(tmp_path / "scans.csv")
    train, val, _ = study.split(seed=0)
    model = easydl.classifier("tiny3d", classes=study.classes, size=(16, 16, 16))
    with pytest.raises(InputError, match="CT"):
        easydl.fit(model, train, val, normalise="z-score", verbose=False)
    easydl.fit(model, train, val, window="stroke", epochs=1, augment="none", verbose=False)
    assert metadata_of(model).window == (20.0, 60.0)
