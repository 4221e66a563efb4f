"""The account of a de-identification: a table, a text, files beside the images. It carries no original identifier."""

from __future__ import annotations

import html
import json
import os
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from easydl.errors import RESEARCH_USE, InputError
from easydl.fileio import csv_text, write_text

LOOK = "Burned-in text was looked for by rules, not by eye: look at every image before you share it."
REPORT = "deidentified.json"
COLUMNS = (
    "number", "state", "reason", "file", "patient", "study", "series", "modality", "released", "already_there", "notes",
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Deidentified:
    """What a de-identification did. Shows itself as text, and as a table in a notebook.

    Attributes:
        folder: The output: ``images/``, ``quarantine/``, ``deidentified.csv`` and ``deidentified.json``.
        counts: ``files`` = ``written`` + ``quarantined`` + ``refused``; ``already_there`` of them were not written
            again; ``patients``.
        table: One row per file of the source, by its number in the order of the source's paths, without identifiers.
        notes: What a person should know before sharing, in words.
    """

    folder: Path
    counts: dict[str, int]
    table: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The account on one screen."""
        n = self.counts
        lines = [
            f"{n['files']} files of {n['patients']} patients: {n['written']} written, {n['quarantined']} quarantined, "
            f"{n['refused']} refused" + (f" ({n['already_there']} were there already)." if n["already_there"] else "."),
        ]
        for state, heading in (("quarantined", "In quarantine/, for a person to look at"), ("refused", "Not written")):
            reasons = self.table.loc[self.table["state"] == state, "reason"]
            found = Counter(reason for text in reasons for reason in str(text).split("; "))
            lines += [f"{heading}:"] * bool(found) + [f"  {found[one]} x {one}" for one, _ in found.most_common(6)]
            lines += [f"  and {len(found) - 6} other reasons: see deidentified.csv"] * (len(found) > 6)
        return "\n".join([*lines, *self.notes, LOOK, RESEARCH_USE])

    def to_dict(self) -> dict[str, Any]:
        """The account as plain values, as in ``deidentified.json``."""
        return {
            "counts": self.counts, "notes": list(self.notes), "files": self.table.to_dict("records"),
            "look": LOOK, "research_use": RESEARCH_USE,
        }  # fmt: skip

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.text)}</pre>{self.table.head(50).to_html(index=False, escape=True, border=0)}"


def one_row(number: int, **values: Any) -> dict[str, Any]:
    """The row of one file of the source, by its number."""
    empty: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    return {
        **empty,
        "number": number,
        "released": False,
        "already_there": False,
        "name": "",
        "identified": "",
        **values,
    }


def summed_up(folder: Path, rows: list[dict[str, Any]], notes: tuple[str, ...]) -> Deidentified:
    """Count the rows and write ``deidentified.csv``."""
    table = pd.DataFrame([{name: row[name] for name in COLUMNS} for row in rows], columns=list(COLUMNS))
    states = Counter(row["state"] for row in rows)
    counts = {
        "files": len(rows), **{name: states[name] for name in ("written", "quarantined", "refused")},
        "already_there": sum(row["already_there"] for row in rows),
        "patients": len({row["patient"] for row in rows if row["state"] != "refused"}),
    }  # fmt: skip
    write_text(folder / "deidentified.csv", f"# {LOOK} {RESEARCH_USE}\n{csv_text(table)}")
    return Deidentified(folder, counts, table, notes)


def earlier_rows(output: Path, settings: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Rows of earlier runs into the same folder, by file."""
    if not (output / REPORT).is_file():
        return {}
    try:
        account = json.loads((output / REPORT).read_text(encoding="utf-8"))
        rows = {row["name"]: row for row in account["files"] if row["name"]}
        same = account["settings"] == settings
    except (ValueError, KeyError, TypeError) as problem:
        raise InputError(
            f"{REPORT} in the output folder cannot be read.", "the account of an earlier run.", "Choose a new folder."
        ) from problem
    if not same:
        raise InputError(
            "The output folder was made with another secret or with dates treated otherwise.",
            "one secret and one way with dates in one folder, so that patients and days fit together.",
            "Use the same as before, or choose a new folder.",
        )
    return rows


def write_key(secret: Path, paths: list[Path], rows: list[dict[str, Any]], output: Path) -> None:
    """The only place where an original path stands beside its new name; like the secret, for this user alone."""
    place = secret.with_name(f"{secret.name}.key.csv")
    fresh = pd.DataFrame(
        [
            {"original": str(path.resolve()), "output": str(output.resolve()), **{k: row[k] for k in ("state", "file", "patient")}}
            for path, row in zip(paths, rows, strict=True)
        ]
    )  # fmt: skip
    with suppress(FileNotFoundError, pd.errors.EmptyDataError):
        fresh = pd.concat([pd.read_csv(place, dtype=str, keep_default_na=False), fresh])
    fresh = fresh.drop_duplicates(["original", "output"], keep="last")
    handle, temporary = tempfile.mkstemp(dir=place.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(csv_text(fresh))
    os.replace(temporary, place)
