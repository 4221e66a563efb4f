"""Surface distances by brute force over all pairs of voxels; lesions and objects against scikit-image and by hand."""

import numpy as np
import pytest
from cohorts import ball, case
from scipy.ndimage import generate_binary_structure
from scipy.spatial.distance import cdist
from skimage.measure import label as components

from easydl.evaluation import segmentation_metrics
from easydl.evaluation.lesions import lesion_counts
from easydl.evaluation.surfaces import box_of, distances_summary, iou, surface_distances


def rows(metrics):
    return metrics.table.set_index("name")


def noise(shape, seed, smooth=0.62):
    """Ragged masks of several pieces."""
    rng = np.random.default_rng(seed)
    field = sum(np.roll(rng.random(shape), step, axis=axis) for axis in range(len(shape)) for step in (-1, 0, 1))
    return field > np.quantile(field, smooth)


def surface(mask, spacing):
    """Places of voxels with a neighbour outside over a face, by looking at each of them."""
    padded = np.pad(mask, 1)
    inner = np.ones_like(mask)
    for axis in range(mask.ndim):
        for step in (-1, 1):
            inner &= np.roll(padded, step, axis=axis)[(slice(1, -1),) * mask.ndim]
    return np.argwhere(mask & ~inner) * np.array(spacing)


@pytest.mark.parametrize(("shape", "spacing"), [((14, 17), (2.0, 0.7)), ((7, 9, 8), (3.0, 1.0, 1.5))])
@pytest.mark.parametrize("seed", [0, 1])
def test_distances_agree_with_all_pairs_of_surface_voxels(shape, spacing, seed):
    predicted, reference = noise(shape, seed), noise(shape, seed + 10)
    found = distances_summary(surface_distances(predicted, reference, spacing), tolerance=2.0)
    between = cdist(surface(predicted, spacing), surface(reference, spacing))
    there, back = between.min(axis=1), between.min(axis=0)
    both = np.concatenate([there, back])
    assert found["hd95"] == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
    assert found["assd"] == pytest.approx((there.sum() + back.sum()) / len(both))
    assert found["surface_dice"] == pytest.approx((both <= 2.0).mean())
    assert iou(predicted, reference) == pytest.approx((predicted & reference).sum() / (predicted | reference).sum())


def test_an_empty_mask_has_no_distance_and_no_box():
    nothing, something = np.zeros((4, 4), bool), np.eye(4, dtype=bool)
    assert all(np.isnan(one) for one in distances_summary(surface_distances(nothing, something)).values())
    assert nothing[box_of(nothing)].shape == (4, 4)
    assert np.isnan(iou(something, nothing))
    assert lesion_counts(nothing, something) == {
        "lesions": 1, "lesions_found": 0, "objects_predicted": 0, "false_finds": 0, "objects_matched": 0,
    }  # fmt: skip


@pytest.mark.parametrize("shape", [(20, 22), (9, 10, 11)])
def test_lesions_are_counted_as_piece_by_piece(shape):
    predicted, reference = noise(shape, 3, 0.8), noise(shape, 4, 0.8)
    connected = generate_binary_structure(len(shape), len(shape))
    assert connected.all()
    made, true = components(predicted, connectivity=len(shape)), components(reference, connectivity=len(shape))
    pieces = [made == k for k in range(1, made.max() + 1)]
    lesions = [true == k for k in range(1, true.max() + 1)]
    assert lesion_counts(predicted, reference) == {
        "lesions": len(lesions),
        "lesions_found": sum(bool((one & predicted).any()) for one in lesions),
        "objects_predicted": len(pieces),
        "false_finds": sum(not (one & reference).any() for one in pieces),
        "objects_matched": sum((one & other).sum() > 0.5 * (one | other).sum() for one in pieces for other in lesions),
    }


def spots(centres, shape=(48, 48), radius=2):
    return sum((ball(shape, centre, radius) for centre in centres), np.zeros(shape, bool))


def test_many_objects_have_f1_and_counts_pooled_over_images():
    places = [(8, 8), (8, 30), (30, 8), (30, 30)]
    full, three = spots(places), spots(places[:3])
    more = spots([*places, (42, 42)])
    cases = [case(made, full, f"P{k:02d}") for k, made in enumerate([full, three, more] * 6)]
    result = segmentation_metrics(cases, resamples=200)
    table = rows(result)
    # In six rounds of three images: 4, 3 and 4 of 4 are matched, 0, 0 and 1 are false.
    assert table.loc["lesion sensitivity", "value"] == pytest.approx(11 / 12)
    assert table.loc["false finds per image", ["value", "unit"]].tolist() == [pytest.approx(1 / 3), "pieces"]
    assert table.loc["object F1", "value"] == pytest.approx(2 * 11 / (12 + 12))
    assert table.loc["object count error", "value"] == pytest.approx(0)
    assert table.loc["absolute object count error", "value"] == pytest.approx(2 / 3)
    assert table.loc["lesion sensitivity", "n"] == 18
    for name in ("lesion sensitivity", "object F1", "false finds per image"):
        assert table.loc[name, "low"] < table.loc[name, "value"] < table.loc[name, "high"]
    assert {"lesions", "false_finds", "objects_matched"} <= set(result.cases)


def test_one_organ_is_not_counted_as_objects_and_stays_calm():
    truth = ball((32, 32), (16, 16), 8)
    result = segmentation_metrics([case(np.roll(truth, 1, 0), truth, f"P{k}") for k in range(12)], resamples=200)
    assert "object F1" not in rows(result).index
    first = result.table[~result.table["more"]]
    assert first["name"].tolist() == ["Dice", "HD95", "area error", "absolute area error"]
    assert "within 2 mm" in rows(result).loc["surface Dice", "note"]
    assert rows(result).loc["surface Dice", "value"] == 1
    assert rows(result).loc["IoU", "value"] == pytest.approx(iou(np.roll(truth, 1, 0), truth))


def test_false_finds_count_in_images_without_a_lesion():
    nothing = np.zeros((48, 48), bool)
    cases = [case(spots([(8, 8), (30, 30)]) if k < 5 else nothing, nothing, f"P{k}") for k in range(10)]
    table = rows(segmentation_metrics(cases, resamples=200))
    assert table.loc["false finds per image", "value"] == 1
    assert np.isnan(table.loc["lesion sensitivity", "value"])
