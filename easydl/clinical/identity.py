"""Whom a data set names, and whether a text or a number repeats it in another spelling. It changes nothing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from datetime import date
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.multival import MultiValue

from easydl.clinical.pseudonyms import shift_date

MAX_DEPTH = 12
"""Sequences nested deeper than this are removed; no image object of PS3.3 nests so deep."""
TEXT = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"}
IDENTIFYING = (
    "PatientID", "OtherPatientIDs", "IssuerOfPatientID", "AccessionNumber", "StudyID", "InstitutionName",
    "InstitutionAddress", "InstitutionalDepartmentName", "StationName", "DeviceSerialNumber", "AdmissionID",
    "PatientAddress", "MedicalRecordLocator", "RequestedProcedureID", "MilitaryRank", "PatientTelephoneNumbers",
)  # fmt: skip
MIN_DIGITS = 5
"""Digits from which a number may be part of an identifier."""
_LETTERS = str.maketrans({"ø": "o", "æ": "a", "œ": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})


def spelling(text: str) -> str:
    """One spelling for all of a name: Müller, Mueller, MULLER and Muller are ``"muller"``; ß is ss, å and aa are a."""
    folded = unicodedata.normalize("NFKD", text.casefold().translate(_LETTERS))
    plain = "".join(letter for letter in folded if not unicodedata.combining(letter))
    return re.sub(r"([aou])e|aa", lambda found: found[1] or "a", plain)


class Identity:
    """The names and numbers of one data set, wherever it holds them.

    Args:
        source: The data set.
        vocabulary: Radiological words, in lower case, that name nobody although a department is called so.
        devices: Words in names of devices, which are no names of their own within that of a place.
    """

    def __init__(self, source: Any, vocabulary: frozenset[str], devices: frozenset[str]) -> None:
        self._vocabulary = vocabulary
        self.names: set[str] = set()
        self.numbers: set[str] = set()
        known = {tag_for_keyword(name) for name in IDENTIFYING}
        born = tag_for_keyword("PatientBirthDate")
        for tag, vr, value in _all_values(source):
            for text in map(str, as_list(value)):
                if vr == "PN":
                    self._add_name(text)
                elif tag in known:
                    words = [word.lower() for word in re.findall(r"[^\W_]+", text)]
                    self.numbers |= set() if vocabulary.issuperset(words) else {_joined(text)}
                    own = [word for word in words if word not in vocabulary and word not in devices]
                    self.names |= {spelling(word) for word in own if len(word) > 3 and word.isalpha()}
                elif vr in ("DA", "DT"):
                    self.numbers |= _days(text[:8], short=tag == born)
        self.numbers = {number for number in self.numbers if len(number) > 1}

    def in_text(self, text: str) -> bool:
        """Whether a text has a name, whole or in parts, apart or joined, or an identifier, whatever stands between."""
        words = re.findall(r"[^\W_]+", text)
        for begin in range(len(words)):
            for end in range(begin + 1, len(words) + 1):
                joined = spelling("".join(words[begin:end]))
                if len(joined) > 2 and (joined in self.names or joined in self.numbers):
                    return True
        whole = spelling("".join(words))
        return any(number in whole for number in self.numbers if len(number) > 3)

    def in_number(self, text: str) -> bool:
        """Whether an integer of five digits and more is a part of an identifier or date, or has one in it."""
        digits = text.strip().lstrip("+-0")
        if len(digits) < MIN_DIGITS or not digits.isdigit():
            return False
        known = (number.lstrip("0") for number in self.numbers if number.isdigit())
        return any(digits in number or number in digits for number in known if len(number) >= MIN_DIGITS)

    def _add_name(self, text: str) -> None:
        """The words of a name, its compounds without hyphens, and the whole in both orders (PS3.5 6.2.1)."""
        for group in text.split("="):
            parts = [re.sub(r"[\W_]", "", part) for part in re.split(r"[\^\s,]+", group)]
            words = re.findall(r"[^\W_]+", group)
            if any(letter.isdigit() for letter in group):  # PANCREAS_0001 is a number, and its word names nobody
                words = [word for word in words if word.lower() not in self._vocabulary]
            found = {*words, *parts, "".join(parts), "".join(reversed(parts))}
            found |= {one + other for one in parts for other in parts if one is not other}
            self.names |= {spelling(name) for name in found if len(name) > 1}


def as_list(value: Any) -> list[Any]:
    """The single values; a PersonName is one, although it can be iterated."""
    if value is None:
        return []
    return list(value) if isinstance(value, MultiValue | list | tuple) else [value]


def _joined(text: str) -> str:
    return spelling(re.sub(r"[\W_]", "", text))


def _days(text: str, *, short: bool) -> set[str]:
    """The ways to write a DICOM date in digits, with the century left out too when ``short``."""
    plain = shift_date(text, 0)
    if not plain:
        return set()
    day = date(int(plain[:4]), int(plain[4:6]), int(plain[6:]))
    orders = ["%Y%m%d", "%d%m%Y", "%m%d%Y", *(["%d%m%y", "%m%d%y", "%y%m%d"] if short else [])]
    return {day.strftime(order) for order in orders}


def _all_values(source: Any, depth: int = 0) -> Iterator[tuple[int, str, Any]]:
    """Texts and dates with their tags, at every depth."""
    for tag in list(source.keys()):
        if tag.is_private or depth > MAX_DEPTH:
            continue
        try:
            element = source[tag]
            vr, value = element.VR, element.value
        except Exception:  # nosec: what cannot be read is not kept either
            continue
        if vr == "SQ":
            for item in value:
                yield from _all_values(item, depth + 1)
        elif vr in TEXT or vr in ("DA", "DT"):
            yield int(tag), vr, value
