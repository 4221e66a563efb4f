"""Checklists and model card: filled from the run's JSON alone, open where the run cannot know, and the same numbers everywhere."""

import json
import re

import pytest
from finished_runs import write
from typer.testing import CliRunner

import easydl
from easydl import cli
from easydl.errors import RESEARCH_USE, InputError
from easydl.evaluation import Metrics
from easydl.reporting import RunRecord
from easydl.reporting.checklist import CHECKLISTS, FOR_AUTHOR, OWN_WORDS, STATES, checklist, markdown, page
from easydl.reporting.facts import FACTS, facts

SIZES = {"claim": 44, "tripod": 52, "stard": 34, "modelcard": 9}
LINKS = {"claim": "10.1148/ryai.240300", "tripod": "10.1136/bmj-2023-078378", "stard": "10.1136/bmj.h5527",
         "modelcard": "10.1145/3287560.3287596"}  # fmt: skip
# The published numbering: how many items, and the items that have parts.
NUMBERED = {
    "claim": (44, {}),
    "tripod": (27, {3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef", 20: "abc", 23: "ab",
                    27: "abc"}),
    "stard": (30, {10: "ab", 12: "ab", 13: "ab", 21: "ab"}),
    "modelcard": (9, {}),
}  # fmt: skip
# A word of the topic that each number has in print: a list that slips by one, or follows CLAIM 2020 or TRIPOD 2015, fails.
TOPICS = {
    "claim": {
        "1": "AI", "2": "An abstract", "3": "background", "4": "Aims", "5": "Prospective", "6": "Goal", "7": "come from",
        "8": "excluded", "9": "before the model", "10": "picked", "11": "de-identified", "12": "missing",
        "13": "acquired", "14": "reference standard", "15": "Why", "16": "annotations", "17": "test part",
        "18": "vary", "19": "assigned", "20": "disjoint", "21": "planned", "22": "detail", "23": "Software",
        "24": "weights", "25": "trained", "26": "chosen", "27": "joined", "28": "judged", "29": "uncertainty",
        "30": "robust", "31": "explained", "32": "same source", "33": "elsewhere", "34": "Registration",
        "35": "in and out", "36": "each part", "37": "numbers", "38": "precision", "39": "fails", "40": "Limits",
        "41": "practice", "42": "protocol", "43": "software", "44": "funders",
    },
    "tripod": {
        "1": "Title", "2": "Abstract", "3a": "rationale", "3b": "in the care", "3c": "inequalities", "4": "Aims",
        "5a": "Sources", "5b": "Dates", "6a": "centres", "6b": "eligible", "6c": "Treatments", "7": "quality checks",
        "8a": "outcome, its time", "8b": "assess an outcome", "8c": "blinded", "9a": "chosen",
        "9b": "All predictors", "9c": "assess predictors", "10": "Size", "11": "Missing", "12a": "used",
        "12b": "predictors were handled", "12c": "Type", "12d": "clusters", "12e": "Measures", "12f": "Updating",
        "12g": "computed", "13": "imbalance", "14": "Fairness", "15": "gives out", "16": "Differences",
        "17": "Ethics", "18a": "Funding", "18b": "Conflicts", "18c": "Protocol", "18d": "Registration",
        "18e": "Data", "18f": "Code", "19": "public", "20a": "Flow", "20b": "Characteristics", "20c": "Comparison",
        "21": "each analysis", "22": "full model", "23a": "intervals, in key groups", "23b": "clusters",
        "24": "updating", "25": "Interpretation", "26": "Limitations", "27a": "missing input", "27b": "users",
        "27c": "Next",
    },
    "stard": {
        "1": "title", "2": "abstract", "3": "Background", "4": "Objectives", "5": "planned", "6": "Eligibility",
        "7": "found", "8": "Where and when", "9": "Consecutive", "10a": "index", "10b": "reference", "11": "Why",
        "12a": "index", "12b": "reference", "13a": "index", "13b": "reference", "14": "accuracy",
        "15": "Indeterminate", "16": "Missing", "17": "variability", "18": "Size", "19": "Flow", "20": "Baseline",
        "21a": "Severity", "21b": "Other diagnoses", "22": "Time", "23": "Table", "24": "precision", "25": "Adverse",
        "26": "Limitations", "27": "practice", "28": "Registration", "29": "protocol", "30": "Funding",
    },
    "modelcard": {
        "1": "details", "2": "Intended use", "3": "Factors", "4": "Metrics", "5": "Evaluation data",
        "6": "Training data", "7": "Quantitative", "8": "Ethical", "9": "Caveats",
    },
}  # fmt: skip


def changed(folder, name, change):
    path = folder / name
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    write(path, content)


def outputs(folder):
    """Everything that is written of a run, as text."""
    record = RunRecord.open(folder)
    lists = {
        f"{name}.{form.__name__}": form(checklist(record, name)) for name in CHECKLISTS for form in (markdown, page)
    }
    return lists | {"report": easydl.report(folder).read_text(encoding="utf-8")}


@pytest.mark.parametrize("name", CHECKLISTS)
def test_a_list_has_all_its_items_in_order_and_every_fact_it_names(run, name):
    filled = checklist(RunRecord.open(run), name)
    numbers = [item.number for item in filled.items]
    assert len(set(numbers)) == len(numbers) == SIZES[name] == sum(filled.counts.values())
    whole, parts = NUMBERED[name]
    assert numbers == [f"{one}{part}".strip() for one in range(1, whole + 1) for part in parts.get(one, " ")]
    assert filled.link.endswith(LINKS[name]) and all(item.about and item.section for item in filled.items)


@pytest.mark.parametrize("name", CHECKLISTS)
def test_every_number_has_the_topic_it_has_in_print(run, name):
    about = {item.number: item.about for item in checklist(RunRecord.open(run), name).items}
    assert about.keys() == TOPICS[name].keys()
    assert not {number: about[number] for number, word in TOPICS[name].items() if word not in about[number]}
    assert not [said for said in about.values() if "  " in said], "a word is missing"


def test_what_the_run_cannot_know_is_asked_beside_what_it_knows(run):
    lists = {name: {item.number: item for item in checklist(RunRecord.open(run), name).items} for name in CHECKLISTS}
    for name, number, asked in [
        ("claim", "37", "other parts"),
        ("tripod", "23a", "key groups"),
        ("tripod", "22", "terms"),
    ]:
        item = lists[name][number]
        assert item.state == "partly" and asked in item.author and item.said
    assert "left out" in lists["tripod"]["11"].said and "takes the image" in lists["tripod"]["11"].said
    assert "STARD-AI" in checklist(RunRecord.open(run), "stard").note


def test_every_fact_is_asked_for_and_every_asked_fact_exists():
    from importlib.resources import files

    lists = [
        json.loads(files("easydl.reporting").joinpath("checklists", f"{name}.json").read_text()) for name in CHECKLISTS
    ]
    assert {fact for one in lists for item in one["items"] for fact in item["facts"]} == set(FACTS)


def test_what_the_run_knows_is_filled_and_the_rest_is_the_authors(run):
    filled = checklist(RunRecord.open(run), "claim")
    items = {item.number: item for item in filled.items}
    assert items["20"].state == "filled" and "disjoint by patient" in items["20"].said
    assert items["13"].state == "partly" or items["13"].state == FOR_AUTHOR
    assert items["44"].state == FOR_AUTHOR and not items["44"].said and items["44"].author == "Declare them."
    for item in filled.items:
        assert (item.state == "filled") == (bool(item.said) and not item.author)
        assert (item.state == FOR_AUTHOR) == (not item.said)
    assert filled.counts["filled"] >= 13 and filled.counts[FOR_AUTHOR] >= 10


@pytest.mark.parametrize("name", CHECKLISTS)
def test_an_empty_run_fills_nothing_that_needs_a_run(tmp_path, name):
    write(tmp_path / "status.json", {"state": "failed"})
    filled = checklist(RunRecord.open(tmp_path), name)
    assert filled.counts["filled"] == 0
    assert not {key for key, said in facts(RunRecord.open(tmp_path)).items() if said} - {"research"}
    assert FOR_AUTHOR in markdown(filled)


def test_all_numbers_come_from_the_json_and_change_with_it(run, drawn_only):
    before = outputs(run)
    with_auc = {name for name, said in before.items() if "AUC 0.8" in said or "AUC 0.9" in said or name == "report"}
    assert with_auc == set(before), "every output has the headline"

    def headline(content):
        content["table"][0] |= {"value": 0.6123, "low": 0.5234, "high": 0.7012, "n": 27}

    changed(run, "metrics.json", headline)
    after = outputs(run)
    for name in before:
        assert "0.61" in after[name] and "0.52-0.70" in after[name] and "0.52-0.70" not in before[name], name
    changed(run, "split.json", lambda content: content["train"].update(images=4321))
    last = outputs(run)
    for name in before:
        assert ("4,321" in last[name]) and "4,321" not in after[name], name


def test_every_number_of_the_test_carries_n_and_interval(run):
    record = RunRecord.open(run)
    said = facts(record)["numbers"].removeprefix("On the test part: ").removesuffix(".").split("; ")
    assert len(said) == len(record.metrics.rows)
    assert all(re.search(r"\(95% CI (.+-.+|not computable)\), \d+ patients?$", one) for one in said)
    assert all(re.search(r"n = \d|\d+ (test )?(image|patient)|95% CI", text) for name, text in facts(record).items()
               if name in ("acquisition", "demographics", "crosstab", "failures", "counts", "flow") and text)  # fmt: skip


def test_demographics_are_counted_by_patient_and_part(run):
    path = run / "table.csv"
    import pandas as pd

    table = pd.read_csv(path, dtype=str)
    number = table["patient"].str[1:].astype(int)
    table["sex"] = ["F" if one % 3 else "M" for one in number]
    table["age_years"] = ["90+" if one == 3 else str(40 + one % 40) for one in number]
    table["scanner"] = ["A" if one % 2 else "B" for one in number]
    table["hospital"], table["date"] = "north", "2024-03"
    table.to_csv(path, index=False)
    said = facts(RunRecord.open(run))
    test = table[table["split"] == "test"].drop_duplicates("patient")
    ages = test["age_years"].str.rstrip("+").astype(float)
    expected = f"age median {ages.median():g} years (range {ages.min():g}-{ages.max():g}, n = {len(test)} patients)"
    women = int((test["sex"] == "F").sum())
    assert expected in said["demographics"] and f"sex F {women}, M {len(test) - women}" in said["demographics"]
    assert f"A {int((table['scanner'] == 'A').sum())}" in said["acquisition"]
    assert "1 different value in the column hospital" in said["centres"] and "2024-03 to 2024-03" in said["dates"]
    assert not any(name in " ".join(said.values()) for name in table["patient"])


def test_looks_and_warnings_are_in_every_list_and_in_the_report(run, drawn_only):
    def looked(content):
        content["look"] = {"number": 3, "first": "2026-11-02", "entry": "0" * 64, "model": "1" * 64}
        content["warnings"] = ["This test part has been looked at 3 times (first 2026-11-02); choose nothing by it."]

    changed(run, "metrics.json", looked)
    for name, said in outputs(run).items():
        assert "look 3 at this test part" in said and "2026-11-02" in said, name
    assert "first look" not in outputs(run)["report"]


def test_the_files_their_formats_and_the_command(run):
    written = easydl.report(run, checklist="tripod")
    assert written == run / "tripod.md"
    text = written.read_text(encoding="utf-8")
    for part in (RESEARCH_USE, OWN_WORDS, FOR_AUTHOR, "filled", LINKS["tripod"]):
        assert part in text
    shown = easydl.report(run, run / "card.html", checklist="modelcard").read_text(encoding="utf-8")
    assert (
        shown.count(RESEARCH_USE) >= 2 and "<h1>Model card</h1>" in shown and f">{FOR_AUTHOR}<" in shown
    ) or "partly" in shown
    asked = CliRunner().invoke(cli.app, ["report", str(run), "--checklist", "stard", "--output", str(run / "s.html")])
    counts = checklist(RunRecord.open(run), "stard").counts
    assert asked.output.strip() == (
        f"{run / 's.html'} ({counts['filled']} filled, {counts['partly']} partly, {counts[FOR_AUTHOR]} TODO (you), of 34 items)"
    )
    assert asked.exit_code == 0 and (run / "s.html").read_text(encoding="utf-8").count('class="item"') == 34
    with pytest.raises(InputError, match=r"ends in \.docx"):
        easydl.report(run, run / "claim.docx", checklist="claim")
    with pytest.raises(InputError, match="claim, tripod, stard, modelcard"):
        easydl.report(run, checklist="claimm")


def test_names_of_classes_are_no_markup(run):
    changed(run, "split.json", lambda content: content.update(classes=["<script>alert(1)</script>", "*b* | c"]))
    record = RunRecord.open(run)
    assert "<script>alert" not in page(checklist(record, "claim"))
    assert "<script" not in markdown(checklist(record, "claim")) and r"\*b\* \| c" in markdown(
        checklist(record, "claim")
    )


def test_a_segmentation_fills_its_lists_too(segmentation_run):
    record = RunRecord.open(segmentation_run)
    said = facts(record)
    assert "Dice" in said["numbers"] and "The lowest Dice are" in said["failures"] and not said["crosstab"]
    items = {item.number: item for item in checklist(record, "stard").items}
    assert items["23"].state == FOR_AUTHOR and "Dice" in items["24"].said


def test_calibration_is_found_by_the_names_of_its_rows(run):
    metrics = RunRecord.open(run).metrics
    row = metrics.rows[0].model_copy(update={"name": "Brier score", "value": 0.123})
    Metrics.from_dict(metrics.model_copy(update={"rows": [*metrics.rows, row]}).to_dict()).save(run)
    assert "Brier score 0.12" in facts(RunRecord.open(run))["calibration"]
    assert STATES[0] == "filled"
