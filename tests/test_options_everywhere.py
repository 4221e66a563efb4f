"""Every option has one name, meaning and default in Python, on the command line, in a run, in a report and a notebook.

The app's widgets are in ``app/test_options_in_app.py``.
"""

import inspect
import json
import shlex
import sys
from types import SimpleNamespace

import nbformat
import pytest
from typer.testing import CliRunner

import easydl
from easydl import cli, runs
from easydl.errors import RunError
from easydl.option_text import help_text
from easydl.options import LoadOptions, ModelOptions, RunOptions, SplitOptions
from easydl.options_of_planning import SimulationOptions
from easydl.options_of_training import FitOptions
from easydl.options_of_use import GroupOptions
from easydl.reporting import reproduce
from easydl.runs import RunConfig
from easydl.studies import Study
from easydl.tasks import STUDY_TASKS

EXAMPLES = {
    "image": (["t1", "t2"], "--image t1 --image t2"),
    "label": (["edema", "mass"], "--label edema --label mass"),
    "mask": (["liver", "spleen"], "--mask liver --mask spleen"),
    "patient": (None, "--no-patients"),
    "split": ("part", "--split part"),
    "task": ("ordinal", "--task ordinal"),
    "classes": (["b", "a, c"], "--classes b --classes 'a, c'"),
    "label_separator": (";", "--label-separator ';'"),
    "raters": (["ann", "bob b."], "--raters ann --raters 'bob b.'"),
    "heads": ({"cancer": ["no", "yes"], "age": 1}, "--heads cancer=no,yes --heads age=1"),
    "root": ("/films", "--root /films"),
    "units": ("HU", "--units HU"),
    "exclude": (["17", "a b.png"], "--exclude 17 --exclude 'a b.png'"),
    "merge_labels": (True, "--merge-labels"),
    "resample_masks": (True, "--resample-masks"),
    "collapse_instances": (True, "--collapse-instances"),
    "mask_labels": ({"background": 0, "a=b": [1, 4]}, "--mask-labels background=0 --mask-labels a=b=1,4"),
    "sizes": ((0.5, 0.25, 0.25), "--sizes 0.5 0.25 0.25"),
    "column": ("part", "--column part"),
    "time": ("date", "--time date"),
    "group": ("family", "--group family"),
    "balance": (["scanner", "sex"], "--balance scanner --balance sex"),
    "model": ("resnet", "--model resnet"),
    "encoder": ("mobilenet_025", "--encoder mobilenet_025"),
    "pretrained": ("radimagenet", "--weights radimagenet"),
    "covariates": (["age", "sex"], "--covariates age --covariates sex"),
    "size": (64, "--size 64"),
    "head": ("forest", "--head forest"),
    "activation": ("elu", "--activation elu"),
    "stochastic_depth": (0.2, "--stochastic-depth 0.2"),
    "augment": ("chest_xray+mixup", "--augment chest_xray+mixup"),
    "epochs": (3, "--epochs 3"),
    "batch_size": (4, "--batch-size 4"),
    "learning_rate": (0.002, "--learning-rate 0.002"),
    "optimizer": ("sgd", "--optimizer sgd"),
    "metrics": (["recall", "f1_score"], "--metrics recall --metrics f1_score"),
    "strategy": ("features", "--strategy features"),
    "fine_tune": (3, "--fine-tune 3"),
    "class_weight": ({"normal": 1.0, "nodule": 4.5}, "--class-weight normal=1.0 --class-weight nodule=4.5"),
    "window": ((-100.0, 300.0), "--window -100.0,300.0"),
    "normalise": ("z-score", "--normalise z-score"),
    "spacing_mm": ((5.0, 1.0, 1.0), "--spacing-mm 5.0 --spacing-mm 1.0 --spacing-mm 1.0"),
    "full_resolution": (True, "--full-resolution"),
    "loss": ("focal", "--loss focal"),
    "by": (["scanner", "sex"], "--by scanner --by sex"),
    "prevalence": ({"nodule": 0.02}, "--prevalence nodule=0.02"),
    "teacher": ("big.keras", "--teacher big.keras"),
    "unlabelled": ("more/", "--unlabelled more/"),
    "members": (5, "--members 5"),
    "calibrate": (False, "--no-calibrate"),
    "sensitivity": (0.95, "--sensitivity 0.95"),
    "specificity": (0.9, "--specificity 0.9"),
    "cost": (12.5, "--cost 12.5"),
    "confidence": (0.95, "--confidence 0.95"),
    "seed": (11, "--seed 11"),
    "override": ("it's known", '''--override "it's known"'''),
    "heatmaps": (2, "--heatmaps 2"),
    "name": ("my films", "--name 'my films'"),
}  # fmt: skip
OTHERS = {
    "patient": ("subject", "--patient subject"),
    "label": ("edema", "--label edema"),
    "exclude": (["17"], "--exclude 17"),
    "mask": ("seg", "--mask seg"),
    "balance": ("scanner", "--balance scanner"),
    "heads": (["cancer", "age"], "--heads cancer --heads age"),
    "pretrained": (False, "--no-pretrained"),
    "class_weight": (None, "--no-class-weight"),
    "full_resolution": (False, "--no-full-resolution"),
    "window": ("lung", "--window lung"),
    "by": ("scanner", "--by scanner"),
    "prevalence": (0.02, "--prevalence 0.02"),
    "batch_size": ("auto", "--batch-size auto"),
    "fine_tune": ("all", "--fine-tune all"),
    "learning_rate": ("find", "--learning-rate find"),
}
"""Second values of options that have several forms."""
CASES = [*EXAMPLES.items(), *OTHERS.items()]
FUNCTIONS = {
    "load": LoadOptions,
    "split": SplitOptions,
    "classifier": ModelOptions,
    "fit": FitOptions,
    "evaluate": GroupOptions,
}


@pytest.fixture
def asked(monkeypatch, tmp_path) -> list[RunConfig]:
    """The settings of the runs that commands began."""
    configs: list[RunConfig] = []
    monkeypatch.setattr(runs, "run", lambda config, folder, progress, workers=None: configs.append(config) or tmp_path)
    return configs


def given(words, tmp_path):
    result = CliRunner().invoke(cli.app, ["train", "t.csv", *words, "--folder", str(tmp_path)])
    assert result.exit_code == 0, (result.output, result.exception)


def test_every_option_has_an_example_and_a_description():
    assert set(EXAMPLES) == set(RunOptions.model_fields) - {"source"}
    assert all(help_text(option).endswith((".", "...")) for option in RunOptions.model_fields.values())


def test_the_tasks_of_the_options_are_the_tasks():
    assert set(LoadOptions.model_fields["task"].annotation.__args__) == {"auto", *STUDY_TASKS}


@pytest.mark.parametrize(
    ("function", "options"),
    [
        ("load", LoadOptions),
        ("split", SplitOptions),
        ("fit", FitOptions),
        ("builders", ModelOptions),
        ("simulate", SimulationOptions),
    ],
)
def test_options_are_the_arguments_of_the_function_with_the_same_defaults(function, options):
    functions = {
        "load": [easydl.load], "split": [Study.split], "fit": [easydl.fit], "simulate": [easydl.simulate],
        "builders": [easydl.classifier, easydl.segmenter],
    }[function]  # fmt: skip
    parameters = {name: one for each in functions for name, one in inspect.signature(each).parameters.items()}
    documented = " ".join(" ".join(each.__doc__.split()) for each in functions)
    for name, option in options.model_fields.items():
        assert parameters[name].default == option.default, name
        assert f"{name}: " in documented, name
    own = {"self", "source", "model", "train", "val", "run", "callbacks", "verbose", "folder", "progress"}
    assert function == "builders" or set(parameters) - own == set(options.model_fields)


@pytest.mark.parametrize(("name", "example"), CASES)
def test_the_command_line_understands_and_a_report_repeats_it(name, example, asked, tmp_path):
    value, words = example
    config = RunConfig(source="t.csv", **{name: value})
    given(shlex.split(words), tmp_path)
    assert asked[0] == config
    assert reproduce.command(config.model_dump()) == f"easydl train t.csv {words}".replace(
        '"it\'s known"', "'it'\"'\"'s known'"
    )
    given(shlex.split(reproduce.command(json.loads(config.model_dump_json())))[3:], tmp_path)
    assert asked[1] == config


@pytest.mark.parametrize(("name", "example"), CASES)
def test_a_run_keeps_it_as_a_file(name, example, tmp_path):
    config = RunConfig(source="t.csv", **{name: example[0]})
    config.save(tmp_path)
    assert RunConfig.open(tmp_path) == config.with_absolute_paths()


@pytest.mark.parametrize(("name", "example"), CASES)
def test_the_lines_of_python_hand_it_to_every_function_that_takes_it(name, example, monkeypatch):
    value = example[0]
    lines = reproduce.python(
        json.loads(RunConfig(source="t.csv", **{name: value}).model_dump_json()), "classifier", "tiny"
    )
    calls = executed(lines, monkeypatch)
    assert calls["load"][0] == ("t.csv",)
    assert calls["classifier"][0] == ("tiny", calls["study"])
    for function, options in FUNCTIONS.items():
        words = {key: one for key, one in calls[function][1].items() if key != "seed"}
        assert words == ({name: value} if name in options.model_fields and name != "seed" else {}), function
    seeds = {calls[function][1]["seed"] for function in ("split", "classifier", "fit", "evaluate")}
    assert seeds == {value if name == "seed" else 0}


def executed(lines, monkeypatch):
    """What each function of the face was called with."""
    calls = {}

    def spy(name, result=None):
        def called(*args, **options):
            calls[name] = (args, options)
            return result

        return called

    study = SimpleNamespace(split=spy("split", ("train", "val", "test")))
    calls["study"] = study
    heatmap = SimpleNamespace(show=lambda: None)
    face = {"load": study, "audit": None, "classifier": "model", "segmenter": "model", "unet": "model", "fit": None,
            "evaluate": None, "saliency": heatmap}  # fmt: skip
    monkeypatch.setitem(sys.modules, "easydl", SimpleNamespace(**{name: spy(name, one) for name, one in face.items()}))
    exec(lines, {"print": lambda *_: None})
    return calls


def test_a_segmentation_model_is_built_by_its_builder(monkeypatch):
    config = {"source": "t.csv", "encoder": "mobilenet_025", "pretrained": True}
    assert executed(reproduce.python(config, "unet", "unet"), monkeypatch)["unet"][1] == {
        "encoder": "mobilenet_025", "pretrained": True, "seed": 0,
    }  # fmt: skip
    assert executed(reproduce.python(config, "segmenter", "fpn"), monkeypatch)["segmenter"][0][0] == "fpn"


def test_the_notebook_holds_the_same_lines():
    config = {"source": "it's.csv", "epochs": 3, "name": "films"}
    notebook = nbformat.reads(reproduce.notebook(config, "classifier", "tiny", title="films"), 4)
    nbformat.validate(notebook)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    lines = [line for cell in code for line in cell.splitlines()]
    assert lines == [line for line in reproduce.python(config, "classifier", "tiny").splitlines() if line]
    assert notebook.cells[0].source.startswith("# films") and easydl.RESEARCH_USE in notebook.cells[0].source


def test_settings_changed_by_hand_are_left_out_of_what_repeats_a_run():
    config = {"source": "t.csv", "epochs": "many", "sizes": [1], "calibrate": {}, "label": 3, "seed": 5}
    assert reproduce.command(config) == "easydl train t.csv --seed 5"
    assert "seed=5" in reproduce.python(config, "classifier", "tiny")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", "x"),
        ("task", "guess"),
        ("spacing_mm", ["x"]),
        ("unknown", 1),
    ],
)
def test_a_wrong_setting_is_one_error_that_names_it(name, wrong):
    with pytest.raises(RunError) as caught:
        RunConfig.checked(source="t.csv", **{name: wrong})
    assert name in caught.value.found and caught.value.expected and name in caught.value.do
