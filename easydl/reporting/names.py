"""What images and patients are called in all that may be passed on: by numbers, whose key is the run's own table.

A report, a notebook or a heatmap leaves the computer; file names and patients' numbers must not leave with it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

IMAGE, PATIENT = "shown_image", "shown_patient"
"""The columns of ``table.csv`` with the numbered names: the only key to them."""
NUMBERED = re.compile(r"(image|patient) \d+")
MOST_ON_DISK = 200_000
_ORDINARY = {"train", "training", "val", "valid", "validation", "test", "testing", "images", "masks", "labels"}


class Names:
    """The images and patients of a study under numbered names.

    Args:
        frame: The rows of the study: its image columns, ``mask`` and ``patient``.
        config: The settings of the run, of which ``source`` and ``root`` say where the study lies.
        patients_known: Whether ``patient`` names patients.
        classes: The names of its classes, which stay.

    Attributes:
        image: The numbered name of every image's address.
        patient: The numbered name of every patient.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        config: Mapping[str, Any],
        *,
        patients_known: bool = True,
        classes: Iterable[str] = (),
    ) -> None:
        from easydl.studies.cohort import persons

        self._base, self._whole = _base_of(config)
        self._classes = {str(name) for name in classes}
        self._columns = [name for name in frame.columns if name in ("image", "mask") or str(name).startswith("image_")]
        images = [name for name in self._columns if name != "mask"]
        self._numbers = [f"image {number}" for number in range(1, len(frame) + 1)]
        first = frame[images[0]].astype(str) if images else pd.Series(dtype=str)
        self.image = dict(zip(first, self._numbers, strict=False))
        self.patient: dict[str, str] = {}
        if patients_known and "patient" in frame.columns:
            patients = frame["patient"].astype(str)
            codes = pd.factorize(persons(patients))[0]
            self.patient = {name: f"patient {code + 1}" for name, code in zip(patients, codes, strict=True)}
        self._words = self._from_table(frame)

    def table(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The table of a run: paths relative to the study, and the numbered names."""
        shown = {IMAGE: self._numbers, PATIENT: [self.patient.get(str(name), "") for name in frame["patient"]]}
        return self.relative(frame).assign(**shown)

    def relative(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A table whose paths are relative to the study, where they lie in it."""
        columns = [name for name in self._columns if name in frame.columns]
        return frame.assign(**{name: frame[name].astype(str).map(self._within) for name in columns})

    def cases(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """The content of ``metrics.json`` with numbered names in its rows of cases."""
        rows = [
            {
                **row,
                "image": self.image.get(str(row.get("image")), "an image"),
                "patient": self.patient.get(str(row.get("patient")), ""),
            }
            for row in content.get("cases") or ()
        ]
        return {**content, "cases": rows} if rows else dict(content)

    def clean(self, texts: Iterable[str], *, disk: bool = False) -> list[str]:
        """Texts in which no image or patient of the study is named; ``disk`` also looks for files in no row."""
        texts = [str(text) for text in texts]
        whole = "\n".join(texts)
        words = {**self._on_disk, **self._words} if disk else self._words
        found = sorted((word for word in words if word in whole), key=len, reverse=True)
        if not found:
            return texts
        pattern = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, found))})(?!\w)")
        return [pattern.sub(lambda match: words[match[1]], text) for text in texts]

    def _within(self, path: str) -> str:
        if self._base is None or not path.startswith(f"{self._base}{os.sep}"):
            return path
        inner = Path(path).relative_to(self._base).as_posix()
        # A cell that begins as a formula would get an apostrophe, and the path be another one.
        return f"./{inner}" if inner.startswith(("=", "+", "-", "@")) else inner

    def _from_table(self, frame: pd.DataFrame) -> dict[str, str]:
        words: dict[str, str] = {}
        for column in self._columns:
            what = "a mask" if column == "mask" else ""
            for path, number in zip(frame[column].astype(str), self._numbers, strict=True):
                for word in (
                    path,
                    self._within(path),
                    os.path.basename(path),
                    os.path.basename(path.rpartition("#")[0]),
                ):
                    words[word] = (what or number) if words.get(word, number) == number else "an image"
        for name, number in self.patient.items():
            if _is_identifier(name):
                words[name] = number
        words.pop("", None)
        return words

    @cached_property
    def _on_disk(self) -> dict[str, str]:
        """Files and folders of the study, also those that are in no row. A folder's name may be a word: then only quoted."""
        words: dict[str, str] = {}
        for place, folders, files in self._places():
            words |= dict.fromkeys(files, "a file")
            for name in folders:
                if name not in self._classes and name.lower() not in _ORDINARY:
                    words[repr(name)] = words[f"{place}{os.sep}{name}"] = "a folder"
                    if _is_identifier(name) and not (name.islower() and name.isalpha()):
                        words[name] = "a folder"
            if len(words) > MOST_ON_DISK:
                break
        return words

    def _places(self) -> Iterator[tuple[str, list[str], list[str]]]:
        """The folders of the study: those with images of a table; all, when a folder was loaded or nothing could be."""
        if self._base is not None and (self._whole or not self.image):
            yield from os.walk(self._base)
            return
        for place in sorted({*map(os.path.dirname, self.image), str(self._base or "")} - {""}):
            if os.path.isdir(place):
                yield next(os.walk(place), (place, [], []))


def shown(name: Any, otherwise: str) -> str:
    """A numbered name as it is; something else for any other, as older runs have them."""
    text = str(name or "")
    return text if NUMBERED.fullmatch(text) else otherwise


def _base_of(config: Mapping[str, Any]) -> tuple[Path | None, bool]:
    """The folder that the images of a run are relative to, and whether it was loaded as a whole."""
    source, root = config.get("source"), config.get("root")
    if not source:
        return None, False
    path = Path(os.path.expanduser(str(source))).resolve()
    if path.is_dir():
        return path, True
    return (Path(os.path.expanduser(str(root))).resolve() if root else path.parent), False


def _is_identifier(name: str) -> bool:
    """Whether the name of a patient or folder can be distinguished from the other words and numbers of a text."""
    digits = sum(letter.isdigit() for letter in name)
    return len(name) >= 5 or (len(name) > 1 and 0 < digits < len(name))
