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
        if "to_label" in asked:
            _label_next(asked, home)
        elif "study" in asked:
            _accept(asked, home)
        else:
            from easydl.reporting.case_page import case_page

            case_page(asked["model"], asked["source"], home / RESULT, method=asked["method"])
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


def _label_next(asked: dict[str, str], home: Path) -> None:
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


if __name__ == "__main__":
    work(Path(sys.argv[1]))
