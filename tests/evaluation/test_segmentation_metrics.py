"""The segmenter's numbers against brute force, SimpleITK and scikit-learn, and what empty masks do."""

import numpy as np
import pytest
import SimpleITK as sitk
from cohorts import ball, case
from sklearn.metrics import f1_score

from easydl.errors import InputError
from easydl.evaluation import segmentation_metrics
from easydl.evaluation.surfaces import dice, hd95


def brute_hd95(first, second, spacing):
    """HD95 by every pair of surface voxels, surfaces found by looking at each face neighbour."""

    def surface(mask):
        padded = np.pad(mask, 1)
        inner = np.ones_like(mask)
        for axis in range(mask.ndim):
            for step in (-1, 1):
                moved = np.roll(padded, step, axis)
                inner &= moved[tuple(slice(1, -1) for _ in range(mask.ndim))]
        return np.argwhere(mask & ~inner) * spacing

    a, b = surface(first), surface(second)
    distances = np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=-1))
    return max(np.percentile(distances.min(axis=1), 95), np.percentile(distances.min(axis=0), 95))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("shape", "spacing"), [((30, 40), (0.7, 0.7)), ((12, 20, 16), (5.0, 0.8, 0.8))])
def test_hd95_agrees_with_brute_force(shape, spacing, seed):
    rng = np.random.default_rng(seed)
    masks = [
        ball(shape, rng.uniform(0.2, 0.8, len(shape)) * shape, rng.uniform(3, 6)) | (rng.random(shape) > 0.998)
        for _ in range(2)
    ]
    masks[0][0] |= seed == 0  # a mask that touches the image's edge
    assert hd95(*masks, spacing) == pytest.approx(brute_hd95(*masks, np.array(spacing)))


def test_hd95_agrees_with_simpleitk():
    spacing = (3.0, 0.9, 0.9)
    masks = [ball((16, 40, 40), centre, 7) for centre in ((8, 18, 20), (9, 22, 19))]

    def there(first, second):
        images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (first, second)]
        for image in images:
            image.SetSpacing(spacing[::-1])
        contours = [sitk.LabelContour(image, fullyConnected=False) for image in images]
        field = sitk.SignedMaurerDistanceMap(contours[1], squaredDistance=False, useImageSpacing=True)
        distances = np.abs(sitk.GetArrayFromImage(field))
        return np.percentile(distances[sitk.GetArrayFromImage(contours[0]) > 0], 95)

    expected = max(there(*masks), there(*masks[::-1]))
    assert hd95(*masks, spacing) == pytest.approx(expected, rel=1e-5)


def test_hd95_is_in_pixels_without_a_spacing_and_undefined_for_an_empty_mask():
    mask = ball((30, 30), (12, 12), 5)
    assert hd95(np.roll(mask, 4, 0), mask) == pytest.approx(4)
    assert hd95(mask, mask) == 0
    assert np.isnan(hd95(np.zeros_like(mask), mask))


def test_dice_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 50, 50)) > 0.6
    assert dice(first, second) == pytest.approx(f1_score(second.ravel(), first.ravel()))
    assert np.isnan(dice(first, np.zeros_like(first)))


@pytest.fixture
def cases():
    rng = np.random.default_rng(1)
    made = []
    for number in range(24):
        centre = rng.uniform(14, 18, 2)
        reference, predicted = ball((32, 32), centre, 6), ball((32, 32), centre + rng.normal(0, 1, 2), 6)
        made.append(case(predicted, reference, f"P{number // 2:02d}", f"{number}.png", (2.0, 0.5)))
    return made


def rows(metrics):
    return metrics.table.set_index("name")


def test_summary_is_the_mean_over_cases_with_patients_as_units(cases):
    result = segmentation_metrics(cases, resamples=300)
    table = rows(result)
    scores = [dice(c.predicted == 1, c.reference == 1) for c in cases]
    errors = [float((c.predicted.sum() - c.reference.sum()) * 1.0) for c in cases]  # 2.0 mm x 0.5 mm a pixel
    assert table.loc["Dice", "value"] == pytest.approx(np.mean(scores))
    assert table.loc["area error", "value"] == pytest.approx(np.mean(errors))
    assert table.loc["absolute area error", "value"] == pytest.approx(np.mean(np.abs(errors)))
    assert table.loc["area error", "unit"] == "mm²"
    assert table.loc["HD95", "unit"] == "mm"
    assert (table["n"] == 12).all()
    assert (table["images"] == 24).all()
    # At the ends of their range numbers still have a width.
    assert (table.loc["lesion sensitivity", "value"], table.loc["lesion sensitivity", "high"]) == (1, 1)
    assert table.loc["false finds per image", "high"] == pytest.approx(-np.log(0.025) / 12)
    assert (table["low"] < table["high"]).all()
    inside = table.drop(index=["lesion sensitivity", "false finds per image"])
    assert ((inside["low"] < inside["value"]) & (inside["value"] < inside["high"])).all()
    assert result.cases["dice"].tolist() == pytest.approx([scores[i] for i in np.argsort([c.image for c in cases])])
    assert repr(result).endswith("12 patients")


def test_volumes_are_millilitres():
    reference = np.zeros((10, 20, 20), bool)
    reference[2:6, 5:15, 5:15] = True
    predicted = reference.copy()
    predicted[6, 5:15, 5:15] = True
    three = [case(predicted, reference, f"P{k}", spacing=(5.0, 1.0, 1.0)) for k in range(3)]
    result = segmentation_metrics(three, resamples=100)
    assert result.cases["reference_volume"].tolist() == pytest.approx([2.0] * 3)  # 400 voxels of 5 mm³
    assert rows(result).loc["volume error", ["value", "unit"]].tolist() == [pytest.approx(0.5), "mL"]
    assert rows(result).loc["Dice", "low"] < rows(result).loc["Dice", "value"]  # the next patient may fail
    assert "no width" in rows(result).loc["volume error", "note"]


def test_empty_references_are_left_out_of_the_mean_and_counted(cases):
    nothing = np.zeros((32, 32), bool)
    wrong = case(ball((32, 32), (10, 10), 3), nothing, "P90", "wrong.png", (2.0, 0.5))
    right = case(nothing, nothing, "P91", "right.png", (2.0, 0.5))
    with_empty = segmentation_metrics([*cases, wrong, right], resamples=300)
    without = segmentation_metrics(cases, resamples=300)
    assert rows(with_empty).loc["Dice", "value"] == rows(without).loc["Dice", "value"]
    assert rows(with_empty).loc["Dice", "n"] == 12
    area = ball((32, 32), (10, 10), 3).sum() / 2
    assert rows(with_empty).loc["false-positive area", ["value", "n"]].tolist() == pytest.approx([area, 2])
    assert any("empty in 2 of 26 images" in note and "marked in 1." in note for note in with_empty.notes)


def test_a_missed_structure_is_dice_zero_and_no_distance(cases):
    missed = case(np.zeros((32, 32)), ball((32, 32), (10, 10), 3), "P90", "missed.png", (2.0, 0.5))
    result = segmentation_metrics([*cases, missed], resamples=200)
    assert rows(result).loc["Dice", "images"] == 25
    assert rows(result).loc["HD95", "images"] == 24
    assert "1 missed wholly" in rows(result).loc["HD95", "note"]
    assert any("missed wholly in 1 of 25" in note for note in result.notes)


def test_several_structures_are_averaged_class_by_class():
    names = ("background", "liver", "tumour")
    made = []
    for number in range(6):
        reference = ball((40, 40), (20, 20), 12).astype(int)
        predicted = np.roll(reference, number % 3, 0)
        if number < 4:
            reference[ball((40, 40), (20, 20), 3)] = 2
            predicted[ball((40, 40), (20 + number, 20), 3)] = 2
        made.append(case(predicted, reference, f"P{number}", names=names))
    result = segmentation_metrics(made, resamples=200)
    table = rows(result)
    per_class = [result.cases.loc[result.cases["class"] == name, "dice"].mean() for name in names[1:]]
    assert result.table["name"].iloc[0] == "Dice, mean over classes"
    assert table.loc["Dice, mean over classes", "value"] == pytest.approx(np.mean(per_class))
    assert table.loc["Dice, tumour", ["value", "n"]].tolist() == pytest.approx([per_class[1], 4])
    assert result.per_class == {
        "liver": {"images": 6, "patients": 6},
        "tumour": {"images": 4, "patients": 4},
    }


def test_small_references_few_patients_and_lost_spacings_are_named(cases):
    tiny = case(ball((32, 32), (5, 5), 1), ball((32, 32), (5, 5), 1), "P50", "tiny.png", (2.0, 0.5))
    lost = case(cases[0].predicted, cases[0].reference, "P51", "lost.png", None)
    notes = " ".join(segmentation_metrics([*cases[:6], tiny, lost], resamples=100).notes)
    assert "fewer than 10 voxels in 1 of 8 images" in notes
    assert "Too few to mean much" in notes
    assert "no known pixel spacing" in notes
    table = segmentation_metrics([*cases, lost], resamples=100).table
    assert set(table.loc[table["name"] == "HD95", "unit"]) == {"mm", "pixels"}


def test_order_seed_and_unknown_patients(cases):
    first = segmentation_metrics(cases, resamples=200).to_dict()
    assert segmentation_metrics(cases[::-1], resamples=200).to_dict() == first
    assert segmentation_metrics(cases, resamples=200, seed=9).to_dict()["table"][0]["low"] != first["table"][0]["low"]
    alone = segmentation_metrics(iter(cases), patients_known=False, resamples=200)
    assert alone.table["n"].iloc[0] == 24
    assert alone.table["unit_of_n"].iloc[0] == "images"
    assert alone.table["note"].iloc[0].endswith("image-level Bayesian bootstrap with room for unseen failures")
    assert any("Patients are unknown" in note for note in alone.notes)


def test_one_patient_has_means_without_intervals(cases):
    result = segmentation_metrics(cases[:2], resamples=100)
    assert result.table["low"].isna().all()
    assert "95% CI not computable), 1 patient" in repr(result)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ([], "There is no case"),
        ([case(np.zeros((4, 4)), np.zeros((5, 4)))], "Case 1: predicted mask"),
        ([case(np.full((4, 4), 2), np.zeros((4, 4)))], "mask values from 0 to 2"),
        ([case(np.zeros((4, 4)), np.zeros((4, 4)), names=("background",))], "There is no case"),
    ],
)
def test_masks_that_cannot_be_compared_are_one_clear_error(made, words):
    with pytest.raises(InputError, match=words):
        segmentation_metrics(made)
