"""How files are called on the disk and in tables: names are compared in one Unicode form (NFC). It opens no file."""

from __future__ import annotations

import os
import unicodedata

LONGEST = 4096
"""Characters of a path; no system takes more."""


def composed(text: str) -> str:
    """Text in Unicode's composed form: a name from a Mac ("u" and two dots) becomes what Excel writes ("ü")."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


class Disk:
    """The names in folders, each listed once for one table."""

    def __init__(self) -> None:
        self._folders: dict[str, dict[str, list[str]]] = {}

    def spelled(self, address: str) -> str:
        """An address as the disk spells it, when exactly one file has this name in any Unicode form; else as it is."""
        if "\0" in address:
            return address
        path, mark, key = address.rpartition("#")
        if found := self._find(address):
            return found
        found = self._find(path) if mark else None
        return f"{found}#{key}" if found else address

    def twins(self, address: str) -> list[str]:
        """The files with the name of an address, when there are several: in two Unicode forms, equal to the eye."""
        head, tail = os.path.split(address)
        folder = None if tail.isascii() else self._find(head)
        same = self._names(folder).get(composed(tail), []) if folder is not None else []
        return [os.path.join(head, name) for name in same] if len(same) > 1 else []

    def why_missing(self, address: str) -> str:
        """The reason why there is no file at an address, in one sentence without its full stop."""
        path = address if "#" not in address else address.rpartition("#")[0]
        head, tail = os.path.split(path)
        folder = self._find(head)
        missing = f"The file {address} does not exist"
        if folder is None or not os.path.isdir(folder):
            alike = self._alike(head) if head != path else []
            return f"The folder {head} does not exist{_but(alike, 'in another case')}"
        names = self._names(folder)
        if alike := self._alike(path):
            return f"{missing}{_but(alike, 'in another case')}"
        stem = composed(os.path.splitext(tail)[0]).casefold()
        for wanted, what in ((composed(tail).casefold(), "the ending is missing"), (stem, "another ending")):
            alike = sorted(name for same in names.values() for name in same if _stem(name) == wanted)
            if alike:
                return f"{missing}{_but(alike, what)}"
        return missing

    def _alike(self, path: str) -> list[str]:
        head, tail = os.path.split(path)
        folder = self._find(head) if tail else None
        wanted = composed(tail).casefold()
        names = self._names(folder) if folder is not None else {}
        return sorted(name for key, same in names.items() if key.casefold() == wanted for name in same)

    def _find(self, path: str) -> str | None:
        if len(path) > LONGEST or "\0" in path:
            return None
        if os.path.lexists(path):
            return path
        head, tail = os.path.split(path)
        folder = self._find(head) if tail and head != path else None
        same = self._names(folder).get(composed(tail), []) if folder is not None else []
        return os.path.join(str(folder), same[0]) if len(same) == 1 else None

    def _names(self, folder: str) -> dict[str, list[str]]:
        if folder not in self._folders:
            names: dict[str, list[str]] = {}
            try:
                listed = os.listdir(folder or ".")
            except OSError:
                listed = []
            for name in listed:
                names.setdefault(composed(name), []).append(name)
            self._folders[folder] = names
        return self._folders[folder]


def _stem(name: str) -> str:
    plain = composed(name).casefold()
    return plain.removesuffix(".nii.gz") if plain.endswith(".nii.gz") else os.path.splitext(plain)[0]


def _but(names: list[str], what: str) -> str:
    shown = " and ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
    return f", but {shown} does: {what}" if len(names) == 1 else f", but {shown} do: {what}" if names else ""
