"""One bad input: how it is made and used, and the outcome it must have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        id: Its ID, such as ``"D06"``; several cases may share one.
        what: A short description.
        outcome: ``"fail"`` (an EasyDLError whose text matches ``says``), ``"warn"`` (``use`` returns notes, one of
            which matches ``says``) or ``"fix"`` (``use`` compares with an independent truth by ``assert``).
        use: Makes the input in an empty folder and uses easydl on it.
        says: A regular expression, searched case-insensitively.
    """

    id: str
    what: str
    outcome: str
    use: Callable[[Path], Iterable[str] | Any]
    says: str = ""
