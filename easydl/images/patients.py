"""What of a patient's identifier tells one patient from another, and which identifiers name nobody."""

from __future__ import annotations

import re
import unicodedata

NOBODY = {
    "anon", "anonym", "anonyme", "anonymous", "anonymized", "anonymised", "anonymisiert", "anonymizedpatient",
    "anonymouspatient", "deidentified", "deid", "pseudonymized", "pseudonymised", "unknown", "unknownpatient",
    "unbekannt", "inconnu", "unnamed", "noname", "nopatient", "noid", "none", "null", "nil", "nan", "na", "empty",
    "missing", "removed", "deleted", "redacted", "hidden", "masked", "blank", "notavailable", "notknown",
    "unspecified", "undefined", "patient", "patientid", "xxx", "xxxx", "xxxxx", "xxxxxx",
}  # fmt: skip
"""What exports write instead of an identifier, as letters alone."""
_NUMBER_OF_A_SHEET = re.compile(r"(\d+)[.,]0+")
_SCIENTIFIC = re.compile(r"[+-]?\d+([.,]\d+)?E\+\d+|[+-]?\d+[.,]\d+E\d+", re.IGNORECASE)


def patient_key(patient: str) -> str:
    """What stays of a patient's identifier when it is written another way: ``"P-01"`` and ``"p01 "`` are one.

    Case, spaces, invisible characters, punctuation, leading zeros and the ``.0`` that spreadsheets add to a number go;
    letters and numbers stay apart (``"1-11"`` is not ``"11-1"``).
    """
    text = unicodedata.normalize("NFKC", patient).casefold()
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf").strip()
    if number := _NUMBER_OF_A_SHEET.fullmatch(text):
        text = number[1]
    parts = re.findall(r"\d+|[^\W\d_]+", text)
    return "|".join(part.lstrip("0") or "0" if part.isdigit() else part for part in parts) or patient


def names_nobody(patient: str) -> bool:
    """Whether an identifier is a word for "not known" (``"ANONYMOUS"``, ``"N/A"``), punctuation alone, or empty."""
    key = patient_key(patient)
    return not any(letter.isalnum() for letter in key) or key.replace("|", "") in NOBODY


def is_scientific(patient: str) -> bool:
    """Whether a spreadsheet has shortened a long number (``"1.23457E+15"``): its last digits are lost."""
    return _SCIENTIFIC.fullmatch(patient.strip()) is not None
