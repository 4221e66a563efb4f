"""The commands on a finished run, and what each says of a wrong input."""

import html
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from commands import command, done, trained
from made import png_study

import easydl
from easydl import runs
from easydl.reporting import RunRecord

ROOT = Path(__file__).parents[2]
FILES = ("config.json", "table.csv", "split.json", "audit.json", "status.json", "history.csv", "model.keras",
         "predictions.csv", "metrics.json", "baselines.json", "run.json", "report.html", "heatmaps/index.json",
         "image_map.json", "image_map.png")  # fmt: skip
STAGES = {"loading", "splitting", "checking", "training", "testing", "comparing", "explaining", "reporting"}


def test_a_run_folder_holds_everything(finished):
    folder, output = finished / "run", (finished / "output.txt").read_text()
    for name in FILES:
        assert (folder / name).stat().st_size > 0, name
    assert runs.status(folder)["state"] == "finished"
    assert len(json.loads((folder / "heatmaps/index.json").read_text())) == 2
    assert "95% CI" in output
    assert easydl.RESEARCH_USE in output
    assert "report.html" in output
    facts = json.loads((folder / "run.json").read_text())
    assert facts["versions"]["keras"]
    assert set(facts["seconds"]) == STAGES
    assert not [path for path in folder.rglob("*") if path.name.startswith(".draft")]


def test_the_tests_behind_the_verdicts_are_in_the_model_of_the_run(finished, monkeypatch):
    """So the next verdict on it, in another process, makes none of them again."""
    from easydl.explanation.gradcam import Network
    from easydl.networks import metadata_of

    def again(*given):
        raise AssertionError("untrained networks were drawn again")

    monkeypatch.setattr(Network, "random_weights", again)
    model = easydl.load_model(finished / "run/model.keras")
    (known,) = metadata_of(model).heatmaps.values()
    assert known.images >= 4  # of the test part, not of one film
    film = next((finished / "study").rglob("*.png"))
    heatmap = easydl.saliency(model, film)
    assert heatmap.verdict.numbers["n_images"] == known.images
    index = json.loads((finished / "run/heatmaps/index.json").read_text())
    page = html.unescape((finished / "run/report.html").read_text())
    assert all(one["words"] and f"Where the map lies: {one['words']}" in page for one in index)


def test_the_report_says_what_referring_the_least_sure_brings(finished):
    folder = finished / "run"
    predictions = pd.read_csv(folder / "predictions.csv", skiprows=1, dtype={"label": str, "prediction": str})
    accuracy = (predictions["label"] == predictions["prediction"]).mean()
    (sentence,) = [one for one in RunRecord.open(folder).metrics.summary if "referral" in one]
    assert sentence.startswith(f"Without referral the accuracy is {accuracy:.2f} (95% CI")
    assert sentence in (folder / "report.html").read_text()


def test_baselines_stand_beside_its_network(finished):
    folder, output = finished / "run", (finished / "output.txt").read_text()
    record = RunRecord.open(folder)
    assert not record.problems
    assert {one.part for one in record.baselines.comparisons} == {"test", "validation"}
    (sentence,) = record.baselines.sentences
    said = output.splitlines()
    # Among the last lines, after the heatmaps and before the path of the report.
    assert sentence in said[-4:] and said.index(sentence) > next(i for i, line in enumerate(said) if "heatmaps" in line)
    page = (folder / "report.html").read_text()
    assert page.count(sentence) >= 2
    assert "Baselines beside the network" in page and "features left out" in page
    rows = {row.name: row for row in record.baselines.of("test")[0].rows}
    assert rows["network"].value == record.metrics.rows[0].value and rows["network"].low == record.metrics.rows[0].low


def test_a_damaged_comparison_is_a_problem_and_no_traceback(finished, tmp_path):
    folder = Path(shutil.copytree(finished / "run", tmp_path / "run"))
    (folder / "baselines.json").write_text('{"comparisons": [{"rows": 3}]}')
    record = RunRecord.open(folder)
    assert record.problems == ["baselines.json does not hold what it should."] and not record.baselines.comparisons
    assert "does not hold what it should" in easydl.report(folder).read_text()


def test_the_other_commands_work_on_its_model(finished, tmp_path):
    folder = Path(shutil.copytree(finished / "run", tmp_path / "run"))
    model, table = folder / "model.keras", finished / "study/scans.csv"
    refused = command("evaluate", model, table)
    assert refused.returncode and "of these 30 images were in the training" in refused.stderr
    said = done("evaluate", model, table, "--override", "to see")
    assert "images were in the training" in said.splitlines()[0] and "Reason given: to see" in said.splitlines()[0]
    options = ("--by", "patient", "--prevalence", "0.02")
    told = json.loads(done("evaluate", model, table, "--json", "--override", "to see", *options))
    assert told["seen"] == 24
    assert {row["by"] for row in told["groups"]} == {"patient"}
    assert "stated prevalence of 2%" in next(row["note"] for row in told["table"] if row["name"] == "PPV")
    image = next((table.parent / "disease").glob("*.png"))
    assert "p(disease)" in done("predict", model, image)
    page = done("predict", model, image, "--page", tmp_path / "case")
    assert str(tmp_path / "case/case.html") in page
    facts = json.loads((tmp_path / "case/case.json").read_text())
    assert facts["answer"] in ("disease", "healthy") and facts["unlike"] == []
    assert "within the range of 18 training images" in (tmp_path / "case/case.html").read_text()
    done("predict", model, table, "-o", tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text().startswith("# Research use only")
    said = done("saliency", model, image, "-o", tmp_path / "h.png", "--target", "disease")
    assert said.split(":")[0] in ("Trust", "Caution", "Do not trust")
    assert (tmp_path / "h.png").stat().st_size > 1000
    (folder / "report.html").unlink()
    done("report", folder, "--notebook", tmp_path / "run.ipynb")
    assert (folder / "report.html").exists()
    cells = json.loads((tmp_path / "run.ipynb").read_text())["cells"]
    assert any("easydl.fit" in cell["source"] for cell in cells)


def test_a_run_maps_its_images_and_names_none(finished):
    folder = finished / "run"
    found, table = RunRecord(folder).image_map, RunRecord(folder).table
    assert found["images"] == found["of"] == len(found["table"]) == len(table) and found["islands"]
    assert {"label", "split", "error", "island"} <= set(found["columns"])
    assert found["table"]["label"].tolist() == table["label"].tolist()
    text = (folder / "image_map.json").read_text()
    assert not any(name in text for name in (*table["image"].map(lambda path: Path(path).name), *table["patient"]))
    assert "Images that the model takes for alike" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_finished_run_is_not_trained_again(finished, tmp_path):
    folder = Path(shutil.copytree(finished / "run", tmp_path / "run"))
    history = (folder / "history.csv").read_bytes()
    assert "The model is already trained" in done("resume", folder)
    assert (folder / "history.csv").read_bytes() == history
    assert runs.status(folder)["state"] == "finished"


@pytest.mark.usefixtures("shipped_weights")
def test_lists_and_doctor():
    assert any(row["name"] == "resnet" for row in json.loads(done("models", "--json")))
    wanted = ["--kind", "classifier", "--dimension", 2, "--pretrained", "imagenet", "--at-most-megabytes", 1]
    assert [row["name"] for row in json.loads(done("models", *wanted, "--json"))] == ["mobilenet_025"]
    assert any(row["name"] == "chest_xray" for row in json.loads(done("presets", "--json")))
    facts = json.loads(done("doctor", "--json"))
    assert facts["versions"]["tensorflow"]
    assert any("efficientnetlite0 come with easydl" in sentence for sentence in facts["advice"])
    assert "efficientnet_lite0_notop_float16.h5" in facts["folders"]["weights files"]


def test_the_audit_command_says_what_blocks_with_its_exit_code(tmp_path):
    table = png_study(tmp_path / "s")
    assert command("audit", table).returncode == 0
    other = tmp_path / "s/healthy/000_0.png"
    other.write_bytes((tmp_path / "s/disease/000_0.png").read_bytes())
    blocked = command("audit", table)
    assert blocked.returncode == 2
    assert "BLOCK" in blocked.stdout
    assert blocked.stdout.count(easydl.RESEARCH_USE) == 1


BAD = {
    "missing file": (["train", "gone.csv"], "does not exist"),
    "missing model": (["predict", "gone.keras", "x.png"], "gone.keras"),
    "one class": (["train", "ONE"], "All 8 images have the label"),
    "labels by case": (["train", "CASE"], "spaces or case"),
    "few patients": (["train", "FEW"], "too few patients"),
    "unreadable": (["train", "BROKEN"], "broken.png"),
    "no weights": (["train", "GOOD", "--model", "mobilenet", "--pretrained"], "mobilenet_1_0_224_tf_no_top.h5"),
    "unknown model": (["train", "GOOD", "--model", "alexnot"], "alexnot"),
    "unknown preset": (["train", "GOOD", "--augment", "xray", "--model", "tiny"], "xray"),
    "bad setting": (["train", "GOOD", "--epochs", "0"], "epochs"),
    "no option": (["train", "GOOD", "--speed", "9"], "--speed"),
    "not a run": (["resume", "."], "run folder"),
}
BEFORE_THE_RUN = ("bad setting", "no option", "unknown model", "unknown preset")


@pytest.fixture
def tables(tmp_path):
    """A good table, and others with one fault each."""
    table = png_study(tmp_path / "s", per_class=8)
    frame = pd.read_csv(table, dtype=str)
    frame[:8].to_csv(tmp_path / "s/ONE.csv", index=False)
    frame.assign(label=["Disease", *frame["label"][1:]]).to_csv(tmp_path / "s/CASE.csv", index=False)
    frame.assign(patient=frame["label"]).to_csv(tmp_path / "s/FEW.csv", index=False)
    broken = frame.assign(image=["broken.png", *frame["image"][1:]])
    (tmp_path / "s/broken.png").write_text("not an image")
    broken.to_csv(tmp_path / "s/BROKEN.csv", index=False)
    frame.to_csv(tmp_path / "s/GOOD.csv", index=False)
    return table.parent


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_three_lines_and_no_traceback(name, tables, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EASYDL_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("EASYDL_WEIGHTS_URL", "http://127.0.0.1:9/")
    words, expected = BAD[name]
    words = [str(tables / f"{word}.csv") if word.isupper() else word for word in words]
    folder = tmp_path / "run"
    result = command(*words, *(["--folder", folder] if words[0] == "train" else []))
    assert result.returncode == (2 if name == "no option" else 1)
    assert "Traceback" not in result.stderr + result.stdout
    assert expected in result.stderr
    assert not (folder / "model.keras").exists()
    assert folder.exists() == (words[0] == "train" and name not in BEFORE_THE_RUN)
    if folder.exists():
        assert runs.status(folder)["state"] == "failed"
        assert runs.status(folder)["error"]["do"]


def test_what_nobody_expected_is_two_lines_and_a_file(table, monkeypatch, tmp_path):
    monkeypatch.setattr(easydl, "load", lambda *_, **__: 1 / 0, raising=False)
    result = command("audit", table)
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stderr and "Traceback" not in result.stderr
    assert "Traceback" in (tmp_path / "workspace/error.txt").read_text()


def test_a_covariate_without_a_value_is_refused(finished):
    image = next((finished / "study").rglob("*.png"))
    result = command("predict", finished / "run/model.keras", image, "--covariate", "age")
    assert result.returncode == 1
    assert "--covariate 'age' has no value" in result.stderr


def test_a_refused_command_is_three_lines_in_a_real_process(tmp_path):
    out = subprocess.run(
        [sys.executable, "-m", "easydl", "train", "gone.csv", "--folder", "run"], capture_output=True, text=True,
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert out.returncode == 1
    assert "does not exist" in out.stderr and "Traceback" not in out.stderr + out.stdout
    assert len(out.stderr.strip().splitlines()) == 3


@pytest.mark.everything
@pytest.mark.slow
def test_the_demo_runs_offline(tmp_path):
    done("demo", "--folder", tmp_path / "demo")
    assert "simulat" in (tmp_path / "demo/report.html").read_text(encoding="utf-8").lower()
    assert runs.status(tmp_path / "demo")["state"] == "finished"


@pytest.mark.everything
@pytest.mark.real
@pytest.mark.slow
def test_openi_is_trained_in_one_command(real, tmp_path):
    said = trained(real / "openi_abd_vs_cxr", tmp_path / "run", "--epochs", 1, "--seed", 7, "--heatmaps", 0)
    assert "size of the image" in said
    split = json.loads((tmp_path / "run/split.json").read_text())
    assert split["test"]["images"] >= 14
    assert not split["patients_known"]
