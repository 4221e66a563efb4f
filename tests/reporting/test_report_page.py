"""The page against its files: every number, every gap, nothing from outside, nothing alive."""

import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import pandas as pd
import pytest
from finished_runs import CLASSES, issue, make_classification, write

from easydl.errors import RESEARCH_USE, RunError
from easydl.evaluation import Metrics
from easydl.evaluation.formatting import interval_text, number
from easydl.reporting import RunRecord, report
from easydl.reporting.facts import facts
from easydl.reporting.page import _clean, _stages
from easydl.reporting.reproduce import without_places

HOSTILE = "<img src=x onerror=alert(1)>"
ALIVE = {"script", "iframe", "object", "embed", "link", "form", "base", "svg", "video", "audio"}


class Parts(HTMLParser):
    """Tags, their attributes, and the text a reader sees."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.words, self.hidden = [], [], [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        self.hidden = tag == "style"

    def handle_endtag(self, tag):
        self.hidden = False

    def handle_data(self, data):
        if not self.hidden:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def shown(folder):
    return Parts(report(folder).read_text(encoding="utf-8"))


def change(path, **values):
    write(path, json.loads(path.read_text(encoding="utf-8")) | values)


def test_it_is_written_into_the_run_folder_or_where_asked(run, tmp_path):
    assert report(run) == run / "report.html"
    elsewhere = report(run, tmp_path / "other.html")
    assert elsewhere.read_bytes() == (run / "report.html").read_bytes()
    assert not [path for path in run.iterdir() if path.name.endswith(("tmp", "part"))]


@pytest.mark.usefixtures("drawn_only")
def test_every_metric_is_shown_with_its_interval_and_its_patients(run, segmentation_run):
    for folder in (run, segmentation_run):
        text = shown(folder).text
        metrics = Metrics.from_dict(json.loads((folder / "metrics.json").read_text()))
        for row in metrics.table.to_dict("records"):
            n = f"{row['n']} patients" if row["n"] != 1 else "1 patient"
            cells = f"{row['name']} {number(row['value'], row['unit'])} {interval_text(row)} {n} {row['images']}"
            assert cells in text
        assert all(note in text for note in metrics.notes)


@pytest.mark.usefixtures("drawn_only")
def test_the_sections_say_what_the_files_say(run):
    text = shown(run).text
    assert "186 images of 120 patients, classes normal, nodule" in text
    assert "split at random (seed 7) into training, validation and test, whole patients at a time" in text
    assert "trained from random weights for 20 epochs with the augmentation preset “ct”" in text
    assert "What was chosen, and why The network starts from random weights." in text
    assert "No patient is in more than one part" in text
    assert "The validation loss was lowest, 0.328, at epoch 15. Stages: frozen, fine-tuning." in text
    assert "all 64 101 28 44 28 41" in text
    assert "The image width alone tells the classes apart. What to do: Crop all films to one size." in text
    assert "0.81 (95% CI 0.72-0.90), p < 0.001, n = 64" in text
    assert text.index("WARN") < text.index("UNTESTED") < text.index("NOTE") < text.index("OK")
    assert "Do not trust The map stays the same when the weights are random" in text
    assert "Map for nodule, probability 0.71, reference normal." in text
    assert "tensorflow 2.21.0" in text
    assert "easydl train path/to/your/study" in text
    assert text.count(RESEARCH_USE) == 2
    assert text.startswith("Lung nodules on CT: easydl report Research use only.")
    assert text.endswith("Not cleared or approved by any regulator.")


@pytest.mark.usefixtures("drawn_only")
@pytest.mark.parametrize(
    ("file", "edit", "words"),
    [
        (
            "metrics.json",
            lambda c: c["table"][0].update(value=0.4321, low=0.11, high=0.77),
            "0.43 95% CI 0.11-0.77",
        ),
        ("metrics.json", lambda c: c["confusion"][0].__setitem__(1, 9731), "9731"),
        ("metrics.json", lambda c: c["notes"].append("A note of its own."), "A note of its own."),
        ("audit.json", lambda c: c["issues"][0].update(sentence="The table moves."), "The table moves."),
        ("split.json", lambda c: c["test"].update(images=98765), "98,765"),
        (
            "split.json",
            lambda c: c["overrides"].append("The senior physician said so."),
            "The senior physician",
        ),
        ("config.json", lambda c: c.update(name="Another study"), "Another study"),
        ("config.json", lambda c: c.update(mask_labels={"edema": 2, "core": [1, 4]}), "edema = 2; core = 1, 4"),
        ("run.json", lambda c: c["versions"].update(keras="9.9.9"), "keras 9.9.9"),
        (
            "heatmaps/index.json",
            lambda c: c[0]["verdict"].update(level="FAIL", sentence="Moved."),
            "trust Moved.",
        ),
        (
            "heatmaps/index.json",
            lambda c: c[0].update(words="Lower third of the left lung."),
            "Where the map lies: Lower third of the left lung.",
        ),
        ("status.json", lambda c: c.update(state="stopped", stage="training"), "was stopped while training"),
    ],
)
def test_what_changes_in_the_files_changes_on_the_page(run, file, edit, words):
    assert words not in shown(run).text
    content = json.loads((run / file).read_text())
    edit(content)
    write(run / file, content)
    assert words in shown(run).text


def test_the_figures_are_drawn_from_the_files_too(run):
    def figures():
        return [value for tag, name, value in shown(run).attributes if (tag, name) == ("img", "src")]

    before = figures()
    assert figures() == before
    content = json.loads((run / "metrics.json").read_text())
    content["curves"]["nodule"]["tpr"] = [0.0 for _ in content["curves"]["nodule"]["tpr"]]
    write(run / "metrics.json", content)
    history = pd.read_csv(run / "history.csv")
    history.assign(val_loss=history["val_loss"] + 0.2).to_csv(run / "history.csv", index=False)
    assert [old == new for old, new in zip(before, figures(), strict=True)] == [
        False,
        False,
        True,
        True,
        True,
        True,
    ]


def test_one_file_without_the_network(run):
    page = report(run).read_text(encoding="utf-8")
    parts = Parts(page)
    assert not ALIVE & set(parts.tags)
    for tag, name, value in parts.attributes:
        if name in ("src", "href"):
            assert value.startswith(("data:image/", "#")), (tag, value[:60])
        assert not name.startswith("on")
    styles = re.search(r"<style>(.*?)</style>", page, flags=re.DOTALL).group(1)
    assert "url(" not in styles
    assert "@import" not in styles
    assert (
        "meta",
        "content",
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    ) in parts.attributes
    assert not re.search(r"https?://", page)


def test_the_figures_are_whole_pictures_with_words_for_those_who_cannot_see_them(run):
    images = [dict(pair) for pair in _images(report(run).read_text(encoding="utf-8"))]
    assert len(images) == 2 + 4
    for image in images:
        assert len(image["alt"]) > 20
        kind, content = image["src"].split(";base64,")
        content = base64.b64decode(content, validate=True)
        if kind == "data:image/svg+xml":
            assert ElementTree.fromstring(content).tag.endswith("svg")
        else:
            assert content.startswith(b"\x89PNG")


def _images(page):
    parts = Parts(page)
    sources = [value for tag, name, value in parts.attributes if (tag, name) == ("img", "src")]
    words = [value for tag, name, value in parts.attributes if (tag, name) == ("img", "alt")]
    return [(("src", source), ("alt", alt)) for source, alt in zip(sources, words, strict=True)]


def test_hostile_names_stay_text(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    make_classification(folder, (CLASSES[0], HOSTILE))
    plain = len([tag for tag in shown(folder).tags if tag == "img"])
    for file, values in {
        "config.json": {"name": HOSTILE, "source": f"/data/{HOSTILE}", "override": HOSTILE, HOSTILE: HOSTILE},
        "audit.json": {"issues": [issue(HOSTILE, "WARN", HOSTILE, HOSTILE), issue("A1", HOSTILE, "x")]},
        "run.json": {"versions": {HOSTILE: HOSTILE}, "device": HOSTILE, "command": f"easydl train {HOSTILE}"},
        "status.json": {
            "state": "failed",
            "stage": HOSTILE,
            "error": {"found": HOSTILE, "do": '"><script>x</script>'},
        },
        "split.json": {"classes": [HOSTILE], "notes": [HOSTILE], "given": HOSTILE},
    }.items():
        change(folder / file, **values)
    index = json.loads((folder / "heatmaps" / "index.json").read_text())
    for entry in index:
        entry |= {"image": '" onload="x', "patient": HOSTILE, "label": HOSTILE, "target": HOSTILE}
        entry["verdict"] = {"level": '"><script>', "sentence": HOSTILE}
        entry["words"] = HOSTILE
    write(folder / "heatmaps" / "index.json", index)
    history = pd.read_csv(folder / "history.csv")
    history.assign(stage=["frozen"] * 10 + [HOSTILE] * 10).to_csv(folder / "history.csv", index=False)
    parts = shown(folder)
    assert not ALIVE & set(parts.tags)
    assert len([tag for tag in parts.tags if tag == "img"]) == plain
    assert not [name for _, name, _ in parts.attributes if name.startswith("on")]
    assert parts.text.count(HOSTILE) > 15


def test_invisible_and_reversing_letters_are_replaced():
    assert _clean("a\x00b\u202egnp.exe\ud800\tc\n") == "a\ufffdb\ufffdgnp.exe\ufffd\tc\n"
    assert _clean("می‌روم Zoë 肺 👩‍⚕️") == "می‌روم Zoë 肺 👩‍⚕️"
    assert _clean(3) == 3


@pytest.mark.usefixtures("drawn_only")
@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("metrics.json", "There are no test results"),
        ("audit.json", "no trap was looked for"),
        ("split.json", "There is no split in this run folder"),
        ("history.csv", "There is no training curve"),
        ("heatmaps/index.json", "There are no heatmaps"),
        ("config.json", "The settings are not known"),
        ("run.json", "Versions were not recorded"),
        ("status.json", "does not say whether the run finished"),
        ("table.csv", "could not check that the parts share no patient"),
    ],
)
def test_a_missing_part_is_said_in_words(run, file, words):
    assert words not in shown(run).text
    (run / file).unlink()
    assert words in shown(run).text


@pytest.mark.usefixtures("drawn_only")
def test_a_failed_run_has_a_page_that_says_why_and_what_to_do(tmp_path):
    error = {"found": "Row 12 is damaged.", "expected": "A DICOM file.", "do": "Delete the row."}
    write(tmp_path / "status.json", {"state": "failed", "stage": "loading", "error": error})
    write(
        tmp_path / "config.json",
        {"source": "scans.csv", "model": "resnet", "patient": None, "pretrained": True},
    )
    text = shown(tmp_path).text
    assert "The run failed while reading the images." in text
    assert "Row 12 is damaged. Expected: A DICOM file. What to do: Delete the row." in text
    assert "Patients are unknown" in text
    assert "easydl train path/to/your/study --no-patients --pretrained --model resnet" in text
    assert "was read" not in text


@pytest.mark.usefixtures("drawn_only")
def test_unknown_patients_and_overrides_stand_before_the_first_number(run):
    change(run / "split.json", patients_known=False, overrides=["Ids were lost. Reason given: pilot"])
    change(run / "config.json", override="pilot")
    change(run / "audit.json", issues=[issue("A1", "BLOCK", "3 patients are in two parts.", "Split again.")])
    text = shown(run).text
    first = text[: text.index("95% CI")]
    assert "Patients are unknown: every image was treated as its own patient." in first
    assert "Ids were lost. Reason given: pilot" in first
    assert "1 issue that should have stopped this run" in first
    assert first.count("pilot") == 1
    assert "image by image" in text
    assert "nobody can say whether the parts share patients" in text


@pytest.mark.usefixtures("drawn_only")
def test_patients_shared_between_parts_are_found_in_the_table_itself(run):
    table = pd.read_csv(run / "table.csv", dtype=str)
    table.loc[table["split"] == "test", "patient"] = table["patient"].iloc[0]
    table.to_csv(run / "table.csv", index=False)
    text = shown(run).text
    assert "1 patient of table.csv are in more than one part" in text
    assert "1 patient are in more than one part." in text
    assert "No patient is in more than one part" not in text


def test_a_folder_that_is_no_run_is_one_clear_error(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(RunError, match="is not a run folder"):
        report(tmp_path)
    with pytest.raises(RunError):
        report(tmp_path / "nowhere")
    assert not (tmp_path / "report.html").exists()


def test_the_room_loads_no_tensorflow(run):
    code = (
        f"import sys, easydl.reporting\neasydl.reporting.report({str(run)!r})\n"
        "print([name for name in ('tensorflow', 'keras', 'torch') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_what_makes_the_numbers_worthless_stands_before_them(run):
    worthless = "One answer for every image: all 60 were called normal, also the 20 that are not."
    change(run / "metrics.json", warnings=[worthless], seen=7)
    text = shown(run).text
    assert text.index("Read this first") < text.index(worthless) < text.index("95% CI")
    assert "7 of which took part in training" in text and "that took no part in training" not in text


def test_the_stages_of_an_ensemble_say_whose_they_are():
    assert _stages(["member 1: train"] * 2 + ["train"] * 3) == ["member 1: train", "member 2: train"]
    assert _stages(["frozen", "frozen", "fine-tuning"]) == ["frozen", "fine-tuning"]


def test_what_the_coach_says_stands_in_the_section_on_training(run):
    assert "What is wrong with this training" not in shown(run).text
    finding = {"code": "overfitting", "sentence": f"Overfitting {HOSTILE}.", "advice": "More patients help most."}
    change(run / "status.json", coach=[finding, "not a finding"])
    section = shown(run).text.split("What is wrong with this training")[1].split("What was chosen, and why")[0]
    assert f"Overfitting {HOSTILE}. More patients help most." in section


@pytest.mark.usefixtures("drawn_only")
def test_no_path_of_this_computer_is_in_what_may_be_passed_on(run):
    places = {name: f"/home/me/Doe_Jane/{name}.keras" for name in ("pretrained", "encoder", "teacher", "unlabelled")}
    change(run / "config.json", source="/home/me/Doe_Jane/scans.csv", exclude=["Doe_Jane.png", "4"], **places)
    record = RunRecord.open(run)
    passed_on = shown(run).text + record.notebook + " ".join(facts(record).values())
    assert "Doe_Jane" not in passed_on
    assert passed_on.count("path/to/your/encoder") == 4 and "from the weights of a file for" in passed_on
    known = {"pretrained": "radimagenet", "encoder": "resnet18"}
    assert without_places(known) | known == without_places(known)
    address = {"pretrained": "https://example.org/w.h5#sha256=00"}
    assert without_places(address)["pretrained"] == address["pretrained"]
