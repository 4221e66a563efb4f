"""A sealed study: nothing but the seal says what was planted, and the seal tells the truth."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from scipy.stats import chisquare
from typer.testing import CliRunner

from easydl import cli
from easydl.errors import InputError
from easydl.options_of_planning import SimulationOptions
from easydl.simulation import TRAPS, simulate, unseal
from easydl.simulation.seal import SEAL_FILE, hidden_trap

SMALL = {"kind": "pelvis", "patients": 20, "images_per_patient": 1, "size": 32, "traps": "sealed"}
SEEDS = {trap: next(seed for seed in range(99) if hidden_trap(seed) == trap) for trap in (None, *TRAPS)}


@pytest.fixture(scope="module")
def studies(tmp_path_factory) -> dict[str | None, Path]:
    folder = tmp_path_factory.mktemp("sealed")
    return {trap: simulate(folder / str(seed), seed=seed, **SMALL).parent for trap, seed in SEEDS.items()}


def table(folder: Path) -> pd.DataFrame:
    frame = pd.read_csv(folder / "scans.csv", dtype=str, keep_default_na=False)
    frame["pixels"] = [pydicom.dcmread(folder / image).pixel_array for image in frame.image]
    return frame


def test_the_seed_chooses_each_trap_or_none_equally_often():
    counts = Counter(hidden_trap(seed) for seed in range(600))
    assert set(counts) == {None, *TRAPS}
    assert chisquare(list(counts.values())).pvalue > 0.001


def test_nothing_but_the_seal_says_what_was_planted(studies):
    notes, columns = set(), set()
    for trap, folder in studies.items():
        text = (folder / "README.txt").read_text(encoding="utf-8")
        notes.add(re.sub(r"\d+ slices, seed \d+", "", text))
        columns.add((folder / "scans.csv").read_text(encoding="utf-8").splitlines()[0])
        seal = (folder / SEAL_FILE).read_text(encoding="utf-8")
        assert not any(name in seal for name in TRAPS)
        assert all(name in text for name in TRAPS)
        assert sorted(item.name for item in folder.iterdir()) == [
            "README.txt", "images", "masks", "scans.csv", SEAL_FILE, "truth.csv",
        ]  # fmt: skip
        rows = len(pd.read_csv(folder / "scans.csv"))
        assert rows == 20 or trap in ("same_patient", "duplicates")
        assert len(seal.splitlines()[1]) == -(-(8 * rows + 808) * 5 // 4)
    assert len(notes) == len(columns) == 1


@pytest.mark.parametrize("trap", SEEDS)
def test_the_seal_tells_what_was_planted_and_in_which_rows(studies, trap):
    frame, seal = table(studies[trap]), unseal(studies[trap])
    assert seal.trap == trap
    carries = np.isin(np.arange(len(frame)) + 2, seal.rows)
    malignant = (frame.label == "malignant").to_numpy()
    corner = np.array([pixels[:8, :8].max() > 2500 for pixels in frame.pixels])
    twice = frame.pixels.map(lambda pixels: hashlib.sha256(pixels.tobytes()).hexdigest()).duplicated(keep=False)
    torn = frame.patient.str.lower().str.replace("-", "").duplicated(keep=False)
    first = frame.scanner == "Simulated A"
    assert corner.tolist() == (malignant if trap == "marker" else malignant & False).tolist()
    assert twice.any() == (trap == "duplicates")
    if trap is None:
        assert not carries.any()
        assert str(seal).startswith("No trap was planted")
        return
    expected = {
        "sex": (frame.sex == "M") == malignant, "scanner": first == malignant, "marker": malignant,
        "same_patient": torn, "duplicates": twice,
    }[trap]  # fmt: skip
    assert carries.tolist() == list(expected)
    assert carries.sum() >= (0.9 * len(frame) if trap in ("sex", "scanner") else 4)
    assert trap in str(seal)
    assert TRAPS[trap] in str(seal)


def test_a_sealed_study_can_be_split_by_its_own_column(studies):
    from easydl.studies import load

    study = load(str(studies["sex"] / "scans.csv"), label="label", split="split")
    assert all(len(part) for part in study.split())


def test_the_command_seals_and_opens(studies, tmp_path):
    words = ["--kind", "pelvis", "--patients", "2", "--size", "32", "--traps", "sealed", "--seed", "1"]
    made = CliRunner().invoke(cli.app, ["simulate", str(tmp_path / "s"), *words])
    assert made.exit_code == 0, made.output
    assert made.output.strip() == str(tmp_path / "s" / "scans.csv")
    assert not any(name in made.output for name in TRAPS)
    said = CliRunner().invoke(cli.app, ["simulate", str(tmp_path / "s"), "--unseal"])
    assert said.output.strip() == str(unseal(tmp_path / "s"))


def test_a_seal_that_is_missing_or_was_changed_is_refused(tmp_path):
    folder = simulate(tmp_path / "s", patients=2, images_per_patient=1, size=32, traps="sealed").parent
    seal = folder / SEAL_FILE
    whole = seal.read_text(encoding="utf-8")
    for broken in (whole[:-20], whole.replace(whole[200:204], "0000"), "", "x\ny\n", whole[:90] + "~" + whole[91:]):
        seal.write_text(broken, encoding="utf-8")
        with pytest.raises(InputError, match=r"seal.txt was changed"):
            unseal(folder)
    seal.unlink()
    with pytest.raises(InputError, match=r"has no seal.txt"):
        unseal(folder)


def test_the_command_takes_every_option_of_simulate(tmp_path, monkeypatch):
    asked: dict = {}
    monkeypatch.setattr("easydl.simulate", lambda folder, **options: asked.update(options) or folder)
    words = (
        "--kind pelvis_volumes --patients 3 --images-per-patient 2 --size 40 --depth 9 --nodule-rate 0.25 --dose 500"
    )
    words += " --traps sex --traps marker --masks gland --masks mass --seed 6"
    made = CliRunner().invoke(cli.app, ["simulate", str(tmp_path), *words.split()])
    assert made.exit_code == 0, made.output
    assert asked == {
        "kind": "pelvis_volumes", "patients": 3, "images_per_patient": 2, "size": 40, "depth": 9, "nodule_rate": 0.25,
        "dose": 500.0, "traps": ["sex", "marker"], "masks": ["gland", "mass"], "seed": 6,
    }  # fmt: skip
    assert set(asked) == set(SimulationOptions.model_fields)
