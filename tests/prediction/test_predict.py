"""`easydl.predict` and what it returns: tables, masks on the source grid, compiled calls."""

import gc
import weakref

import numpy as np
import pandas as pd
import pytest
from made import nifti_study, png_study

import easydl
from easydl.errors import InputError, ModelError
from easydl.images import Scan
from easydl.networks import attach, metadata_of, set_window
from easydl.prediction import Predictions, Segmentation, compiled, inputs, segmented_cases
from easydl.prediction.segmentation import post_processed, segment


def test_masks_take_the_options_and_the_scans_own_grid():
    model = easydl.unet3d(classes=3, width=4, levels=2)
    metadata = easydl.networks.metadata_of(model).model_copy(update={"spacing_mm": (2.0, 2.0, 2.0)})
    pixels = np.random.default_rng(0).uniform(0, 255, (20, 18, 22, 1)).astype(np.float32)
    scan = Scan(pixels, "0-255", spacing_mm=(1.0, 1.0, 1.0), source="volume")
    call = compiled(model)
    plain = segment(call, (None,) * 3, metadata, scan)
    assert plain.shape == scan.shape
    assert plain.dtype == np.int32
    with pytest.raises(InputError, match="trained without mirror images"):
        easydl.predict(model, scan, mirror=True)
    trained = metadata.model_copy(update={"training": {"mirrors": ["left-right"]}})
    assert (segment(call, (None,) * 3, trained, scan, mirror=True) != plain).any()
    bare, found = (easydl.predict(model, scan, largest_component=on, fill_holes=on) for on in (False, True))
    np.testing.assert_array_equal(found.mask, post_processed(bare.mask, largest_component=True, fill_holes=True))
    note = (
        "The mask was made with largest_component (only the largest piece of every structure kept), "
        "fill_holes (what a structure encloses filled)."
    )
    assert note in found.notes
    assert not any("made with" in note for note in bare.notes)


def test_a_scan_without_spacing_goes_with_a_note_through_a_model_that_works_in_mm():
    model = easydl.unet3d(classes=2, width=4, levels=2)
    attach(model, metadata_of(model).model_copy(update={"spacing_mm": (3.0, 1.5, 1.5)}))
    pixels = np.zeros((4, 8, 8, 1), np.float32)
    found = easydl.predict(model, Scan(pixels, "0-255"))
    assert "The spacing of the scan is not known and the model works at 3 x 1.5 x 1.5 mm" in found.notes[0]
    assert easydl.predict(model, Scan(pixels, "0-255", spacing_mm=(3.0, 1.5, 1.5))).notes == []


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return easydl.load(png_study(tmp_path_factory.mktemp("s")))


@pytest.mark.quick
def test_predictions_are_those_of_plain_keras(study):
    model = easydl.classifier("tiny", classes=study.classes, size=32)
    found = easydl.predict(model, study)
    x = np.concatenate([inputs(model, study.scan(row)) for row in range(len(study))])
    np.testing.assert_allclose(found.frame[["p(disease)", "p(healthy)"]], model(x, training=False), atol=1e-5)
    assert list(found.frame["prediction"]) == [study.classes[k] for k in np.asarray(model(x, training=False)).argmax(1)]
    one = easydl.predict(model, study.addresses(3)[0])
    np.testing.assert_allclose(one.frame["p(disease)"][0], found.frame["p(disease)"][3], atol=1e-6)
    assert len(easydl.predict(model, np.zeros((20, 20))).frame) == 1


def test_a_compiled_call_is_traced_once(study):
    model = easydl.classifier("tiny", classes=study.classes, size=32)
    call = compiled(model)
    for batch in (1, 3, 7):
        call(np.zeros((batch, 32, 32, 1), np.float32))
    assert call.experimental_get_tracing_count() == 1
    assert compiled(model) is call


def test_a_model_that_has_predicted_is_let_go():
    model = easydl.classifier("tiny", size=32, covariates=["age"])
    easydl.predict(model, np.zeros((32, 32)), covariates={"age": 61})
    compiled(model, "features")(np.zeros((1, 32, 32, 1), np.float32))
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_an_array_is_in_the_models_units():
    pixels = np.random.default_rng(0).uniform(0, 80, (32, 32)).astype(np.float32)
    model = set_window(easydl.classifier("tiny", size=32), (0, 80), "HU")
    as_scan = easydl.predict(model, Scan(pixels[..., None], "HU")).frame
    np.testing.assert_array_equal(easydl.predict(model, pixels).frame.filter(like="p("), as_scan.filter(like="p("))
    with pytest.raises(ModelError, match="Hounsfield"):
        easydl.predict(easydl.classifier("tiny", size=32), pixels - 1000)


def test_other_classes_and_dimensions_are_refused(study):
    with pytest.raises(ModelError, match="'cat', 'dog'"):
        easydl.predict(easydl.classifier("tiny", classes=["cat", "dog"], size=32), study)
    with pytest.raises(ModelError, match="2D"):
        easydl.predict(easydl.classifier("tiny", size=32), Scan(np.zeros((8, 8, 8, 1), np.float32), "0-255"))
    with pytest.raises(InputError):
        easydl.predict(easydl.classifier("tiny", size=32), 7)


@pytest.mark.quick
def test_saved_tables_are_safe_and_marked(tmp_path):
    frame = pd.DataFrame({"image": ["=cmd()"], "prediction": ["a"], "p(a)": [-0.3]})
    path = Predictions(frame, ("a",)).save(tmp_path / "p.csv")
    text = path.read_text()
    assert text.startswith("# Research use only")
    assert "'=cmd()" in text
    assert "-0.3" in text
    assert "'-0.3" not in text


def test_a_segmentation_model_returns_masks_on_the_source_grid(tmp_path):
    import nibabel

    study = easydl.load(nifti_study(tmp_path / "n", cases=3), mask="mask")
    model = easydl.unet3d(study, width=4, levels=2)
    result = easydl.predict(model, study.addresses(0)[0])
    assert result.mask.shape == study.scan(0).shape
    saved = nibabel.load(result.save(tmp_path / "seg.nii.gz"))
    original = nibabel.load(study.addresses(0)[0])
    assert saved.shape == original.shape
    np.testing.assert_allclose(saved.affine, original.affine, atol=1e-5)
    with pytest.raises(InputError, match="cannot be saved"):
        result.save(tmp_path / "seg.png")
    with pytest.raises(InputError, match="3 scans"):
        easydl.predict(model, study)
    case = next(segmented_cases(model, study))
    assert case.predicted.shape == case.reference.shape
    assert case.spacing_mm == pytest.approx((2.0, 1.5, 1.5))


def test_sizes_are_in_millilitres_and_labels_go_back():
    mask = np.zeros((10, 10, 10), np.int32)
    mask[:5] = 1
    scan = Scan(np.zeros((10, 10, 10, 1), np.float32), "HU", spacing_mm=(2.0, 1.0, 1.0))
    result = Segmentation(mask, scan, ("background", "tumour"), (0, 4))
    assert result.sizes() == {"tumour": (1.0, "mL")}
    assert set(np.unique(result.array)) == {0, 4}
    assert "n = 1" in repr(result)
    assert "original" in {axis.get_title() for axis in result.show().axes}


def test_a_png_mask_is_written_with_the_sentence(tmp_path):
    from PIL import Image

    scan = Scan(np.zeros((6, 6, 1), np.float32), "0-255")
    path = Segmentation(np.eye(6, dtype=np.int32), scan, ("b", "f"), (0, 255)).save(tmp_path / "m.png")
    with Image.open(path) as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.eye(6) * 255)
        assert "Research use only" in picture.info["Comment"]
