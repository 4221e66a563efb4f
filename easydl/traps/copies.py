"""A2 and A7: identical and nearly identical images, in two parts or with two labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from easydl.studies.near_copies import linked
from easydl.traps.issues import Issue, images, shown

if TYPE_CHECKING:
    from easydl.studies import Study


def copies(study: Study) -> list[Issue]:
    """Identical images, then those that are nearly the same."""
    return [*_identical(study), *_nearly(study)]


def _identical(study: Study) -> list[Issue]:
    frame = study.frame.assign(_digest=study.digests())
    copies = frame[frame["_digest"].duplicated(keep=False)]
    if copies.empty:
        return [Issue("A2", "OK", "No two images are identical.", n=len(study))]
    sets, n = copies.groupby("_digest"), len(study)
    rows = shown(copies.sort_values("_digest", kind="stable").index)  # those that are alike side by side
    surplus = images(study, copies.index[copies["_digest"].duplicated()])
    issues = []
    labels = list(study.heads) or [column for column in ("label",) if column in frame.columns]
    if conflicts := int(sum((sets[label].nunique() > 1).sum() for label in labels)):
        sentence = f"{conflicts} identical images carry different labels."
        fix = "Decide which label is right and remove the other rows."
        issues.append(
            Issue("A7", "BLOCK", sentence, fix, value=conflicts, n=n, rows=rows, exclude=images(study, copies.index))
        )
    if "split" in frame.columns and (crossing := int((sets["split"].nunique() > 1).sum())):
        sentence = f"{crossing} identical images are in more than one part of the split."
        fix = "Use study.split(seed=0), which keeps them together, or remove the copies."
        return [*issues, Issue("A2", "BLOCK", sentence, fix, value=crossing, n=n, rows=rows, exclude=surplus)]
    across = int((sets["patient"].nunique() > 1).sum()) if study.patients_known else 0
    more = f"; {across} of them under different patients" if across else ""
    occur = "1 image occurs" if sets.ngroups == 1 else f"{sets.ngroups} images occur"
    sentence = f"{occur} more than once ({len(copies)} rows{more}). A split by easydl keeps copies in one part."
    fix = "Remove the copies, or check whether the patients are the same."
    return [*issues, Issue("A2", "WARN", sentence, fix, value=sets.ngroups, n=n, rows=rows, exclude=surplus)]


def _nearly(study: Study) -> list[Issue]:
    pairs, n = study.near_copies, len(study)
    what = "of different patients " if study.patients_known else ""
    if not pairs:
        return [Issue("A2", "OK", f"No two images {what}are nearly the same.", n=n)]
    group = linked(len(study), [pair.first for pair in pairs], [pair.second for pair in pairs])
    several = np.flatnonzero(np.bincount(group)[group] > 1)
    rows = shown(several[np.argsort(group[several], kind="stable")])  # those that are alike side by side
    sets = len(np.unique(group[several]))
    surplus = images(study, sorted({pair.second for pair in pairs}))
    changes = sorted({pair.change for pair in pairs if pair.change})
    how = f" (some {', '.join(changes)})" if changes else ""
    groups = "" if sets == 1 else f", in {sets} groups"
    issues = []
    label = study.frame["label"].tolist() if "label" in study.frame.columns else []
    if differing := sum(label[pair.first] != label[pair.second] for pair in pairs) if label else 0:
        sentence = f"{differing} pairs of nearly identical images carry different labels."
        issues.append(
            Issue(
                "A7",
                "WARN",
                sentence,
                "Look at them: one label of each pair is probably wrong.",
                value=differing,
                n=n,
                rows=rows,
            )
        )
    part = study.frame["split"].tolist() if "split" in study.frame.columns else []
    if crossing := sum(part[pair.first] != part[pair.second] for pair in pairs) if part else 0:
        sentence = f"{crossing} pairs of nearly identical images {what}lie in two parts of the split{how}."
        fix = "Use study.split(seed=0), which keeps them together, or remove the copies."
        return [*issues, Issue("A2", "WARN", sentence, fix, value=crossing, n=n, rows=rows, exclude=surplus)]
    sentence = (
        f"{len(several)} images {what}are nearly the same{groups}{how}. A split by easydl keeps them in one part."
    )
    fix = "Look at them: remove copies, or check whether the patients are the same."
    return [*issues, Issue("A2", "WARN", sentence, fix, value=sets, n=n, rows=rows, exclude=surplus)]
