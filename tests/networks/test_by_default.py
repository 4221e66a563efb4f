"""The network, the weights and the size that are meant where nothing was said."""

import pytest

import easydl
from easydl import runs
from easydl.networks import metadata_of
from easydl.networks.by_default import network_for, weights_for
from easydl.runs.building import build
from easydl.studies.summary import StudySummary
from easydl.tasks import Task


@pytest.mark.quick
@pytest.mark.parametrize(
    ("settings", "network", "weights"),
    [
        ({}, "efficientnetlite0", True),
        ({"pretrained": True}, "efficientnetlite0", True),
        ({"pretrained": "imagenet"}, "efficientnetlite0", "imagenet"),
        ({"pretrained": False}, "tiny", False),
        ({"strategy": "scratch"}, "tiny", False),
        ({"model": "efficientnetlite0", "strategy": "scratch"}, "efficientnetlite0", False),
        ({"pretrained": "radimagenet"}, "resnet50", "radimagenet"),
        ({"pretrained": "mine.keras"}, "resnet", "mine.keras"),
        ({"model": "resnet18"}, "resnet18", False),
    ],
)
def test_what_settings_amount_to(settings, network, weights):
    assert network_for(settings) == network
    assert weights_for(settings, network) == weights


def test_a_run_starts_from_the_weights_in_the_package(parts_of_films):
    model = build(runs.RunConfig(source="x", size=32), parts_of_films)
    assert model.name == "efficientnetlite0" and metadata_of(model).pretrained.startswith("ImageNet")
    assert build(runs.RunConfig(source="x", size=32, strategy="scratch"), parts_of_films).name == "tiny"
    assert build(runs.RunConfig(source="x", size=32, pretrained=False), parts_of_films).name == "tiny"


@pytest.fixture
def parts_of_films(tmp_path):
    from made import png_study

    return easydl.load(png_study(tmp_path / "s", per_class=4))


@pytest.mark.parametrize(("longest", "side"), [(28, 96), (64, 128), (100, 200), (512, 224)])
def test_images_are_shown_to_pretrained_filters_at_their_own_size(longest, side):
    summary = StudySummary(Task.CLASSIFICATION, ("a", "b"), image_size=(20, longest))
    assert easydl.classifier("efficientnetlite0", summary, pretrained=True).input_shape[1:3] == (side, side)
    assert easydl.classifier("efficientnetlite0", summary).input_shape[1] == max(32, min(128, longest))
