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
from easydl.prediction import Predictions, Segmentation, cases, compiled, inputs
from easydl.prediction.segmentation import segment, tidied
from easydl.prediction.sliding_window import gaussian, mirrored, planes, resampled, slide, starts


@pytest.mark.parametrize("shape", [(5, 7), (40, 33), (9, 20, 31)])
def test_sliding_windows_of_an_identity_give_the_scan_back(shape):
    pixels = np.random.default_rng(0).normal(size=(*shape, 2)).astype(np.float32)
    out = slide(lambda batch: batch, pixels, (16,) * len(shape))
    np.testing.assert_allclose(out, pixels, atol=1e-5)


def dense(call, pixels, patch):
    """All windows added up in one array of the scan's size: what the planes have to give."""
    total, weight = np.zeros(pixels.shape), np.zeros((*pixels.shape[:-1], 1))
    weights = gaussian(patch)[..., None]
    for corner in np.ndindex(*(len(starts(side, need, 0.5)) for side, need in zip(pixels.shape, patch, strict=False))):
        view = tuple(
            slice(starts(side, need, 0.5)[k], starts(side, need, 0.5)[k] + need)
            for k, side, need in zip(corner, pixels.shape, patch, strict=False)
        )
        total[view] += call(pixels[view][None])[0] * weights
        weight[view] += weights
    return total / weight


def centred(batch):
    """An answer that depends on where in the window a pixel lies, so that the blending shows."""
    return batch - batch.mean(axis=tuple(range(1, batch.ndim - 1)), keepdims=True)


@pytest.mark.parametrize("shape", [(40, 33), (37, 20, 31)])
def test_planes_are_those_of_adding_up_all_windows(shape):
    pixels = np.random.default_rng(1).normal(size=(*shape, 2)).astype(np.float32)
    patch = (16,) * len(shape)
    parts = list(planes(centred, pixels, patch))
    assert len(parts) > 1
    assert max(len(part) for part in parts) <= 16
    np.testing.assert_allclose(np.concatenate(parts), dense(centred, pixels, patch), atol=1e-5)
    np.testing.assert_array_equal(slide(centred, pixels, patch), np.concatenate(parts))


def test_memory_follows_the_window_not_the_number_of_planes():
    import tracemalloc

    def most(depth):
        pixels = np.zeros((depth, 64, 64, 1), np.float32)
        tracemalloc.start()
        for part in planes(lambda batch: np.repeat(batch, 5, -1), pixels, (16, 32, 32)):
            del part
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert most(256) < 1.1 * most(64)


def test_mirror_images_are_averaged():
    def lopsided(batch):
        ramp = np.arange(batch.shape[2], dtype=np.float32)[None, None, :, None]
        return batch + ramp

    batch = np.random.default_rng(0).normal(size=(2, 4, 6, 1)).astype(np.float32)
    np.testing.assert_allclose(mirrored(lopsided, (0, 1))(batch), batch + 2.5, atol=1e-5)
    calls = []
    mirrored(lambda one: calls.append(1) or one, (0, 1, 2))(np.zeros((1, 2, 2, 2, 1)))
    assert len(calls) == 8
    np.testing.assert_allclose(mirrored(lopsided, (0,))(batch), lopsided(batch), atol=1e-5)


@pytest.mark.parametrize("shape", [(30, 8, 9), (10, 5, 6), (7, 8, 9), (13, 11, 9)])
def test_planes_reach_another_grid_as_the_whole_volume_would(shape):
    from scipy import ndimage

    volume = np.random.default_rng(0).normal(size=(13, 8, 9, 2)).astype(np.float32)
    cut = iter([volume[:4], volume[4:5], volume[5:]])
    found = np.concatenate(list(resampled(cut, shape, 13)))
    assert found.shape == (*shape, 2)
    if shape[1:] == (8, 9):
        places = np.clip((np.arange(shape[0]) + 0.5) * 13 / shape[0] - 0.5, 0, 12)
        for channel in range(2):
            grid = np.meshgrid(places, np.arange(8), np.arange(9), indexing="ij")
            expected = ndimage.map_coordinates(volume[..., channel], grid, order=1)
            np.testing.assert_allclose(found[..., channel], expected, atol=1e-5)


def test_crumbs_and_holes_go_when_asked():
    mask = np.zeros((12, 12), np.int32)
    mask[1:6, 1:6] = 1
    mask[3, 3] = 0
    mask[9, 9] = 1
    mask[8:10, 2:4] = 2
    assert tidied(mask) is mask
    largest = tidied(mask, largest_component=True)
    assert largest[9, 9] == 0
    assert largest[3, 3] == 0
    assert (largest == 2).sum() == 4
    filled = tidied(mask, fill_holes=True)
    assert filled[3, 3] == 1
    assert filled[9, 9] == 1
    both = tidied(mask, largest_component=True, fill_holes=True)
    assert (both == 1).sum() == 25
    assert mask[3, 3] == 0


def test_outlines_take_the_options_and_the_scans_own_grid():
    model = easydl.unet3d(classes=3, width=4)
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
    np.testing.assert_array_equal(found.mask, tidied(bare.mask, largest_component=True, fill_holes=True))
    said = (
        "The mask was made with largest_component (only the largest piece of every structure kept), "
        "fill_holes (what a structure encloses filled)."
    )
    assert said in found.notes
    assert not any("made with" in note for note in bare.notes)


def test_a_scan_without_spacing_goes_with_a_note_through_a_model_that_works_in_mm():
    model = easydl.unet3d(classes=2, width=4, levels=2)
    attach(model, metadata_of(model).model_copy(update={"spacing_mm": (3.0, 1.5, 1.5)}))
    pixels = np.zeros((4, 8, 8, 1), np.float32)
    found = easydl.predict(model, Scan(pixels, "0-255"))
    assert "The spacing of the scan is not known and the model works at 3 x 1.5 x 1.5 mm" in found.notes[0]
    assert easydl.predict(model, Scan(pixels, "0-255", spacing_mm=(3.0, 1.5, 1.5))).notes == []


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
