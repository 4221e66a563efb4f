"""Every option is described once: functions have the names and defaults that the options say."""

import inspect

import pytest

import easydl
from easydl.options import LoadOptions, SplitOptions
from easydl.options_of_learning import PretrainOptions
from easydl.options_of_training import FitOptions
from easydl.options_of_use import (
    AblationOptions,
    DescribeOptions,
    ExportOptions,
    FragilityOptions,
    ImportanceOptions,
    MapOptions,
    NearestOptions,
    TreeOptions,
)
from easydl.studies import Study

pytestmark = pytest.mark.quick
OTHER_PARAMETERS = {
    "load": {"source"},
    "split": {"self"},
    "fit": {"model", "train", "val", "run", "callbacks", "verbose"},
    "explain_as_tree": {"model", "study"},
    "importance": {"model", "study"},
    "image_map": {"model", "study"},
    "nearest": {"model", "case", "study", "row", "units"},
    "ablation": {"model", "study"},
    "fragility": {"model", "study"},
    "describe": {"model", "case", "covariates", "units"},
    "export": {"model", "path", "study", "verbose"},
    "pretrain": {"study", "model_name", "verbose"},
}
"""What is no option: the data, and where and how a training is shown."""


OPTIONS = {
    "load": LoadOptions,
    "split": SplitOptions,
    "fit": FitOptions,
    "explain_as_tree": TreeOptions,
    "importance": ImportanceOptions,
    "describe": DescribeOptions,
    "image_map": MapOptions,
    "nearest": NearestOptions,
    "ablation": AblationOptions,
    "fragility": FragilityOptions,
    "export": ExportOptions,
    "pretrain": PretrainOptions,
}


@pytest.mark.parametrize(("name", "options"), OPTIONS.items(), ids=OPTIONS)
def test_functions_have_the_options_that_are_described(name, options):
    function = Study.split if name == "split" else getattr(easydl, name)
    parameters = inspect.signature(function).parameters
    own = {parameter: p.default for parameter, p in parameters.items() if parameter not in OTHER_PARAMETERS[name]}
    assert own == {field: info.default for field, info in options.model_fields.items()}
    assert set(parameters) == OTHER_PARAMETERS[name] | set(options.model_fields)


@pytest.mark.parametrize("name", OPTIONS)
def test_docstrings_hold_every_description(name):
    function = Study.split if name == "split" else getattr(easydl, name)
    text = " ".join(inspect.getdoc(function).split())
    options = OPTIONS[name]
    assert "{options}" not in text
    for field, info in options.model_fields.items():
        assert f"{field}: {' '.join(info.description.split())}" in text
