"""Splits by patient that cannot leak, and the check of splits made elsewhere. It moves rows, never pixels."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from easydl.errors import InputError, LeakageError
from easydl.studies.folders import SPLIT_NAMES
from easydl.studies.labels import JOIN

if TYPE_CHECKING:
    from easydl.studies.study import Study

PARTS = ("train", "val", "test")
WORDS = {"train": "training", "val": "validation", "test": "test"}
LEAST = 2
"""Patients of every class in every part, at least: of one alone, sensitivity is 0 or 1 and has no interval."""

DRAWS = 20
"""Draws made, at most, to find one with every class in every part."""


def patient_key(patient: str) -> str:
    """What stays of a patient's identifier when it is written another way: ``"P-01"`` and ``"p01 "`` are one.

    Case, spaces, punctuation and leading zeros go; letters and numbers stay apart (``"1-11"`` is not ``"11-1"``).
    """
    parts = re.findall(r"\d+|[^\W\d_]+", unicodedata.normalize("NFKC", patient).casefold())
    return "|".join(part.lstrip("0") or "0" if part.isdigit() else part for part in parts) or patient


def groups(study: Study) -> pd.Series:
    """Which rows must stay together: those of one patient (however written), and of patients who share an image.

    Returns:
        For every row the name of its group, which does not depend on the order of the rows.
    """
    patients = study.frame["patient"].tolist()
    parent = {patient: patient for patient in patients}

    def top(patient: str) -> str:
        while parent[patient] != patient:
            parent[patient] = patient = parent[parent[patient]]
        return patient

    holder: dict[str, str] = {}
    keys = {patient: f"patient {patient_key(patient)}" for patient in parent}
    for patient, content in [*keys.items(), *zip(patients, study.digests(), strict=True)]:
        one, other = top(patient), top(holder.setdefault(content, patient))
        if one != other:
            parent[max(one, other)] = min(one, other)
    return pd.Series([top(patient) for patient in patients], index=study.frame.index)


def assign(study: Study, sizes: tuple[float, float, float], seed: int) -> None:
    """Fill the column ``split``: stratified by class, in whole groups, the same on every machine for a seed.

    Raises:
        InputError: The sizes are no shares, or a class has too few patients to be in all parts.
    """
    check_sizes(sizes)
    group = groups(study)
    stratum = strata(study, group, len(PARTS), least(study))
    part = drawn(study, PARTS, lambda key: group.map(deal(stratum, sizes, key, least(study))), str(seed))
    take_over(study, part, f"Split by patient, seed {seed}")
    study.seed = seed


def check_sizes(sizes: Sequence[float]) -> None:
    """Refuse sizes that are no three positive shares."""
    if len(sizes) != 3 or min(sizes) <= 0 or abs(sum(sizes) - 1) > 1e-6:
        raise InputError(
            f"sizes={sizes} are no shares of the patients.",
            "three positive numbers (train, val, test) that add up to 1.",
            "For example sizes=(0.6, 0.2, 0.2).",
        )


def least(study: Study) -> int:
    """How many patients of a class every part needs."""
    return LEAST if balanced(study)[0] in ("classification", "ordinal") and _labelled(study) else 1


def _labelled(study: Study) -> bool:
    """Whether there are labels to balance the parts by: outlines are none, and images alone have none."""
    return study.task != "segmentation" and ("label" in study.frame.columns or bool(study.heads))


def strata(study: Study, group: pd.Series, parts: int, each: int) -> pd.Series:
    """What the parts are balanced by: for every group its rarest class or finding, or the fifth of its number; with
    several questions, by the first.

    Args:
        study: Its rows.
        group: From `groups`.
        parts: Into how many parts it will be dealt.
        each: How many patients of a class every part needs.

    Raises:
        InputError: No patients, or a class with too few patients for so many parts.
    """
    frame = study.frame
    if "patient" not in frame.columns:
        raise InputError("The study has no patients.", "a patient for every image.", "Load it again with patient=.")
    names = sorted(set(group))
    if not _labelled(study):
        stratum = pd.Series("all", index=names)
    elif balanced(study)[0] == "regression":
        mean = pd.to_numeric(balanced(study)[1]).groupby(group).mean().reindex(names)
        order = mean.sort_values(kind="stable").index  # without an answer, at the end
        fifths = min(5, max(1, len(order) // (2 * parts)))
        stratum = pd.Series({name: f"fifth {place * fifths // len(order)}" for place, name in enumerate(order)})
    else:
        held = held_classes(study)
        by_class = held.value_counts()
        rarity = {name: (int(count), name) for name, count in by_class.items()}
        stratum = held.groupby(group.loc[held.index].to_numpy()).agg(
            lambda found: min(found, key=lambda name: rarity[name])
        )
        stratum = stratum.reindex(names, fill_value="")  # without any finding
        enough = held.groupby(held).agg(lambda rows: group.loc[rows.index].nunique())
        refuse_few(enough, parts * each, parts)
    needed = parts * each
    counts = stratum.value_counts()
    small = sorted(counts.index[counts < needed])
    if small and len(counts) > len(small):
        # A class whose patients nearly all have a rarer one as well: it comes along with that one.
        stratum = stratum.replace(dict.fromkeys(small, max(counts.index, key=lambda name: (counts[name], name))))
    elif small:
        refuse_few(counts.rename({"": "no finding"}), needed, parts)
    return stratum


def balanced(study: Study) -> tuple[str, pd.Series]:
    """The task and the labels that parts are balanced by: with several questions, those of the first."""
    if study.heads:
        name, asked = next(iter(study.heads.items()))
        return "regression" if asked == 1 else "classification", study.frame[name]
    return study.task, study.frame.get("label", pd.Series(dtype=str))


def held_classes(study: Study) -> pd.Series:
    """One entry per class that an image has: an image with two findings has two, with the same index."""
    cells = balanced(study)[1]
    if study.task == "multilabel":
        cells = cells.str.split(JOIN, regex=False).explode()
    return cells[cells != ""]


def refuse_few(counts: pd.Series, needed: int, parts: int) -> None:
    """Refuse classes with fewer patients than a split needs."""
    if (counts < needed).any():
        few = counts[counts < needed].sort_index()
        listing = ", ".join(f"{name!r}: {count}" for name, count in few.head(5).items())
        listing += f", and {len(few) - 5} more" if len(few) > 5 else ""
        each = needed // parts
        raise InputError(
            f"There are too few patients to split ({listing}).",
            f"at least {needed} patients in every class: {each} for each of {parts} parts.",
            "Add patients, merge classes, or leave the rare class out.",
        )


def shuffled(names: Iterable[str], key: str) -> np.ndarray:
    """Names in an order that depends on them and the key alone."""
    members = np.array(sorted(names))
    start = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    np.random.Generator(np.random.PCG64(start)).shuffle(members)
    return members


def drawn(study: Study, parts: Sequence[str], draw: Callable[[str], pd.Series], key: str) -> pd.Series:
    """The first draw, of a few, that leaves no class out of a part: patients may have several classes.

    Raises:
        InputError: None does.
    """
    part = draw(key)
    for again in range(1, DRAWS):
        if not missing_classes(study, part, parts):
            break
        part = draw(f"{key}|again {again}")
    refuse_missing(study, part, parts)
    return part


def deal(stratum: pd.Series, sizes: Sequence[float], key: str, each: int) -> pd.Series:
    """Which part every group goes to, stratum by stratum, at least ``each`` groups of it in every part."""
    part = pd.Series("train", index=stratum.index)
    for name in sorted(stratum.unique()):
        members = shuffled(stratum.index[stratum == name], f"{key}|{name}")
        test = min(max(each, round(sizes[2] * len(members))), len(members) - 2 * each)
        val = min(max(each, round(sizes[1] * len(members))), len(members) - test - each)
        part[members[:test]], part[members[test : test + val]] = "test", "val"
    return part


def take_over(study: Study, part: pd.Series, how: str, *, check: bool = True) -> None:
    """Write the column ``split``, check it (unless it was), and note the sizes in patients.

    Raises:
        LeakageError: A patient is in two parts.
    """
    frame = study.frame.assign(split=part.to_numpy())
    if check:
        assert_disjoint(frame)
    study.frame["split"] = frame["split"]
    # A split made anew takes the place of the earlier one's sentence; parts of it keep theirs.
    study.notes = [note for note in study.notes if not note.startswith("Split by")]
    study.notes.append(f"{how}: {sizes_in_words(frame, study.patients_known)}")


def sizes_in_words(frame: pd.DataFrame, patients_known: bool = True) -> str:
    """How many patients and images are in every part of a split."""
    parts = []
    for name in PARTS:
        rows = frame[frame["split"] == name]
        patients = (
            f"{rows['patient'].nunique()} patients ({len(rows)} images)" if patients_known else f"{len(rows)} images"
        )
        parts.append(f"{patients} for {WORDS[name]}")
    return ", ".join(parts)


def missing_classes(study: Study, part: pd.Series, parts: Sequence[str]) -> list[tuple[str, str]]:
    """The (class, part) of which there is no image."""
    if study.task == "segmentation" or not ("label" in study.frame.columns or study.heads):
        return []
    if balanced(study)[0] == "regression":
        return []
    held = held_classes(study)
    present = set(zip(held, part.loc[held.index], strict=True))
    return [(name, one) for name in sorted(set(held)) for one in parts if (name, one) not in present]


def refuse_missing(study: Study, part: pd.Series, parts: Sequence[str]) -> None:
    """Refuse a split that leaves a class out of a part.

    Raises:
        InputError: With the class and the part.
    """
    missing = missing_classes(study, part, parts)
    if missing:
        listing = ", ".join(f"{name!r} in {WORDS.get(part, part)}" for name, part in missing[:5])
        raise InputError(
            f"The split would leave parts without a class: no image of {listing}.",
            "images of every class in every part.",
            "Choose other sizes or another seed, merge classes, or leave the rare class out.",
        )


def assert_disjoint(frame: pd.DataFrame) -> None:
    """Refuse a table whose column ``split`` puts a patient in two parts.

    Raises:
        LeakageError: With the number of such patients.
    """
    leaking = shared_patients(frame, "split")
    if leaking:
        raise _leak(leaking, "split", frame)


def shared_patients(frame: pd.DataFrame, column: str) -> list[str]:
    """The patients whose rows lie in more than one part of the split in ``column``, however they are written."""
    rows = frame[frame[column] != ""]
    keys = rows["patient"].map({patient: patient_key(patient) for patient in rows["patient"].unique()})
    parts = rows[column].groupby(keys).nunique()
    return sorted(rows.loc[keys.isin(parts.index[parts > 1]), "patient"].unique())


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
    take_over(study, trial["split"], f"Split by the column {column!r}", check=False)
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
