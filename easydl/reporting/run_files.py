"""Files of a run folder, read so that what is missing or broken stops nothing: it is empty, and named."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

_MEGABYTE = 2**20
_LARGEST_JSON, _LARGEST_TABLE, _LARGEST_IMAGE = 64 * _MEGABYTE, 256 * _MEGABYTE, 8 * _MEGABYTE


@dataclass
class RunFiles:
    """The files of one run folder.

    Attributes:
        folder: The run folder.
        problems: What could not be read, as sentences.
    """

    folder: Path
    problems: list[str] = field(default_factory=list)

    def json(self, name: str) -> Any:
        """What a JSON file holds; None when it is missing or broken."""
        path = self.folder / name
        try:
            if path.stat().st_size > _LARGEST_JSON:
                raise ValueError("too large")
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError):
            self.problems.append(f"{name} could not be read.")
            return None

    def dictionary(self, name: str) -> dict[str, Any]:
        """The dict in a JSON file, or an empty one."""
        content = self.json(name)
        if content is not None and not isinstance(content, dict):
            self.not_what_it_should(name)
        return content if isinstance(content, dict) else {}

    def table(self, name: str, **options: Any) -> pd.DataFrame:
        """A CSV file, or an empty table."""
        path = self.folder / name
        try:
            if path.stat().st_size > _LARGEST_TABLE:
                raise ValueError("too large")
            return pd.read_csv(path, **options)
        except FileNotFoundError:
            return pd.DataFrame()
        except (OSError, ValueError):  # a half-written or empty table is a ValueError for pandas
            self.problems.append(f"{name} could not be read.")
            return pd.DataFrame()

    def image(self, place: str, name: str) -> dict[str, Any]:
        """The ``path`` of a PNG in a folder of the run, or None and the ``problem`` that keeps it from being shown."""
        folder = self.folder / place
        path = folder / name
        problem = ""
        try:
            if path.resolve().parent != folder.resolve():  # an index must not reach for files elsewhere
                problem = f"The image is not in the folder {place or 'of the run'}."
            elif path.stat().st_size > _LARGEST_IMAGE:
                problem = "The image is too large for this page; it is in the run folder."
            else:
                with open(path, "rb") as file:
                    problem = "" if file.read(8) == b"\x89PNG\r\n\x1a\n" else "The image is not a PNG file."
        except (OSError, ValueError):
            problem = "The image is missing."
        return {"path": None if problem else path, "problem": problem}

    def not_what_it_should(self, name: str) -> None:
        """Note that a file could be read and makes no sense."""
        self.problems.append(f"{name} does not hold what it should.")


def entries(content: Any) -> list[dict[str, Any]]:
    """The dicts of a list; of anything else none."""
    return [entry for entry in content if isinstance(entry, dict)] if isinstance(content, list) else []
