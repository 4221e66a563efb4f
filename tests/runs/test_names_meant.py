"""A wrong name is refused before anything is read, with the name that was meant: in Python, a command and a run's file."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from commands import command
from made import png_study

import easydl
from easydl import runs
from easydl.errors import EasyDLError, did_you_mean
from easydl.runs import RunConfig
from easydl.training.loss_names import LOSSES, check_loss

WRONG = {
    "model": ("mobilnet", "mobilenet"),
    "augment": ("chest_xry", "chest_xray"),
    "window": ("lunge", "lung"),
    "loss": ("focl", "focal"),
    "encoder": ("resnet5O", "resnet50"),
    "pretrained": ("imagnet", "imagenet"),
    "task": ("regresion", "regression"),
    "normalise": ("zscore", "z-score"),
}


@pytest.mark.parametrize(
    ("given", "choices", "meant"),
    [
        ("mobilnet", ("mobilenet", "mobilenetv2", "resnet"), 'Did you mean "mobilenet"? '),
        ("mix", ("ct", "mixup", "cutmix"), 'Did you mean "mixup" or "cutmix"? '),
        ("xray", ("ct", "chest_xray", "mri"), 'Did you mean "chest_xray"? '),
        ("Lung ", ("lung", "bone"), 'Did you mean "lung"? '),
        ("heart", ("lung", "bone"), ""),
        (3, (), ""),
    ],
)
def test_what_was_meant(given, choices, meant):
    assert did_you_mean(given, choices) == meant


@pytest.mark.parametrize("name", WRONG)
def test_a_command_refuses_a_name_before_the_table_is_looked_for(name, tmp_path):
    given, meant = WRONG[name]
    flag = "--weights" if name == "pretrained" else f"--{name}"
    result = command("train", tmp_path / "gone.csv", flag, given, "--folder", tmp_path / "run")
    assert result.returncode == 1
    assert given in result.stderr and f'"{meant}"' in result.stderr and "gone.csv" not in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", WRONG)
def test_a_run_configuration_is_refused_the_same_way(name, tmp_path):
    given, meant = WRONG[name]
    with pytest.raises(EasyDLError, match=f'Did you mean "{meant}"'):
        RunConfig.checked(source="gone.csv", **{name: given})
    (tmp_path / "config.json").write_text(json.dumps({"source": "gone.csv", name: given}))
    with pytest.raises(EasyDLError, match=f'Did you mean "{meant}"'):
        runs.resume(tmp_path)


def test_an_unknown_setting_names_the_one_that_was_meant():
    with pytest.raises(EasyDLError, match='Did you mean "augment"'):
        RunConfig.checked(source="gone.csv", augmnt="ct")


@pytest.mark.parametrize(
    ("setting", "meant"),
    [
        ({"class_weight": {"diseas": 2.0}}, "disease"),
        ({"covariates": ["ag"]}, "age"),
        ({"time": "dat"}, "date"),
        ({"label": "lable"}, "label"),
        ({"patient": "patiant"}, "patient"),
    ],
)
def test_names_of_columns_and_classes_are_refused_before_an_image_is_decoded(setting, meant, tmp_path, monkeypatch):
    table = png_study(tmp_path / "s", per_class=8)
    frame = pd.read_csv(table, dtype=str)
    frame.assign(age="60", date="2020").to_csv(table, index=False)
    monkeypatch.setattr("easydl.traps.audit", lambda *_, **__: pytest.fail("images were read"))
    with pytest.raises(EasyDLError, match=f'Did you mean "{meant}"'):
        runs.run(RunConfig(source=str(table), model="tiny", **setting), tmp_path / "run", progress=lambda _: None)


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ({"augment": "chest_xry"}, "chest_xray"),
        ({"loss": "focl"}, "focal"),
        ({"normalise": "percentil"}, "percentile"),
        ({"class_weight": {"diseas": 2.0}}, "disease"),
    ],
)
def test_fit_refuses_a_name_before_an_image_is_decoded(option, meant, tmp_path, monkeypatch):
    study = easydl.load(png_study(tmp_path / "s", per_class=8))
    train, val, _ = study.split(seed=0)
    model = easydl.classifier("tiny", study, size=32)
    monkeypatch.setattr("easydl.training.fitting.refuse_leakage", lambda *_: pytest.fail("images were read"))
    with pytest.raises(EasyDLError, match=f'Did you mean "{meant}"'):
        easydl.fit(model, train, val, verbose=False, **option)


def test_a_ct_window_is_refused_before_an_image_is_decoded(tmp_path, monkeypatch):
    study = easydl.load(easydl.simulate(tmp_path / "s", patients=12, images_per_patient=1, size=32))
    train, val, _ = study.split(seed=0)
    model = easydl.classifier("tiny", study, size=32)
    monkeypatch.setattr("easydl.training.fitting.refuse_leakage", lambda *_: pytest.fail("images were read"))
    with pytest.raises(EasyDLError, match='Did you mean "lung"'):
        easydl.fit(model, train, val, window="lunge", verbose=False)


def test_the_target_of_a_heatmap_is_refused_before_the_image_is_read(tmp_path):
    image = tmp_path / "x.png"
    image.write_text("not an image")
    model = easydl.classifier("tiny", classes=["healthy", "disease"], size=32)
    with pytest.raises(EasyDLError, match='Did you mean "disease"'):
        easydl.saliency(model, image, target="diseas")
    with pytest.raises(EasyDLError, match='Did you mean "occlusion"'):
        easydl.saliency(model, image, method="oclusion")
    with pytest.raises(EasyDLError, match="takes no covariate 'ag'"):
        easydl.predict(model, np.zeros((32, 32), np.float32), covariates={"ag": 61})


def test_the_names_of_losses_are_those_that_are_made():
    from easydl.tasks import Task
    from easydl.training.losses import MASK_LOSSES

    assert LOSSES[Task.SEGMENTATION] == tuple(MASK_LOSSES)
    check_loss("boundary")
    with pytest.raises(EasyDLError, match="whose task is classification"):
        check_loss("boundary", Task.CLASSIFICATION)
