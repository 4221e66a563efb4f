"""Whether images of a study have been in the training of a model: kept when it is trained, compared when it is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from easydl.errors import InputError
from easydl.images import Scan
from easydl.networks.metadata import ModelMetadata, metadata_of
from easydl.networks.seen import DIGITS, Parts, Seen
from easydl.secret import default_secret, keyed_digest, read_secret
from easydl.studies import Study
from easydl.studies.cohort import patient_key
from easydl.studies.pixel_facts import DECODER, digest_of

COLUMN = "seen"
"""The column of predictions that says for each row what of it the model has seen; it is there when anything has been."""
NOT_KNOWN = (
    "Which images this model was trained on is not known, so nobody can say whether the images it was given here were "
    "among them."
)
NOT_COMPLETE = (
    "The model was also trained on images that it does not list: they may be among these although they are not counted."
)
READ_OTHERWISE = (
    "The model was trained by another version of easydl, which may have read the same files as other pixels: images of "
    "its training may be among these although they are not counted."
)
ELSEWHERE = (
    "The model was trained on another computer: its images could be compared with these, its patients could not. Other "
    "images of the same patients may have been in its training."
)
IMAGES_ONLY = (
    "Only the images of its training are known to the model, not their patients: other images of the same patients may "
    "have been in its training."
)


def with_training(earlier: Seen | None, train: Study, val: Study) -> Seen:
    """What a model has seen after a training on these parts, beside what it had seen before.

    Without a secret of this computer that can be used only the images are kept.

    Raises:
        InputError: Images cannot be read.
    """
    seen = (earlier or Seen.new()).with_images(train.digests(), val.digests())
    if earlier is not None and earlier.decoder != DECODER:  # what it has seen before may have other digests now
        seen = seen.model_copy(update={"complete": False})
    seen = seen.model_copy(update={"decoder": DECODER})
    if not (train.patients_known and val.patients_known):
        return seen
    try:
        secret = read_secret(default_secret())
    except InputError:
        return seen
    here, parts = _computer(seen, secret), [_pseudonyms(seen, study, secret) for study in (train, val)]
    patients = {**seen.patients, here: seen.patients.get(here, Parts()).joined(*parts)}
    return seen.model_copy(update={"patients": patients})


def seen_rows(models: Sequence[ModelMetadata], study: Study) -> tuple[list[str], list[str]]:
    """For every row of a study what of it a model (of a cascade one of both) has seen, and notes on what is not known.

    A row is ``"training image"``, ``"validation image"``, ``"training patient"`` (another image of the patient),
    ``"validation patient"``, or nothing. Images are compared by their decoded pixels, which come from the cache.
    """
    rows = [""] * len(study)
    notes: list[str] = []
    learned = [metadata.learned_from for metadata in models]
    notes += [NOT_KNOWN for seen in learned if seen is None]
    for seen in [one for each in learned if each is not None for one in each.lists]:
        patients = _known_patients(seen, study)
        if not seen.complete:
            notes.append(NOT_COMPLETE)
        elif seen.decoder != DECODER:
            notes.append(READ_OTHERWISE)
        if patients is None and study.patients_known:
            notes.append(ELSEWHERE if seen.patients else IMAGES_ONLY)
        addresses = [tuple(study.addresses(row)) for row in range(len(study))]
        for row, digest in enumerate(study.files.digests(addresses, study.each)):
            image = seen.images.where(seen.image(digest))
            patient = patients[row] if patients else ""
            found = f"{image} image" if image else f"{patient} patient" if patient else ""
            rows[row] = min(filter(None, (rows[row], found)), key=_ORDER.index, default="")
    return rows, list(dict.fromkeys(notes))


_ORDER = ("training image", "validation image", "training patient", "validation patient")


def sentence(rows: Sequence[str]) -> str:
    """As in "180 of these 300 images were in the training"; empty where none was."""
    counts, every = Counter(rows), len(rows)
    parts = []
    for kind, text in zip(_ORDER, _TEXTS, strict=True):
        if counts[kind] == every > 1:
            parts.append(f"All {every} images {text[0]}")
        elif counts[kind]:
            of = " more" if parts else f" of these {every} images" if every > 1 else " image"
            parts.append(f"{counts[kind]}{of} {text[counts[kind] == 1]}")
    return "; ".join(parts) and f"{'; '.join(parts)}."


_CHOSEN_BY = "in the validation part, by which the model was chosen"
_TEXTS = (
    ("were in the training", "was in the training"),
    (f"were {_CHOSEN_BY}", f"was {_CHOSEN_BY}"),
    ("are other images of patients in the training", "is another image of a patient in the training"),
    ("are other images of patients in the validation part", "is another image of a patient in the validation part"),
)  # fmt: skip


def scan_notes(models: Sequence[ModelMetadata], scan: Scan) -> list[str]:
    """Whether one image has been in the training of a model, by its pixels."""
    digest = digest_of(scan.oriented().pixels)  # as a study reads it
    places = [one.learned_from.where(digest) for one in models if one.learned_from]
    part = next((where for where in ("training", "validation") if where in places), "")
    return [f"This image was in the {part} of the model, so its answer shows memory, not skill."] if part else []


def metadata_of_all(model: Any, metadata: ModelMetadata) -> list[ModelMetadata]:
    """The metadata of a model; of a cascade, whose second model they are, those of both."""
    first = getattr(model, "find_organ", None)
    return [metadata] if first is None else [metadata_of(first), metadata]


def _computer(seen: Seen, secret: bytes) -> str:
    return keyed_digest("computer of a model", seen.salt, secret).hex()[:DIGITS]


def _pseudonyms(seen: Seen, study: Study, secret: bytes) -> list[str]:
    """One for each row; another one in each model, so that two model files cannot be joined."""
    names = {name: f"{seen.salt} {patient_key(name)}" for name in study.frame["patient"].unique()}
    known = {name: keyed_digest("patient of a model", text, secret).hex()[:DIGITS] for name, text in names.items()}
    return [known[name] for name in study.frame["patient"]]


def _known_patients(seen: Seen, study: Study) -> list[str] | None:
    """For every row the part that its patient was in; None where patients cannot be compared."""
    # Comparing makes no secret: without one, no model was trained here.
    if not (study.patients_known and seen.patients and default_secret().exists()):
        return None
    try:
        secret = read_secret(default_secret())
    except InputError:
        return None
    parts = seen.patients.get(_computer(seen, secret))
    return None if parts is None else [parts.where(one) for one in _pseudonyms(seen, study, secret)]
