"""Splits and folds by patient that cannot leak, and the check of splits made elsewhere. It moves rows, never pixels."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from easydl.errors import InputError, LeakageError
from easydl.studies.cohort import LEAST, Cohort, crossing
from easydl.studies.dates import moments
from easydl.studies.row_errors import many, problems
from easydl.studies.tables import SPLIT_NAMES

PARTS = ("train", "val", "test")
TITLES = {"train": "training", "val": "validation", "test": "test"}
DRAWS = 20
"""Draws made, at most, to find one with every class in every part."""
VALIDATION = 0.2
"""Fraction of the patients of the other sites that is held back for validation when a site is left out."""


@dataclass(frozen=True)
class Assignment:
    """One split.

    Attributes:
        part: For every row ``"train"``, ``"val"``, ``"test"`` or ``""`` (in no part).
        note: How it was made, with the sizes in patients and images.
        notes: What was assumed.
        overrides: Reasons given in writing for a split that leaks.
    """

    part: np.ndarray
    note: str
    notes: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()


def by_seed(rows: Cohort, sizes: Sequence[float], seed: int, *, within: np.ndarray | None = None) -> Assignment:
    """Stratified by class, and ``within`` (an integer for each group) if it is given, in whole groups.

    The same on every machine for a seed.

    Raises:
        InputError: The sizes are not fractions, or a class has too few patients to be in all parts.
    """
    check_sizes(sizes)
    stratum = _strata(rows, len(PARTS), rows.each)
    if within is not None:
        stratum = _finer(stratum, within, len(PARTS) * rows.each)
    part = _drawn(rows, PARTS, lambda key: _deal(stratum, sizes, key, rows.each), str(seed))
    return _assignment(rows, part, f"Split by patient, seed {seed}")


def k_folds(rows: Cohort, k: int, seed: int) -> list[Assignment]:
    """Every patient is tested once, the next fold validates; see `Study.folds`."""
    if not isinstance(k, int) or k < 3:
        raise InputError(
            f"k={k!r}.", "an integer from 3: one fold is tested on, one validates, the others train.", "Use k=5."
        )
    stratum = _strata(rows, k, 1)  # one patient of a class in each fold: all folds together are tested

    def draw(key: str) -> np.ndarray:
        members = np.concatenate([shuffled(chosen, f"{key}|{name}") for name, chosen in _members(stratum)])
        fold = np.empty(len(members), int)
        fold[members] = np.arange(len(members)) % k
        return np.array([f"fold {one + 1}" for one in range(k)])[fold]

    names = [f"fold {one + 1}" for one in range(k)]
    fold = _drawn(rows, names, draw, f"{seed}|folds")
    return [
        _assignment(
            rows,
            np.where(fold == names[one], "test", np.where(fold == names[(one + 1) % k], "val", "train")),
            f"Split by patient, fold {one + 1} of {k}, seed {seed}",
        )
        for one in range(k)
    ]


def leave_site_out(rows: Cohort, sites: pd.Series, column: str, seed: int) -> list[Assignment]:
    """One site at a time is the test set; see `Study.folds`."""
    site = sites.str.strip().to_numpy(str)
    empty = [f"row {row + 2}: the site is empty" for row in np.flatnonzero(site == "")]
    if empty:
        raise problems(
            empty, len(rows), f"a site in {column!r} in every row.", "Fill the cells, or take these rows out."
        )
    names = np.unique(site)
    if len(names) < 2:
        raise InputError(f"All images are of one site in {column!r}.", "at least two sites.", "Use study.folds(5).")
    found = []
    for name in names:
        here = site == name
        elsewhere = ~here & np.isin(rows.group, rows.group[here])
        rest = rows.rows(~here & ~elsewhere)
        part = np.full(len(rows), "", "<U5")
        part[~here & ~elsewhere], part[here] = _held_back(rest, str(name), seed), "test"
        note = f"Split by site, tested on {str(name)!r} of {column!r}, seed {seed}"
        if elsewhere.any():
            note += f" ({many(int(elsewhere.sum()), 'image')} of its patients at other sites in no part)"
        without = rows.classes[~rows.has[here].any(axis=0)]
        note += f" (the site has no image of {', '.join(without)})" if len(without) else ""
        found.append(_assignment(rows, part, note, per_group=False))
    return found


def by_time(rows: Cohort, cells: pd.Series, column: str, sizes: Sequence[float]) -> Assignment:
    """Trained on the earlier patients, tested on the later ones; see `Study.split`."""
    check_sizes(sizes)
    notes: list[str] = []
    when = moments(cells, notes, column).to_numpy(float)
    last = np.full(len(rows.names), -np.inf)
    np.maximum.at(last, rows.group, when)
    different = np.unique(last)
    if len(different) < len(PARTS):
        raise InputError(
            f"The patients' last images in {column!r} have {len(different)} different times.",
            "at least three, so that training, validation and test can follow each other.",
            "Use a finer date, or study.split(seed=0).",
        )
    # Patients of one day stay together; the cuts are those nearest to the sizes asked for.
    upto = np.searchsorted(np.sort(last), different, side="right")
    first = int(np.argmin(np.abs(upto[:-2] - sizes[0] * len(last))))
    second = first + 1 + int(np.argmin(np.abs(upto[first + 1 : -1] - (sizes[0] + sizes[1]) * len(last))))
    place = np.searchsorted(different, last)
    part = np.where(place <= first, "train", np.where(place <= second, "val", "test"))
    if rows.each > 1:
        _refuse_few_in_time(rows, part)
    begins = [cells.iloc[int(np.flatnonzero(when == different[cut + 1])[0])] for cut in (first, second)]
    note = (
        f"Split by time ({column!r}; patients by their last image, validation from {begins[0]}, test from {begins[1]})"
    )
    return replace(_assignment(rows, part, note), notes=tuple(notes))


def ready_made(rows: Cohort, cells: pd.Series, column: str, override: str | None) -> Assignment:
    """Take over a ready-made split, unless a patient or an identical image is in two of its parts.

    Raises:
        InputError: The column holds other words than train, val and test.
        LeakageError: Patients or images are in two parts and there is no ``override``.
    """
    names = cells.str.strip().str.lower()
    strange = sorted(set(names) - set(SPLIT_NAMES))
    if strange:
        raise InputError(
            f"The split column {column!r} holds {strange[0]!r}.",
            "train, val (or valid, validation) or test in every row.",
            "Correct the column, or use study.split(seed=0).",
        )
    part = names.map(SPLIT_NAMES).to_numpy(str)
    reason = (override or "").strip()
    patients, images = _leaking(rows, part)
    if (patients or images) and not reason:
        raise _leak(rows, patients, images, f"The split in column {column!r}")
    missing = [one for one in PARTS if one not in part]
    if missing:
        raise InputError(
            f"The split column {column!r} has no {' and no '.join(missing)} rows.",
            "rows for train, val and test.",
            "Use study.split(seed=0), which holds out a test set.",
        )
    note = f"Split by the column {column!r}: {_sizes(rows, part)}"
    overrides = (
        f"The given split was used although {patients} patients and {images} identical images are in more than one "
        f"part. Reason given: {reason}",
    )
    return Assignment(part, note, overrides=overrides if patients or images else ())


def check_sizes(sizes: Sequence[float]) -> None:
    """Refuse sizes that are not three positive fractions."""
    if len(sizes) != 3 or min(sizes) <= 0 or abs(sum(sizes) - 1) > 1e-6:
        raise InputError(
            f"sizes={sizes} are not fractions of the patients.",
            "three positive numbers (train, val, test) that add up to 1.",
            "For example sizes=(0.6, 0.2, 0.2).",
        )


def _strata(rows: Cohort, parts: int, each: int) -> np.ndarray:
    """What the parts are balanced by: for every group its rarest class, or the fifth of its value.

    Raises:
        InputError: A class with too few patients for so many parts.
    """
    if rows.values is not None:
        stratum = _fifths(rows, parts)
    elif not len(rows.classes):
        stratum = np.full(len(rows.names), "all")
    else:
        has = rows.group_has()
        refuse_few(dict(zip(rows.classes.tolist(), has.sum(axis=0).tolist(), strict=True)), parts * each, parts)
        rarest = np.lexsort((rows.classes, rows.has.sum(axis=0)))  # from the rarest on
        first = has[:, rarest].argmax(axis=1)
        stratum = np.where(has.any(axis=1), rows.classes[rarest][first], "")  # "" holds none of the classes
    names, counts = np.unique(stratum, return_counts=True)
    small = counts < parts * each
    if small.all():
        sizes = dict(zip((str(name) or "no label" for name in names), counts.tolist(), strict=True))
        refuse_few(sizes, parts * each, parts)
    # A class whose patients nearly all have a rarer one as well comes along with the most frequent stratum.
    largest = max(zip(counts.tolist(), names.tolist(), strict=True))[1]
    return np.where(np.isin(stratum, names[small]), largest, stratum)


def _finer(stratum: np.ndarray, within: np.ndarray, least: int) -> np.ndarray:
    """Each stratum by ``within``, its small pieces joined to its largest; whole where none is large enough."""
    found = stratum.astype(object)
    for name, chosen in _members(stratum):
        code = np.unique(within[chosen], return_inverse=True)[1]
        counts = np.bincount(code)
        if counts.max() >= least:
            code = np.where(counts[code] >= least, code, counts.argmax())
            found[chosen] = [f"{name}|{one}" for one in code]
    return found.astype(str)


def _fifths(rows: Cohort, parts: int) -> np.ndarray:
    """For every group the fifth that its mean value lies in; fewer parts of the range when there are few groups."""
    assert rows.values is not None
    members: list[list[float]] = [[] for _ in rows.names]
    for group, value in zip(rows.group.tolist(), rows.values.tolist(), strict=True):
        if not math.isnan(value):
            members[group].append(value)
    # An exact sum: a rounded one depends on the order of the rows. Without a value, at the end.
    means = np.array([math.fsum(values) / len(values) if values else math.nan for values in members])
    count = len(means)
    place = np.empty(count, int)
    place[np.argsort(means, kind="stable")] = np.arange(count)
    return np.array([f"fifth {one}" for one in place * min(5, max(1, count // (2 * parts))) // count])


def refuse_few(counts: dict[str, int], needed: int, parts: int) -> None:
    """Refuse classes with fewer patients than a split needs."""
    few = sorted((name, count) for name, count in counts.items() if count < needed)
    if few:
        listing = ", ".join(f"{name!r}: {count}" for name, count in few[:5])
        listing += f", and {len(few) - 5} more" if len(few) > 5 else ""
        raise InputError(
            f"There are too few patients to split ({listing}).",
            f"at least {needed} patients in every class: {needed // parts} for each of {parts} parts.",
            "Add patients, merge classes, or leave the rare class out.",
        )


def _refuse_few_in_time(rows: Cohort, part: np.ndarray) -> None:
    row_part = part[rows.group]
    few = [
        f"{str(name)!r} {count} in {TITLES[one]}"
        for place, name in enumerate(rows.classes)
        for one in PARTS
        if (count := len(np.unique(rows.patient[rows.has[:, place] & (row_part == one)]))) < LEAST
    ]
    if few:
        raise InputError(
            f"Split by time, there are too few patients of a class: {', '.join(few[:5])}.",
            f"at least {LEAST} patients of every class in every part.",
            "Choose other sizes=, or use study.split(seed=0), which is stratified.",
        )


def _members(stratum: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The groups of every stratum, by its name."""
    return [(str(name), np.flatnonzero(stratum == name)) for name in np.unique(stratum)]


def shuffled(members: np.ndarray, key: str) -> np.ndarray:
    """Groups in an order that depends on their names' order and the key alone."""
    members = members.copy()
    start = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    np.random.Generator(np.random.PCG64(start)).shuffle(members)
    return members


def _deal(stratum: np.ndarray, sizes: Sequence[float], key: str, each: int) -> np.ndarray:
    """Which part every group goes to, stratum by stratum, at least ``each`` groups of it in every part."""
    part = np.full(len(stratum), "train")
    for name, chosen in _members(stratum):
        members = shuffled(chosen, f"{key}|{name}")
        test = min(max(each, round(sizes[2] * len(members))), len(members) - 2 * each)
        val = min(max(each, round(sizes[1] * len(members))), len(members) - test - each)
        part[members[:test]], part[members[test : test + val]] = "test", "val"
    return part


def _held_back(rest: Cohort, site: str, seed: int) -> np.ndarray:
    """Training and validation rows of the sites that are not tested on."""
    try:
        stratum = _strata(rest, 2, rest.each)
    except InputError as problem:
        raise InputError(
            f"Without the site {site!r}: {problem.found[0].lower()}{problem.found[1:]}",
            problem.expected,
            "Merge small sites, or use study.folds(5), which does not hold out sites.",
        ) from problem

    def draw(key: str) -> np.ndarray:
        part = np.full(len(stratum), "train")
        for name, chosen in _members(stratum):
            members = shuffled(chosen, f"{key}|{name}")
            size = max(rest.each, round(VALIDATION * len(members)))
            part[members[: min(size, len(members) - rest.each)]] = "val"
        return part

    return _drawn(rest, ("train", "val"), draw, f"{seed}|{site}")[rest.group]


def _drawn(rows: Cohort, parts: Sequence[str], draw: Callable[[str], np.ndarray], key: str) -> np.ndarray:
    """The part of every group in the first draw, of a few, that leaves no class out of a part.

    Raises:
        InputError: None does.
    """
    has = rows.group_has()
    for attempt in range(DRAWS):
        part = draw(f"{key}|again {attempt}" if attempt else key)
        present = np.array([has[part == one].any(axis=0) for one in parts])
        if present.all():
            return part
    missing = [
        (str(name), one)
        for place, name in enumerate(rows.classes)
        for one, found in zip(parts, present[:, place], strict=True)
        if not found
    ]
    listing = ", ".join(f"{name!r} in {TITLES.get(one, one)}" for name, one in missing[:5])
    raise InputError(
        f"The split would leave parts without a class: no image of {listing}.",
        "images of every class in every part.",
        "Choose other sizes or another seed, merge classes, or leave the rare class out.",
    )


def _assignment(rows: Cohort, part: np.ndarray, how: str, *, per_group: bool = True) -> Assignment:
    """An assignment that was checked, whoever made it.

    Raises:
        LeakageError: A patient or an image is in two parts.
    """
    part = part[rows.group] if per_group else part
    patients, images = _leaking(rows, part)
    if patients or images:
        raise _leak(rows, patients, images, "The split")
    return Assignment(part, f"{how}: {_sizes(rows, part)}")


def _sizes(rows: Cohort, part: np.ndarray) -> str:
    """How many patients and images are in every part of a split."""
    texts = []
    for name in PARTS:
        here = part == name
        images = f"{int(here.sum())} images"
        patients = f"{len(np.unique(rows.patient[here]))} patients ({images})" if rows.patients_known else images
        texts.append(f"{patients} for {TITLES[name]}")
    return ", ".join(texts)


def _leaking(rows: Cohort, part: np.ndarray) -> tuple[int, int]:
    """How many patients (as written) and how many identical images are in more than one part."""
    patients = len(np.unique(rows.patient[crossing(rows.person, part)]))
    return patients, len(np.unique(rows.image[crossing(rows.image, part)]))


def _leak(rows: Cohort, patients: int, images: int, what: str) -> LeakageError:
    counts = [f"{patients} of {len(np.unique(rows.patient))} patients"] if patients else []
    counts += [f"{images} identical images"] if images else []
    return LeakageError(
        f"{what} puts {' and '.join(counts)} in more than one part.",
        "every patient and every image in one part only: otherwise the test measures memory, not skill.",
        "Use study.split(seed=0), or pass override='your reason', which every report will repeat.",
    )
