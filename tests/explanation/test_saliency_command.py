"""`easydl saliency`: method and samples come from the one description of the options."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import easydl
from easydl import cli


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), {"method": "gradcam", "samples": None}),
        (("--method", "rise", "--samples", "16"), {"method": "rise", "samples": 16}),
    ],
)
def test_the_command_hands_over_method_and_samples(words, expected, tmp_path, monkeypatch):
    model = easydl.classifier("tiny", classes=["a", "b"], size=32)
    easydl.save_model(model, tmp_path / "model.keras")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32), np.uint8)).save(tmp_path / "x.png")
    asked, explain = {}, easydl.saliency

    def noted(*given, **options):
        asked.update(options)
        return explain(*given, verdict=False, **options)

    monkeypatch.setattr(easydl, "saliency", noted)
    out = tmp_path / "h.png"
    result = CliRunner().invoke(
        cli.app, ["saliency", str(tmp_path / "model.keras"), str(tmp_path / "x.png"), "-o", str(out), *words]
    )
    assert result.exit_code == 0, result.output
    assert {name: asked[name] for name in expected} == expected
    assert Image.open(out).size[0] > 100
