"""`easydl.compare(test, [model_a, model_b])` for every kind of answer, counted as looks at the test part."""

import numpy as np
import pytest
from made import mask_study
from made_comparisons import split_study
from typer.testing import CliRunner

import easydl
from easydl import cli
from easydl.comparison import Comparison
from easydl.evaluation import Metrics, paired_differences
from easydl.evaluation.ledger import Ledger

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    study = easydl.load(mask_study(tmp_path_factory.mktemp("masks"), cases=12), mask="mask")
    nets = [easydl.unet(classes=study.classes, channels=1, size=32, seed=seed) for seed in (1, 2)]
    return study, nets


def test_every_number_of_two_classifiers_is_compared_and_each_is_a_look(films):
    study, parts = split_study(films, "classification")
    models = [easydl.classifier("tiny", study, size=32, seed=seed) for seed in (1, 2)]
    found = easydl.compare(parts["test"], models)
    assert list(found.details["measure"]) == ["AUC", "accuracy", "balanced accuracy", "log loss"]
    first, second = found.rows
    line = found.details.iloc[0]
    assert line[["first", "second", "difference"]].tolist() == pytest.approx(
        [first.value, second.value, second.difference]
    )
    assert f"{first.name} less {second.name}: difference in accuracy" in repr(found)
    assert "Every number, paired by patient" in found._repr_html_()
    again = Comparison.from_dict(found.to_dict())
    assert again.details.equals(found.details) and repr(again) == repr(found)
    assert "2 models are tested on this part together, which makes 2 looks" in found.notes[0]
    ledger = Ledger.open()
    assert len(ledger.entries) == 2 and all("AUC" in entry.headline for entry in ledger.entries)
    third = easydl.evaluate(easydl.classifier("tiny", study, size=32, seed=3), parts["test"], resamples=100)
    assert third.look.number == 3


def test_masks_are_compared_by_the_cases_of_both_tests(masks):
    study, nets = masks
    found = easydl.compare(study, nets)
    assert (found.measure, found.part) == ("Dice", "test") and {row.n for row in found.rows} == {12}
    alone = {}
    for row, net in zip(sorted(found.rows, key=lambda row: row.name), nets, strict=True):
        alone[row.name] = easydl.evaluate(net, study)
        assert row.value == pytest.approx(alone[row.name].table["value"][0])
    first, second = (alone[row.name] for row in found.rows)
    assert isinstance(first, Metrics) and found.rows[1].difference == pytest.approx(
        (first.cases["dice"] - second.cases["dice"]).mean()
    )
    expected = [row.measure for row in paired_differences(first, second, resamples=100)]
    assert found.details["measure"].tolist() == expected and expected[:2] == ["Dice", "IoU"]
    assert found.show() is not None


def test_the_mean_over_structures_is_that_of_the_tests(tmp_path):
    rng = np.random.default_rng(3)

    def tested(shift):
        rows = [
            {"image": f"{k}.png", "patient": f"P{k // 2}", "class": name, "dice": value, "iou": value / 2,
             "hd95": 3.0, "assd": 1.0, "hd95_unit": "mm"}
            for k in range(12)
            for name, value in (("liver", 0.8 + shift + 0.05 * rng.random()), ("spleen", 0.6 + 0.1 * rng.random()))
        ]  # fmt: skip
        line = {
            "name": "Dice, mean over classes",
            "value": 0.7,
            "low": 0.6,
            "high": 0.8,
            "n": 6,
            "unit_of_n": "patients",
        }
        return Metrics(
            task="segmentation", classes=("background", "liver", "spleen"), table=[line], cases=rows, images=12
        )

    first, second = tested(0.1), tested(0.0)
    mean, liver, spleen = list(paired_differences(first, second, resamples=500))[:3]
    assert (mean.measure, liver.measure, spleen.measure) == ("Dice, mean over classes", "Dice, liver", "Dice, spleen")
    assert mean.difference == pytest.approx((liver.difference + spleen.difference) / 2)
    assert mean.low < mean.difference < mean.high and mean.n == 6 and "p =" not in repr(mean)


def test_reconstructed_images_are_compared(masks):
    study, _ = masks
    nets = [easydl.image_to_image("denoising_autoencoder", size=32, width=4, seed=seed) for seed in (1, 2)]
    found = easydl.compare(study, nets)
    assert found.measure == "PSNR" and found.unit == "dB"
    assert found.details["measure"].tolist() == ["PSNR", "SSIM"]
    assert found.rows[0].value >= found.rows[1].value


def test_the_command_compares_two_model_files(masks, tmp_path):
    _, nets = masks
    table = str(mask_study(tmp_path / "masks", cases=12))
    files = [str(easydl.save_model(net, tmp_path / f"{name}.keras")) for name, net in zip("ab", nets, strict=True)]
    result = CliRunner().invoke(cli.app, ["compare", table, *files, "--mask", "mask"])
    assert result.exit_code == 0, result.output
    assert "Dice of 12 test patients" in result.output and "difference in IoU" in result.output
