"""Each option of `easydl.load` changes how a run, and each command, reads a study."""

import nibabel
import numpy as np
import pandas as pd
import pytest
from made import nifti_study, png_study
from PIL import Image
from typer.testing import CliRunner

import easydl
from easydl import cli, option_text, runs
from easydl.errors import InputError, Stopped
from easydl.options import LoadOptions
from easydl.studies import load

DEFAULTS = LoadOptions().model_dump()


def films(folder, **columns):
    """Films of two classes whose table has these columns in place of the label; a cell for each of 16 rows."""
    table = png_study(folder)
    frame = pd.read_csv(table, dtype=str).drop(columns="label")
    frame.assign(**{name: (cells * 16)[:16] for name, cells in columns.items()}).to_csv(table, index=False)
    return table


def labels(folder):
    return films(folder, edema=["0", "1"], mass=["1", "0", "0", "0"])


def joined(folder):
    return films(folder, label=["edema;mass", "edema", "mass", "nodule"])


def read(folder):
    return films(folder, ann=["sick", "well"], bob=["sick", "well", "well"], cem=["sick", "well"])


def finer_masks(folder):
    """Masks on a grid of half the spacing."""
    table = nifti_study(folder, cases=3)
    for path in folder.glob("mask*.nii.gz"):
        mask = nibabel.load(path)
        fine = np.repeat(np.repeat(np.repeat(np.asarray(mask.dataobj), 2, 0), 2, 1), 2, 2)
        affine = mask.affine @ np.diag([0.5, 0.5, 0.5, 1.0])
        affine[:3, 3] -= mask.affine.diagonal()[:3] / 4
        nibabel.save(nibabel.Nifti1Image(fine, affine), path)
    return table


def masks(folder, make):
    rng = np.random.default_rng(0)
    folder.mkdir()
    rows = []
    for k in range(4):
        Image.fromarray(rng.integers(0, 255, make(k).shape).astype(np.uint8)).save(folder / f"i{k}.png")
        Image.fromarray(make(k).astype(np.uint8)).save(folder / f"m{k}.png")
        rows.append({"image": f"i{k}.png", "mask": f"m{k}.png", "patient": f"p{k}"})
    pd.DataFrame(rows).to_csv(folder / "scans.csv", index=False)
    return folder / "scans.csv"


def nuclei(folder):
    def numbered(k):
        mask = np.zeros((80, 80))
        for number in range(12 + k):
            y, x = 20 * (number // 4), 20 * (number % 4)
            mask[y + 2 : y + 18, x + 2 : x + 18] = number + 1
        return mask

    return masks(folder, numbered)


def lesions(folder):
    return masks(folder, lambda k: np.kron([[1, 2], [0, 4]], np.ones((20, 20))))


CASES = {
    "task": (joined, {"task": "classification"}, ["--task", "classification"],
             lambda study: list(study.classes) == ["edema", "edema;mass", "mass", "nodule"]),
    "label": (labels, {"label": ["edema", "mass"]}, ["--label", "edema", "--label", "mass"],
              lambda study: (study.task, list(study.classes)) == ("multilabel", ["edema", "mass"])),
    "label_separator": (joined, {"label_separator": ";"}, ["--label-separator", ";"],
                        lambda study: (study.task, list(study.classes)) == ("multilabel", ["edema", "mass", "nodule"])),
    "raters": (read, {"raters": ["ann", "bob", "cem"]}, ["--raters", "ann", "--raters", "bob", "--raters", "cem"],
                lambda study: list(study.classes) == ["sick", "well"] and study.agreement is not None),
    "resample_masks": (finer_masks, {"resample_masks": True}, ["--resample-masks"],
                       lambda study: study.reference(0).shape == study.scan(0).shape),
    "collapse_instances": (nuclei, {"collapse_instances": True}, ["--collapse-instances"],
                           lambda study: list(study.classes) == ["background", "foreground"]),
    "mask_labels": (lesions, {"mask_labels": {"edema": 2, "tumour": [1, 4]}},
                    ["--mask-labels", "edema=2", "--mask-labels", "tumour=1,4"],
                    lambda study: list(study.classes) == ["background", "edema", "tumour"]),
}  # fmt: skip


def fits(check, study):
    try:
        return check(study)
    except InputError:
        return False


@pytest.mark.parametrize("name", CASES)
def test_a_run_reads_its_study_by_each_setting(name, tmp_path, monkeypatch):
    make, options, _, check = CASES[name]
    source = str(make(tmp_path / "study"))
    seen = []

    def spy(*args, **options):
        seen.append(fits(lambda _: check(load(*args, **options)), None))
        raise Stopped

    monkeypatch.setattr("easydl.studies.load", spy)
    for number, settings in enumerate(({}, options)):
        with pytest.raises(Stopped):
            runs.run(runs.RunConfig(source=source, **settings), tmp_path / str(number), progress=lambda words: None)
    assert seen == [False, True]
    assert runs.RunConfig.open(tmp_path / "1") == runs.RunConfig(source=source, **options), "as text and back"


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("command", ["train", "evaluate", "audit"])
def test_each_option_says_the_same_as_its_argument(name, command, monkeypatch):
    monkeypatch.setattr("easydl.cli.commands.check_paths", lambda model, source: None)  # there are no files here
    _, options, words, _ = CASES[name]
    asked = []

    def spy(source, **given):
        asked.append(given)
        raise Stopped

    monkeypatch.setattr(easydl, "load", spy, raising=False)
    monkeypatch.setattr(easydl, "load_model", lambda path: None, raising=False)
    monkeypatch.setattr(runs, "run", lambda config, folder, **_: spy(config.source, **config.arguments(LoadOptions)))
    call = [command, *(["m.keras"] if command == "evaluate" else []), "scans.csv", *words]
    result = CliRunner().invoke(cli.app, [*call, *(["--folder", "run"] if command == "train" else [])])
    assert isinstance(result.exception, Stopped), result.output
    assert asked == [DEFAULTS | options]


def test_a_run_hands_every_choice_of_training_to_fit(tmp_path, monkeypatch):
    import easydl.training

    chosen = {
        "epochs": 3,
        "batch_size": 2,
        "learning_rate": 0.01,
        "strategy": "features",
        "loss": "focal",
        "augment": "none",
    }
    words = [word for name, value in chosen.items() if value is not False
             for word in (f"--{name.replace('_', '-')}", str(value))]  # fmt: skip
    seen = []

    def spy(model, train, val, **given):
        seen.append(given)
        raise Stopped

    monkeypatch.setattr(easydl.training, "fit", spy)
    source = str(png_study(tmp_path / "study"))
    CliRunner().invoke(cli.app, ["train", source, "--folder", str(tmp_path / "run"), *words, "--model", "tiny"])
    assert {name: seen[0][name] for name in chosen} == chosen
    CliRunner().invoke(cli.app, ["train", source, "--folder", str(tmp_path / "usual"), "--model", "tiny"])
    usual = {"loss": "auto", "strategy": "auto", "batch_size": None, "learning_rate": None}
    assert {name: seen[1][name] for name in usual} == usual


@pytest.mark.parametrize("text", ["tumour", "tumour=", "=1", "tumour=one", "tumour=1,,2", "tumour=1.5", ""])
def test_names_of_values_that_cannot_be_read_are_refused(text):
    result = CliRunner().invoke(cli.app, ["audit", "scans.csv", "--mask-labels", text])
    assert isinstance(result.exception, InputError)
    assert text in result.exception.found and "tumour=1,4" in result.exception.expected


def test_a_name_given_twice_has_both_values():
    option = LoadOptions.model_fields["mask_labels"]
    named = option_text.value_of("mask_labels", option, ["a=b=1", "tumour=4", "tumour= 1, 2"])
    assert named == {"a=b": 1, "tumour": [4, 1, 2]}


def test_an_unknown_task_is_refused_before_the_run():
    result = CliRunner().invoke(cli.app, ["train", "scans.csv", "--task", "guess"])
    assert "The setting task is 'guess'." in result.exception.found
