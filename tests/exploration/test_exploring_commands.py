"""The commands of this room write what the functions give."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from typer.testing import CliRunner

import easydl
from easydl.cli import app


def done(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert result.output.count(easydl.RESEARCH_USE) == 1
    return result.output


def test_every_command_writes_its_file(two_scanners, untrained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = easydl.save_model(untrained, tmp_path / "model.keras")
    image = Path(two_scanners.frame["image"].iloc[0])
    table = image.parent / "table.csv"
    assert "128 features of 60 images" in done("features", model, table, "--output", "f.csv")
    read = pd.read_csv("f.csv", skiprows=1)
    np.testing.assert_allclose(read.filter(like="feature"), easydl.features(untrained, two_scanners), rtol=1e-4)
    assert read["patient"].tolist() == two_scanners.frame["patient"].tolist()
    printed = done("image-map", model, table, "--method", "tsne", "--colour", "scanner", "--output", "m.png")
    assert "t-SNE" in printed and "have scanner" in printed
    given = ["--methods", "gradcam", "--methods", "layercam", "--most", 2, "--no-verdict", "--output", "g.png"]
    done("gallery", model, table, *given)
    width = Image.open("g.png").size[0]
    done("gallery", model, table, "--most", 2, "--no-verdict")
    assert Image.open("gallery.png").size[0] < width  # a column less
    assert "3 nearest cases" in done("nearest", model, image, table, "--k", 3, "--output", "n.png")
    done("feature-maps", model, image, "--layer", next(one.name for one in untrained.layers if hasattr(one, "kernel")))
    assert "hidden" in done("explain", model, image, "--hide", "4,12,4,12", "--target", "disease", "--output", "h.png")
    other = two_scanners.frame["image"].iloc[2]
    given = ["--insert", other, "--part", "4,12,4,12", "--at", "10,10", "--output", "i.png"]
    assert "inserted" in done("explain", model, image, *given)
    assert "without edges" in done("ablation", model, table, "--without", "edges", "--output", "a.png")
    assert "0.50% of the range" in done("fragility", model, table, "--strengths", 0.005, "--output", "f.png")
    for wrong in (("-o", "m.xyz"), ("--method", "umap")):
        result = CliRunner().invoke(app, ["image-map", "no.keras", "no.csv", *wrong])
        assert result.exit_code == 1 and wrong[1] in str(result.exception)  # before a model is looked for
    assert "-5" in str(CliRunner().invoke(app, ["explain", str(model), str(image), "--hide", "-5,9,4,12"]).exception)
    for name in ("f.png", "h.png", "i.png", "a.png", "m.png", "n.png", "feature_maps.png"):
        assert min(Image.open(name).size) > 200
