"""The process that puts one case to a model and writes its page; its end, good or bad, is in the case's status."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path

from easydl.errors import EasyDLError
from easydl.fileio import write_status, write_text
from easydl.workspace.cases import REQUEST, RESULT


def work(home: Path) -> None:
    """Answer one case."""
    asked = json.loads((home / REQUEST).read_text(encoding="utf-8"))
    try:
        if "study" in asked:
            _accept(asked, home)
        else:
            from easydl.reporting.case_page import case_page

            case_page(asked["model"], asked["source"], home / RESULT)
    except EasyDLError as problem:
        error = {"found": problem.found, "expected": problem.expected, "do": problem.do}
    except Exception as problem:  # the last door of this process: its end must be written down
        # Where it arose, and not its words: they may hold a value of a header.
        traceback.print_tb(problem.__traceback__)
        print(type(problem).__name__, file=sys.stderr)
        error = {
            "found": "Something went wrong that easydl did not expect.",
            "expected": "an image or series that this model can be given.",
            "do": f"Try another file. The details are in {home / 'log.txt'}.",
        }
    else:
        write_status(home, state="finished", message="Finished")
        return
    write_status(home, state="failed", message=error["found"], error=error)


def _accept(asked: dict[str, str], home: Path) -> None:
    """Whether the model is ready for the cases of a study; every call adds to the sheet of the model."""
    from easydl.acceptance import accept
    from easydl.workspace.home import Workspace

    workspace = Workspace(home.parents[1])
    found = accept(asked["model"], workspace.studies.load(workspace.studies.one(asked["study"])))
    sheet = found.save(found.folder_in(workspace.folder))
    cases = json.loads(found.cases.drop(columns=["image", "patient"]).to_json(orient="records"))
    said = {"ready": found.verdict, "reasons": found.reasons, "to_look_at": cases, "sheet": str(sheet)}
    (home / RESULT).mkdir()
    write_text(home / RESULT / "case.json", json.dumps(said))


if __name__ == "__main__":
    work(Path(sys.argv[1]))
