"""The models a study is offered: what each is for, how long it takes here, and how many images it wants."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from easydl.workspace import choices, pace
from easydl.workspace.choices import training_seconds


def test_the_choices_fit_the_study(tmp_path: Path, monkeypatch) -> None:
    class Films:
        task, dimension = "classification", 2

        def __len__(self) -> int:
            return 80

    monkeypatch.setenv("EASYDL_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    found = {choice.name: choice for choice in choices(Films())}  # type: ignore[arg-type]
    assert list(found)[:2] == ["efficientnetlite0", "tiny"]
    assert found["efficientnetlite0"].weights == "here"
    assert found["tiny"].weights == "none"
    assert found["mobilenet_025"].weights == "download"
    assert not {"unet", "unet3d", "tiny3d"} & set(found)
    assert found["tiny"].small and not found["tiny"].advice
    assert found["tiny"].sentence == "for small studies and laptops, from random weights; roughly 1 min here"
    # 11,179,840 parameters, 10,000 for an image from random weights
    assert found["resnet18"].sentence.endswith("wants about 1,100 images")
    assert found["mobilenet_025"].sentence.startswith("for small studies, from pretrained weights; roughly")
    assert found["vgg16"].sentence.startswith("for large studies, from pretrained weights; roughly")
    assert found["resnet18"].advice.endswith("tiny is smaller and may do better.")
    assert not found["vgg16"].small
    (tmp_path / "mobilenet_2_5_224_tf_no_top.h5").write_bytes(b"weights")
    assert {c.name: c.weights for c in choices(Films())}["mobilenet_025"] == "here"  # type: ignore[arg-type]
    Films.task, Films.dimension = "segmentation", 3
    volumes = {choice.name for choice in choices(Films())}  # type: ignore[arg-type]
    assert "unet3d" in volumes and not {"unet", "tiny", "tiny3d"} & volumes


def test_the_time_is_told_from_the_cost_and_then_from_runs_of_this_computer(monkeypatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    # 0.4 of a step of 0.2 s for 8 images, 30 epochs of 800 images
    assert training_seconds("tiny", 800) == pytest.approx(0.4 * 0.2 * 100 * 30)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert training_seconds("tiny", 800) == pytest.approx(0.4 * 0.2 * 100 * 30 / 4)

    facts, split = {"seconds": {"training": 180.0}}, {"train": {"images": 800}}
    run = SimpleNamespace(config={"model": "tiny"}, split=split, history=[None] * 30, facts=facts)
    assert pace([]) == 1.0
    assert pace([run]) == pytest.approx(3.0)  # type: ignore[list-item]
