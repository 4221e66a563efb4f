"""The commands say what the functions say."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import easydl
from easydl import cli


def said(*words):
    result = CliRunner().invoke(cli.app, [str(word) for word in words])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


@pytest.fixture(scope="module")
def table(shades, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "scans.csv"
    frame = shades.frame.assign(image=[shades.addresses(row)[0] for row in range(len(shades))])
    marker = np.where(frame["label"] == "bright", 1.0, -1.0) + np.random.default_rng(0).normal(size=len(frame))
    frame.assign(marker=marker)[["image", "patient", "label", "marker"]].to_csv(path, index=False)
    return path


def test_a_tree_and_its_figure(table, tmp_path):
    model = easydl.classifier("tiny", classes=["bright", "dark"], size=32, seed=2)
    easydl.save_model(model, tmp_path / "m.keras")
    study = easydl.load(table, root=table.parent.parent.parent)
    found = easydl.explain_as_tree(model, study, depth=2, seed=3)
    words = ("explain-as-tree", tmp_path / "m.keras", table, "--root", table.parent.parent.parent)
    text = said(*words, "--depth", 2, "--seed", 3, "-o", tmp_path / "t.png")
    assert found.sentence in text and (tmp_path / "t.png").stat().st_size > 10_000
    content = json.loads(said(*words, "--depth", 2, "--seed", 3, "--target", "dark", "--json"))
    assert content["target"] == "dark"


def test_the_forest_and_the_covariates_of_a_model(table, tmp_path, monkeypatch):
    monkeypatch.setattr("easydl.training.estimators.TREES", 10)
    root = table.parent.parent.parent
    study = easydl.load(table, root=root)
    found = easydl.importance("forest", study, repeats=5, seed=2)
    text = said("importance", "forest", table, "--root", root, "--repeats", 5, "--seed", 2)
    assert found.sentence in text
    model = easydl.classifier("tiny", study, size=32, covariates=["marker"])
    easydl.save_model(model, tmp_path / "m.keras")
    words = ("importance", tmp_path / "m.keras", table, "--root", root, "--repeats", 5, "-o", tmp_path / "i.json")
    content = json.loads(said(*words, "--json"))
    assert {row["name"] for row in content["rows"]} == {"the image", "marker"}
    assert json.loads((tmp_path / "i.json").read_text())["rows"] == content["rows"]


def test_a_case_is_described_and_predicted_with_its_covariates(shades, tmp_path):
    image = shades.addresses(0)[0]
    model = easydl.classifier("tiny", classes=["dark", "bright"], size=32, covariates=["marker"])
    path = easydl.save_model(model, tmp_path / "m.keras")
    scores = {}
    for marker in (2, 50):
        found = easydl.describe(model, image, covariates={"marker": marker}, heatmap=False)
        assert found.text in said("describe", path, image, "--covariate", f"marker={marker}", "--no-heatmap")
        predicted = easydl.predict(model, image, covariates={"marker": marker}).frame["p(bright)"][0]
        assert f"{predicted:.6f}"[:6] in said("predict", path, image, "--covariate", f"marker={marker}")
        scores[marker] = found.answers[0].score
    assert scores[2] != scores[50]
    assert "--covariate 'marker' has no value" in str(
        CliRunner().invoke(cli.app, ["describe", str(path), str(image), "--covariate", "marker"]).exception
    )
