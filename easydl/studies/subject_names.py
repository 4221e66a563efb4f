"""What the names of volumes and of their folders say: subject, session, kind of image or mask. It opens no file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from easydl.studies.names import composed

_SEQUENCE = re.compile(
    r"(ax|axial|sag|sagittal|cor|coronal|3d)?(t1|t2|pd|flair|dwi|adc|swi|swan|gre|mra|tof|asl|bold|dce|dsc|stir|dti|mprage|space|"
    r"perf|perfusion|cbf|cbv|ktrans|trace|b\d+|ct|cta|pet|suv|mr|mri|pre|post|native|arterial|venous|portal|delayed)"
    r"(w|wi|ce|c|gd|gad|post|pre|km|star|fs|tse|fse|se|weighted|flair|map|n|\d{1,2})*"
)
MASK_WORDS = {
    "seg", "segs", "segmentation", "segmentations", "mask", "masks", "label", "labels", "gt", "groundtruth", "roi", "rois",
    "dseg", "probseg", "annotation", "annotations", "manual", "lesion", "lesions",
}  # fmt: skip
PLACES = {"anat", "func", "dwi", "fmap", "perf", "pet", "ct", "nifti", "nii", "images", "image", "img", "data", "raw"}
"""Folders within a subject's that say what it holds, and no session."""
UNUSUAL = {"func", "dwi", "fmap", "perf", "eeg", "meg", "ieeg", "beh", "nirs", "motion"}
"""Datatypes of BIDS that are series over time, or no images: used when they are named."""
_SESSION = re.compile(
    r"(ses|session|visit|tp|time(point)?|baseline|bl|follow ?up|fu|month|week|year|day|scan|study|exam|m|v|y|t)?[-_ ]?\d[\d.-]*|"
    r"(baseline|bl|follow[-_ ]?up|screening|pre|post)\w*",
    re.IGNORECASE,
)
_PERSON = re.compile(r"(sub|subj|subject|pat|patient|case|pt|participant|proband)[-_ ]?[A-Za-z]*\d\w*", re.IGNORECASE)
_NUMBERED = re.compile(r"(\D*)\d.*")
_GRADE = re.compile(
    r"(grade|stage|class|birads|bi-rads|pirads|pi-rads|lirads|tirads|label|group|level|category|cat|type|kl|score|risk|gleason|"
    r"fold|part|t|n|m|g)[-_ ]?\d\w?",
    re.IGNORECASE,
)
_COUNT = re.compile(
    r"(scan|vol|volume|run|img|image|im|series|frame|acq|rep|tp|time|visit|sub|subject|subj|patient|pat|case|pt|p|s)?\d+"
)
_PREFIX = re.compile(r"(sub-[A-Za-z0-9]+|(?:patient|subject|subj|pat)[-_ ]?\d+)(?=[_.\s-]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Volume:
    """One file of a tree, as its names tell.

    Attributes:
        path: The file.
        subject: The patient.
        session: The visit, or "".
        kind: Such as ``"T1w"``; ``"image"`` where all are alike; of a mask the structure.
        mask: Whether it is a mask.
        label: The class folder above the subject, or "".
        split: The part of a ready-made split, or "".
        usual: Whether it is used without being named.
    """

    path: Path
    subject: str
    session: str = ""
    kind: str = "image"
    mask: bool = False
    label: str = ""
    split: str = ""
    usual: bool = True


def are_sequences(names: Iterable[str]) -> bool:
    """Whether all names are those of MR sequences, contrast phases or modalities, such as ``T1`` and ``FLAIR``."""
    return all(is_sequence(name) for name in names)


def is_sequence(name: str) -> bool:
    """Whether a name is that of an MR sequence, a contrast phase or a modality."""
    return _SEQUENCE.fullmatch(re.sub(r"[\W_]+", "", name).lower()) is not None


def are_persons(names: Sequence[str]) -> bool:
    """Whether folders are called after persons by a word for one and a number, such as ``patient_07``."""
    return len(names) > 1 and all(_PERSON.fullmatch(name) for name in names)


def are_numbered(names: Sequence[str]) -> bool:
    """Whether folders are numbered as subjects are: not as grades or stages, and more than classes would be."""
    found = [_NUMBERED.fullmatch(name) for name in names]
    if len(names) < 2 or len({one[1].lower() if one else None for one in found}) > 1 or not found[0]:
        return False
    if all(name.isdigit() for name in names):
        return len(names) > 10 or min(map(len, names)) > 2
    return not could_be_grades(names)


def could_be_grades(names: Sequence[str]) -> bool:
    """Whether folders may be called after grades, stages or classes by number, such as ``grade2`` or ``1``."""
    return all(name.isdigit() for name in names) or any(_GRADE.fullmatch(name) for name in names)


def subjects_named(paths: Sequence[Path]) -> list[str] | None:
    """The subject that each file name begins with (``sub-07``, ``patient007``); None unless all do."""
    found = [_PREFIX.match(path.name) for path in paths]
    return [one[1].lower() for one in found if one] if found and all(found) else None


def bids_volume(path: Path, root: Path) -> Volume | None:
    """A file of a BIDS tree; None when no part of its path names a subject.

    References:
        BIDS 1.10, https://bids-specification.readthedocs.io (entities, suffixes, derivatives).
    """
    folders, words = path.relative_to(root).parts[:-1], stem(path).split("_")
    named = {word[:4]: word for word in (*folders, *words) if word[:4] in ("sub-", "ses-")}
    if "sub-" not in named:
        return None
    suffix = words[-1] if "-" not in words[-1] else ""
    entities = {key: value for key, _, value in (word.partition("-") for word in words)}
    mask = suffix.lower() in MASK_WORDS
    described = entities.get("label") or entities.get("desc") or suffix
    rest = [word for word in words if word[:4] not in ("sub-", "ses-", "run-")]
    derived = "derivatives" in folders
    return Volume(
        path,
        named["sub-"],
        named.get("ses-", ""),
        described if mask else "_".join(rest) or "image",
        mask,
        usual=mask or not (derived or "sourcedata" in folders or UNUSUAL & set(folders)),
    )


def kind_of(name: str, subject: str, session: str = "") -> tuple[str, bool]:
    """What a file name says beside the subject: the kind of image, or the structure of a mask; and whether it is one."""
    rest = composed(name).lower()
    for known in (subject.lower(), session.lower()):
        rest = re.sub(rf"(?<![^\W_]){re.escape(known)}(?![^\W_])", " ", rest, count=1) if known else rest
    words = [word for word in re.split(r"[_\-. ]+", rest) if word]
    if any(word in MASK_WORDS for word in words):
        left = [word for word in words if word not in MASK_WORDS and not _COUNT.fullmatch(word)]
        return "_".join(left) or "mask", True
    first = next((place for place, word in enumerate(words) if is_sequence(word)), None)
    if first is not None:
        return "_".join([words[first], *(word for word in words[first + 1 :] if not word.isdigit())]), False
    counted = _COUNT.fullmatch("".join(words)) or all(_COUNT.fullmatch(word) for word in words)
    return ("image" if counted else "_".join(words)), False


def without_kind(name: str) -> str:
    """A file name without the words for its kind: what is left names the subject."""
    left = ""
    for mark, word in re.findall(r"([_\-. ]*)([^_\-. ]+)", composed(name)):
        if not (is_sequence(word) or word.lower() in MASK_WORDS):
            left += f"{mark if left else ''}{word}"
    return left


def session_of(folders: Sequence[str], common: Counter[str], subjects: int) -> tuple[str, list[str], bool]:
    """What folders within a subject's say: the session, words of the kind, and whether they hold masks."""
    session, words, mask = [], [], False
    named = [name for name in common if name.lower() not in MASK_WORDS | PLACES]
    sequences = are_sequences(named)  # "T1" and "FLAIR", but "T0" and "T1" are visits
    for folder in folders:
        low = folder.lower()
        if low in MASK_WORDS:
            mask = True
        elif low in PLACES:
            continue
        elif is_sequence(folder) and (sequences or not _SESSION.fullmatch(folder)):
            words.append(low)
        elif _SESSION.fullmatch(folder) or common[folder] < 0.6 * subjects:
            session.append(folder)
        else:
            words.append(low)
    return "/".join(session), words, mask


def are_sessions(names: Iterable[str]) -> bool:
    """Whether folders are called after visits or dates."""
    return all(_SESSION.fullmatch(name) for name in names)


def stem(path: Path) -> str:
    """A file name without its ending, ``.nii.gz`` included."""
    name = composed(path.name)
    return name[: -len(".nii.gz")] if name.lower().endswith(".nii.gz") else path.stem
