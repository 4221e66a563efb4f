"""What is done with a new case, or with a study of them, in the process that was started for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from easydl.errors import EasyDLError
from easydl.fileio import write_text
from easydl.workspace.cases import NEAREST, RESULT


def answer(asked: dict[str, Any], home: Path) -> None:
    """Put one case to a model; then look for the training images that are nearest to it, where these are known."""
    from easydl.reporting.case_page import case_page
    from easydl.workspace.similar import find_for_case

    case_page(asked["model"], asked["source"], home / RESULT, method=asked["method"])
    try:
        found = find_for_case(Path(asked["model"]), asked["source"], home / RESULT)
    except EasyDLError as problem:  # the answer stands without them
        found = {"missing": f"The nearest training images are not shown: {problem.found}"}
    write_text(home / RESULT / NEAREST, json.dumps(found), mode=0o600)


def accepted(asked: dict[str, Any], home: Path) -> None:
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
