"""Puts a run together into one HTML page that carries everything it shows. It computes no number."""

from __future__ import annotations

import math
import os
import re
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

import jinja2

from easydl.errors import RESEARCH_USE
from easydl.evaluation.formatting import number
from easydl.explanation.verdict import WORDS
from easydl.fileio import write_text
from easydl.option_model import documented
from easydl.options_of_use import ReportOptions
from easydl.reporting import figures, numbers, reproduce, text
from easydl.reporting.checklist import write_checklist
from easydl.reporting.names import shown
from easydl.reporting.record import PARTS, RunRecord

_SEVERITIES = {
    "BLOCK": "Makes the result meaningless until it is put right",
    "WARN": "May make the result look better than it is",
    "UNTESTED": "Could not be checked",
    "NOTE": "Worth knowing",
    "OK": "Checked, nothing found",
}
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
_HEATMAPS = 48


@documented(ReportOptions)
def report(
    folder: str | os.PathLike[str], path: str | os.PathLike[str] | None = None, *, checklist: str | None = None
) -> Path:
    """Write the report of a run: one HTML file that needs nothing else, not even a network. Or a checklist filled from it.

    Whatever the run has not produced is said in plain text. Every number comes from the run folder's JSON files,
    so the report, the checklists and the app cannot disagree.

    Args:
        folder: The run folder.
        path: Where to write; ``report.html`` in the run folder when not given. A checklist is Markdown
            (``claim.md``), or HTML where the file's name ends so.
        {options}

    Returns:
        The path of the page.

    Raises:
        RunError: The folder is not a run folder.
        InputError: There is no such checklist, or its file ends in neither ``.md`` nor ``.html``.

    Example:
        >>> easydl.report("runs/2026-11-20_1530_tiny")  # doctest: +SKIP
        PosixPath('runs/2026-11-20_1530_tiny/report.html')
    """
    record = RunRecord.open(folder)
    if checklist is not None:
        return write_checklist(record, checklist, None if path is None else Path(path))
    target = Path(folder) / "report.html" if path is None else Path(path)
    return write_text(target, page(record))


def page(record: RunRecord) -> str:
    """The page of a run, as HTML."""
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            research_use=RESEARCH_USE,
            title=record.given_name or "A run of easydl",
            folder=record.folder.resolve().name,
            written=text.when(record.facts.get("finished") or record.status.get("heartbeat")),
            state=text.state(record),
            error=_error(record),
            done=text.done(record),
            read_first=_read_first(record),
            overrides=record.overrides,
            result=numbers.result(record.metrics),
            baselines=numbers.baselines(record),
            overfitting=record.overfitting,
            study=_study(record),
            separation=text.separation(record),
            issues=_issues(record),
            training=_training(record),
            heatmaps=[_heatmap(place, entry) for place, entry in enumerate(record.heatmaps[:_HEATMAPS], 1)],
            heatmaps_left_out=max(0, len(record.heatmaps) - _HEATMAPS),
            image_map=_image_map(record),
            settings=_pairs({**reproduce.without_places(record.config), "source": None}),
            machine=_machine(record),
            command=reproduce.command(reproduce.without_places(record.config)),
            has_model=(record.folder / "model.keras").is_file(),
        )
    )


@cache
def environment() -> jinja2.Environment:
    """The templates of the pages."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("easydl.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_clean,
    )


def _clean(value: Any) -> Any:
    """Text without control characters, halves of characters, and marks that turn the reading order around."""
    return _UNFIT.sub("\ufffd", value) if type(value) is str else value


def _read_first(record: RunRecord) -> list[str]:
    """What a reader must know before the first number."""
    found = list(record.warnings)
    if record.patients_known is False:
        found.append(
            "Patients are unknown: every image was treated as its own patient. Images of one patient may be "
            "in training and in test, and then every number below is too good."
        )
    if record.shared_patients:
        found.append(
            f"{text.many(record.shared_patients, 'patient')} of table.csv are in more than one part of "
            "the split. The test is not a fair one."
        )
    blocks = sum(issue.get("severity") == "BLOCK" for issue in record.issues)
    if blocks:
        found.append(f"The audit has {text.many(blocks, 'issue')} that should have stopped this run. See Audit.")
    if record.metrics is not None:
        found += [note for note in record.metrics.notes if note.startswith(("Too few", "Read with", "The interval"))]
    return found + record.problems


def _error(record: RunRecord) -> dict[str, str] | None:
    error = record.status.get("error")
    if not isinstance(error, dict):
        return None
    parts = ("found", "expected", "do")
    return dict(zip(parts, record.names.clean((str(error.get(key) or "") for key in parts), disk=True), strict=True))


def _study(record: RunRecord) -> dict[str, Any] | None:
    """The table of the split: one row per class, patients and images in each part."""
    parts = {key: record.split[key] for key in PARTS if isinstance(record.split.get(key), dict)}
    if not parts:
        return None
    per_class = {
        key: part["per_class"] if isinstance(part.get("per_class"), dict) else {} for key, part in parts.items()
    }
    classes = record.split.get("classes")
    in_order = [str(name) for name in classes] if isinstance(classes, list) else []
    found = {str(name) for part in per_class.values() for name in part}
    names = [*(name for name in in_order if name in found), *sorted(found.difference(in_order))]

    def pair(facts: Any) -> tuple[str, str]:
        if not isinstance(facts, dict):  # a bare number counts images
            facts = {"images": facts}
        counts = (text.count(facts.get("patients")), text.count(facts.get("images")))
        return tuple("–" if value is None else f"{value:,}" for value in counts)  # type: ignore[return-value]

    rows = [{"name": "all", "cells": [cell for part in parts.values() for cell in pair(part)]}]
    rows += [
        {
            "name": name,
            "cells": [cell for key in parts for cell in pair(per_class[key].get(name, {"images": 0}))],
        }
        for name in names
    ]
    notes = record.split.get("notes")
    return {
        "parts": [label for key, label in PARTS.items() if key in parts],
        "rows": rows,
        "numbers": _ranges(parts),
        "notes": record.names.clean(notes) if isinstance(notes, list) else [],
    }


def _ranges(parts: dict[str, dict[str, Any]]) -> list[str]:
    """The range of each value in every part, as text."""
    found: dict[str, list[str]] = {}
    for key, label in PARTS.items():
        measured = parts[key].get("numbers") if key in parts else None
        for name, one in measured.items() if isinstance(measured, dict) else ():
            if isinstance(one, dict) and all(_real(one.get(side)) for side in ("lowest", "median", "highest")):
                said = f"{one['lowest']:g} to {one['highest']:g} (median {one['median']:g}) in {label}"
                found.setdefault(str(name), []).append(said)
    return [f"{name}: {', '.join(said)}." for name, said in found.items()]


def _issues(record: RunRecord) -> list[dict[str, Any]]:
    """The issues in groups, the worst first."""
    groups = []
    sentences = record.names.clean(str(issue.get("sentence") or "(no sentence)") for issue in record.issues)
    issues = [{**issue, "sentence": sentence} for issue, sentence in zip(record.issues, sentences, strict=True)]
    strange = [issue for issue in issues if str(issue.get("severity")) not in _SEVERITIES]
    for severity, meaning in _SEVERITIES.items():
        found = [issue for issue in issues if issue.get("severity") == severity]
        found += strange if severity == "NOTE" else []
        if found:
            groups.append(
                {
                    "severity": severity,
                    "meaning": meaning,
                    "entries": [_issue(one, record.thumbnails(one)) for one in found],
                }
            )
    return groups


def _issue(issue: dict[str, Any], thumbnails: bytes) -> dict[str, str]:
    value, low, high, p, n = (issue.get(key) for key in ("value", "low", "high", "p", "n"))
    facts = []
    if _real(value) and (_real(low) or _real(p)):  # a bare count is in the sentence already
        limits = f" (95% CI {number(low)}-{number(high)})" if _real(low) and _real(high) else ""
        facts.append(f"{_plain(value)}{limits}")
    if _real(p):
        facts.append("p < 0.001" if p < 0.001 else f"p = {p:.3f}")
    if text.count(n) is not None:
        facts.append(f"n = {n:,}")
    return {
        "id": str(issue.get("id") or ""),
        "sentence": str(issue.get("sentence") or "(no sentence)"),
        "fix": str(issue.get("fix") or ""),
        "facts": ", ".join(facts),
        "thumbnails": figures.png(thumbnails) if thumbnails else "",
    }


def _stages(stages: list[str]) -> list[str]:
    """Each stage once, in order; of an ensemble those of the last member carry no number in the file, and do here."""
    members = [int(one.split(":")[0].split()[1]) for one in stages if re.match(r"member \d+:", one)]
    last = f"member {max(members) + 1}: " if members else ""
    return list(dict.fromkeys(one if one.startswith("member ") else f"{last}{one}" for one in stages))


def _training(record: RunRecord) -> dict[str, Any] | None:
    drawn = figures.training_curve(record.history)
    if drawn is None:
        return None
    best = figures.best_epoch(record.history)
    sentence = f"{text.many(len(record.history), 'epoch')}."
    if best is not None:
        sentence += f" The validation loss was lowest, {best[1]:.3f}, at epoch {best[0]}."
    if "stage" in record.history.columns:
        stages = _stages(list(map(str, record.history["stage"])))
        sentence += f" Stages: {', '.join(stages)}." if len(stages) > 1 else ""
    plan = record.training.get("plan")
    choices = [str(choice) for choice in plan] if isinstance(plan, list) else []
    return {"figure": figures.svg(drawn), "sentence": sentence, "plan": choices, "coach": record.coach}


def _heatmap(place: int, entry: dict[str, Any]) -> dict[str, Any]:
    stored = entry.get("verdict")
    verdict: dict[str, Any] = stored if isinstance(stored, dict) else {}
    level, probability = str(verdict.get("level") or ""), entry.get("probability")
    answer = [f"called {entry['prediction']}"] if entry.get("prediction") else []
    if _real(entry.get("value")):
        answer.append(f"measured {number(entry['value'], ' ').strip()}")
    if entry.get("target") and str(entry["target"]).rpartition(": ")[2] != entry.get("prediction"):
        answer.append(f"map for {entry['target']}")
    if _real(probability):
        answer.append(f"probability {number(probability)}")
    if entry.get("label"):
        right = entry.get("right")
        right = f" (the answer is {'right' if right else 'wrong'})" if isinstance(right, bool) else ""
        answer.append(f"reference {entry['label']}{right}")
    return {
        "image_data": figures.png(entry["path"].read_bytes()) if entry["path"] else "",
        "problem": entry["problem"],
        "name": shown(entry.get("image"), f"test image {place}"),
        "patient": shown(entry.get("patient"), "").removeprefix("patient "),
        "answer": ", ".join(answer),
        "level": level if level in WORDS else "NONE",
        "verdict": WORDS.get(level, "No verdict: do not trust"),
        "sentence": str(verdict.get("sentence") or ""),
        "words": str(entry.get("words") or ""),
        "details": _details(verdict),
        "notes": " ".join(str(note) for note in entry["notes"]) if isinstance(entry.get("notes"), list) else "",
    }


def _image_map(record: RunRecord) -> dict[str, Any] | None:
    found = record.image_map
    if not found or not found["path"]:
        return None
    sentences = [str(one) for one in found.get("islands") or ()]
    shown, of = found.get("images"), found.get("of")
    return {"figure": figures.png(found["path"].read_bytes()), "sentences": sentences, "shown": shown, "of": of}


def _details(verdict: dict[str, Any]) -> list[tuple[str, str]]:
    """What was measured for a verdict: the reasons with their figures, then every number."""
    stored, numbers = verdict.get("reasons"), verdict.get("numbers")
    reasons = [one for one in stored if isinstance(one, dict)] if isinstance(stored, list) else []
    rows = [(str(one.get("sentence") or ""), str(one.get("figures") or "")) for one in reasons]
    return rows + [(name.replace("_", " "), value) for name, value in _pairs(numbers)]


def _machine(record: RunRecord) -> list[tuple[str, str]]:
    facts = record.facts
    rows = _pairs(facts.get("versions") if isinstance(facts.get("versions"), dict) else {})
    if facts.get("device"):
        rows.append(("device", str(facts["device"])))
    if text.count(facts.get("parameters")) is not None:
        rows.append(("parameters of the network", f"{facts['parameters']:,}"))
    if facts.get("fingerprint"):
        rows.append(("fingerprint of the data", str(facts["fingerprint"])))
    seconds = facts.get("seconds")
    if isinstance(seconds, dict):
        rows += [(f"time for {stage}", f"{value:.0f} s") for stage, value in seconds.items() if _real(value)]
    return rows


def _pairs(content: Any) -> list[tuple[str, str]]:
    """Settings as names and text; what was left open is not shown."""
    if not isinstance(content, dict):
        return []
    shown = {True: "yes", False: "no"}
    return [
        (str(name), shown[value] if isinstance(value, bool) else _list(value))
        for name, value in content.items()
        if value not in (None, "", [], {})
    ]


def _list(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name} = {_list(part)}" for name, part in value.items())
    return ", ".join(str(part) for part in value) if isinstance(value, (list, tuple)) else str(value)


def _plain(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else number(value)


def _real(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
