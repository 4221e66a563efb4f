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

from easydl.errors import InputError, RunError
from easydl.fileio import write_text

if TYPE_CHECKING:
    from easydl.studies import Study

_ID = re.compile(r"[0-9a-f]{16}")
_COLUMNS = (
    "image", "label", "mask", "patient", "task", "label_separator", "heads", "merge_labels", "root", "classes",
    "resample_masks", "collapse_instances",
)  # fmt: skip

Kind = Literal["path", "zip", "images", "simulated"]


class StudyEntry(BaseModel):
    """What is remembered of a study that was opened: where it lies and how it is to be read. No pixels.

    Attributes:
        id: Sixteen letters of its own; nothing of the study's name is in it.
        name: What to call it on the screen.
        kind: ``path`` (lies elsewhere on this computer, not copied), ``zip``, ``images`` or ``simulated``.
        source: The folder or table that `easydl.load` is given; empty while files are still being added.
        image: The column with the images, or None to find it by name.
        label: The column with the class or number, columns of 0 and 1 for one finding each, or None to find it by name.
        mask: The column with the masks, or None.
        patient: The column with the patient, ``"auto"``, or None when every image is a patient of its own.
        task: What is to be learnt, as for `easydl.load`.
        label_separator: What separates several findings in one cell, or None.
        heads: The columns of several questions, or None.
        merge_labels: Whether labels that differ only by spaces or case are one class.
        root: The folder of the images when it is not the table's.
        classes: The classes in order, or None to sort them.
        resample_masks: Whether masks on another grid are brought to their image's.
        collapse_instances: Whether every value but 0 in a mask is foreground.
        opened: When, ISO 8601.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    kind: Kind
    source: str = ""
    image: str | None = None
    label: str | list[str] | None = None
    mask: str | None = None
    patient: str | None = "auto"
    task: str = "auto"
    label_separator: str | None = None
    heads: list[str] | None = None
    merge_labels: bool = False
    root: str | None = None
    classes: list[str] | None = None
    resample_masks: bool = False
    collapse_instances: bool = False
    opened: str = ""

    @property
    def when(self) -> str:
        """The day and time it was opened, for people."""
        return f"{datetime.fromisoformat(self.opened).astimezone():%d %b %H:%M}" if self.opened else ""

    def columns(self) -> dict[str, Any]:
        """The keyword arguments of `easydl.load` and of a run that read this study."""
        return self.model_dump(include=set(_COLUMNS))


class Studies:
    """The studies of one workspace.

    Args:
        folder: Where the cards and the uploaded files lie, one folder a study.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, source: str | Path, *, name: str = "", **columns: Any) -> StudyEntry:
        """Remember a folder or table where it lies. Nothing is copied, and nothing is written beside it.

        Args:
            source: A path as a person types or pastes it (quotes around it are dropped).
            name: What to call it; by default the last part of the path, for a table with its folder.
            columns: How it is to be read, as the fields of a `StudyCard` with the names of `easydl.load`'s arguments.

        Returns:
            The card.

        Raises:
            InputError: There is nothing at this path.
        """
        text = str(source).strip().strip("\"'").removeprefix("file://")
        path = Path(text).expanduser()
        if not text or not path.exists():
            raise InputError(
                "The path is empty." if not text else f"There is nothing at {text}.",
                "the full path of a folder of images, or of a CSV or Excel table, on this computer.",
                "Copy the path from the file manager and paste it here.",
            )
        path = path.resolve()
        called = path.name if path.is_dir() else f"{path.parent.name}/{path.name}"
        return self._save(StudyEntry(id=_new_id(), name=name or called, kind="path", source=str(path), **columns))

    def change(self, entry: StudyEntry, **columns: Any) -> StudyEntry:
        """Remember another way of reading a study.

        Args:
            card: The card.
            columns: As for `open`.

        Returns:
            The changed card.
        """
        return self._save(StudyEntry.model_validate({**entry.model_dump(), **columns}))

    def receive_zip(self, name: str, data: IO[bytes]) -> StudyEntry:
        """Keep an uploaded zip's files at once, unpacked within limits. The zip itself is not kept.

        Args:
            name: The name it had on the user's computer; only shown, never used as a path.
            data: The open zip.

        Returns:
            The card.

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
        """Keep an uploaded folder's files at once, with the folders they lay in.

        Args:
            files: Pairs of a relative path and an open file.

        Returns:
            The card, called like the folder.

        Raises:
            InputError: Nothing that can be used, too many files, or a path that leads outside.
        """
        from easydl.workspace.uploads import keep

        entry = StudyEntry(id=_new_id(), name="uploaded folder", kind="images")
        with self._new_study(entry) as home:
            kept = keep(files, home / "files")
            name = kept.name if kept != home / "files" else entry.name
            return self._save(entry.model_copy(update={"source": str(_table_in(kept)), "name": name}))

    def receive_class(
        self, label: str, files: Iterable[tuple[str, IO[bytes]]], *, entry: StudyEntry | None = None
    ) -> StudyEntry:
        """Keep the images of one class at once; more classes may follow on the same card.

        Args:
            label: The class; its folder gets a safe form of this name.
            files: Pairs of a name and an open file.
            card: The card that an earlier class began, or None for the first.

        Returns:
            The card, with the folder of classes as its source.

        Raises:
            InputError: The class has no name, or none of the files can be used.
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
        """Make the simulated study (physics, no patients) as DICOM files in the workspace.

        Args:
            seed: The same seed gives the same images.
            options: Further options of `easydl.simulation.simulate`.

        Returns:
            The card.
        """
        from easydl.simulation import simulate

        entry = StudyEntry(id=_new_id(), name="simulated study", kind="simulated")
        with self._new_study(entry) as home:
            source = simulate(home / "files", seed=seed, **options)
            return self._save(entry.model_copy(update={"source": str(source)}))

    def class_counts(self, entry: StudyEntry) -> dict[str, int]:
        """Files kept so far in each class folder of a card that is being filled."""
        home = Path(entry.source)
        return {
            place.name.split("#")[0]: sum(path.is_file() for path in place.rglob("*"))
            for place in sorted(home.iterdir())
            if place.is_dir()
        }

    def one(self, study_id: str) -> StudyEntry:
        """The card of a study that was opened before.

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

    def all(self) -> list[StudyEntry]:
        """All remembered studies, the newest first."""
        found = []
        for place in self.folder.iterdir():
            try:
                found.append(self.one(place.name))
            except RunError:
                continue
        return sorted(found, key=lambda entry: entry.opened, reverse=True)

    def load(self, entry: StudyEntry) -> Study:
        """Load the study of a card with `easydl.load`."""
        from easydl.studies import load

        return load(entry.source, **entry.columns())

    def forget(self, study_id: str) -> None:
        """Remove what is kept of a study: the card and the uploaded copies. Images elsewhere are not touched.

        Args:
            study_id: The card's id.

        Raises:
            RunError: No such study is remembered here.
        """
        self.one(study_id)
        shutil.rmtree(self.folder / study_id)

    @contextmanager
    def _new_study(self, entry: StudyEntry) -> Iterator[Path]:
        """The card's folder; when anything fails and no card was saved before, it is removed again."""
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
    """The one table that lies at the top of a folder, beside the images it lists; otherwise the folder."""
    from easydl.studies.tables import tables_in

    tables = tables_in(folder)
    return tables[0] if len(tables) == 1 else folder
