"""Group T of the bad inputs."""

from __future__ import annotations

import os
import time
import zipfile
from io import BytesIO

import numpy as np
import openpyxl
import pandas as pd
import pytest
from bad_inputs.case import Case
from PIL import Image

import easydl
from easydl.errors import InputError
from easydl.fileio import csv_text


def films(folder, n=12):
    """A table of ``n`` images of ``n`` patients in two classes, and the images beside it."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(n):
        Image.fromarray(rng.integers(0, 255, (8, 8)).astype(np.uint8)).save(folder / f"{k}.png")
    return pd.DataFrame(
        {
            "image": [f"{k}.png" for k in range(n)],
            "label": [("benign", "malignant")[k % 2] for k in range(n)],
            "patient": [f"{k:03d}" for k in range(n)],
        }
    )


def loaded(folder, frame, **options):
    frame.to_csv(folder / "scans.csv", index=False)
    return easydl.load(folder / "scans.csv", **options)


def changed(column, cells, **options):
    """A case's ``use``: the table with the first cells of a column replaced, loaded."""

    def use(folder):
        frame = films(folder)
        frame[column] = [*cells, *frame[column][len(cells) :]]
        return loaded(folder, frame, **options).notes

    return use


def missing_and_unlisted(folder):
    frame = films(folder)
    (folder / "3.png").rename(folder / "03.png")
    with pytest.raises(InputError) as caught:
        loaded(folder, frame)
    assert caught.value.problems == (f"row 5: The file {folder / '3.png'} does not exist",)
    raise caught.value


def many_missing(folder):
    frame = films(folder)
    frame["image"] = [f"gone{k}.png" for k in range(12)]
    with pytest.raises(InputError) as caught:
        loaded(folder, frame)
    assert caught.value.found.count("does not exist") == 5
    assert len(caught.value.problems) == 12
    raise caught.value


def unlisted(folder):
    return loaded(folder, films(folder).iloc[:10]).notes


def listed_twice(folder):
    frame = films(folder)
    study = loaded(folder, pd.concat([frame, frame.iloc[:2]]))
    assert len(study) == 12
    return study.notes


def conflicting(column, value):
    def use(folder):
        frame = films(folder)
        loaded(folder, pd.concat([frame, frame.iloc[:1].assign(**{column: value})]))

    return use


def twice_by_another_path(folder):
    frame = films(folder)
    loaded(folder, pd.concat([frame, frame.iloc[:1].assign(image="./x/../0.png", label="malignant")]))


def merged(folder):
    frame = films(folder)
    frame.loc[0, "label"] = " Benign"
    frame.loc[2, "label"] = "b\u0435nign"  # a Cyrillic letter
    study = loaded(folder, frame, merge_labels=True)
    assert list(study.classes) == ["benign", "malignant"]
    return study.notes


def slip(folder):
    study = loaded(folder, films(folder).assign(label=["malginant", *["benign", "malignant"] * 5, "benign"]))
    assert list(study.classes) == ["benign", "malginant", "malignant"]
    return study.notes


def too_few(folder):
    loaded(folder, films(folder).assign(label=["rare"] * 5 + ["usual"] * 7)).split()


def small_test_set(folder):
    study = loaded(folder, films(folder)).split(seed=0)[0].parent
    return [one.sentence for one in easydl.audit(study).issues]


def na_listed(folder):
    frame = films(folder).assign(label=["NA", "tumour"] * 6)
    assert list(loaded(folder, frame, classes=["tumour", "NA"]).classes) == ["tumour", "NA"]


def na_not_listed(folder):
    frame = films(folder).assign(label=["a", "b", "None"] * 4)
    study = loaded(folder, frame, classes=["a", "b"])
    assert len(study) == 8
    return study.notes


def identifiers(folder):
    frame = films(folder, 4).assign(patient=["001", "1e5", "0x10", "2.0"])
    frame.to_excel(folder / "scans.xlsx", index=False)
    for study in (loaded(folder, frame), easydl.load(folder / "scans.xlsx"), easydl.load(_here(folder, frame))):
        assert study.frame["patient"].tolist() == ["001", "1e5", "0x10", "2.0"]


def numbers_shown_with_zeros(folder):
    frame = films(folder, 4)
    book = openpyxl.Workbook()
    for row in [list(frame.columns), *frame.to_numpy().tolist()]:
        book.active.append(row)
    for k in range(4):
        cell = book.active.cell(k + 2, 3, k + 1)
        cell.number_format = "000"
    book.save(folder / "scans.xlsx")
    assert easydl.load(folder / "scans.xlsx").frame["patient"].tolist() == ["001", "002", "003", "004"]


def encodings(folder):
    frame = films(folder).assign(label=["gutartig-ä", "bösartig"] * 6, note=['two\nlines, "quoted"; here', *["x"] * 11])
    for number, options in enumerate(
        [
            {"encoding": "utf-8"}, {"encoding": "utf-8-sig"}, {"encoding": "utf-16"}, {"encoding": "utf-16-le"},
            {"encoding": "utf-16-be"}, {"encoding": "utf-32"}, {"encoding": "latin-1"}, {"encoding": "cp1252"},
            {"encoding": "latin-1", "sep": ";"}, {"encoding": "utf-8", "sep": "\t"}, {"encoding": "utf-16", "sep": "\t"},
            {"encoding": "utf-8", "sep": "|"}, {"encoding": "utf-8", "lineterminator": "\r\n"},
            {"encoding": "utf-8", "quoting": 1, "sep": ";"},
        ]
    ):  # fmt: skip
        path = folder / f"t{number}.csv"
        frame.to_csv(path, index=False, **options)
        study = easydl.load(path)
        assert list(study.classes) == ["bösartig", "gutartig-ä"], options
        assert study.frame["note"].iloc[0].splitlines() == ["two", 'lines, "quoted"; here']
        assumed = any("read as" in note for note in study.notes)
        assert assumed == (not options["encoding"].startswith("utf-8")), (options, study.notes)
        assert any("separated by" in note for note in study.notes) == (options.get("sep", ",") != ",")


def decimal_comma(folder):
    frame = films(folder).assign(label=[f"{k},5" for k in range(12)])
    frame.to_csv(folder / "t.csv", index=False, sep=";")
    study = easydl.load(folder / "t.csv", task="regression")
    assert study.targets()[:, 0].tolist() == [k + 0.5 for k in range(12)]
    return study.notes


def sep_line_and_blank_rows(folder):
    text = films(folder).to_csv(index=False, sep=";")
    (folder / "t.csv").write_text(f"sep=;\n{text}\n;;\n", encoding="utf-8")
    assert len(easydl.load(folder / "t.csv")) == 12


def short_rows(folder):
    lines = films(folder).assign(note="x").to_csv(index=False).splitlines()
    lines[1] = lines[1].rsplit(",", 1)[0]
    (folder / "t.csv").write_text("\n".join(lines))
    assert easydl.load(folder / "t.csv").frame["note"].iloc[:2].tolist() == ["", "x"]


def text_file(content, name="t.csv"):
    def use(folder):
        films(folder)
        (folder / name).write_bytes(content)
        easydl.load(folder / name)

    return use


def workbook(folder):
    """Two sheets, dates, merged patients, hidden rows, a stored formula result and an Excel error."""
    frame = films(folder, 6)
    book = openpyxl.Workbook()
    first = book.active
    first.title = "scans"
    first.append([*frame.columns, "date", "dose", "flag"])
    for k, row in enumerate(frame.to_numpy().tolist()):
        first.append([*row, pd.Timestamp(2024, 3, k + 1).to_pydatetime(), 1.0 + k, "#N/A" if k == 2 else "ok"])
    first["F4"].data_type = "e"
    first.merge_cells("C2:C3")
    first.row_dimensions[5].hidden = True
    book.create_sheet("other").append(["image", "label"])
    book.save(folder / "scans.xlsx")
    _with_formula(folder / "scans.xlsx", "E2", "0.5*2", "1")
    study = easydl.load(folder / "scans.xlsx")
    assert len(study) == 6
    assert study.frame["patient"].tolist() == ["000", "000", "002", "003", "004", "005"]
    assert study.frame["date"].iloc[1] == "2024-03-02"
    assert study.frame["dose"].tolist() == ["1", "2", "3", "4", "5", "6"]
    assert study.frame["flag"].tolist() == ["ok", "ok", "", "ok", "ok", "ok"]
    said = " ".join(study.notes)
    for words in (
        "'scans', was read",
        "1 hidden row read",
        "1 merged cell taken",
        "1 cell with formulas",
        "1 cell with an Excel",
    ):
        assert words in said, said


def _with_formula(path, cell, formula, value):
    """Write into the sheet's XML what Excel writes: a formula with its last result."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = parts["xl/worksheets/sheet1.xml"].decode()
    before, after = sheet.split(f'<c r="{cell}"', 1)
    parts["xl/worksheets/sheet1.xml"] = (
        f'{before}<c r="{cell}"><f>{formula}</f><v>{value}</v></c>{after.split("</c>", 1)[1]}'
    ).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def formula_without_result(folder):
    frame = films(folder)
    frame["label"] = ['=IF(1,"a","b")', *frame["label"][1:]]
    frame.to_excel(folder / "scans.xlsx", index=False)
    easydl.load(folder / "scans.xlsx")


def old_workbook(suffix):
    def use(folder):
        (folder / f"scans{suffix}").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600))
        easydl.load(folder / f"scans{suffix}")

    return use


def macros_renamed(folder):
    films(folder).to_excel(folder / "scans.xlsx", index=False)
    with zipfile.ZipFile(folder / "scans.xlsx", "a") as archive:
        archive.writestr("xl/vbaProject.bin", b"macro")
    easydl.load(folder / "scans.xlsx")


def lying_sheet(folder):
    """A sheet of few bytes that says it has a million rows of thousands of columns."""
    films(folder).to_excel(folder / "scans.xlsx", index=False)
    with zipfile.ZipFile(folder / "scans.xlsx") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = parts["xl/worksheets/sheet1.xml"].decode()
    sheet = sheet.replace("</sheetData>", '<row r="99999999"><c r="A99999999"><v>1</v></c></row></sheetData>')
    parts["xl/worksheets/sheet1.xml"] = sheet.encode()
    with zipfile.ZipFile(folder / "scans.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    easydl.load(folder / "scans.xlsx")


def given_split(folder):
    frame = films(folder).assign(patient=["P-01", "p01 ", *[f"Q{k}" for k in range(10)]])
    frame["split"] = ["train", "test", *["train", "val", "test", "train", "test"] * 2]
    loaded(folder, frame, split="split")


def kept_together(folder):
    frame = films(folder, 16).assign(patient=["P-01", "x", "p 1", *[f"Q{k}" for k in range(13)]])
    for seed in range(10):
        study = loaded(folder, frame).split(seed=seed)[0].parent
        assert study.frame.loc[[0, 2], "split"].nunique() == 1
    return [one.sentence for one in easydl.audit(study).issues]


def leaking_column(folder):
    frame = films(folder, 40)
    study = loaded(folder, frame.assign(diagnosis_code=frame["label"].map({"benign": "D24", "malignant": "C50"})))
    return [f"{one.severity} {one.sentence}" for one in easydl.audit(study).issues]


def numeric_classes(folder):
    frame = films(folder, 24).assign(label=[str(k % 12) for k in range(24)])
    study = loaded(folder, frame)
    assert list(study.classes) == [str(k) for k in range(12)]
    assert study.targets()[10].argmax() == 10
    assert list(study.rows(range(5)).classes) == list(study.classes)
    assert list(loaded(folder, frame.assign(label=["b", "a"] * 12), classes=["b", "a"]).classes) == ["b", "a"]


def findings_by_rule(folder):
    frame = films(folder).assign(label=["nodule;effusion", "effusion", "", "nodule"] * 3)
    study = loaded(folder, frame, label_separator=";")
    assert study.task == "multilabel"
    assert list(study.classes) == ["effusion", "nodule"]
    assert study.targets()[:4].tolist() == [[1, 1], [1, 0], [0, 0], [0, 1]]


def one_class_by_rule(folder):
    study = loaded(folder, films(folder).assign(label=["a;b", "c"] * 6), task="classification")
    assert list(study.classes) == ["a;b", "c"]


def a_million_rows(folder):
    frame = films(folder)
    rows = pd.concat([frame] * 8500, ignore_index=True)  # 102,000 here; the time of a million was measured by hand
    rows.to_csv(folder / "scans.csv", index=False)
    started = time.monotonic()
    study = easydl.load(folder / "scans.csv")
    assert time.monotonic() - started < 10
    assert len(study) == 12


def leading_outside(cell):
    def use(folder):
        outside = films(folder / "elsewhere")
        frame = films(folder / "study")
        frame.loc[3, "image"] = cell.format(outside=folder / "elsewhere")
        assert len(outside)
        loaded(folder / "study", frame)

    return use


def root_given(folder):
    frame = films(folder / "images")
    (folder / "tables").mkdir()
    study = loaded(folder / "tables", frame, root=folder / "images")
    assert study.frame["image"].iloc[2] == str(folder / "images/2.png")
    frame["image"] = [str(folder / "images" / name) for name in frame["image"]]
    assert len(loaded(folder / "tables", frame, root=folder / "images")) == 12
    assert len(easydl.load(frame)) == 12  # a DataFrame is the user's own


def link_in_zip(folder):
    from easydl.workspace.uploads import unpack

    with zipfile.ZipFile(folder / "films.zip", "w") as archive:
        link = zipfile.ZipInfo("a/1.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    unpack(folder / "films.zip", folder / "unpacked")


def link_outside(folder):
    frame = films(folder / "study")
    films(folder / "elsewhere")
    (folder / "study/3.png").unlink()
    os.symlink(folder / "elsewhere/3.png", folder / "study/3.png")
    return loaded(folder / "study", frame).notes


def strange_paths(folder):
    frame = films(folder)
    frame.loc[:2, "image"] = ["x" * 5000 + ".png", "a\x00b.png", "~nobody-of-this-name/1.png"]
    easydl.load(_here(folder, frame, skip=3))


def strange_paths_below(folder):
    frame = films(folder)
    frame.loc[:2, "image"] = ["x" * 5000 + ".png", "a\x00b.png", "http://example.org/1.png"]
    easydl.load(frame, root=folder)


def formula_cells(folder):
    risky = ["a\r=1+1", "=1+1", "+A1", "-A1", "@SUM(A1)", "\tx", "\rx", "=cmd|' /C calc'!A0"]
    frame = pd.DataFrame(
        {"=label": risky, "text": ["-0.3", "+2", "-1e-3", "a=b", "", "-", "ok", "1"], "value": [-0.3] * 8}
    )
    back = pd.read_csv(BytesIO(csv_text(frame).encode()), dtype=str, keep_default_na=False)
    assert list(back.columns) == ["'=label", "text", "value"]
    assert back["'=label"].tolist()[0] == "a\n=1+1"
    assert not any(cell.startswith(tuple("=+-@\t\r\n")) for cell in back["'=label"])
    assert back["text"].tolist() == ["-0.3", "+2", "-1e-3", "a=b", "", "'-", "ok", "1"]
    assert back["value"].tolist() == ["-0.3"] * 8


def formula_in_files(folder):
    from easydl.prediction import Predictions

    made = pd.DataFrame({"image": ["=HYPERLINK(1).png"], "prediction": ["@x"], "confidence": [0.5]})
    text = Predictions(made, ("@x", "y")).save(folder / "p.csv").read_text()
    assert "\n'=HYPERLINK(1).png,'@x,0.5" in text


def leftovers(folder):
    for name in ("benign", "malignant"):
        films(folder / name, 6)
        for extra in (".DS_Store", "Thumbs.db", "._0.png"):
            (folder / name / extra).write_bytes(b"x")
        films(folder / name / ".ipynb_checkpoints", 2)
    films(folder / "__MACOSX", 3)
    study = easydl.load(folder)
    assert study.frame["label"].value_counts().to_dict() == {"benign": 6, "malignant": 6}


def nested(folder):
    films(folder / "benign")
    films(folder / "malignant" / "hospital 2", 3)
    films(folder / "empty" / "x", 0)
    (folder / "benign" / "notes.txt").write_text("x")
    study = easydl.load(folder)
    assert list(study.classes) == ["benign", "malignant"]
    said = " ".join(study.notes)
    assert "'empty' holds no images" in said
    assert "1 file (notes.txt) in the class folders skipped" in said
    return study.notes


def folders_alike(folder):
    films(folder / "benign")
    films(folder / "benign ", 3)
    films(folder / "malignant")
    easydl.load(folder)


def splits_and_more(folder):
    for part in ("train", "test"):
        for name in ("a", "b"):
            films(folder / part / name, 6)
    films(folder / "unsorted", 2)
    study = easydl.load(folder)
    assert list(study.classes) == ["a", "b"]
    return study.notes


def masks_among_images(folder):
    for name in ("benign", "malignant"):
        films(folder / name, 6)
        for k in range(6):
            Image.fromarray(np.ones((8, 8), np.uint8)).save(folder / name / f"{k}_mask.png")
    study = easydl.load(folder)
    assert len(study) == 12
    return study.notes


def measurement_by_rule(folder):
    frame = films(folder, 30).assign(label=[f"{20 + k / 7:.3f}" for k in range(30)])
    study = loaded(folder, frame, task="regression")
    assert study.targets().shape == (30, 1)
    assert np.allclose(study.targets()[:, 0], [round(20 + k / 7, 3) for k in range(30)])


def _here(folder, frame, skip=0):
    keep = frame["image"][:skip].tolist()
    return frame.assign(image=[*keep, *[str(folder / name) for name in frame["image"][skip:]]])


ages = [str(20 + k) for k in range(30)]

CASES: list[Case] = [
    Case("T01", "a file missing and another unlisted", "fail", missing_and_unlisted, r"3\.png does not exist.*03\.png"),
    Case("T01", "all files missing", "fail", many_missing, "12 of 12 rows.*and 7 more"),
    Case("T01", "files that no row names", "warn", unlisted, r"2 image files beside the listed.*10\.png, 11\.png"),
    Case("T02", "rows listed twice", "warn", listed_twice, "2 rows listed twice"),
    Case("T02", "listed twice with other labels", "fail", conflicting("label", "malignant"), "different labels"),
    Case("T02", "listed twice with other patients", "fail", conflicting("patient", "007"), "different patients"),
    Case("T02", "listed twice by another path", "fail", twice_by_another_path, "different labels"),
    Case("T03", "a label in another case", "fail", changed("label", ["Benign"]), "(?s)spaces or case.*merge_labels"),
    Case("T03", "a label with a space", "fail", changed("label", ["benign "]), "spaces or case"),
    Case("T03", "a no-break space", "fail", changed("label", ["benign\u00a0"]), "spaces or case"),
    Case("T03", "a letter of another alphabet", "fail", changed("label", ["b\u0435nign"]), r"look alike.*\\u0435"),
    Case("T03", "an invisible character", "fail", changed("label", ["ben\u200bign"]), "look alike"),
    Case("T03", "merged when asked", "warn", merged, "were treated as 'benign'"),
    Case("T03", "a slip of the pen", "warn", slip, "'malginant' .1 rows. and 'malignant'.*kept apart"),
    Case("T04", "one class only", "fail", changed("label", ["same"] * 12), "All 12 images have the label 'same'"),
    Case("T05", "too few patients in a class", "fail", too_few, "(?s)'rare': 5.*at least 6 patients"),
    Case("T05", "fewer than ten test patients", "warn", small_test_set, "will mean little"),
    *(
        Case("T06", f"the label {word!r}", "fail", changed("label", [word]), rf"(?s){word}.*may be a class.*classes=")
        for word in ("NA", "None", "NaN", "null")
    ),
    Case("T06", "an empty label", "fail", changed("label", [""]), "row 2: the label is empty"),
    Case("T06", "NA is a class", "fix", na_listed),
    Case("T06", "None is no label", "warn", na_not_listed, "4 images without a label .None. excluded"),
    Case("T07", "leading zeros and 1e5", "fix", identifiers),
    Case("T07", "zeros shown by a number format", "fix", numbers_shown_with_zeros),
    Case("T08", "encodings and separators", "fix", encodings),
    Case("T08", "a decimal comma", "warn", decimal_comma, "decimal comma"),
    Case("T08", "thousands or decimals", "fail", changed("label", ["1,234"] * 6 + ["2,345"] * 6, task="regression"),
         "two ways"),
    Case("T08", "Excel's sep line and blank rows", "fix", sep_line_and_blank_rows),
    Case("T08", "rows that are too short", "fix", short_rows),
    Case("T08", "rows that are too long", "fail", text_file(b"image,label\n0.png,a\n1.png,b,c,d\n"), "cannot be read"),
    Case("T08", "an open quote", "fail", text_file(b'image,label\n"0.png,a\n1.png,b\n'), "cannot be read"),
    Case("T08", "a workbook called csv", "fail", text_file(b"PK\x03\x04\x00\x00\xff\x00abc"), "zero bytes.*workbook"),
    Case("T08", "an empty file", "fail", text_file(b""), "cannot be read as a table"),
    Case("T08", "a header only", "fail", text_file(b"image,label,patient\n"), "no rows below"),
    Case("T08", "a column named twice", "fail", text_file(b"image,label,label\n0.png,a,b\n"), "'label' twice"),
    Case("T08", "UTF-16 cut short", "fail", text_file(b"\xff\xfea\x00b"), "cannot be read as a table"),
    Case("T09", "dates, merged and hidden cells", "fix", workbook),
    Case("T09", "formulas without results", "fail", formula_without_result, "1 formula whose results are not"),
    *(
        Case("T09", f"a workbook {suffix}", "fail", old_workbook(suffix), "old or macro-carrying")
        for suffix in (".xls", ".xlsm", ".xlsb")
    ),
    Case("T09", "macros under another name", "fail", macros_renamed, "carries macros"),
    Case("T09", "an old workbook called xlsx", "fail", old_workbook(".xlsx"), "cannot be read as a table"),
    Case("T09", "a sheet that lies about its size", "fail", lying_sheet, "more rows or cells"),
    Case("T10", "one patient in two spellings in two parts", "fail", given_split, "1 of 11 patients"),
    Case("T10", "one patient in two spellings", "warn", kept_together, "1 patients are written in several ways"),
    Case("T11", "the label in another column", "warn", leaking_column, "NOTE.*'diagnosis_code' names the label"),
    Case("T12", "numbers as classes", "fix", numeric_classes),
    Case("T13", "several labels in a cell", "fail", changed("label", ["benign;malignant"]), "(?s)several labels.*label_sep"),
    Case("T13", "findings as in ChestX-ray14", "fail", changed("label", ["Mass|Nodule"]), "several labels"),
    Case("T13", "findings by the rule given", "fix", findings_by_rule),
    Case("T13", "one class by the rule given", "fix", one_class_by_rule),
    Case("T14", "very many rows", "fix", a_million_rows),
    Case("T15", "a path with dots", "fail", leading_outside("../elsewhere/3.png"), "(?s)row 5.*outside the folder.*root="),
    Case("T15", "an absolute path", "fail", leading_outside("{outside}/3.png"), "row 5.*outside the folder"),
    Case("T15", "a Windows path", "fail", leading_outside("C:\\films\\3.png"), "row 5.*outside the folder"),
    Case("T15", "a path of the home folder", "fail", leading_outside("~/3.png"), "row 5.*outside the folder"),
    Case("T15", "a root given", "fix", root_given),
    Case("T15", "a link in a zip", "fail", link_in_zip, "a link or a device"),
    Case("T15", "a link that leads outside", "warn", link_outside, "1 file linked to places outside"),
    Case("T15", "paths that cannot be", "fail", strange_paths, "3 of 12 rows.*does not exist"),
    Case("T15", "paths that cannot be, below a root", "fail", strange_paths_below, "3 of 12 rows.*does not exist"),
    Case("T16", "formula cells", "fix", formula_cells),
    Case("T16", "formula cells in predictions", "fix", formula_in_files),
    Case("T17", "leftovers of operating systems", "fix", leftovers),
    Case("T17", "folders within class folders", "warn", nested, "'malignant' hold folders themselves"),
    Case("T17", "class folders that look alike", "fail", folders_alike, "spaces or case: 'benign'.*'benign '"),
    Case("T17", "a folder beside train and test", "warn", splits_and_more, "2 images in unsorted were not used"),
    Case("T17", "masks among the images", "warn", masks_among_images, "12 files .* masks of the images beside"),
    Case("T18", "ages where classes are expected", "fail",
         lambda folder: loaded(folder, films(folder, 30).assign(label=ages)), "(?s)30 different numbers.*task='regression'"),
    Case("T18", "a measurement by the rule given", "fix", measurement_by_rule),
    Case("T18", "a word among numbers", "fail", changed("label", ["big", *ages[:11]], task="regression"),
         "row 2: 'big' in 'label' is not a number"),
]  # fmt: skip
