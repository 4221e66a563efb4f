"""The process that does one piece of work and writes it into its folder; its end, good or bad, is in the status there."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from easydl.errors import EasyDLError
from easydl.fileio import write_status
from easydl.workspace.background import REQUEST

WORKS = {
    "case": "case_answers:answer",
    "accept": "case_answers:accepted",
    "label": "case_answers:label_next",
    "convert": "conversions:convert",
    "nearest": "similar:find_for_heatmaps",
    "compare": "comparisons:compare_networks",
    "tune": "comparisons:tune_rates",
}
"""What can be asked, and the function of this room that does it: it gets what was asked, and the folder."""


def work(home: Path) -> None:
    """Do what was asked."""
    asked = json.loads((home / REQUEST).read_text(encoding="utf-8"))
    try:
        function_of(asked["work"])(asked, home)
    except EasyDLError as problem:
        error = {"found": problem.found, "expected": problem.expected, "do": problem.do}
    except Exception as problem:  # the last door of this process: its end must be written down
        # Where it arose, and not its words: they may hold a value of a header.
        traceback.print_tb(problem.__traceback__)
        print(type(problem).__name__, file=sys.stderr)
        error = {
            "found": "Something went wrong that easydl did not expect.",
            "expected": "images that this model can be given, and room on the disk.",
            "do": f"Try again, or try other images. The details are in {home / 'log.txt'}.",
        }
    else:
        write_status(home, state="finished", message="Finished")
        return
    write_status(home, state="failed", message=error["found"], error=error)


def function_of(name: str) -> Callable[[dict[str, Any], Path], None]:
    """What does a work."""
    module, _, function = WORKS[name].partition(":")
    found: Callable[[dict[str, Any], Path], None] = getattr(import_module(f"easydl.workspace.{module}"), function)
    return found


if __name__ == "__main__":
    work(Path(sys.argv[1]))
