"""The audit of a run, before its training and after its test, and what it leaves in the run folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from easydl.errors import RESEARCH_USE, LeakageError
from easydl.fileio import replacing, write_text
from easydl.reporting.names import Names
from easydl.traps import Audit, Issue

MOST_POINTS = 2000
"""Of a map: more are a cloud. The test part is always in it."""
FEWEST_POINTS = 10


class Checks:
    """The audit of one run.

    Args:
        folder: Of the run: ``audit.json``, the images of each issue in ``audit``, ``image_map.json`` and ``.png``, ``features.npz``.
        names: Of images and patients, none of which is said.
        progress: Gets what blocks and what warns.
        seed: Of permutations and intervals.
    """

    def __init__(self, folder: Path, names: Names, progress: Callable[[str], None], seed: int) -> None:
        self.folder, self.names, self.progress, self.seed = folder, names, progress, seed
        self._audited: Audit

    def before(self, study: Any, parts: Sequence[Any], override: str | None) -> None:
        """Look for traps.

        Raises:
            LeakageError: One of them would make every result meaningless, and ``override`` gives no reason.
        """
        from easydl.networks.pretrained import sources
        from easydl.traps import audit

        self._audited = audit(study, full=sources.shipped().is_file(), seed=self.seed)
        self._write(study, self._audited.issues)
        if not self._audited.blocking:
            return
        first = self._audited.blocking[0]
        if not (override or "").strip():
            raise LeakageError(
                first.sentence, "a study without this trap.", first.fix + " Or give override='your reason'."
            )
        for one in (study, *parts):
            one.overrides.append(f"{first.sentence} Reason given: {override}")

    def after(self, study: Any, model: Any) -> None:
        """What the audit says of the model, and the map of the images as it sees them."""
        from easydl.runs.kept_features import forget
        from easydl.traps import Seen, look, model_issues

        seen = look(study, model)
        issues = model_issues(study, seen, self.seed)
        self._audited = replace(self._audited, issues=(*self._audited.issues, *issues))
        self._write(study, issues)
        forget(self.folder)  # those of an earlier model
        if study.task.per_image and len(study) >= FEWEST_POINTS:
            self._map(study, model, seen.view if isinstance(seen, Seen) else None)

    def _write(self, study: Any, said: Sequence[Issue]) -> None:
        content = {**self._audited.to_dict(), "overrides": study.overrides}
        sentences = self.names.clean((issue["sentence"] for issue in content["issues"]), disk=True)
        for number, (issue, sentence) in enumerate(zip(content["issues"], sentences, strict=True)):
            issue["sentence"] = sentence
            if thumbnails := self._audited.issues[number].thumbnails:
                issue["thumbnails"] = f"{number:02d}-{issue['id']}.png"
                (self.folder / "audit").mkdir(exist_ok=True)
                with replacing(self.folder / "audit" / issue["thumbnails"], mode=0o600) as path:
                    path.write_bytes(thumbnails)
        write_text(self.folder / "audit.json", json.dumps(content, indent=1))
        for issue in said:
            if issue.severity in ("BLOCK", "WARN"):
                self.progress(f"{issue.severity}: {issue.sentence}")

    def _map(self, study: Any, model: Any, view: Any) -> None:
        """``image_map.json``, which the app draws by any column, ``image_map.png`` for the report, and the features."""
        from easydl.exploration.mapping import errors_of, mapped, right_or_wrong
        from easydl.figures import png_of
        from easydl.prediction import features
        from easydl.runs.kept_features import keep

        rows = _spread(study)
        part = study.rows(study.frame.index[rows])
        if view is None or view.features is None:
            values = features(model, part).to_numpy()
            found = mapped(part, values, errors_of(model, part))
        else:  # the audit has called the model on every image
            answers = np.array(view.classes)[view.probabilities[rows].argmax(axis=1)]
            label = part.frame["label"].astype(str).to_numpy()
            found = mapped(part, view.features[rows], right_or_wrong(label, answers))
            rows, values = np.arange(len(study)), view.features
        if len(values) == len(study):
            keep(self.folder, study, values)
        points = found.table.drop(columns="image").round({"x": 4, "y": 4})
        content = {
            "images": len(part),
            "of": len(study),
            "method": found.method,
            "islands": self.names.clean(found.sentences, disk=True),
            "columns": found.colours,
            "points": {str(name): points[name].tolist() for name in points.columns},
            "research_use": RESEARCH_USE,
        }
        write_text(self.folder / "image_map.json", json.dumps(content), mode=0o600)
        with replacing(self.folder / "image_map.png", mode=0o600) as path:
            path.write_bytes(png_of(found.show()))


def refuse_seen(model: Any, test: Any, override: str | None) -> None:
    """Refuse before the training what the test would refuse: weights that were pretrained on nearly all of its images.

    Raises:
        LeakageError: Too few patients are left whom the weights have not seen, and ``override`` gives no reason.
    """
    from easydl.evaluation.leakage import without_seen
    from easydl.networks import metadata_of
    from easydl.prediction.seen import seen_rows

    units = test.frame["patient"] if test.patients_known else test.frame.index.to_series()
    without_seen(seen_rows([metadata_of(model)], test)[0], units, override)


def _spread(study: Any) -> np.ndarray:
    """All rows; of very many the test part and others spread evenly."""
    if len(study) <= MOST_POINTS:
        return np.arange(len(study))
    test = np.flatnonzero(study.frame["split"].to_numpy(str) == "test")[:MOST_POINTS]
    others = np.setdiff1d(np.arange(len(study)), test)
    return np.sort(np.concatenate([test, others[:: -(-len(others) // max(1, MOST_POINTS - len(test)))]]))
