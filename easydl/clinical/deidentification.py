"""A folder of DICOM without identities: which files, in what order, where to, and the account of it.

What becomes of a header is in `profile`, of pixels in `pixeldata`, which images wait for a person in `quarantine`.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easydl.clinical import pixeldata, quarantine
from easydl.clinical.deid_report import REPORT, Deidentified, earlier_rows, one_row, summed_up, write_key
from easydl.clinical.objects import UIDS, Refused, kind_of_object
from easydl.clinical.profile import clean, identity_of
from easydl.clinical.pseudonyms import Pseudonyms, default_secret, read_secret
from easydl.errors import EasyDLError, InputError
from easydl.fileio import write_text
from easydl.images.headers import open_dicom
from easydl.images.limits import is_dicom

if TYPE_CHECKING:
    from pydicom import Dataset

MADE_BY = "2.25.284062936527461910572853908147263580917"
"""The ImplementationClassUID of files that easydl has written (PS3.10 section 7.1)."""
PART = ".easydl-part"
SAY_EVERY = 200
SAVE_EVERY_S = 30


def deidentify(
    source: str | Path,
    output: str | Path,
    *,
    dates: str = "shift",
    secret: str | Path | None = None,
    release: str | Path | Iterable[str] = (),
    black_out: tuple[int, int, int, int] = (0, 0, 0, 0),
    keep_key: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Deidentified:
    """Copy DICOM images without the identity of the patient, and set aside those that a person must look at first.

    Headers keep only attributes on a list of numbers, coded terms and names of devices and methods; of descriptions
    only words of a radiological vocabulary stay. UIDs, patient, dates and file names are replaced by stand-ins that
    are the same in every run with the same secret, so that a segmentation still refers to its CT. Pixels stay as
    they are, compressed ones compressed. Structured reports, PDF and everything that is no image, segmentation,
    parametric map or dose is refused. The input is never changed, and a second run writes only what is missing.

    Args:
        source: A folder of DICOM files, sub-folders included, or one file.
        output: A new folder, or that of an earlier run. ``images/`` receives what no rule objected to,
            ``quarantine/`` what a person must look at.
        dates: ``"shift"`` moves all dates of a patient back by the same number of days (1 to 10 years; times of day
            stay), ``"remove"`` takes dates and times away.
        secret: The file with the site's secret, made when it is missing (mode 0600); by default in the easydl folder
            of this user. Whoever has it can match the pseudonyms to known identifiers: keep it, and never share it.
        release: Names of quarantined files that a person has looked at and found free of letters, as in the column
            ``file``; or a text file with one name a line. They move to ``images/`` with BurnedInAnnotation NO.
        black_out: ``(top, bottom, left, right)``: how many pixels at each edge of every image become black; such
            images are written uncompressed, and stay in quarantine until they are released.
        keep_key: Keep a table of original path and new file beside the secret (mode 0600).
        progress: Called with a line of words now and then.

    Returns:
        A `Deidentified` with ``counts``, ``table`` (a DataFrame), ``notes`` and ``text``.

    Raises:
        InputError: The source is missing, the output holds other files or lies in the source, the secret would lie in
            the output, or the output was made with another secret or other dates.

    Example:
        >>> from tempfile import mkdtemp
        >>> import easydl
        >>> study = easydl.simulate(mkdtemp() + "/ct", patients=12)
        >>> done = easydl.deidentify(study.parent / "images", mkdtemp(), secret=mkdtemp() + "/secret")
        >>> done.counts["written"] == done.counts["files"] > 0
        True

    References:
        DICOM PS3.15 annex E (basic profile; options 113105, 113107, 113108), PS3.3 C.12.1.1.7, PS3.5 B.2.
    """
    source, output = Path(source).expanduser(), Path(output).expanduser()
    place = Path(secret).expanduser() if secret is not None else default_secret()
    _check_places(source, output, place)
    if dates not in ("shift", "remove"):
        raise InputError(f'`dates` is "{dates}".', '"shift" or "remove".', "Choose one of them.")
    if len(black_out) != 4 or any(not isinstance(side, int) or side < 0 for side in black_out):
        raise InputError(
            "`black_out` is not four numbers of pixels.",
            "(top, bottom, left, right), zero or more each.",
            "Correct it.",
        )
    released = _release_names(release)
    pseudonyms = Pseudonyms(read_secret(place))
    settings = {"dates": dates, "secret": pseudonyms.fingerprint()}
    before = earlier_rows(output, settings)
    paths = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
    try:
        with _discretion():
            work = _Work(output, pseudonyms, settings, released, black_out, before, progress or (lambda words: None))
            rows = work.run(paths)
            if keep_key:
                write_key(place, paths, rows, output)
            return work.finish(rows)
    except OSError as problem:
        raise InputError(
            f"The output folder cannot be written ({type(problem).__name__}).",
            "a folder of yours on a disk with free space.",
            "Free space or choose another folder, and run it again: what is there already is kept.",
        ) from None


@dataclass
class _File:
    number: int
    path: Path
    identity: str
    series: str
    instance: str
    row: dict[str, Any]


@dataclass
class _Work:
    """One run. Rows are plain dictionaries with the names of `COLUMNS`."""

    output: Path
    pseudonyms: Pseudonyms
    settings: dict[str, str]
    released: set[str]
    black_out: tuple[int, int, int, int]
    before: dict[str, dict[str, Any]]
    progress: Callable[[str], None]

    def run(self, paths: list[Path]) -> list[dict[str, Any]]:
        self.output.mkdir(parents=True, exist_ok=True)
        for left in self.output.rglob(f"*{PART}"):
            left.unlink()
        rows: dict[int, dict[str, Any]] = {}
        files: list[_File] = []
        for number, path in enumerate(paths, 1):
            try:
                files.append(self._header(number, path))
            except Refused as problem:
                rows[number] = one_row(number, state="refused", reason=str(problem))
            if number % SAY_EVERY == 0:
                self.progress(f"{number} of {len(paths)} headers read")
        self._save([], finished=False)
        mixed = _mixed_series(files)
        seen: set[str] = set()
        saved = time.monotonic()
        for count, file in enumerate(files, 1):
            if file.series in mixed:
                why = "its series carries more than one patient identifier"
                rows[file.number] = one_row(file.number, state="refused", reason=why)
            elif file.instance in seen:
                why = "an earlier file of the source has the same SOP Instance UID"
                rows[file.number] = one_row(file.number, state="refused", reason=why)
            else:
                seen.add(file.instance)
                rows[file.number] = self._file(file)
            if time.monotonic() - saved > SAVE_EVERY_S:
                self._save(list(rows.values()), finished=False)
                saved = time.monotonic()
            if count % SAY_EVERY == 0:
                self.progress(f"{count} of {len(files)} files done")
        return [rows[number] for number in sorted(rows)]

    def finish(self, rows: list[dict[str, Any]]) -> Deidentified:
        done = summed_up(self.output, rows, tuple(self._notes(rows)))
        self._save(rows, finished=True, **{key: value for key, value in done.to_dict().items() if key != "files"})
        return done

    def _header(self, number: int, path: Path) -> _File:
        """What is needed before any file is written.

        Raises:
            Refused: The file is not DICOM, is damaged, or is no object that easydl vouches for.
        """
        if not is_dicom(path):
            raise Refused("it is not a DICOM file (no DICM after 128 bytes)")
        header = _opened(path)
        try:
            kind = kind_of_object(header)
            uids = {name: str(header.get(name) or "").strip("\0 ") for name in UIDS}
            if not all(uids.values()):
                raise Refused("its study, series or instance UID is missing")
            identity = identity_of(header)
        except Refused:
            raise
        except Exception as problem:
            raise Refused("its header is damaged") from problem
        row = one_row(
            number, patient=self.pseudonyms.patient(identity), kind=kind, identified=identity.split()[0],
            study=self.pseudonyms.uid(uids["StudyInstanceUID"]), series=self.pseudonyms.uid(uids["SeriesInstanceUID"]),
        )  # fmt: skip
        row["name"] = f"{row['patient']}/{row['series']}/{self.pseudonyms.uid(uids['SOPInstanceUID'])}.dcm"
        return _File(number, path, identity, uids["SeriesInstanceUID"], uids["SOPInstanceUID"], row)

    def _file(self, file: _File) -> dict[str, Any]:
        """Write one file, or find it written; the row says which."""
        row, name = file.row, file.row["name"]
        old = self.before.get(name, {})
        row["released"] = name in self.released or bool(old.get("released"))
        bands = list(self.black_out)
        if (
            old.get("bands") == bands
            and old.get("released") == row["released"]
            and (self.output / old["file"]).is_file()
        ):
            return {**old, "number": file.number, "already_there": True}
        try:
            dataset, reasons, notes = self._deidentified(file)
        except (Refused, pixeldata.Unvouched) as problem:
            return one_row(file.number, state="refused", reason=str(problem))
        except Exception:
            # Whatever pydicom says may quote a value of the header: only that it failed is told.
            return one_row(file.number, state="refused", reason="it is damaged in a way that easydl does not know")
        held = bool(reasons) and not row["released"]
        if row["released"]:
            dataset.BurnedInAnnotation = "NO"
        row["state"], place, other = (
            ("quarantined", "quarantine", "images") if held else ("written", "images", "quarantine")
        )
        row["file"], row["reason"], row["bands"] = f"{place}/{name}", "; ".join(reasons) if held else "", bands
        row["notes"], row["modality"] = "; ".join(notes), str(dataset.get("Modality") or "")
        _save_dicom(dataset, self.output / row["file"])
        (self.output / other / name).unlink(missing_ok=True)
        return row

    def _deidentified(self, file: _File) -> tuple[Dataset, list[str], list[str]]:
        """The new data set, why a person must look at it, and what was taken from its pixels."""
        source, kind = _opened(file.path), file.row["kind"]
        dataset = clean(source, self.pseudonyms, file.identity, shift=self.settings["dates"] == "shift")
        dataset.preamble, dataset.file_meta = b"\0" * 128, _file_meta(source, dataset)
        notes = pixeldata.carry(source, dataset)
        if kind != "image":
            return dataset, [], notes
        reasons = quarantine.header_reasons(source, kind)
        try:
            compressed = dataset.file_meta.TransferSyntaxUID not in pixeldata.NATIVE
            if compressed and any(pixeldata.beyond_stored_bits(dataset, one) for one in pixeldata.frames(dataset)):
                pixeldata.write_plain(dataset)
                notes.append("written uncompressed, because bits beside the stored ones were set")
            elif compressed and notes and not pixeldata.same_frames(source, dataset):
                raise Refused("its compressed frames cannot be freed of comments without a change of pixels")
            if any(self.black_out):
                pixeldata.write_plain(dataset, self.black_out)
                notes.append("edges blackened and written uncompressed")
                reasons = reasons or ["its edges were blackened: look whether that was enough"]
            reasons += quarantine.text_reasons(pixeldata.frames(dataset))
            count = int(dataset.get("NumberOfFrames") or 1)
            if count > pixeldata.MOST_FRAMES:
                notes.append(f"letters were looked for in {pixeldata.MOST_FRAMES} of {count} frames")
        except Refused:
            raise
        except Exception:
            if any(self.black_out):
                raise
            reasons.append("its pixels cannot be decoded here, so no letters could be looked for")
        return dataset, reasons, notes

    def _notes(self, rows: list[dict[str, Any]]) -> Iterator[str]:
        out = [row for row in rows if row["state"] != "refused"]
        modalities = {row["modality"] for row in out}
        if modalities & {"CT", "MR", "PT"}:
            yield "A face can be rebuilt from the slices of a head: easydl removes none."
        if "PT" in modalities and self.settings["dates"] == "remove":
            yield "PET without times: standardised uptake values can no longer be computed."
        unnamed = {row["patient"]: row["identified"] for row in out if row["identified"] != "id"}
        if unnamed:
            whom = "by name and birth date" if "name" in unnamed.values() else "by study"
            yield f"{len(unnamed)} pseudonyms rest on no PatientID: there patients were told apart {whom}."
        changed = sum(bool(row["notes"]) for row in out)
        if changed:
            yield f"Something is to be said of the pixels of {changed} files: see the column notes."
        unknown = self.released - {row["name"] for row in out}
        if unknown:
            yield f"{len(unknown)} of the released names are no files of this source: nothing was released for them."

    def _save(self, rows: list[dict[str, Any]], *, finished: bool, **more: Any) -> None:
        """The account so far; rows of earlier runs stay, so that a later run knows what is there."""
        known = {**self.before, **{row["name"]: row for row in rows if row["name"]}}
        refused = [row for row in rows if row["state"] == "refused"]
        account = {**more, "finished": finished, "settings": self.settings, "files": [*known.values(), *refused]}
        write_text(self.output / REPORT, json.dumps(account, indent=1, default=str))


def _opened(path: Path) -> Any:
    try:
        return open_dicom(path)
    except EasyDLError as problem:
        raise Refused("it cannot be read: it is damaged, cut short, or made to fill the memory") from problem


def _mixed_series(files: list[_File]) -> set[str]:
    patients: dict[str, set[str]] = {}
    for file in files:
        patients.setdefault(file.series, set()).add(file.identity)
    return {series for series, found in patients.items() if len(found) > 1}


def _file_meta(source: Any, dataset: Dataset) -> Any:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = source.file_meta.TransferSyntaxUID
    meta.ImplementationClassUID, meta.ImplementationVersionName = UID(MADE_BY), "EASYDL"
    return meta


def _save_dicom(dataset: Dataset, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=PART)
    os.close(handle)
    try:
        dataset.save_as(temporary, enforce_file_format=True)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _check_places(source: Path, output: Path, secret: Path) -> None:
    here, there, key = source.resolve(), output.resolve(), secret.resolve()
    if not source.exists():
        raise InputError("The source does not exist.", "a folder of DICOM files, or one file.", "Correct the path.")
    if here == there or here in there.parents or there in here.parents:
        raise InputError(
            "The output lies in the source, or the source in the output.",
            "two folders apart, because the input is never changed.",
            "Choose another folder for the output.",
        )
    if there == key or there in key.parents or here in key.parents:
        raise InputError(
            "The secret would lie in the output or in the source.",
            "a secret that is not shared together with the images.",
            "Name a file elsewhere, or leave secret out: then it lies in your easydl folder.",
        )
    if output.exists() and not output.is_dir():
        raise InputError("The output is a file.", "a folder.", "Choose another name.")
    if output.is_dir() and any(output.iterdir()) and not (output / REPORT).is_file():
        raise InputError(
            "The output folder holds other files.",
            "a new or empty folder, or that of an earlier run, so that nothing else is shared with it.",
            "Choose another folder.",
        )


def _release_names(release: str | Path | Iterable[str]) -> set[str]:
    if isinstance(release, str | Path):
        path = Path(release).expanduser()
        if not path.is_file():
            raise InputError(
                "The list of released files does not exist.", "a text file with one name a line.", "Correct the path."
            )
        release = path.read_text(encoding="utf-8-sig").splitlines()
    names = (line.strip().replace("\\", "/").removeprefix("./") for line in release)
    return {name.removeprefix("quarantine/").removeprefix("images/") for name in names if name}


@contextmanager
def _discretion() -> Iterator[None]:
    """pydicom's warnings and log lines quote values of the header: none is let through."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
