"""The studies a workspace remembers: where they lie, and the files that were uploaded for them. No pixels."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from easydl.errors import EasyDLError, InputError, RunError
from easydl.fileio import write_text
from easydl.options import LoadOptions

if TYPE_CHECKING:
    from easydl.simulation import Seal
    from easydl.studies import Study

_ID = re.compile(r"[0-9a-f]{16}")
LARGEST_LISTED = 32 * 2**20
"""Bytes of a table whose columns are listed before it is opened."""
Kind = Literal["path", "zip", "images", "simulated"]


class StudyEntry(BaseModel):
    """What is remembered of a study that was opened: where it lies and how it is to be read. No pixels.

    Attributes:
        id: Sixteen random letters; nothing of the study's name is in it.
        name: What to call it on the screen.
        kind: ``path`` (lies elsewhere on this computer, not copied), ``zip``, ``images`` or ``simulated``.
        source: The folder or table that `easydl.load` is given; empty while files are still being added.
        load: How it is read.
        shows: What its images are, as a person has said (`easydl.workspace.kinds`); empty when nobody was asked.
        left_out: Files of an uploaded folder that are neither image nor table and were not kept.
        opened: When, ISO 8601.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    kind: Kind
    source: str = ""
    load: LoadOptions = LoadOptions()
    shows: str = ""
    left_out: int = 0
    opened: str = ""

    @property
    def when(self) -> str:
        """The day and time it was opened, for people."""
        return f"{datetime.fromisoformat(self.opened).astimezone():%d %b %H:%M}" if self.opened else ""


class Studies:
    """The studies of one workspace: their entries and the uploaded files, one folder a study."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, source: str | Path, *, name: str = "", **options: Any) -> StudyEntry:
        """Remember a folder or table where it lies. Nothing is copied, and nothing is written next to it.

        Args:
            source: A path as a person types or pastes it (quotes around it are dropped).
            name: What to call it; by default the last part of the path, for a table with its folder.
            options: How it is to be read, as for `easydl.load`.

        Raises:
            InputError: There is nothing at this path.
        """
        path = typed_path(source)
        if path is None:
            raise InputError(
                f"There is nothing at {source}." if str(source).strip() else "The path is empty.",
                "the full path of a folder of images, or of a CSV or Excel table, on this computer.",
                "Copy the path from the file manager and paste it here.",
            )
        named = path.name if path.is_dir() else f"{path.parent.name}/{path.name}"
        load = LoadOptions.checked(**options)
        return self._save(StudyEntry(id=_new_id(), name=name or named, kind="path", source=str(path), load=load))

    def change(self, entry: StudyEntry, **options: Any) -> StudyEntry:
        """Remember another way of reading a study: these options, and else those of before."""
        load = LoadOptions.checked(**{**entry.load.model_dump(), **options})
        return self._save(entry.model_copy(update={"load": load}))

    def describe(self, entry: StudyEntry, shows: str) -> StudyEntry:
        """Remember what its images are."""
        return self._save(entry.model_copy(update={"shows": shows}))

    def receive_zip(self, name: str, data: IO[bytes]) -> StudyEntry:
        """Keep an uploaded zip's files at once, unpacked within limits. The zip itself is not kept.

        ``name``, from the user's computer, is only shown and never used as a path.

        Raises:
            InputError: As from `easydl.workspace.uploads`; nothing is left behind.
        """
        from easydl.workspace.uploads import unpack

        entry = StudyEntry(id=_new_id(), name=Path(name.replace("\\", "/")).stem[:80] or "upload", kind="zip")
        with self._new_study(entry) as home, tempfile.NamedTemporaryFile(dir=home, suffix=".zip") as copy:
            shutil.copyfileobj(data, copy)
            copy.flush()
            return self._save(entry.model_copy(update={"source": str(_table_in(unpack(copy.name, home / "files")))}))

    def receive_folder(self, files: Iterable[tuple[str, IO[bytes]]]) -> StudyEntry:
        """Keep the images and tables of an uploaded folder at once, with the folders they lay in.

        Raises:
            InputError: Nothing that can be used, too many files, or a path that leads outside.
        """
        from easydl.workspace.uploads import keep

        entry = StudyEntry(id=_new_id(), name="uploaded folder", kind="images")
        with self._new_study(entry) as home:
            kept, left_out = keep(files, home / "files", tables=True)
            name = kept.name if kept != home / "files" else entry.name
            facts = {"source": str(_table_in(kept)), "name": name, "left_out": left_out}
            return self._save(entry.model_copy(update=facts))

    def receive_class(
        self, label: str, files: Iterable[tuple[str, IO[bytes]]], *, entry: StudyEntry | None = None
    ) -> StudyEntry:
        """Keep the images of one class at once; more classes may follow in the entry that the first one began.

        Raises:
            InputError: The class has no name, or one of the files is not an image.
        """
        from easydl.workspace.uploads import keep, safe_name

        if not label.strip():
            raise InputError("The class has no name.", "a name such as normal.", "Write the name, then add its images.")
        begun = entry or StudyEntry(id=_new_id(), name="uploaded images", kind="images")
        with self._new_study(begun) as home:
            folder = home / "files" / safe_name(label.strip())
            keep([(Path(name.replace("\\", "/")).name, data) for name, data in files], _free(folder))
            return self._save(begun.model_copy(update={"source": str(home / "files")}))

    def simulate(self, *, seed: int = 0, **options: Any) -> StudyEntry:
        """Make a simulated study (physics, no patients) as DICOM files in the workspace; the options of `easydl.simulate`."""
        from easydl.simulation import simulate

        entry = StudyEntry(id=_new_id(), name="simulated study", kind="simulated")
        with self._new_study(entry) as home:
            source = simulate(home / "files", seed=seed, **options)
            return self._save(entry.model_copy(update={"source": str(source)}))

    def seal(self, entry: StudyEntry) -> Seal | None:
        """What was planted in a sealed simulated study; None for every other."""
        from easydl.simulation.seal import SEAL_FILE, unseal

        folder = Path(entry.source).parent
        return unseal(folder) if entry.kind == "simulated" and (folder / SEAL_FILE).is_file() else None

    def class_counts(self, entry: StudyEntry) -> dict[str, int]:
        """Files kept so far in each class folder of a study that is being uploaded."""
        home = Path(entry.source)
        return {
            place.name.split("#")[0]: sum(path.is_file() for path in place.rglob("*"))
            for place in sorted(home.iterdir())
            if place.is_dir()
        }

    def one(self, study_id: str) -> StudyEntry:
        """The entry of a study that was opened before.

        Raises:
            RunError: No such study is remembered here.
        """
        path = self.folder / study_id / "study.json" if _ID.fullmatch(study_id) else None
        try:
            return StudyEntry.model_validate_json(path.read_bytes() if path else b"")
        except (OSError, ValidationError) as problem:
            raise RunError(
                "This study is not remembered in the workspace.",
                "a study that was opened here and not forgotten.",
                "Open it again on the page Data.",
            ) from problem

    def find(self, study_id: str) -> StudyEntry | None:
        """The entry of a study, or None when it is not remembered here."""
        try:
            return self.one(study_id)
        except RunError:
            return None

    def all(self) -> list[StudyEntry]:
        """All remembered studies, the newest first."""
        entries = [entry for place in self.folder.iterdir() if (entry := self.find(place.name)) is not None]
        return sorted(entries, key=lambda entry: entry.opened, reverse=True)

    def load(self, entry: StudyEntry) -> Study:
        """Load a study with `easydl.load`."""
        from easydl.studies import load

        return load(entry.source, **entry.load.model_dump())

    def copies(self, entry: StudyEntry) -> int:
        """How many files the workspace itself keeps of a study."""
        return sum(path.is_file() for path in (self.folder / entry.id / "files").rglob("*"))

    def forget(self, study_id: str) -> None:
        """Remove what is kept of a study: the entry and the uploaded copies. Images elsewhere are not touched.

        Raises:
            RunError: No such study is remembered here.
        """
        self.one(study_id)
        shutil.rmtree(self.folder / study_id)

    @contextmanager
    def _new_study(self, entry: StudyEntry) -> Iterator[Path]:
        """The entry's folder; when anything fails and no entry was saved before, it is removed again."""
        home = self.folder / entry.id
        is_new = not (home / "study.json").exists()
        home.mkdir(mode=0o700, exist_ok=True)
        try:
            yield home
        except BaseException:
            if is_new:
                shutil.rmtree(home, ignore_errors=True)
            raise

    def _save(self, entry: StudyEntry) -> StudyEntry:
        entry = entry.model_copy(update={"opened": datetime.now(UTC).isoformat()})
        home = self.folder / entry.id
        home.mkdir(mode=0o700, exist_ok=True)
        write_text(home / "study.json", json.dumps(entry.model_dump(), indent=1))
        return entry


def typed_path(source: str | Path) -> Path | None:
    """The file or folder that a person typed or pasted, without quotes around it; None when there is nothing."""
    text = str(source).strip().strip("\"'").removeprefix("file://")
    path = Path(text).expanduser()
    return path.resolve() if text and path.exists() else None


def columns_of(source: str | Path) -> list[str]:
    """The columns of the table that a person typed or pasted; empty when it is not a table that can be read."""
    from easydl.studies.tables import TABLE_SUFFIXES, read_table

    path = typed_path(source)
    if path is None or path.suffix.lower() not in TABLE_SUFFIXES or path.stat().st_size > LARGEST_LISTED:
        return []
    try:
        return [str(column) for column in read_table(path)[0].columns]
    except EasyDLError:
        return []  # the reason is shown when the study is opened


def _new_id() -> str:
    return secrets.token_hex(8)


def _free(folder: Path) -> Path:
    """Where the next batch of a class goes: files added later lie in a folder within, so names stay apart."""
    if not folder.exists():
        return folder
    number = 2
    while (folder / f"added-{number}").exists():
        number += 1
    return folder / f"added-{number}"


def _table_in(folder: Path) -> Path:
    """The one table that lies at the top of a folder, next to the images it lists; otherwise the folder."""
    from easydl.studies.tables import tables_in

    tables = tables_in(folder)
    return tables[0] if len(tables) == 1 else folder
