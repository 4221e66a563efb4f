"""The issues of an audit by severity, each a sentence with its number and what to do. It checks nothing."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from easydl.errors import RESEARCH_USE

if TYPE_CHECKING:
    from easydl.studies import Study

SEVERITIES = ("BLOCK", "WARN", "UNTESTED", "NOTE", "OK")
"""From the worst down. UNTESTED is a result: what could not be tested is said."""
DRAWERS = {
    "Issues": ("BLOCK", "WARN"),
    "Worth knowing": ("NOTE",),
    "Not testable": ("UNTESTED",),
    "Passed": ("OK",),
}
"""How a reader wants them: what to act on, what to keep in mind, what could not be tested, what is fine."""
COLOURS = dict(zip(SEVERITIES, ("#b3261e", "#a15c00", "#5b5b5b", "#2b5c8a", "#2e6b3a"), strict=True))


@dataclass(frozen=True)
class Issue:
    """The result of one check for a trap.

    Attributes:
        id: Its number in the list of traps (A1 patients, A2 identical images, A4 confounders, ...).
        severity: One of `SEVERITIES`.
        sentence: What was found, as text.
        fix: What to do; empty when there is nothing to do.
        value: The number behind it, or None.
        low: Lower end of its 95% interval.
        high: Upper end of its 95% interval.
        p: Permutation p value, or None.
        n: How many patients it rests on.
        rows: The rows of the study's frame it is about (at most 20).
        exclude: The images to leave out to be rid of it, for ``easydl.load(..., exclude=issue.exclude)``; empty where
            leaving out is no remedy.
        place: Where in the image, as (top, bottom, left, right) fractions of its sides.
        thumbnails: A PNG of the first of these images, small and without names; empty where there is nothing to see.
    """

    id: str
    severity: str
    sentence: str
    fix: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    n: int | None = None
    rows: tuple[int, ...] = ()
    exclude: tuple[str, ...] = field(default=(), repr=False)
    place: tuple[float, float, float, float] | None = None
    thumbnails: bytes = field(default=b"", repr=False)


_KEPT_OUT = ("exclude", "thumbnails")
"""Paths, and bytes: no part of audit.json."""
MOST_ROWS = 20


def shown(index: Iterable[Any]) -> tuple[int, ...]:
    """The first rows an issue is about."""
    return tuple(int(row) for row in islice(index, MOST_ROWS))


def unit_of_n(study: Study) -> str:
    """What a study counts, as in "40 patients": images where nobody knows the patients."""
    return "patients" if study.patients_known else "images"


def images(study: Study, rows: Iterable[Any]) -> tuple[str, ...]:
    """The addresses of some rows' images, for ``exclude=``."""
    column = study.frame[study.image_columns[0]]
    return tuple(str(column.iloc[int(row)]) for row in rows)


def _marked(issue: Issue) -> str:
    """Its sentence; one that makes a test meaningless says so."""
    return f"BLOCK: {issue.sentence}" if issue.severity == "BLOCK" else issue.sentence


def _image(issue: Issue) -> str:
    if not issue.thumbnails:
        return ""
    address = base64.b64encode(issue.thumbnails).decode("ascii")
    return f'<br><img alt="Images of this issue" src="data:image/png;base64,{address}">'


@dataclass(frozen=True, repr=False)
class Audit:
    """All issues of a study, the worst first. Shows itself as a table in a notebook.

    Attributes:
        issues: The issues.
        name: What was audited.
    """

    issues: tuple[Issue, ...]
    name: str = "study"
    research_use: str = field(default=RESEARCH_USE)

    @property
    def blocking(self) -> tuple[Issue, ...]:
        """The issues that make a test result meaningless until they are put right."""
        return tuple(issue for issue in self.issues if issue.severity == "BLOCK")

    def to_dict(self) -> dict[str, Any]:
        """The issues as plain values for audit.json; values that are not finite are None."""

        def plain(value: Any) -> Any:
            return None if isinstance(value, float) and not math.isfinite(value) else value

        issues = [
            {key: plain(value) for key, value in asdict(issue).items() if key not in _KEPT_OUT} for issue in self.issues
        ]
        return {"issues": issues, "research_use": self.research_use}

    def drawers(self) -> dict[str, tuple[Issue, ...]]:
        """The issues as a reader wants them: ``Issues``, ``Worth knowing``, ``Not testable``, ``Passed``; empty ones left out."""
        sorted_in = {
            name: tuple(issue for issue in self.issues if issue.severity in severities)
            for name, severities in DRAWERS.items()
        }
        return {name: issues for name, issues in sorted_in.items() if issues}

    def __repr__(self) -> str:
        lines = [f"Audit of {self.name}"]
        for name, issues in self.drawers().items():
            lines += [name, *(f"  {issue.id:4}{_marked(issue)} {issue.fix}".rstrip() for issue in issues)]
        return "\n".join([*lines, self.research_use])

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th colspan="3" style="text-align:left">{html.escape(name)}</th></tr>'
            + "".join(
                f'<tr><td style="color:{COLOURS[issue.severity]};font-weight:600">{issue.id}</td>'
                f'<td style="text-align:left">{html.escape(_marked(issue))}{_image(issue)}</td>'
                f'<td style="text-align:left">{html.escape(issue.fix)}</td></tr>'
                for issue in issues
            )
            for name, issues in self.drawers().items()
        )
        return (
            f"<table><thead><tr><th></th><th style='text-align:left'>What was found</th>"
            f"<th style='text-align:left'>What to do</th></tr></thead><tbody>{rows}</tbody></table>"
            f"<p><small>{self.research_use}</small></p>"
        )
