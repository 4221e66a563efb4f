"""What becomes of every attribute: kept, replaced or removed, by a list of what may stay. It looks at no pixels.

A new data set is built from what the list allows, at every depth of nesting; what the list does not name is not there.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

from pydicom.datadict import DicomDictionary, dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from easydl.clinical.identity import MAX_DEPTH, TEXT, Identity, as_list
from easydl.clinical.pseudonyms import Pseudonyms, clean_time, shift_date, shift_date_time

MAX_AGE_YEARS = 89
"""Years. Older patients become 090Y, which then means 90 or more: AS holds three digits and a unit (PS3.5 6.2)."""
DUMMY = {"DA": "19000101", "TM": "000000", "DT": "19000101000000"}
NUMBER = re.compile(r"(?=.{1,32}$)[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
MEASURE = re.compile(r"\d{1,2}([.,]\d{1,2})?mm|b\d{1,4}")
DESIGNATION = re.compile(
    r"\d{1,3}(\.\d{1,3}){0,3}t?|[a-z]{1,2}\d{1,3}[a-z]{0,2}|\d{1,3}[a-z]{1,2}(\d{1,2}(\.\d)?[a-z]?)?"
)
"""Such as 1.5T, VA48A, B30f, FC52, 07MW18.4: too short for a name or a number of a patient."""
MAX_DIGITS = 5
"""Digits in a text, at most: a date has six, a telephone number more."""
METHODS = {
    "113100": "Basic Application Confidentiality Profile",
    "113105": "Clean Descriptors Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
    "113111": "Retain Safe Private Option",
}


def clean(source: Any, pseudonyms: Pseudonyms, identity: str, *, shift: bool, safe_private: bool = False) -> Dataset:
    """A data set with the attributes of the source that may stay (PS3.15 table E.1-1), without pixels and file meta.

    ``identity`` is from `identity_of`. Dates are shifted by this patient's number of days, or removed; with
    ``safe_private`` the numbers of table E.3.10-1 stay. What was done is written as PS3.3 C.12.1.1.7 asks.
    """
    who = Identity(source, _vocabulary(), _allowed("devices"))
    days = pseudonyms.days(identity) if shift else None
    target = _Cleaner(pseudonyms, days, who, safe_private).dataset(source)
    target.PatientName = target.PatientID = pseudonyms.patient(identity)
    burned = str(_value(source, "BurnedInAnnotation") or "").strip().upper()
    if burned in ("YES", "NO"):
        target.BurnedInAnnotation = burned
    age = _age(_value(source, "PatientAge")) or _age_at_study(source)
    if age:
        target.PatientAge = age
    codes = ["113100", "113105", *(["113107"] if shift else []), "113108", *(["113111"] if safe_private else [])]
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
    who: Identity
    safe_private: bool
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
        if self.safe_private:
            self._add_private(source, target)
        return target

    def _add_private(self, source: Any, target: Dataset) -> None:
        """Numbers that the standard knows to be harmless, such as the factor of Philips from counts to SUV."""
        for creator, group, elements in _safe_private():
            for element in elements:
                try:
                    found = source.private_block(group, creator)[element]
                    kept = _numbers(found.VR, found.value, self.who)
                except Exception:  # nosec: absent, or a value that cannot be read, and so not checked
                    continue
                if kept not in (None, ""):
                    target.private_block(group, creator, create=True).add_new(element, found.VR, kept)

    def _apply(self, rule: str, tag: int, vr: str, value: Any) -> Any:
        """The value that stays, "" for an empty element, None for none."""
        match rule:
            case "numbers":
                return _numbers(vr, value, self.who)
            case "coded":
                return self._coded(value)
            case "sequences":
                return self._sequence(value)
            case "tables":
                return _lookup_table(vr, value)
            case "uids":
                return [self.pseudonyms.uid(str(uid)) for uid in as_list(value) if str(uid).strip("\0 ")] or ""
            case "text":
                return self._text(tag, value)
            case "words":
                words = self._words(value)
                return (words.upper()[:16].strip() if vr == "CS" else words) or self._basic(tag, vr)
            case "dates":
                return (self._date(vr, value) if self.days is not None else None) or self._basic(tag, vr)
            case "patient":
                return _numbers(vr, value, self.who) if vr == "DS" else value if value in ("M", "F", "O") else ""
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
        """Terms of the closed list, each in its place; blanks for the others."""
        words = [str(word).strip("\0 ").upper() for word in as_list(value)]
        safe = [word if word in _allowed("terms") and not self.who.in_text(word) else "" for word in words]
        return safe if any(safe) else ""

    def _text(self, tag: int, value: Any) -> list[str] | str:
        """Texts made of words and designations of devices and methods; of others the words alone, or a keyed label."""
        safe = [self._device(str(text).strip("\0 "), label=tag in _labels()) for text in as_list(value)]
        return safe if any(safe) else ""

    def _device(self, text: str, *, label: bool) -> str:
        tokens = [token.strip(".") for token in re.findall(r"[^\W_]+(?:\.[^\W_]+)*", text)]
        words = [token for token in tokens if _is_device_word(token.lower())]
        whole = all(token in words or DESIGNATION.fullmatch(token.lower()) for token in tokens)
        whole = (whole and tokens != []) or text.lower() in _attribute_names()
        kept = text if whole and re.fullmatch(r"[\x20-\x7e]{1,64}", text) else " ".join(words)
        if len(re.sub(r"\D", "", kept)) > MAX_DIGITS or self.who.in_text(kept):
            kept = ""
        named = f"{kept} {self.pseudonyms.label(text)}".strip() if label and text and kept != text else kept
        return named[-64:]

    def _words(self, value: Any) -> str:
        """The words of a known vocabulary, so that "T2 axial" stays and a name does not."""
        words = re.findall(r"[A-Za-z0-9][A-Za-z0-9.,-]*", str(value).replace("_", " "))
        kept = [word for word in (word.strip(".,-") for word in words) if self._is_vocabulary(word.lower())]
        text = " ".join(kept)[:64].strip()
        return "" if self.who.in_text(text) else text

    def _is_vocabulary(self, word: str) -> bool:
        return bool(word in _vocabulary() or MEASURE.fullmatch(word)) and not self.who.in_text(word)

    def _known_code(self, source: Any) -> Dataset:
        """A code of a known scheme with the meaning that the standard gives it; anything else becomes a blank code."""
        value = str(_value(source, "CodeValue") or _value(source, "LongCodeValue") or "").strip()
        scheme = str(_value(source, "CodingSchemeDesignator") or "").strip()
        meaning = _meanings().get((scheme, value))
        return _code(value, scheme, meaning) if meaning else _code("REMOVED", "99EASYDL", "Code of a local scheme")


def _numbers(vr: str, value: Any, who: Identity) -> Any:
    values = as_list(value)
    if vr not in ("FD", "FL", "AT") and any(who.in_number(str(number)) for number in values if number is not None):
        return "" if vr in ("DS", "IS") else None
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
    return value if vr in ("US", "SS") and all(isinstance(number, int) for number in as_list(value)) else None


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


def _value(source: Any, keyword: str) -> Any:
    try:
        return source.get(keyword)
    except Exception:
        return None


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning[:64]
    return item


@cache
def _json(name: str) -> dict[str, Any]:
    """A table beside this file."""
    found: dict[str, Any] = json.loads(files("easydl.clinical").joinpath(name).read_text(encoding="utf-8"))
    return found


def _table() -> dict[str, Any]:
    return _json("attributes.json")


def _lists() -> dict[str, Any]:
    return _json("allowed.json")


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
def _allowed(kind: str) -> frozenset[str]:
    return frozenset(_lists()[kind])


@cache
def _safe_private() -> list[tuple[str, int, list[int]]]:
    """Creator, group and elements."""
    rows = _lists()["safe_private"]
    return [(creator, int(group, 16), [int(element, 16) for element in found]) for creator, group, found in rows]


@cache
def _labels() -> frozenset[int]:
    return frozenset(tag_for_keyword(name) or 0 for name in _allowed("labels"))


@cache
def _attribute_names() -> frozenset[str]:
    """What DICOM calls its attributes; labels of dimensions are among them."""
    return frozenset(entry[2].lower() for entry in DicomDictionary.values())


@cache
def _pulse_sequence() -> re.Pattern[str]:
    return re.compile(
        rf"({'|'.join(sorted(_allowed('pulse_sequences'), key=len, reverse=True))})([123]d\d?)?r?\d{{0,2}}"
    )


def _is_device_word(word: str) -> bool:
    known = word in _allowed("devices") or word in _vocabulary() or word.upper() in _allowed("terms")
    return known or bool(MEASURE.fullmatch(word) or _pulse_sequence().fullmatch(word))


@cache
def _meanings() -> dict[tuple[str, str], str]:
    """The codes of the standard's context groups, those of SNOMED in the older notation (SRT) too."""
    from pydicom.sr._snomed_dict import mapping
    from pydicom.sr.codedict import codes

    schemes = (getattr(codes, scheme).concepts.values() for scheme in codes.schemes())
    known = {(code.scheme_designator, code.value): code.meaning for concepts in schemes for code in concepts}
    older = {("SRT", old): known[("SCT", new)] for old, new in mapping["SRT"].items() if ("SCT", new) in known}
    return known | older
