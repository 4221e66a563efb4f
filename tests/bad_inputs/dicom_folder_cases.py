"""Group D of the bad inputs, continued: series and folders."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from bad_inputs.case import Case
from made import dicom_series, dicom_slice

from easydl.images import read
from easydl.images.series import find_series

STORED = np.arange(48, dtype=np.uint16).reshape(6, 8) * 50
VOLUME = np.stack([STORED + k for k in range(5)]).astype(np.uint16)


def files(folder: Path) -> list[Path]:
    """The files of a series in the order of their positions."""
    return sorted(folder.glob("*.dcm"), key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]))


def change(path: Path, **elements) -> None:
    dataset = pydicom.dcmread(path)
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path)


def one_slice(**elements):
    """Reads a series whose second slice was changed."""

    def use(folder):
        series = dicom_series(folder / "s", VOLUME)
        change(files(series)[1], **elements)
        return read(series)

    return use


def all_slices(**elements):
    return lambda folder: read(dicom_series(folder / "s", VOLUME, **elements))


def copied(folder):
    series = dicom_series(folder / "s", VOLUME)
    shutil.copy(files(series)[2], series / "again.dcm")
    scan = read(series)
    assert scan.shape == (5, 6, 8)
    return scan.notes


def copied_film(folder):
    dicom_slice(folder / "s/a.dcm", STORED, Modality="DX")
    shutil.copy(folder / "s/a.dcm", folder / "s/b.dcm")
    content = find_series(folder / "s")
    series, refused = content.series, content.unused
    assert len(series) == 1
    return [reason for _, reason in refused]


def same_identifier(folder):
    series = dicom_series(folder / "s", VOLUME)
    one, two = files(series)[:2]
    change(two, SOPInstanceUID=pydicom.dcmread(one).SOPInstanceUID)
    return read(series)


def same_identifier_of_films(folder):
    for k, name in enumerate("ab"):
        dicom_slice(folder / f"s/{name}.dcm", STORED + k, Modality="DX", SOPInstanceUID="1.2.3")
    content = find_series(folder / "s")
    series, refused = content.series, content.unused
    assert series == []
    assert len(refused) == 2
    return [reason for _, reason in refused]


def several_series(folder):
    for number in (1, 2):
        dicom_series(folder / f"s/{number}", VOLUME, SeriesInstanceUID=f"1.2.{number}")
    return read(folder / "s")


def excluded(folder):
    dicom_series(folder / "s/a", VOLUME, SeriesInstanceUID="1.2.1", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    dicom_series(folder / "s/b", VOLUME, SeriesInstanceUID="1.2.2", ImageType=["DERIVED", "SECONDARY", "MPR"])
    dicom_slice(
        folder / "s/scout.dcm", STORED, SeriesInstanceUID="1.2.3", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    content = find_series(folder / "s")
    assert [len(series.files) for series in content.series] == [5]
    assert read(folder / "s").shape == (5, 6, 8)
    derived = next(one for one in content.excluded if len(one.files) == 5)
    assert read(derived.address).shape == (5, 6, 8)
    reasons = [reason for _, reason in content.unused]
    assert len(reasons) == 6
    assert any("localizer" in reason for reason in reasons)
    return reasons


def missing(folder):
    series = dicom_series(folder / "s", VOLUME)
    files(series)[2].unlink()
    return read(series)


def tolerated(folder):
    """Rounded positions are no gap: a hundredth of the distance is allowed."""
    series = dicom_series(folder / "s", VOLUME, gap_mm=2.0)
    change(files(series)[1], ImagePositionPatient=[0, 0, 2.015])
    assert read(series).shape == (5, 6, 8)


def echoes(folder):
    """Two echoes at the same places in one series become two volumes, each with its own pixels."""
    for number, echo in enumerate((5.0, 30.0)):
        for k in range(4):
            dicom_slice(folder / f"s/{number}{k}.dcm", STORED + 100 * number, EchoTime=echo, Modality="MR",
                        RescaleSlope=1, RescaleIntercept=0, ImagePositionPatient=[0, 0, 2.0 * k])  # fmt: skip
    content = find_series(folder / "s")
    series, refused = content.series, content.unused
    assert refused == []
    assert [one.part for one in series] == ["EchoTime 5.0", "EchoTime 30.0"]
    for number, one in enumerate(series):
        scan = read(one.address)
        assert scan.shape == (4, 6, 8)
        np.testing.assert_array_equal(scan.pixels[0, ..., 0], STORED + 100 * number)
        assert any("EchoTime" in note for note in scan.notes)


def by_b_value(folder):
    for number, b in enumerate((0.0, 50.0, 800.0)):
        for k in range(3):
            dicom_slice(folder / f"s/{number}{k}.dcm", STORED, DiffusionBValue=b, Modality="MR",
                        ImagePositionPatient=[0, 0, 2.0 * k])  # fmt: skip
    assert [one.part for one in find_series(folder / "s").series] == [
        f"DiffusionBValue {b}" for b in (0.0, 50.0, 800.0)
    ]


def unexplained(folder):
    series = dicom_series(folder / "s", VOLUME)
    change(files(series)[1], ImagePositionPatient=[0, 0, 4.0])
    return read(series)


def shuffled(folder):
    """The same slices under other names and numbers give the same volume."""
    expected = read(dicom_series(folder / "a", VOLUME))
    again = folder / "b"
    again.mkdir()
    for number, path in enumerate(reversed(files(folder / "a"))):
        shutil.copy(path, again / f"{number}.dcm")
        change(again / f"{number}.dcm", InstanceNumber=1)
    np.testing.assert_array_equal(read(again).pixels, expected.pixels)
    np.testing.assert_allclose(read(again).affine, expected.affine)


def tilted(folder):
    for k in range(5):
        dicom_slice(folder / f"s/{k}.dcm", STORED, ImagePositionPatient=[0, 0.9 * k, 2.0 * k])
    return read(folder / "s")


def thickness(folder):
    scan = read(dicom_series(folder / "s", VOLUME, gap_mm=1.25, SliceThickness=5.0))
    assert scan.spacing_mm == (1.25, 0.8, 0.7)


def dicomdir(folder):
    """The directory file is not followed; the files below the folder are found by walking."""
    dicom_series(folder / "s", VOLUME)
    (folder / "s/DICOMDIR").write_bytes(bytes(128) + b"DICM" + b"../../etc/passwd")
    content = find_series(folder / "s")
    series, refused = content.series, content.unused
    assert len(series) == 1
    assert refused == []


def strange_folder(folder):
    series = dicom_series(folder / "s", VOLUME)
    (series / "loop").symlink_to(series)
    os.mkfifo(series / "pipe")
    odd = series / "new\nline\u202egnp.dcm"
    odd.write_bytes(bytes(128) + b"DICM" + b"\xff" * 20)
    content = find_series(series)
    assert [len(found.files) for found in content.series] == [5]
    named = dict(content.unused)
    assert set(named) == {odd, series / "loop", series / "pipe"}
    assert "a link to a folder" in named[series / "loop"] and "a pipe" in named[series / "pipe"]


def laterality(folder):
    """The header says left, the table right."""
    import easydl

    for number in range(6):
        dicom_slice(folder / f"{number}.dcm", STORED + number, Modality="DX", ImageLaterality="L", PatientID=f"p{number}",
                    SOPInstanceUID=f"1.2.{number}")  # fmt: skip
    rows = [
        {"image": f"{n}.dcm", "label": "ab"[n % 2], "patient": f"p{n}", "laterality": "R" if n == 3 else "L"}
        for n in range(6)
    ]
    pd.DataFrame(rows).to_csv(folder / "scans.csv", index=False)
    study = easydl.load(folder / "scans.csv")
    return study.notes


CASES = [
    *(Case("D07", f"spacing {value} in a series", "fail", all_slices(PixelSpacing=value), "PixelSpacing")
      for value in (["0", "0.7"], ["inf", "0.7"], "0.7")),
    Case("D08", "position of two numbers", "fail", one_slice(ImagePositionPatient=["1", "2"]), "ImagePositionPatient"),
    Case("D08", "position nan", "fail", one_slice(ImagePositionPatient=["1", "2", "nan"]), "ImagePositionPatient"),
    Case("D09", "orientation not unit", "fail", all_slices(ImageOrientationPatient=[2, 0, 0, 0, 1, 0]), "unit vectors"),
    Case("D09", "orientation not square", "fail", all_slices(ImageOrientationPatient=[1, 0, 0, 0.6, 0.8, 0]), "right angles"),
    Case("D24", "a copied slice", "warn", copied, "repeat a slice"),
    Case("D24", "a copied film", "warn", copied_film, "counted once"),
    Case("D25", "one identifier, two slices", "fail", same_identifier, "one identifier and different pixels"),
    Case("D25", "one identifier, two films", "warn", same_identifier_of_films, "one identifier and different pixels"),
    Case("D26", "two patients", "fail", one_slice(PatientID="SECRET-8"), "more than one patient"),
    Case("D27", "several series", "fail", several_series, "2 series"),
    Case("D27", "localizer and reformat", "warn", excluded, "derived from another"),
    Case("D28", "odd orientation", "fail", one_slice(ImageOrientationPatient=[1, 0, 0, 0, 0.98, 0.199]), "orientation"),
    Case("D28", "odd spacing", "fail", one_slice(PixelSpacing=[0.9, 0.7]), r"0\.9 x 0\.7"),
    Case("D29", "missing slice", "fail", missing, r"4\.00 mm where slices are 2\.00"),
    Case("D29", "rounded positions", "fix", tolerated),
    Case("D30", "two echoes", "fix", echoes),
    Case("D30", "b-values", "fix", by_b_value),
    Case("D30", "a position taken twice", "fail", unexplained, "share a position"),
    Case("D31", "order of files", "fix", shuffled),
    Case("D32", "gantry tilt", "fail", tilted, r"24\.2 degrees"),
    Case("D33", "thickness is not distance", "fix", thickness),
    Case("D39", "DICOMDIR", "fix", dicomdir),
    Case("D40", "loop, pipe, odd name", "fix", strange_folder),
    Case("D47", "laterality contradicts", "warn", laterality, "laterality"),
]  # fmt: skip
