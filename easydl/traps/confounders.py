"""A4, A5 and A19: whether anything but the disease predicts the class, in the table, the files or the pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from easydl.images.glance import SIDE, border_pixels, ring, segments
from easydl.studies.pixel_facts import PixelFacts
from easydl.studies.thumbnails import in_parts, in_units, local_means, reduced
from easydl.traps.association import (
    MIN_PATIENTS,
    Association,
    Categories,
    Evidence,
    Features,
    Labels,
    Spots,
    benjamini_hochberg,
)
from easydl.traps.border_network import BorderSeen
from easydl.traps.fields import FEW_GROUPS, Field, says_the_label
from easydl.traps.issues import Issue, shown, unit_of_n

if TYPE_CHECKING:
    from easydl.studies import Study

WARN_LOW, STRONG_LOW = 0.58, 0.75
"""Of the interval's lower end. With 100 patients a class, 0.60 missed one of eight ages that differ by ten years."""
SIGNIFICANT = 0.05
THUMBNAIL = 8
EACH = 4
WHOLE = 0.25
"""Of the border: what differs in more of it is no mark at one place."""
ADDS = 0.02
"""By how much the AUC of all fields together must exceed that of one to be worth a sentence."""
_TOGETHER = "All columns of the table and headers of the files together"
_BALANCE = (
    "A model may learn this instead of the disease. Balance it between the classes, or test on data where it differs."
)
_TIME = (
    "What comes after a diagnosis is no way to it. Take images from before it, and of the same time in both classes, or "
    "split by time=."
)
_LOOK = "Look at these images. Crop the border away, or take images of both classes from the same source."
_ANYWHERE = "something anywhere in the border (a letter, a scale, a logo)"
_BASELINE = "No fault in itself. A model is worth something only if it does better than this."


@dataclass(frozen=True)
class Probe:
    """A question of the audit: does this alone predict the class?

    Attributes:
        id: Its number in the list of traps.
        name: The subject of its sentence.
        evidence: What is tested.
        severity: Of the issue if it does.
        fix: What to do then.
        located: Of the border: the sentence says where, and the strongest of these says it for all.
        seen: What a network sees there, which knows where better than a difference of means.
    """

    id: str
    name: str
    evidence: Evidence
    severity: str
    fix: str
    located: bool = False
    seen: BorderSeen | None = None


def confounders(study: Study, known: list[Field], seed: int = 0, border: BorderSeen | None = None) -> list[Issue]:
    """Every field of the table and file and every probe of the pixels, tested together (false discovery rate 5%)."""
    labels = Labels(study.frame["label"], study.frame["patient"], seed=seed)
    if not labels.testable:
        return [_too_few(study)]
    same = says_the_label(study)
    known = [field for field in known if field.name not in {f"the column {column!r}" for column in same}]
    probes = [*_of_fields(known), *_joint(known), *_of_pixels(study, border)]
    found = [labels.associate(probe.evidence) for probe in probes]
    tested = list(zip(probes, found, benjamini_hochberg([one.p for one in found]), strict=True))
    strong = [one for one in tested if one[2] < SIGNIFICANT and one[1].low > WARN_LOW]
    issues = [(one[0].located, _issue(study, labels, *one)) for one in strong]
    others = [_label_column(study, column) for column in same]
    return [*_once(issues), *others, *_passed(study, tested), *_rare(study, labels)]


def _once(issues: list[tuple[bool, Issue]]) -> list[Issue]:
    """Without what says the same as another: of those on the border the strongest; all fields together if they add to one."""
    border = max((one for located, one in issues if located), key=lambda issue: issue.low or 0.0, default=None)
    every = [one for _, one in issues]
    alone = [one.value or 0.0 for one in every if one.id in ("A4", "A19") and not one.sentence.startswith(_TOGETHER)]
    return [
        one
        for located, one in issues
        if (not located or one is border)
        and not (one.sentence.startswith(_TOGETHER) and (one.value or 0.0) < max(alone, default=0.0) + ADDS)
    ]


_SEVERAL = (_TOGETHER[0].lower() + _TOGETHER[1:], "the grey levels", "sharpness and noise", "words of treatment")
"""Names that take a verb in the plural."""


def _rare(study: Study, labels: Labels) -> Iterator[Issue]:
    """The classes that too few patients have to be asked for."""
    few = [f"{name!r} ({count})" for name, count in labels.counts.items() if count < MIN_PATIENTS // 2]
    if few:
        what = unit_of_n(study)
        sentence = (
            f"Whether anything but the disease predicts {', '.join(few)} was not tested: it takes {MIN_PATIENTS // 2} {what} "
            "of a class."
        )
        yield Issue("A4", "UNTESTED", sentence, "Compare them by hand, or join rare classes.", n=labels.patients)


def _issue(study: Study, labels: Labels, probe: Probe, found: Association, q: float) -> Issue:
    what = unit_of_n(study)
    verb, classes = ("separate", "classes") if found.low > STRONG_LOW else ("predict", "class")
    if not probe.name.startswith(_SEVERAL):
        verb += "s"
    alone = "" if probe.name.startswith(_SEVERAL[0]) else " alone"
    of = f" ({found.label!r} against the others)" if len(labels.classes) > 1 else ""
    words, box = "", None
    if probe.located:
        words, box = _place(study, labels, found) if probe.seen is None else probe.seen.place(labels, found)
    first = f"the first {EACH} images are {found.label!r}"
    place = f", most of all at the {words} (framed; {first})" if words else f" ({first})" if probe.located else ""
    auc = f"AUC {found.auc:.2f} (95% CI {found.low:.2f}-{found.high:.2f}), {found.n} {what}"
    return Issue(
        probe.id,
        probe.severity,
        f"{probe.name[0].upper()}{probe.name[1:]}{alone} {verb} the {classes}{of}{place}: {auc}.",
        probe.fix,
        value=found.auc,
        low=found.low,
        high=found.high,
        p=found.p,
        n=found.n,
        rows=_examples(labels, found) if probe.located else (),
        place=box,
    )


def _examples(labels: Labels, found: Association) -> tuple[int, ...]:
    """Four images of the class, then four of the others: those that the scores separate most clearly."""
    positive = labels.truth[:, labels.classes.index(found.label)]
    order = np.argsort(-found.scores, kind="stable")
    return shown([*order[positive[order]][:EACH], *order[::-1][~positive[order[::-1]]][:EACH]])


def _of_fields(known: list[Field]) -> Iterator[Probe]:
    for field in known:
        if field.kind == "order":
            fix = (
                "Check how the list was made. Images that were exported class by class often differ in other ways, too."
            )
            yield Probe("A4", field.name, field.evidence, "WARN" if "rows" not in field.name else "NOTE", fix)
        elif field.kind in ("date", "treatment"):
            yield Probe("A19", field.name, field.evidence, "WARN", _TIME)
        else:
            column = field.name.removeprefix("the column ")
            # A column of very many values cannot be balanced.
            kinds = 0 if field.groups is None else len(np.unique(field.groups))
            many = isinstance(field.evidence, Categories) and kinds > FEW_GROUPS
            balance = (
                _BALANCE
                if column == field.name or many
                else f"{_BALANCE} study.split(balance={column}) does the first."
            )
            yield Probe("A4", field.name, field.evidence, "WARN", balance)


def _joint(known: list[Field]) -> Iterator[Probe]:
    """All columns and facts of the files at once: together they may predict what none predicts alone."""
    parts = [field.features for field in known if field.kind != "order" and field.features.shape[1]]
    if len(parts) > 1:
        evidence = Features(np.concatenate(parts, axis=1))
        yield Probe("A4", _SEVERAL[0], evidence, "WARN", _BALANCE)


def _of_pixels(study: Study, seen: BorderSeen | None) -> Iterator[Probe]:
    facts = study.facts()
    coloured = np.array([[one.coloured] for one in facts], float)
    lettered = np.array([[one.burned_in_text] for one in facts], float)
    for name, values in (("colour or grey", coloured), ("text in the image", lettered)):
        if np.ptp(values):
            yield Probe("A4", name, Features(values), "WARN", _BALANCE)
    border, tiny = _border_and_thumbnail(facts)
    yield Probe("A5", "the border of the image", Features(border), "WARN", _LOOK, located=True)
    spots = reduced(facts, lambda images: images[:, border_pixels()], peaks=True)
    yield Probe("A5", "something at one place of the border", Spots(spots), "WARN", _LOOK, located=True)
    if seen is not None:
        yield Probe("A5", _ANYWHERE, seen.evidence, "WARN", _LOOK, located=True, seen=seen)
    # Only the finest structure: coarser ones are what diseases are made of.
    noise = np.array([one.noise[:1] for one in facts], np.float32)
    yield Probe("A5", "sharpness and noise", Features(_squared(noise)), "WARN", _BALANCE)
    grey = np.array([one.grey for one in facts], np.float32)
    darkest = grey[:, [0, 11]]  # the lowest value, and how many pixels have it; a lesion may well be the brightest
    yield Probe("A5", "the lowest grey value (the background)", Features(_squared(darkest)), "WARN", _BALANCE)
    yield Probe("A5", "the grey levels, without any shape,", Features(_squared(grey)), "NOTE", _BASELINE)
    yield Probe("A5", f"a thumbnail of {THUMBNAIL} x {THUMBNAIL} pixels", Features(tiny), "NOTE", _BASELINE)


def _border_and_thumbnail(facts: list[PixelFacts]) -> tuple[np.ndarray, np.ndarray]:
    """The border's segments, and 8 x 8 means, in the image's own units, so that a film that is brighter as a whole shows it.

    Some images at a time: ten thousand as floating-point numbers would take 650 MB.
    """
    border, tiny = [], []
    for part in in_parts(facts):
        scaled = in_units(*part)
        border.append(ring(scaled))
        tiny.append(local_means(scaled, THUMBNAIL))
    return np.concatenate(border), np.concatenate(tiny)


def _squared(values: np.ndarray) -> np.ndarray:
    """The numbers and their squares about the mean: too sharp and too blurred are both unlike the middle."""
    centred = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-6)
    return np.concatenate([centred, centred**2], axis=1)


def _place(study: Study, labels: Labels, found: Association) -> tuple[str, tuple[float, float, float, float]]:
    """Where in the border the class differs most from the others, in standard deviations: as text, and its box.

    The box holds all that hangs together with it there, such as a word; of a border that differs as a whole, a segment.
    """
    images = reduced(study.facts(), lambda peaks: peaks[:, border_pixels()], peaks=True)
    positive = labels.truth[:, labels.classes.index(found.label)]
    means = [images[side].mean(axis=0, dtype=np.float32) for side in (positive, ~positive)]
    difference = np.zeros((SIDE, SIDE), np.float32)
    difference[border_pixels()] = np.abs(means[0] - means[1]) / np.maximum(images.std(axis=0, dtype=np.float32), 1.0)
    words, where = max(segments(), key=lambda segment: float(difference[segment[1]].max()))
    marked = ndimage.label(difference > difference.max() / 2, np.ones((3, 3)))[0]
    marked = marked == marked[np.unravel_index(difference.argmax(), difference.shape)]
    down, right = (
        (along.start, along.stop) if marked.sum() > WHOLE * border_pixels().sum() else (int(ends[0]), int(ends[-1]) + 1)
        for along, ends in zip(
            where, (np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))), strict=True
        )
    )
    return words, (down[0] / SIDE, down[1] / SIDE, right[0] / SIDE, right[1] / SIDE)


def _label_column(study: Study, column: str) -> Issue:
    sentence = f"The column {column!r} names the label, in other or finer words; it was not tested as a confounder."
    return Issue("A4", "NOTE", sentence, "Do not give it to a model as a covariate.", n=study.n_patients)


def _passed(study: Study, tested: list[tuple[Probe, Association, float]]) -> Iterator[Issue]:
    quiet = [probe for probe, found, q in tested if not (q < SIGNIFICANT and found.low > WARN_LOW)]
    for number, fields_of in (("A4", "the table and the files"), ("A19", "dates and treatments"), ("A5", "the pixels")):
        names = [probe.name.removeprefix("the column ").rstrip(",") for probe in quiet if probe.id == number]
        if names:
            sentence = f"None of these in {fields_of} predicts the class: {', '.join(names)}."
            yield Issue(number, "OK", sentence, n=study.n_patients)


def _too_few(study: Study) -> Issue:
    what = unit_of_n(study)
    return Issue(
        "A4",
        "UNTESTED",
        f"Whether anything but the disease predicts the class was not tested: it takes {MIN_PATIENTS} {what}, and "
        f"{MIN_PATIENTS // 2} of each of two classes.",
        f"Compare scanners, sites, dates and sexes between the classes by hand; this study has {study.n_patients} {what}.",
        n=study.n_patients,
    )
