"""The report of a de-identification: a table, a text, files beside the images. It carries no original identifier."""

from __future__ import annotations

import html
import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from easydl.errors import RESEARCH_USE, InputError
from easydl.fileio import csv_text, replacing, write_text

LOOK = "Burned-in text was looked for by rules, not by eye: look at every image before you share it."
REPORT = "deidentified.json"
STATES = {"written": "", "quarantined": "In quarantine/, for a person to look at", "refused": "Not written"}
"""What can become of a file, and the heading under which the reasons are listed."""
EMPTY_ROW: dict[str, Any] = {
    "number": 0,
    "state": "",
    "reason": "",
    "file": "",
    "patient": "",
    "study": "",
    "series": "",
    "modality": "",
    "released": False,
    "already_there": False,
    "notes": "",
}
COLUMNS = tuple(EMPTY_ROW)
MAX_REASONS = 6


@dataclass(frozen=True, repr=False)
class Deidentified:
    """What a de-identification did. Shows itself as text, and as a table in a notebook.

    Attributes:
        folder: The output: ``images/``, ``quarantine/``, ``deidentified.csv`` and ``deidentified.json``.
        counts: ``files`` = ``written`` + ``quarantined`` + ``refused``; ``already_there`` of them were not written
            again; ``patients``.
        table: One row per file of the source, by its number in the order of the source's paths, without identifiers.
        notes: What a person should know before sharing, as text.
    """

    folder: Path
    counts: dict[str, int]
    table: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The report on one screen."""
        n = self.counts
        there = f" ({n['already_there']} were there already)" if n["already_there"] else ""
        states = ", ".join(f"{n[state]} {state}" for state in STATES)
        files, patients = (f"{n[what]} {what if n[what] != 1 else what[:-1]}" for what in ("files", "patients"))
        lines = [f"{files} of {patients}: {states}{there}."]
        for state, heading in STATES.items():
            reasons = self.table.loc[self.table["state"] == state, "reason"] if heading else ()
            counts = Counter(reason for text in reasons for reason in str(text).split("; "))
            lines += [f"{heading}:"] if counts else []
            lines += [f"  {count} x {reason}" for reason, count in counts.most_common(MAX_REASONS)]
            if len(counts) > MAX_REASONS:
                lines.append(f"  and {len(counts) - MAX_REASONS} other reasons: see deidentified.csv")
        return "\n".join([*lines, *self.notes, LOOK, RESEARCH_USE])

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, as in ``deidentified.json``."""
        return {
            "counts": self.counts,
            "notes": list(self.notes),
            "files": self.table.to_dict("records"),
            "look": LOOK,
            "research_use": RESEARCH_USE,
        }

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.text)}</pre>{self.table.head(50).to_html(index=False, escape=True, border=0)}"


def file_row(number: int, **values: Any) -> dict[str, Any]:
    """The row of one file of the source, by its number; ``name`` and ``identified`` are not shown."""
    return {**EMPTY_ROW, "name": "", "identified": "", "number": number, **values}


def summarise(folder: Path, rows: list[dict[str, Any]], notes: tuple[str, ...]) -> Deidentified:
    """Count the rows and write ``deidentified.csv``."""
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    states = Counter(row["state"] for row in rows)
    counts = {
        "files": len(rows),
        **{state: states[state] for state in STATES},
        "already_there": sum(row["already_there"] for row in rows),
        "patients": len({row["patient"] for row in rows if row["state"] != "refused"}),
    }
    write_text(folder / "deidentified.csv", f"# {LOOK} {RESEARCH_USE}\n{csv_text(table)}")
    return Deidentified(folder, counts, table, notes)


def earlier_rows(output: Path, settings: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Rows of earlier runs into the same folder, by file."""
    if not (output / REPORT).is_file():
        return {}
    try:
        report = json.loads((output / REPORT).read_text(encoding="utf-8"))
        rows = {row["name"]: row for row in report["files"] if row["name"]}
        same = report["settings"] == settings
    except (ValueError, KeyError, TypeError) as problem:
        raise InputError(
            f"{REPORT} in the output folder cannot be read.", "the report of an earlier run.", "Choose a new folder."
        ) from problem
    if not same:
        raise InputError(
            "The output folder was made with another secret or with another treatment of dates.",
            "one secret and one treatment of dates in one folder, so that patients and days fit together.",
            "Use the same as before, or choose a new folder.",
        )
    return rows


def write_key(secret: Path, paths: list[Path], rows: list[dict[str, Any]], output: Path) -> None:
    """The only place where an original path stands beside its new name; like the secret, for this user alone."""
    key = secret.with_name(f"{secret.name}.key.csv")
    there = str(output.resolve())
    pairs = [(str(path.resolve()), row) for path, row in zip(paths, rows, strict=True)]
    columns = ("state", "file", "patient")
    table = pd.DataFrame(
        [{"original": path, "output": there, **{name: row[name] for name in columns}} for path, row in pairs]
    )
    with suppress(FileNotFoundError, pd.errors.EmptyDataError):
        table = pd.concat([pd.read_csv(key, dtype=str, keep_default_na=False), table])
    table = table.drop_duplicates(["original", "output"], keep="last")
    with replacing(key, mode=0o600) as draft:
        draft.write_text(csv_text(table), encoding="utf-8")
