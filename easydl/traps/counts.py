"""A8 and A9: how many patients of each class there are, and in the test part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from easydl.traps.issues import Issue, unit_of_n

if TYPE_CHECKING:
    from easydl.studies import Study

FEW_TEST, SOME_TEST = 10, 30


def counts(study: Study) -> list[Issue]:
    """How many patients each class has, whether one is rare, and how few are tested."""
    frame, n = study.frame, study.n_patients
    patients = frame.groupby("label")["patient"].nunique().sort_values()
    listing = ", ".join(f"{name} {count}" for name, count in patients.items())
    what = unit_of_n(study)
    issues = [Issue("A8", "NOTE", f"{what.capitalize()} in each class: {listing}.", n=n)]
    ratio = float(patients.iloc[-1] / patients.iloc[0])
    if ratio > 5:
        fix = "Look at sensitivity and specificity rather than accuracy; training weights the classes."
        issues.append(Issue("A8", "WARN", f"The classes are imbalanced: {listing}.", fix, value=ratio, n=n))
    if "split" in frame.columns:
        test = frame[frame["split"] == "test"].groupby("label")["patient"].nunique()
        test = test.reindex(patients.index, fill_value=0)
        least = int(test.min())
        if least < SOME_TEST:
            meaning = "its numbers will mean little." if least < FEW_TEST else "its intervals will be wide."
            sentence = f"The test set holds only {least} {what} of {str(test.idxmin())!r}: {meaning}"
            fix = "Read the intervals, not the numbers; add patients or use several folds."
            issues.append(Issue("A9", "WARN", sentence, fix, value=least, n=int(test.sum())))
    return issues
