"""The JSON file beside an exported model: whether it says all that is done to an image before the network."""

import json

import pytest

from easydl.exporting.results import Export, Size
from easydl.exporting.sidecar import description
from easydl.networks.metadata import ModelMetadata


@pytest.mark.parametrize(
    ("changes", "said", "unsaid"),
    [
        ({}, ["MONOCHROME1", "0.299 red + 0.587 green + 0.114 blue", "rounded to integers"], ["from the head"]),
        ({"channels": 3}, ["red, green and blue"], ["0.299"]),
        ({"channels": 4}, ["image columns of the training's table"], ["0.299"]),
        ({"units": "HU"}, ["rescale slope", "Padding"], ["MONOCHROME1", "percentile"]),
        ({"dimension": 3, "size": (8, 8, 8)}, ["from the head to the feet"], []),
        ({"task": "segmentation", "max_side": 512}, ["more than 512 pixels", "windows overlap by half"], ["Resized"]),
        ({"task": "segmentation", "spacing_mm": (1.0, 1.0), "max_side": 512}, ["the spacing spacing_mm"], ["512"]),
    ],
)
def test_the_preparation_of_an_image_is_said_in_full(tmp_path, changes, said, unsaid):
    basis = {"builder": "classifier", "classes": ["a", "b"], "task": "classification", "dimension": 2, "channels": 1}
    metadata = ModelMetadata.model_validate({**basis, "size": (8, 8), **changes})
    path = tmp_path / "m.onnx"
    path.write_bytes(b"converted")
    made = Export(path, tmp_path / "m.onnx.easydl.json", "float32", None, Size(9, 9, 9, 9))
    text = json.dumps(description(metadata, (8, 8), ["probability"], made)["image"]["preparation"])
    assert [one for one in said if one not in text] == []
    assert [one for one in unsaid if one in text] == []
