"""Nothing that a run writes names a patient or a file, but for the two tables, which only their user can read."""

import json
import os
import zipfile

import numpy as np
import pandas as pd
import pytest
from commands import done
from made import dicom_slice, mask_study

from easydl import runs
from easydl.reporting import RunRecord

KEPT_HERE = {"table.csv", "predictions.csv", "config.json", "run.json"}
"""The two tables, and the settings with the place of the study: with them a run is resumed. All are mode 0600."""
NUMBER = "47118830526"
"""Long enough that no number in a model file is it by chance."""
PLANTED = ("Musterfrau", "Erika", NUMBER, "19610417", "Zq777")


def blobs(path):
    """The bytes of a file, and of the members of an archive."""
    yield path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())


def leaks(folder, planted):
    """The files of a run in which something planted is found, in any case and as UTF-16."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name in KEPT_HERE:
            continue
        data = b"\n".join([str(path.relative_to(folder)).encode(), *blobs(path)]).lower()
        hits = [text for text in planted if any(text.lower().encode(code) in data for code in ("utf-8", "utf-16-le"))]
        if hits:
            found[path.name] = hits
    return found


def films(place, count=8):
    """DICOM in class folders, named after patients, with a file that is in no class and one that is none."""
    rng = np.random.default_rng(2)
    for label in ("normal", "nodule"):
        for number in range(count):
            pixels = rng.integers(0, 500, (32, 32)).astype(np.uint16) + (400 if label == "nodule" else 0)
            name = f"Musterfrau_Erika {number}"
            dicom_slice(place / label / f"{name}.dcm", pixels, PatientID=f"{NUMBER}-{label}-{number}", PatientName=f"{name}^Zq777", PatientBirthDate="19610417", SeriesInstanceUID=f"1.2.{number}.{len(label)}", SOPInstanceUID=f"1.3.{number}.{len(label)}", StudyDescription="Zq777 Musterfrau")  # fmt: skip
    dicom_slice(place / "Musterfrau loose.dcm", np.zeros((32, 32), np.uint16))
    (place / "normal/Musterfrau damaged.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\1" * 40)
    (place / "Erika_empty").mkdir()
    return place


def finished(tmp_path, source, **options):
    config = runs.RunConfig(
        source=str(source), size=32, epochs=1, heatmaps=options.pop("heatmaps", 1), name="films", **options
    )
    folder = tmp_path / "run"
    runs.run(config, folder, progress=lambda _: None)
    (folder / "run.ipynb").write_text(RunRecord.open(folder).notebook)
    return folder


def test_a_run_on_planted_headers_names_nobody(tmp_path):
    folder = finished(tmp_path, films(tmp_path / "study"), model="tiny", heatmaps=0)
    assert leaks(folder, PLANTED) == {}
    table = pd.read_csv(folder / "table.csv", dtype=str)
    assert set(table["image"].str.split("/").str[0]) == {"normal", "nodule"}
    assert table["patient"].str.fullmatch("P-[0-9a-f]{10}").all()
    notes = json.loads((folder / "split.json").read_text())["notes"]
    assert any("a file" in note for note in notes), notes


def test_patients_of_a_table_are_numbered_and_only_the_table_of_the_run_tells_who_they_are(tmp_path):
    place = films(tmp_path / "study")
    rows = [(path.relative_to(place), path.parent.name) for path in sorted(place.glob("no*/*Erika*.dcm"))]
    table = pd.DataFrame(rows, columns=["image", "label"]).assign(
        patient=[f"{NUMBER}{k:03d}" for k in range(len(rows))]
    )
    table.to_csv(place / "scans.csv", index=False)
    folder = finished(tmp_path, place / "scans.csv", model="tiny")
    assert leaks(folder, [*PLANTED, *table["patient"]]) == {}
    key = pd.read_csv(folder / "table.csv", dtype=str).set_index("shown_image")
    assert sorted(key["patient"]) == sorted(table["patient"])
    assert sorted(key["image"]) == sorted(map(str, table["image"].map(lambda path: path.as_posix())))
    heatmaps = json.loads((folder / "heatmaps/index.json").read_text())
    predictions = pd.read_csv(folder / "predictions.csv", skiprows=1, dtype=str).set_index("image")
    for entry in heatmaps:
        row = key.loc[entry["image"]]
        assert row["split"] == "test" and row["shown_patient"] == entry["patient"] and row["label"] == entry["label"]
        assert predictions.loc[row["image"], "patient"] == row["patient"]
        assert predictions.loc[row["image"], "prediction"] == entry["prediction"]
        assert entry["image"] in (folder / "report.html").read_text(encoding="utf-8")
    if os.name == "posix":
        modes = {name: (folder / name).stat().st_mode & 0o777 for name in KEPT_HERE}
        assert set(modes.values()) == {0o600}, modes
    again = RunRecord.open(folder)
    assert again.shared_patients == 0 and not again.problems


@pytest.mark.everything
def test_a_run_with_masks_numbers_its_cases(tmp_path):
    table = mask_study(tmp_path / "study", cases=8)
    frame = pd.read_csv(table, dtype=str)
    frame["patient"] = [f"Musterfrau{k}" for k in range(len(frame))]
    frame.to_csv(table, index=False)
    folder = finished(tmp_path, table, mask="mask", heatmaps=0)
    names = [os.path.basename(path) for path in (*frame["image"], *frame["mask"])]
    assert leaks(folder, ["Musterfrau", *names]) == {}
    cases = json.loads((folder / "metrics.json").read_text())["cases"]
    key = pd.read_csv(folder / "table.csv", dtype=str).set_index("shown_image")
    assert {case["image"] for case in cases} == set(key.index[key["split"] == "test"])
    assert all(key.loc[case["image"], "shown_patient"] == case["patient"] for case in cases)


@pytest.mark.parametrize("text", ["image 12", "Musterfrau.dcm", "4711", ""])
def test_reports_of_older_runs_show_no_names_either(tmp_path, text):
    (tmp_path / "heatmaps").mkdir()
    (tmp_path / "status.json").write_text('{"state": "finished"}')
    entry = {"file": "x.png", "image": text, "patient": text}
    (tmp_path / "heatmaps/index.json").write_text(json.dumps([entry]))
    from easydl.reporting import report

    page = report(tmp_path).read_text(encoding="utf-8")
    assert ("image 12" in page) == (text == "image 12")
    assert "Musterfrau" not in page and "4711" not in page
    assert text == "image 12" or "test image 1" in page


def test_a_failed_run_has_a_report_without_the_names_of_files(tmp_path):
    place = films(tmp_path / "study")
    table = "image,label,patient\n" + "".join(f"{path.relative_to(place)},{path.parent.name},1\n" for path in sorted(place.rglob("*.dcm")))  # fmt: skip
    (place / "scans.csv").write_text(table)
    done_ = tmp_path / "run"
    with pytest.raises(Exception, match="Musterfrau"):
        runs.run(runs.RunConfig(source=str(place / "scans.csv"), model="tiny", epochs=1), done_, progress=lambda _: None)  # fmt: skip
    page = done("report", done_)
    assert page and "Musterfrau" not in (done_ / "report.html").read_text(encoding="utf-8")
    assert "cannot be read" in (done_ / "report.html").read_text(encoding="utf-8")
