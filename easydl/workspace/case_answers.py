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


def label_next(asked: dict[str, Any], home: Path) -> None:
    """Which images of a study to label next: a list with their names to take away, and one without for the page."""
    from easydl._tf import load_tensorflow

    load_tensorflow()
    import easydl
    from easydl.prediction.results import of_a_pool, save_table
    from easydl.workspace.home import Workspace

    workspace = Workspace(home.parents[1])
    study = workspace.studies.load(workspace.studies.one(asked["study"]))
    predictions = of_a_pool(easydl.predict(asked["model"], study))
    chosen = predictions.most_useful(int(asked["to_label"]))
    rows = [
        {"row of the study": int(place) + 1, "score": float(score), "reason": reason}
        for place, score, reason in zip(
            predictions.frame.index.get_indexer(chosen.index), chosen["score"], chosen["reason"], strict=True
        )
    ]
    (home / RESULT).mkdir()
    save_table(chosen, home / RESULT / "to_label.csv")
    write_text(home / RESULT / "case.json", json.dumps({"to_label": rows, "notes": predictions.notes}))
