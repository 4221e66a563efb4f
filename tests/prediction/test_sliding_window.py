"""Windows, their blending, mirror images and post-processing on arrays; no model."""

import numpy as np
import pytest

from easydl.prediction.segmentation import post_processed
from easydl.prediction.sliding_window import gaussian, mirrored, planes, resampled, slide, starts

pytestmark = pytest.mark.quick


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


def test_small_pieces_and_holes_go_when_asked():
    mask = np.zeros((12, 12), np.int32)
    mask[1:6, 1:6] = 1
    mask[3, 3] = 0
    mask[9, 9] = 1
    mask[8:10, 2:4] = 2
    assert post_processed(mask) is mask
    largest = post_processed(mask, largest_component=True)
    assert largest[9, 9] == 0
    assert largest[3, 3] == 0
    assert (largest == 2).sum() == 4
    filled = post_processed(mask, fill_holes=True)
    assert filled[3, 3] == 1
    assert filled[9, 9] == 1
    both = post_processed(mask, largest_component=True, fill_holes=True)
    assert (both == 1).sum() == 25
    assert mask[3, 3] == 0


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
