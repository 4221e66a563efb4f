"""The ledger: every look at a test part on this computer, in a file whose lines seal each other. It computes no metric.

A test part answers honestly once. Whoever tests ten models on it and keeps the best has trained on it, by hand
(Dwork C et al. The reusable holdout. Science 2015;349:636-638). The ledger counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from easydl.errors import EasyDLError
from easydl.fileio import locked, replacing, workspace, write_text
from easydl.networks.seen import DIGITS, Digests
from easydl.prediction.provenance import Provenance
from easydl.secret import Secret, default_secret, keyed_digest, read_secret
from easydl.studies.cohort import patient_key

NAME, HEAD, LOCK = "ledger.jsonl", "ledger.head", "ledger.lock"
WAIT_S = 20.0
SHARED = 0.05
"""From this fraction of the smaller of two test parts on, images in common make them one; a few are common by accident."""
SAME_PATIENTS, FEWEST_PATIENTS = 0.9, 5
"""The same for patients with their labels, of images that are all others: hospitals number their patients alike."""


class Entry(BaseModel):
    """One line: a look. Images and patients are digests keyed with this computer's secret: nobody else can compare them.

    Attributes:
        number: From 1 on.
        time: UTC, ISO 8601.
        previous: The ``seal`` of the line before; empty in the first.
        test: Digest of the test part: its images with their labels.
        images: Digests of the images; empty where an earlier line of the same part has them.
        patients: Digests of the patients with their labels; the same.
        n_images: Images tested.
        n_patients: Patients tested (images where patients are not known).
        model: Fingerprint of the model with its options.
        headline: The first number of the result.
        seal: HMAC-SHA256 of all the above.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    time: str
    previous: str
    test: str
    images: Digests = ""
    patients: Digests = ""
    n_images: int
    n_patients: int
    model: str
    headline: str
    seal: str = ""

    def sealed(self, key: bytes) -> Entry:
        """The same with the seal that belongs to it."""
        text = json.dumps(self.model_dump(exclude={"seal"}), sort_keys=True)
        return self.model_copy(update={"seal": keyed_digest("line of the ledger", text, key).hex()})


@dataclass(frozen=True)
class Part:
    """A test part as the ledger knows it: keyed digests."""

    test: str
    images: frozenset[str]
    patients: frozenset[str]
    n_images: int
    n_patients: int


@dataclass(frozen=True)
class Look:
    """What the ledger says of a look that is about to be taken.

    Attributes:
        number: How many looks there are at this part with this one: different models, or different parts that share
            images. The same model on the same part again is the same look.
        first: The date of the first, ``2026-11-02``.
        shared: Images of this part that have been looked at before; None where only the patients are the same.
        entry: The line that has this very look already, or None.
    """

    number: int
    first: str
    shared: int | None
    entry: Entry | None


@dataclass
class Ledger:
    """The lines of the ledger, and what is wrong with them.

    Attributes:
        folder: Where it lies: the easydl folder of this user.
        secret: The secret that keys it; None where there is none yet, and so no line.
        entries: The lines that can be read, in order.
        damage: What does not fit, as sentences; empty for a whole chain.
        lost: The sentence among them on lines that are gone.
    """

    folder: Path
    secret: Secret | None = None
    entries: list[Entry] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    lost: str = ""

    @classmethod
    def open(cls, folder: Path | None = None, *, make: bool = False) -> Ledger:
        """Read the ledger and check every seal.

        Args:
            folder: Where it lies; the easydl folder of this user (``EASYDL_WORKSPACE``) when not given.
            make: Make the secret of this computer when there is none.

        Raises:
            InputError: The secret cannot be read.
        """
        ledger = cls(folder or workspace())
        known = default_secret()
        if make or known.exists():
            ledger.secret = Secret(read_secret(known))
        ledger._read()
        return ledger

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / NAME

    @property
    def verdict(self) -> str:
        """Whether the chain is whole, as a sentence."""
        if self.damage:
            return f"The ledger of test looks is damaged: {' '.join(self.damage)} Earlier looks may be missing from it."
        lines = len(self.entries)
        return f"The chain of {lines} line{'s' if lines != 1 else ''} is whole."

    def part(self, frame: pd.DataFrame, known: Provenance | None, *, patients_known: bool) -> Part:
        """The digests of a test part.

        Args:
            frame: Its rows: images, ``patient``, and the labels (``label``, or one for each head).
            known: The digests of the images' pixels; without them their names stand for them.
            patients_known: Whether ``patient`` names patients.
        """
        column = known.column if known and known.column in frame.columns else "image"
        names = frame[column].astype(str).tolist() if column in frame.columns else [""] * len(frame)
        pixels = [known.images.get(name, name) if known else name for name in names]
        labels = _labels(frame)
        images = self._digests("image", pixels)
        both = [f"{digest} {label}" for digest, label in zip(images, labels, strict=True)]
        patients: Iterable[str] = ()
        if patients_known and "patient" in frame.columns:
            persons = [patient_key(str(name)) for name in frame["patient"]]
            patients = self._digests("patient", [f"{one}|{label}" for one, label in zip(persons, labels, strict=True)])
        units = frame["patient"].nunique() if patients_known and "patient" in frame.columns else len(frame)
        test = hashlib.sha256("\n".join(sorted(both)).encode()).hexdigest()
        return Part(test, frozenset(images), frozenset(patients), len(frame), int(units))

    def look(self, part: Part, model: str, *, lines: int | None = None) -> Look:
        """What is known of a part before a model is tested on it, from all lines or from the first few."""
        related = [entry for entry in self.entries[:lines] if self._same(entry, part)]
        own = next((entry for entry in related if (entry.test, entry.model) == (part.test, model)), None)
        others = [entry for entry in related if entry is not own]
        number = len({(entry.test, entry.model) for entry in related} | {(part.test, model)})
        first = min((entry.time for entry in related), default=_now())[:10]
        before = frozenset().union(*(self._sets[entry.test][0] for entry in others)) & part.images
        return Look(number, first, len(before) or None, own)

    def record(self, part: Part, model: str, headline: str) -> Entry:
        """Add a line, and return it; one that has this very look already is returned as it is.

        Raises:
            OSError: The folder cannot be written.
            Timeout: Another process holds the ledger.
            DiskFullError: There is no room.
        """
        assert self.secret is not None
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self.folder / LOCK, timeout_s=WAIT_S):
            self._read()  # another process may have added lines since
            own = self.look(part, model).entry
            if own is not None:
                return own
            listed = part.test in self._sets
            last = self.entries[-1] if self.entries else None
            entry = Entry(
                number=(last.number if last else 0) + 1,
                time=_now(),
                previous=last.seal if last else "",
                test=part.test,
                images="" if listed else "".join(sorted(part.images)),
                patients="" if listed else "".join(sorted(part.patients)),
                n_images=part.n_images,
                n_patients=part.n_patients,
                model=model,
                headline=headline,
            ).sealed(self.secret.key)
            before = self.path.read_bytes() if self.path.exists() else b""
            if before and not before.endswith(b"\n"):
                before += b"\n"
            with replacing(self.path, mode=0o600) as draft:
                draft.write_bytes(before + entry.model_dump_json().encode() + b"\n")
            self._write_head(entry)
            self._read()
        return entry

    def _digests(self, kind: str, texts: Sequence[str]) -> list[str]:
        assert self.secret is not None
        key = self.secret.key
        known = {text: keyed_digest(f"{kind} of the ledger", text, key).hex()[:DIGITS] for text in set(texts)}
        return [known[text] for text in texts]

    def _same(self, entry: Entry, part: Part) -> bool:
        """Whether a line is of the same part: images in common, or else the same patients with the same labels."""
        images, patients = self._sets[entry.test]
        if len(images & part.images) >= max(1.0, SHARED * min(len(images), len(part.images))):
            return True
        fewer = min(len(patients), len(part.patients))
        return fewer >= FEWEST_PATIENTS and len(patients & part.patients) >= SAME_PATIENTS * fewer

    @cached_property
    def _sets(self) -> dict[str, tuple[frozenset[str], frozenset[str]]]:
        """Images and patients of every test part."""
        found: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
        for entry in self.entries:
            if entry.test not in found or not found[entry.test][0]:
                found[entry.test] = (frozenset(_cut(entry.images)), frozenset(_cut(entry.patients)))
        return found

    def _read(self) -> None:
        self.__dict__.pop("_sets", None)
        self.entries, self.damage, self.lost = [], [], ""
        head = self._head()
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            lines = []
        except (OSError, UnicodeDecodeError):
            self.damage.append(f"{NAME} cannot be read.")
            return
        previous, number, broken = "", 0, ""
        for place, line in enumerate(lines, 1):
            try:
                entry = Entry.model_validate_json(line)
            except ValidationError:
                broken = broken or f"Line {place} is not a line of the ledger."
                continue
            self.entries.append(entry)
            if self.secret is None or entry.sealed(self.secret.key).seal != entry.seal:
                broken = broken or f"Line {place} does not carry the seal of this computer."
            elif (entry.previous, entry.number) != (previous, number + 1):
                broken = broken or f"Line {place} does not follow from the line before it."
            previous, number = entry.seal, entry.number
        self.damage += [broken] if broken else []
        # Lines cut off at the end break no seal: a second file knows how many there were.
        if head and head[1] not in {entry.seal for entry in self.entries}:
            self.lost = f"It had {head[0]} lines, of which the last is gone."
        if self.entries and not head:
            self.lost = f"{HEAD}, which knows how many lines there were, is gone."
        self.damage += [self.lost] if self.lost else []

    def _head(self) -> tuple[int, str] | None:
        try:
            content = json.loads((self.folder / HEAD).read_text(encoding="utf-8"))
            return int(content["number"]), str(content["seal"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            return 0, "unreadable"

    def _write_head(self, entry: Entry) -> None:
        # A damage that is known stays: a head that was lost, or whose line is gone, is not made anew.
        if not self.lost:
            content = json.dumps({"number": entry.number, "seal": entry.seal})
            write_text(self.folder / HEAD, content, mode=0o600)


def unrecorded(problem: Exception) -> str:
    """Why a look could not be written down, as a note."""
    if isinstance(problem, Timeout):
        return "This look at the test part could not be recorded: another process held the ledger too long."
    why = problem.found if isinstance(problem, EasyDLError) else f"{type(problem).__name__}."
    return f"This look at the test part could not be recorded, and earlier ones could not be counted: {why}"


def listing(ledger: Ledger) -> pd.DataFrame:
    """The lines as people read them: date, what was tested, how many looks at that part there were by then, the result."""
    rows: list[dict[str, Any]] = []
    for place, entry in enumerate(ledger.entries):
        images, patients = ledger._sets[entry.test]
        part = Part(entry.test, images, patients, entry.n_images, entry.n_patients)
        rows.append(
            {
                "line": entry.number,
                "date": entry.time[:10],
                "test": entry.test[:8],
                "images": entry.n_images,
                "patients": entry.n_patients,
                "look": ledger.look(part, entry.model, lines=place).number,
                "model": entry.model[:8],
                "result": entry.headline,
            }
        )
    return pd.DataFrame(rows, columns=["line", "date", "test", "images", "patients", "look", "model", "result"])


def account(ledger: Ledger) -> tuple[dict[str, Any], str]:
    """The ledger as plain values, and as text; what to do where it is damaged."""
    table = listing(ledger)
    lines = [table.to_string(index=False)] if len(table) else [f"In {ledger.folder} no test has been recorded."]
    lines += [ledger.verdict] if len(table) or ledger.damage else []
    if ledger.damage:
        lines.append(
            f"What to do: put {NAME} and {HEAD} back from a copy. Without one every later test says that it is damaged; "
            "moving both files away begins a new one, which knows nothing of the earlier looks."
        )
    facts = {"folder": str(ledger.folder), "whole": not ledger.damage, "verdict": ledger.verdict}
    return {**facts, "lines": table.to_dict("records")}, "\n".join(lines)


def _labels(frame: pd.DataFrame) -> list[str]:
    columns = [name for name in frame.columns if name == "label" or str(name).endswith(": label")]
    return frame[columns].astype(str).agg("|".join, axis=1).tolist() if columns and len(frame) else [""] * len(frame)


def _cut(joined: str) -> list[str]:
    return [joined[begin : begin + DIGITS] for begin in range(0, len(joined), DIGITS)]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
