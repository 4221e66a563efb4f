"""The ledger counts looks at a test part over every way in, widens intervals, and never accepts a damaged chain in silence."""

import hashlib
import json
import multiprocessing
import os
import re
import stat

import numpy as np
import pytest
from cohorts import case, predictions
from scipy.special import expit, logit
from scipy.stats import norm, t
from typer.testing import CliRunner

from easydl import cli
from easydl.errors import RESEARCH_USE
from easydl.evaluation import Metrics, classification_metrics, evaluate, segmentation_metrics
from easydl.evaluation.intervals import logit_interval, mean_interval, wilson
from easydl.evaluation.ledger import HEAD, NAME, Ledger, listing
from easydl.evaluation.level import level, over_looks
from easydl.evaluation.looking import looked
from easydl.fileio import workspace
from easydl.prediction.provenance import Provenance
from easydl.prediction.results import Predictions

CLASSES = ("normal", "effusion")


def answers(model="a", *, pixels="", rows=None, **cohort):
    """Predictions of a model, with digests of images that are named after their files."""
    frame = predictions(**cohort).iloc[rows] if rows is not None else predictions(**cohort)
    digests = {name: hashlib.sha256(f"{pixels}{name}".encode()).hexdigest() for name in frame["image"]}
    return Predictions(
        frame, CLASSES, provenance=Provenance(hashlib.sha256(model.encode()).hexdigest(), "image", digests)
    )


def judged(*given, **more):
    return evaluate(answers(*given, **more), resamples=200)


def width(metrics):
    return (metrics.table["high"] - metrics.table["low"]).to_numpy()


def test_the_second_look_is_said_first_and_every_interval_is_wider():
    one = judged("a")
    assert (one.look.number, one.warnings) == (1, [])
    two, three = judged("b"), judged("c")
    date = re.escape(one.look.first)
    for metrics, times, each in ((two, 2, "97.5%"), (three, 3, "98.3%")):
        said = (
            rf"This test part has been looked at {times} times \(first {date}\); choose nothing by it\. Every interval"
        )
        assert re.match(said, metrics.warnings[0]) and f"{each} each" in metrics.warnings[0]
        assert repr(metrics).startswith(metrics.warnings[0])
        assert metrics.warnings[0] in metrics._repr_html_().split("<strong>")[0]
        assert Metrics.from_dict(json.loads(json.dumps(metrics.to_dict()))).look == metrics.look
    # The same table at the three levels: the values stay.
    assert two.table["value"].equals(one.table["value"])
    assert (width(one) < width(two)).all() and (width(two) < width(three)).all()


def test_the_same_model_on_the_same_part_is_the_same_look():
    first = judged("a")
    again = judged("a")
    assert again.to_dict() == first.to_dict() and len(Ledger.open().entries) == 1
    judged("b")
    assert judged("a").look.number == 2, "another has been tested since"
    assert len(Ledger.open().entries) == 2


def test_options_that_change_the_masks_are_another_look():
    cases = [case(np.eye(9) > 0, np.eye(9) > 0, patient=f"P{k}", image=f"{k}.nii") for k in range(3)]
    frame = answers(patients=6).frame
    known = answers(patients=6).provenance

    def look(**options):
        measure = lambda: segmentation_metrics(cases, resamples=100)  # noqa: E731
        return looked(frame, known, measure, patients_known=True, options=options).look.number

    assert [look(mirror=False), look(mirror=True), look(mirror=False), look(mirror=True, fill_holes=True)] == [
        1,
        2,
        2,
        3,
    ]


@pytest.mark.parametrize(("shared", "looks"), [(60, 2), (30, 2), (4, 2), (2, 1), (0, 1)])
def test_images_in_common_count_from_a_twentieth_on(shared, looks):
    """Two parts of 60 images each; the patients of the second have other names."""
    everything = answers(patients=120, most_images=1)
    everything.frame["patient"] = [f"person {row} of two" for row in range(120)]
    for begin, model in ((0, "a"), (60 - shared, "b")):
        known = Provenance(model, "image", everything.provenance.images)
        part = Predictions(everything.frame.iloc[begin : begin + 60], CLASSES, provenance=known)
        found = evaluate(part, resamples=100)
    assert found.look.number == looks
    if 0 < shared < 60 and looks == 2:
        assert found.warnings[0].startswith(
            f"Of the 60 images of this test part {shared} were looked at before: 2 looks"
        )


def test_the_same_patients_in_other_files_count_and_chance_does_not():
    judged("a")
    exported = judged("b", pixels="saved as JPEG ")
    assert exported.warnings[0].startswith("The patients of this test part have been looked at 2 times")
    # Another hospital numbers its patients alike, but its labels are its own.
    assert judged("c", pixels="elsewhere ", seed=5).look.number == 1


def test_a_table_made_otherwise_is_known_by_its_names_and_answers():
    def without(seed):
        return evaluate(Predictions(predictions(skill=seed), CLASSES), resamples=100).look.number

    assert [without(1), without(1), without(2)] == [1, 1, 2]


def test_the_intervals_are_those_of_the_stricter_level():
    rng = np.random.default_rng(1)
    drawn = rng.normal(0.8, 0.05, 4000)
    with over_looks(4):
        assert level() == pytest.approx(1 - 0.05 / 4)
        found, mean, share = logit_interval(0.8, drawn, 30), mean_interval(drawn, 10_000), wilson(0.9, 10)
    half = t.ppf(1 - 0.05 / 8, 28) * drawn.std() / (0.8 * 0.2)
    assert (found.low, found.high) == pytest.approx((expit(logit(0.8) - half), expit(logit(0.8) + half)))
    assert (mean.low, mean.high) == pytest.approx(np.quantile(drawn, [0.05 / 8, 1 - 0.05 / 8]), abs=2e-3)
    from statsmodels.stats.proportion import proportion_confint

    assert (share.low, share.high) == pytest.approx(proportion_confint(9, 10, 0.05 / 4, "wilson"))
    assert level() == 0.95 and norm.ppf(0.975) == pytest.approx(1.96, abs=1e-3)


def test_nothing_in_the_file_names_an_image_or_a_patient_and_only_its_owner_reads_it():
    metrics = judged("a")
    content = (workspace() / NAME).read_text()
    for name in (
        *answers().frame["image"],
        *answers().frame["patient"].unique(),
        *answers().provenance.images.values(),
    ):
        assert name not in content and hashlib.sha256(name.encode()).hexdigest()[:16] not in content
    assert metrics.headline in content
    if os.name == "posix":
        modes = {stat.S_IMODE((workspace() / name).stat().st_mode) for name in (NAME, HEAD)}
        assert modes == {0o600}


def damage(kind):
    path = workspace() / NAME
    lines = path.read_text().splitlines(keepends=True)
    if kind == "changed":
        path.write_text("".join(lines).replace(json.loads(lines[1])["headline"], "AUC 0.99 (95% CI 0.98-1.00)", 1))
    elif kind == "taken out":
        path.write_text(lines[0] + lines[2])
    elif kind == "exchanged":
        path.write_text(lines[1] + lines[0] + lines[2])
    elif kind == "cut off":
        path.write_text("".join(lines[:2]))
    elif kind == "gone":
        path.unlink()
    elif kind == "half a line":
        path.write_text("".join(lines)[:-40])
    elif kind == "no head":
        (workspace() / HEAD).unlink()
    elif kind == "another secret":
        (workspace() / "easydl.secret").write_text("0" * 64 + "\n")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("changed", "Line 2 does not carry the seal"),
        ("taken out", "Line 2 does not follow from the line before it"),
        ("exchanged", "Line 1 does not follow"),
        ("cut off", "It had 3 lines, of which the last is gone"),
        ("gone", "It had 3 lines, of which the last is gone"),
        ("half a line", "Line 3 is not a line of the ledger"),
        ("no head", "ledger.head, which knows how many lines there were, is gone"),
        ("another secret", "Line 1 does not carry the seal"),
    ],
)
def test_a_damaged_chain_is_said_in_every_later_test(kind, words):
    for model in "abc":
        judged(model)
    assert Ledger.open().verdict == "The chain of 3 lines is whole."
    damage(kind)
    for model in "de":  # what is written after it does not heal it
        metrics = judged(model)
        assert any(words in warning and "Earlier looks may be missing" in warning for warning in metrics.warnings)
    seen = CliRunner().invoke(cli.app, ["ledger"])
    assert seen.exit_code == 2 and words in seen.stdout and "begins a new one" in seen.stdout


def test_the_command_lists_the_looks_and_checks_the_chain():
    empty = CliRunner().invoke(cli.app, ["ledger"])
    assert empty.exit_code == 0 and "no test has been recorded" in empty.stdout
    judged("a")
    judged("b")
    judged("a", rows=slice(0, 20), pixels="others ", seed=3)
    shown = CliRunner().invoke(cli.app, ["ledger"])
    assert shown.exit_code == 0 and "The chain of 3 lines is whole." in shown.stdout and RESEARCH_USE in shown.stdout
    table = listing(Ledger.open())
    assert table["look"].tolist() == [1, 2, 1] and table["line"].tolist() == [1, 2, 3]
    assert table["test"].nunique() == 2 and table["images"].tolist()[2] == 20
    as_json = json.loads(CliRunner().invoke(cli.app, ["ledger", "--json"]).stdout)
    assert as_json["whole"] is True and [line["look"] for line in as_json["lines"]] == [1, 2, 1]
    assert all("images_of" not in line for line in as_json["lines"])


def test_a_test_part_is_listed_once():
    for model in "abc":
        judged(model)
    lines = [json.loads(line) for line in (workspace() / NAME).read_text().splitlines()]
    assert [bool(line["images"]) for line in lines] == [True, False, False]


def test_a_look_that_cannot_be_recorded_is_said(monkeypatch):
    folder = workspace()
    folder.mkdir(parents=True)
    (folder / "easydl.secret").write_text("too short")
    (folder / "easydl.secret").chmod(0o600)
    metrics = judged("a")
    assert metrics.look is None and any("could not be recorded" in note for note in metrics.notes)
    assert len(metrics.table) > 3


def test_no_metric_of_a_list_counts_as_a_look():
    classification_metrics(predictions(), CLASSES, resamples=100)
    assert not (workspace() / NAME).exists()


def _one(model):
    judged(model)


def test_processes_at_once_keep_one_chain():
    judged("a")
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(_one, [f"model {k}" for k in range(8)])
    ledger = Ledger.open()
    assert ledger.verdict == "The chain of 9 lines is whole."
    assert sorted(listing(ledger)["look"]) == list(range(1, 10))
