"""Splits by patient that cannot leak, and the check of splits made elsewhere. It moves rows, never pixels."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from easydl.errors import InputError, LeakageError
from easydl.studies.folders import SPLIT_NAMES

if TYPE_CHECKING:
    from easydl.studies.study import Study

PARTS = ("train", "val", "test")


def digest(pixels: np.ndarray) -> str:
    """SHA-256 of an image's decoded pixels and shape; grey stored as RGB equals the same grey."""
    if pixels.shape[-1] == 3 and np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(
        pixels[..., 0], pixels[..., 2]
    ):  # fmt: skip
        pixels = pixels[..., :1]
    return hashlib.sha256(str(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def groups(study: Study) -> pd.Series:
    """Which rows must stay together: those of one patient, and those of patients who share an identical image.

    Returns:
        For every row the name of its group, which does not depend on the order of the rows.
    """
    patients = study.frame["patient"].tolist()
    parent = {patient: patient for patient in patients}

    def top(patient: str) -> str:
        while parent[patient] != patient:
            patient = parent[patient]
        return patient

    holder: dict[str, str] = {}
    for patient, content in zip(patients, study.digests(), strict=True):
        one, other = top(patient), top(holder.setdefault(content, patient))
        if one != other:
            parent[max(one, other)] = min(one, other)
    return pd.Series([top(patient) for patient in patients], index=study.frame.index)


def assign(study: Study, sizes: tuple[float, float, float], seed: int) -> None:
    """Fill the column ``split``: stratified by class, in whole groups, the same on every machine for a seed.

    Raises:
        InputError: The sizes are no shares, or a class has fewer patients than there are parts.
    """
    if len(sizes) != 3 or min(sizes) <= 0 or abs(sum(sizes) - 1) > 1e-6:
        raise InputError(
            f"sizes={sizes} are no shares of the patients.",
            "three positive numbers (train, val, test) that add up to 1.",
            "For example sizes=(0.6, 0.2, 0.2).",
        )
    if "patient" not in study.frame.columns:
        raise InputError("The study has no patients.", "a patient for every image.", "Load it again with patient=.")
    group = groups(study)
    if study.task == "classification":
        if "label" not in study.frame.columns:
            raise InputError("The study has no labels.", "a label for every image.", "Load a table with labels.")
        by_class = study.frame["label"].value_counts()
        rarity = {name: (int(count), name) for name, count in by_class.items()}
        stratum = study.frame.groupby(group)["label"].agg(lambda names: min(names, key=lambda name: rarity[name]))
    else:
        stratum = pd.Series("all", index=sorted(set(group)))
    counts = stratum.value_counts()
    if (counts < len(PARTS)).any():
        listing = ", ".join(f"{name!r}: {count}" for name, count in sorted(counts.items()))
        raise InputError(
            f"There are too few patients to split ({listing}).",
            "at least three patients in every class: one each for training, validation and test.",
            "Add patients, merge classes, or leave the rare class out.",
        )
    part = pd.Series("train", index=stratum.index)
    for name in sorted(counts.index):
        members = np.array(sorted(stratum.index[stratum == name]))
        key = int.from_bytes(hashlib.sha256(f"{seed}|{name}".encode()).digest()[:8], "little")
        np.random.Generator(np.random.PCG64(key)).shuffle(members)
        test = min(max(1, round(sizes[2] * len(members))), len(members) - 2)
        val = min(max(1, round(sizes[1] * len(members))), len(members) - test - 1)
        part[members[:test]], part[members[test : test + val]] = "test", "val"
    study.frame["split"] = group.map(part).to_numpy()
    study.seed = seed
    assert_disjoint(study.frame)


def assert_disjoint(frame: pd.DataFrame) -> None:
    """Refuse a table whose column ``split`` puts a patient in two parts.

    Raises:
        LeakageError: With the number of such patients.
    """
    leaking = shared_patients(frame, "split")
    if leaking:
        raise _leak(leaking, "split", frame)


def shared_patients(frame: pd.DataFrame, column: str) -> list[str]:
    """The patients whose rows lie in more than one part of the split in ``column``."""
    rows = frame[frame[column] != ""]
    parts = rows.groupby("patient")[column].nunique()
    return sorted(parts.index[parts > 1])


def check_split(study: Study, column: str, override: str | None) -> None:
    """Take over a ready-made split, unless a patient or an identical image is in two of its parts.

    Raises:
        InputError: The column is missing or holds other words than train, val and test.
        LeakageError: Patients or images are in two parts and there is no ``override``.
    """
    if column not in study.frame.columns:
        raise InputError(
            f"There is no column {column!r} with a split.",
            "a column of train, val and test.",
            "Use study.split(seed=0).",
        )
    names = study.frame[column].str.strip().str.lower()
    strange = sorted(set(names) - set(SPLIT_NAMES))
    if strange:
        raise InputError(
            f"The split column {column!r} holds {strange[0]!r}.",
            "train, val (or valid, validation) or test in every row.",
            "Correct the column, or use study.split(seed=0).",
        )
    trial = study.frame.assign(split=names.map(SPLIT_NAMES))
    missing = [part for part in PARTS if part not in set(trial["split"])]
    leaking = shared_patients(trial, "split")
    content = pd.Series(study.digests(), index=trial.index)
    copies = int((trial.groupby(content)["split"].nunique() > 1).sum())
    if (leaking or copies) and not (override or "").strip():
        raise _leak(leaking, column, trial, copies)
    if missing:
        raise InputError(
            f"The split column {column!r} has no {' and no '.join(missing)} rows.",
            "rows for train, val and test.",
            "Use study.split(seed=0), which holds out a test set.",
        )
    study.frame["split"] = trial["split"]
    if leaking or copies:
        study.overrides.append(
            f"The given split was used although {len(leaking)} patients and {copies} identical images are in more "
            f"than one part. Reason given: {(override or '').strip()}"
        )


def _leak(leaking: list[str], column: str, frame: pd.DataFrame, copies: int = 0) -> LeakageError:
    what = []
    if leaking:
        what.append(f"{len(leaking)} of {frame['patient'].nunique()} patients")
    if copies:
        what.append(f"{copies} identical images")
    return LeakageError(
        f"The split in column {column!r} puts {' and '.join(what)} in more than one part.",
        "every patient and every image in one part only: otherwise the test measures memory, not skill.",
        "Use study.split(seed=0), or pass override='your reason', which every report will repeat.",
    )
