"""What becomes of every attribute: kept, replaced or removed, by a list of what may stay. It looks at no pixels.

A new data set is built from what the list allows, at every depth of nesting; what the list does not name is not there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from easydl.clinical.pseudonyms import Pseudonyms, clean_time, shift_date, shift_date_time

MAX_DEPTH = 12
"""Sequences nested deeper than this are removed; no image object of PS3.3 nests so deep."""
MAX_AGE_YEARS = 89
"""Years. Older patients become 090Y, which then means 90 or more: AS holds three digits and a unit (PS3.5 6.2)."""
DUMMY = {"DA": "19000101", "TM": "000000", "DT": "19000101000000"}
TEXT = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"}
NUMBER = re.compile(r"(?=.{1,32}$)[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
CODE_FORMATS = {"SCT": r"\d{6,18}", "DCM": r"\d{6}", "SRT": r"[A-Z]\d?-[0-9A-F]{4,6}", "LN": r"\d{1,6}-\d"}
MEASURE = re.compile(r"\d{1,2}([.,]\d{1,2})?mm|b\d{1,4}")
METHODS = {
    "113100": "Basic Application Confidentiality Profile",
    "113105": "Clean Descriptors Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
}
IDENTIFYING = (
    "PatientID", "OtherPatientIDs", "IssuerOfPatientID", "AccessionNumber", "StudyID", "InstitutionName",
    "InstitutionAddress", "InstitutionalDepartmentName", "StationName", "DeviceSerialNumber", "AdmissionID",
    "PatientAddress", "MedicalRecordLocator", "RequestedProcedureID", "MilitaryRank", "PatientTelephoneNumbers",
)  # fmt: skip


def clean(source: Any, pseudonyms: Pseudonyms, identity: str, *, shift: bool) -> Dataset:
    """A data set with the attributes of the source that may stay (PS3.15 table E.1-1), without pixels and file meta.

    ``identity`` is from `identity_of`. Dates are shifted by this patient's number of days, or removed. What was done
    is written as PS3.3 C.12.1.1.7 asks.
    """
    target = _Cleaner(pseudonyms, pseudonyms.days(identity) if shift else None, *_identifiers(source)).dataset(source)
    target.PatientName = target.PatientID = pseudonyms.patient(identity)
    burned = str(_value(source, "BurnedInAnnotation") or "").strip().upper()
    if burned in ("YES", "NO"):
        target.BurnedInAnnotation = burned
    age = _age(_value(source, "PatientAge")) or _age_at_study(source)
    if age:
        target.PatientAge = age
    codes = ["113100", "113105", *(["113107"] if shift else []), "113108"]
    target.PatientIdentityRemoved = "YES"
    target.DeidentificationMethod = ["easydl", f"PS3.15 table E.1-1 {_table()['edition']} and a list of what may stay"]
    target.DeidentificationMethodCodeSequence = Sequence([_code(code, "DCM", METHODS[code]) for code in codes])
    target.LongitudinalTemporalInformationModified = "MODIFIED" if shift else "REMOVED"
    return target


def identity_of(header: Any) -> str:
    """Who the patient is, as the key of the pseudonym: PatientID, else name and birth date, else the study."""
    number = " ".join(str(_value(header, "PatientID") or "").replace("\0", " ").split())
    name = " ".join(str(_value(header, "PatientName") or "").replace("\0", " ").split())
    if number:
        return f"id {number}"
    if name:
        return f"name {name.casefold()} {_value(header, 'PatientBirthDate') or ''}"
    return f"study {_value(header, 'StudyInstanceUID') or ''}"


@dataclass
class _Cleaner:
    pseudonyms: Pseudonyms
    days: int | None
    names: set[str]
    numbers: set[str]
    depth: int = field(default=0)

    def dataset(self, source: Any) -> Dataset:
        target = Dataset()
        for tag in sorted(source.keys()):
            rule = _rules().get(int(tag))
            if rule is None or tag.is_private:
                continue
            try:
                value = source[tag].value
                vr = source[tag].VR if " or " in dictionary_VR(tag) else dictionary_VR(tag)
                kept = self._apply(rule, int(tag), vr, value)
            except Exception:  # a value that cannot be read cannot be checked
                kept = None
            if kept is not None and " or " not in vr:
                target.add_new(tag, vr, kept)
        if any(name in source for name in ("CodeValue", "LongCodeValue", "URNCodeValue", "CodingSchemeDesignator")):
            target.update(self._known_code(source))
        return target

    def _apply(self, rule: str, tag: int, vr: str, value: Any) -> Any:
        """The value that stays, "" for an empty element, None for none."""
        match rule:
            case "numbers":
                return _numbers(vr, value)
            case "coded":
                return self._coded(value)
            case "sequences":
                return self._sequence(value)
            case "tables":
                return _lookup_table(vr, value)
            case "uids":
                return [self.pseudonyms.uid(str(uid)) for uid in _as_list(value) if str(uid).strip("\0 ")] or ""
            case "text":
                return self._text(value) or ""
            case "words":
                words = self._words(value)
                return (words.upper()[:16].strip() if vr == "CS" else words) or self._basic(tag, vr)
            case "dates":
                return (self._date(vr, value) if self.days is not None else None) or self._basic(tag, vr)
            case "patient":
                return _numbers(vr, value) if vr == "DS" else value if value in ("M", "F", "O") else ""
            case "empty":
                return Sequence([]) if vr == "SQ" else ""
            case _:
                return self._basic(tag, vr)

    def _basic(self, tag: int, vr: str) -> Any:
        """What table E.1-1 asks for, in the reading that keeps the object whole: X, Z, D, U and their mixtures."""
        action = "D" if tag in _dummies() else _actions().get(tag, "X")
        if action in ("X", "X/Z/D") or (vr not in TEXT and vr not in DUMMY and vr != "SQ" and action != "Z"):
            return None
        if vr == "SQ":
            return None if "X" in action else Sequence([])
        if action in ("Z", "X/Z"):
            return ""
        return DUMMY.get(vr, "REMOVED")

    def _sequence(self, items: Any) -> Sequence | None:
        if self.depth >= MAX_DEPTH:
            return None
        self.depth += 1
        try:
            cleaned = [self.dataset(item) for item in items]
        finally:
            self.depth -= 1
        return Sequence(cleaned) if any(len(item) for item in cleaned) or not len(items) else None

    def _date(self, vr: str, value: Any) -> Any:
        days = self.days or 0
        how = {"DA": lambda text: shift_date(text, days), "DT": lambda text: shift_date_time(text, days)}
        return how.get(vr, clean_time)(str(value))

    def _coded(self, value: Any) -> list[str] | str:
        words = [str(word).strip("\0 ").upper() for word in _as_list(value)]
        safe = [
            word if re.fullmatch(r"[A-Z0-9_ ]{0,16}", word) and not self._identifies(word) else "" for word in words
        ]
        return safe if any(safe) else ""

    def _text(self, value: Any) -> list[str] | None:
        texts = [str(text).strip("\0 ") for text in _as_list(value)]
        fine = all(re.fullmatch(r"[\x20-\x7e]{0,64}", text) and not self._identifies(text) for text in texts)
        return texts if fine else None

    def _words(self, value: Any) -> str:
        """The words of a known vocabulary, so that "T2 axial" stays and a name does not."""
        words = re.findall(r"[A-Za-z0-9][A-Za-z0-9.,-]*", str(value).replace("_", " "))
        kept = [word for word in (word.strip(".,-") for word in words) if self._is_vocabulary(word.lower())]
        return " ".join(kept)[:64].strip()

    def _is_vocabulary(self, word: str) -> bool:
        return bool(word in _vocabulary() or MEASURE.fullmatch(word)) and word not in self.names

    def _identifies(self, text: str) -> bool:
        text = text.lower()
        words = set(re.findall(r"[a-z0-9]+", text))
        return any(word in self.names for word in words if len(word) > 2) or any(
            number in text for number in self.numbers
        )

    def _known_code(self, source: Any) -> Dataset:
        """A code of a known scheme with the meaning that the standard gives it; anything else becomes a blank code."""
        value = str(_value(source, "CodeValue") or _value(source, "LongCodeValue") or "").strip()
        scheme = str(_value(source, "CodingSchemeDesignator") or "").strip()
        meaning = _meanings().get((scheme, value))
        if meaning is None and re.fullmatch(CODE_FORMATS.get(scheme, r"(?!)"), value) and not self._identifies(value):
            meaning = self._words(_value(source, "CodeMeaning") or "") or "Meaning removed"
        return _code(value, scheme, meaning) if meaning else _code("REMOVED", "99EASYDL", "Code of a local scheme")


def _numbers(vr: str, value: Any) -> Any:
    values = _as_list(value)
    if vr in ("DS", "IS"):
        texts = [str(number).strip("\0 ") for number in values if number is not None]
        if not all(text == "" or NUMBER.fullmatch(text) for text in texts):
            return None
        return texts if any(texts) else ""
    if vr in ("US", "SS", "UL", "SL", "FD", "FL", "AT", "UV", "SV"):
        return value if all(isinstance(number, int | float) for number in values) else None
    return None


def _lookup_table(vr: str, value: Any) -> Any:
    """Numbers, or bytes that are not text."""
    if vr == "OW" and isinstance(value, bytes):
        return None if value.strip(b"\0 ") and re.fullmatch(rb"[\x20-\x7e\0]+", value) else value
    return value if vr in ("US", "SS") and all(isinstance(number, int) for number in _as_list(value)) else None


def _age(text: Any) -> str:
    age = re.fullmatch(r"(\d{3})([DWMY])", str(text or "").strip("\0 ").upper())
    if not age:
        return ""
    years = int(age[1]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[age[2]]
    return f"{MAX_AGE_YEARS + 1:03}Y" if years > MAX_AGE_YEARS else age[0]


def _age_at_study(source: Any) -> str:
    """The age from the birth date, which is removed itself; "" when a date is missing or wrong."""
    born, seen = (shift_date(str(_value(source, name) or ""), 0) for name in ("PatientBirthDate", "StudyDate"))
    if not born or not seen or seen < born:
        return ""
    a, b = (date(int(text[:4]), int(text[4:6]), int(text[6:])) for text in (born, seen))
    months = (b.year - a.year) * 12 + b.month - a.month - (b.day < a.day)
    if months < 1:
        return f"{(b - a).days:03}D"
    return _age(f"{months:03}M" if months < 24 else f"{min(months // 12, 999):03}Y")


def _identifiers(source: Any) -> tuple[set[str], set[str]]:
    """Names in single words, and other identifiers of four characters and more, wherever the source has them."""
    names: set[str] = set()
    numbers: set[str] = set()
    tags = {tag_for_keyword(name) for name in IDENTIFYING}
    for tag, vr, value in _all_text(source):
        for text in map(str, _as_list(value)):
            if vr == "PN":
                names |= {word for word in re.findall(r"\w+", text.lower()) if len(word) > 1}
            elif tag in tags and len(text.strip("\0 ")) >= 4:
                numbers.add(text.strip("\0 ").lower())
    return names, numbers


def _all_text(source: Any, depth: int = 0) -> Iterator[tuple[int, str, Any]]:
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
                yield from _all_text(item, depth + 1)
        elif vr in TEXT:
            yield int(tag), vr, value


def _value(source: Any, keyword: str) -> Any:
    try:
        return source.get(keyword)
    except Exception:
        return None


def _as_list(value: Any) -> list[Any]:
    """The single values; a PersonName is one, although it can be iterated."""
    if value is None:
        return []
    return list(value) if isinstance(value, MultiValue | list | tuple) else [value]


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning[:64]
    return item


@cache
def _table() -> dict[str, Any]:
    text = files("easydl.clinical").joinpath("attributes.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


@cache
def _actions() -> dict[int, str]:
    return {int(tag, 16): action for action, tags in _table()["basic"].items() for tag in tags}


@cache
def _dummies() -> frozenset[int]:
    return frozenset(tag_for_keyword(name) or 0 for name in _table()["keep"]["dummy"])


@cache
def _rules() -> dict[int, str]:
    """The rule of every attribute that leaves a trace in the result."""
    rules = {tag: "basic" for tag, action in _actions().items() if action != "X"}
    for rule, names in _table()["keep"].items():
        for tag in (tag_for_keyword(name) or 0 for name in names):
            rules[tag] = rules.get(tag, "basic") if rule == "dummy" else rule
    return rules | {tag: "uids" for tag, action in _actions().items() if action == "U"}


@cache
def _vocabulary() -> frozenset[str]:
    return frozenset(_table()["vocabulary"])


@cache
def _meanings() -> dict[tuple[str, str], str]:
    from pydicom.sr.codedict import codes

    schemes = (getattr(codes, scheme).concepts.values() for scheme in codes.schemes())
    return {(code.scheme_designator, code.value): code.meaning for concepts in schemes for code in concepts}
