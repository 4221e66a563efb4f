"""Pseudonyms for identifiers from one secret of this site: UIDs, patients, days. It keeps no list of what it replaced."""

from __future__ import annotations

import re
import uuid
from datetime import date, timedelta

from pydicom.uid import UID_dictionary

from easydl.secret import keyed_digest

DAYS = (365, 3652)
"""By how many days dates move back: one to ten years, another number for every patient."""


class Pseudonyms:
    """The same pseudonym for the same identifier, in every run with the same secret; another one with another secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def uid(self, uid: str) -> str:
        """A UID below the root ``2.25`` (PS3.5 B.2), at most 44 characters; UIDs that DICOM itself defines stay."""
        text = uid.strip("\0 ")
        if text in UID_dictionary:
            return text
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', text)[:16], version=4).int}"

    def patient(self, identity: str) -> str:
        """``P-`` and 16 hexadecimal digits."""
        return "P-" + self._digest("patient", identity).hex()[:16].upper()

    def label(self, text: str) -> str:
        """``X-`` and 8 hexadecimal digits, for a text that cannot stay but must differ from others."""
        return "X-" + self._digest("label", text).hex()[:8].upper()

    def days(self, identity: str) -> int:
        """How many days back this patient's dates move."""
        low, high = DAYS
        return low + int.from_bytes(self._digest("days", identity)[:8], "big") % (high - low + 1)

    def fingerprint(self) -> str:
        """Tells two secrets apart without giving either away."""
        return self._digest("fingerprint", "").hex()[:12]

    def _digest(self, kind: str, text: str) -> bytes:
        return keyed_digest(kind, text, self._secret)


def shift_date(text: str, days: int) -> str:
    """A DICOM date (``20200315``, also the old ``2020.03.15``) moved back; "" when it is not a valid date."""
    digits = re.fullmatch(r"(\d{4})[.-]?(\d\d)[.-]?(\d\d)", text.strip("\0 "))
    if not digits:
        return ""
    try:
        moved = date(*map(int, digits.groups())) - timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return f"{moved.year:04}{moved.month:02}{moved.day:02}"


def shift_date_time(text: str, days: int) -> str:
    """A DICOM date and time moved back by full days; the time of day stays, the time zone is dropped."""
    parts = re.fullmatch(r"(\d{8})(\d{2,6}(?:\.\d{1,6})?)?(?:[+-]\d{4})?", text.strip("\0 "))
    moved = shift_date(parts[1], days) if parts else ""
    return f"{moved}{parts[2] or ''}" if parts and moved else ""


def clean_time(text: str) -> str:
    """A DICOM time as it is, or "" when it is something else."""
    plain = text.strip("\0 ").replace(":", "")
    return plain if re.fullmatch(r"\d{2}(\d\d(\d\d(\.\d{1,6})?)?)?", plain) else ""
