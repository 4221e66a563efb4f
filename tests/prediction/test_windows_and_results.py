import numpy as np
import pandas as pd
import pytest
from made import nifti_study, png_study

import easydl
from easydl.errors import InputError, ModelError
from easydl.images import Scan
from easydl.prediction import Predictions, Segmentation, cases, compiled, inputs
from easydl.prediction.windows import gaussian, slide, starts


@pytest.mark.parametrize("shape", [(5, 7), (40, 33), (9, 20, 31)])
def test_sliding_windows_of_an_identity_give_the_scan_back(shape):
    pixels = np.random.default_rng(0).normal(size=(*shape, 2)).astype(np.float32)
    out = slide(lambda batch: batch, pixels, (16,) * len(shape))
    np.testing.assert_allclose(out, pixels, atol=1e-5)


def test_windows_cover_everything_and_end_at_the_end():
    for length in range(1, 70):
        begins = starts(length, 16, 0.5)
        covered = np.zeros(max(length, 16), bool)
        for begin in begins:
            covered[begin : begin + 16] = True
        assert covered[:length].all()
        assert begins[-1] == max(0, length - 16)
        assert (np.diff(begins) <= 8).all() or len(begins) == 1


def test_the_centre_of_a_window_counts_most():
    weights = gaussian((8, 16))
    assert weights.max() == 1
    assert weights[4, 8] > 0.9 > weights[0, 0] > 0


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return easydl.load(png_study(tmp_path_factory.mktemp("s")))


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


def test_other_classes_and_dimensions_are_refused(study):
    with pytest.raises(ModelError, match="'cat', 'dog'"):
        easydl.predict(easydl.classifier("tiny", classes=["cat", "dog"], size=32), study)
    with pytest.raises(ModelError, match="2D"):
        easydl.predict(easydl.classifier("tiny", size=32), Scan(np.zeros((8, 8, 8, 1), np.float32), "0-255"))
    with pytest.raises(InputError):
        easydl.predict(easydl.classifier("tiny", size=32), 7)


def test_saved_tables_are_safe_and_marked(tmp_path):
    frame = pd.DataFrame({"image": ["=cmd()"], "prediction": ["a"], "p(a)": [-0.3]})
    path = Predictions(frame, ("a",)).save(tmp_path / "p.csv")
    text = path.read_text()
    assert text.startswith("# Research use only")
    assert "'=cmd()" in text
    assert "-0.3" in text
    assert "'-0.3" not in text


def test_a_segmenter_returns_masks_on_the_source_grid(tmp_path):
    import nibabel

    study = easydl.load(nifti_study(tmp_path / "n", cases=3), mask="mask")
    model = easydl.unet3d(classes=study.classes)
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
    case = next(cases(model, study))
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
