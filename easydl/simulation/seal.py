"""The seal of a study with a hidden trap: written by `easydl.simulate`, opened by `unseal`. It is no encryption.

A sealed study is for a class: nothing in its table, notes or file names says what was planted. The file is only kept from
being read by accident; whoever has easydl can open it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from easydl.errors import InputError
from easydl.simulation.cohort import SCANNERS, TRAPS, Acquisition

SEALED = "sealed"
SEAL_FILE = "seal.txt"
_HEAD = "What was planted in this study, sealed. To open it: easydl simulate FOLDER --unseal"
_CHECK_BYTES = 8


@dataclass(frozen=True)
class Seal:
    """What was planted in a sealed study.

    Attributes:
        trap: One of `TRAPS`, or None: nothing was planted.
        where: Where it lies, as a sentence.
        rows: The rows of ``scans.csv`` that carry it; the first below the header is 2, as for ``load(exclude=...)``.
    """

    trap: str | None
    where: str
    rows: tuple[int, ...]

    def __str__(self) -> str:
        if self.trap is None:
            return f"No trap was planted. {self.where}"
        return f"The trap {self.trap!r}: {TRAPS[self.trap]}. {self.where} Rows of the table: {_ranges(self.rows)}."


def hidden_trap(seed: int) -> str | None:
    """The trap of a sealed study; None, which is as likely as each of them, plants nothing."""
    choices = [None, *TRAPS]
    return choices[np.random.default_rng([seed, 10]).integers(len(choices))]


def sealed(trap: str | None, acquisitions: Sequence[Acquisition], region: str) -> str:
    """The text of the seal; its length does not tell what it says."""
    planted = [row for row, one in enumerate(acquisitions, 2) if trap and _carries(trap, one, acquisitions)]
    text = json.dumps({"trap": trap, "where": _where(trap, region), "rows": planted})
    plain = text.ljust(8 * len(acquisitions) + 800).encode()
    check = hashlib.sha256(plain).digest()[:_CHECK_BYTES]
    return f"{_HEAD}\n{base64.b85encode(check + _masked(plain, check)).decode()}\n"


def unseal(folder: str | Path) -> Seal:
    """Open the seal of a study made with ``traps="sealed"``: which trap was planted, if any, and where.

    Args:
        folder: The folder of the study.

    Returns:
        The seal; ``print`` shows it as text.

    Raises:
        InputError: The folder has no seal, or the seal was changed.

    Example:
        >>> import tempfile, easydl
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = easydl.simulate(f"{folder}/study", patients=2, size=32, traps="sealed", seed=1)
        ...     seal = unseal(path.parent)
        >>> seal.trap is None or seal.trap in TRAPS
        True
    """
    path = Path(folder) / SEAL_FILE
    if not path.is_file():
        raise InputError(
            f"{folder} has no {SEAL_FILE}.",
            'a study that was simulated with traps="sealed".',
            "Name the folder of such a study, or make one: easydl simulate FOLDER --traps sealed.",
        )
    try:
        token = base64.b85decode(path.read_text(encoding="utf-8").splitlines()[1])
        check, body = token[:_CHECK_BYTES], token[_CHECK_BYTES:]
        plain = _masked(body, check)
        if hashlib.sha256(plain).digest()[:_CHECK_BYTES] != check:
            raise ValueError
        said = json.loads(plain)
    except (ValueError, IndexError) as problem:
        raise InputError(
            f"{path} was changed since it was written.",
            "the seal as it was.",
            "Simulate the study again with its seed.",
        ) from problem
    return Seal(said["trap"], said["where"], tuple(said["rows"]))


def _masked(text: bytes, key: bytes) -> bytes:
    """The text under a stream of bytes; a second time it is the text again."""
    stream = hashlib.shake_256(b"easydl seal" + key).digest(len(text))
    return bytes(a ^ b for a, b in zip(text, stream, strict=True))


def _carries(trap: str, one: Acquisition, acquisitions: Sequence[Acquisition]) -> bool:
    patient = one.patient
    if trap == "sex":
        return (patient.sex == "M") == patient.positive
    if trap == "scanner":
        return (patient.scanner == next(iter(SCANNERS))) == patient.positive
    if trap == "marker":
        return patient.positive
    if trap == "same_patient":
        return any(other.patient == patient and other.exposure for other in acquisitions)
    return any(other is not one and other.source == one.source for other in acquisitions)


def _where(trap: str | None, region: str) -> str:
    """Where a trap lies, as a sentence."""
    pixels = "the prostate gland in the images" if region == "pelvis" else "the size of the body in the images"
    return {
        None: "Whatever was found is chance.",
        "sex": f"It lies in the column sex, in the DICOM headers (PatientSex), and as {pixels}.",
        "scanner": "It lies in the column scanner, in the DICOM headers (Manufacturer and what goes with it), and in the "
        "noise, sharpness and shading of the images.",
        "marker": "It lies in the pixels of the upper left corner.",
        "same_patient": "It lies in the columns patient and split.",
        "duplicates": "It lies in the pixels: two rows show one image.",
    }[trap]


def _ranges(rows: Sequence[int]) -> str:
    """``2-4, 7`` of 2, 3, 4, 7."""
    text, at = [], 0
    while at < len(rows):
        end = at
        while end + 1 < len(rows) and rows[end + 1] == rows[end] + 1:
            end += 1
        text.append(f"{rows[at]}-{rows[end]}" if end > at else str(rows[at]))
        at = end + 1
    return ", ".join(text)
