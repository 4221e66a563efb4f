"""De-identify a folder of DICOM files: which files, in what order, where to.

What becomes of a header is in `profile`, of pixels in `pixeldata`, which images wait for a person in `quarantine`.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easydl.clinical import pixeldata, quarantine
from easydl.clinical.deid_report import REPORT, Deidentified, earlier_rows, file_row, summarise, write_key
from easydl.clinical.objects import UIDS, Refused, kind_of_object
from easydl.clinical.profile import clean, identity_of
from easydl.clinical.pseudonyms import Pseudonyms
from easydl.errors import EasyDLError, InputError, unknown_name
from easydl.fileio import DRAFT, replacing, write_text
from easydl.images.headers import open_dicom
from easydl.images.limits import folders_below, is_dicom
from easydl.images.quiet import PYDICOM_LOGGERS
from easydl.secret import default_secret, read_secret

if TYPE_CHECKING:
    from pydicom import Dataset

IMPLEMENTATION_UID = "2.25.284062936527461910572853908147263580917"
"""The ImplementationClassUID of files that easydl has written (PS3.10 section 7.1)."""
EDITION = 2
"""Of what may stay. A run into a folder of an earlier edition writes its files again."""
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
    hold_all: bool = False,
    keep_safe_private: bool = False,
    keep_key: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Deidentified:
    """Copy DICOM images without the identity of the patient; images that a person must look at first are quarantined.

    Headers keep only attributes on a list. Of coded values the terms of the standard stay, of texts the words of
    closed lists (devices, methods, a radiological vocabulary), and none that spells a name or number of this header. UIDs, patient, dates and file names are replaced by pseudonyms that
    are the same in every run with the same secret, so that a segmentation still refers to its CT. Pixels stay as
    they are, compressed ones compressed. Structured reports, PDF and everything that is not an image, segmentation,
    parametric map or dose is refused. The input is never changed, and a second run writes only what is missing.

    Args:
        source: A folder of DICOM files, sub-folders included, or one file.
        output: A new folder, or that of an earlier run. ``images/`` receives what no rule objected to,
            ``quarantine/`` what a person must look at.
        dates: ``"shift"`` moves all dates of a patient back by the same number of days (1 to 10 years; times of day
            stay), ``"remove"`` removes dates and times.
        secret: The file with the site's secret, made when it is missing (mode 0600); by default in the easydl folder
            of this user. Whoever has it can match the pseudonyms to known identifiers: keep it, and never share it.
        release: Names of quarantined files that a person has looked at and found free of burned-in text, as in the
            column ``file``; or a text file with one name a line. They move to ``images/`` with BurnedInAnnotation NO.
        black_out: ``(top, bottom, left, right)``: how many pixels at each edge of every image become black; such
            images are written uncompressed, and stay in quarantine until they are released.
        hold_all: Put everything into quarantine, so that a person looks at each image before it is released.
        keep_safe_private: Keep the numbers in private elements that the standard lists as harmless, such as Philips'
            factor for SUV, the b-values of older MR and the pitch of older CT (PS3.15 table E.3.10-1).
        keep_key: Keep a table of original path and new file beside the secret (mode 0600).
        progress: Called with a line of text now and then.

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
        DICOM PS3.15 annex E (basic profile; options 113105, 113107, 113108, 113111), PS3.3 C.12.1.1.7, PS3.5 B.2.
    """
    source, output = Path(source).expanduser(), Path(output).expanduser()
    secret = Path(secret).expanduser() if secret is not None else default_secret()
    _check_paths(source, output, secret)
    if dates not in ("shift", "remove"):
        raise unknown_name(f'`dates` is "{dates}".', dates, ("shift", "remove"))
    if len(black_out) != 4 or any(not isinstance(side, int) or side < 0 for side in black_out):
        raise InputError(
            "`black_out` is not four numbers of pixels.",
            "(top, bottom, left, right), zero or more each.",
            "Correct it.",
        )
    released = _release_names(release)
    pseudonyms = Pseudonyms(read_secret(secret))
    settings = {"dates": dates, "secret": pseudonyms.fingerprint()}
    before = earlier_rows(output, settings)
    found = (Path(base) / name for base, _, names in folders_below(source) for name in names)
    paths = sorted(path for path in found if path.is_file()) if source.is_dir() else [source]
    try:
        with _without_pydicom_messages():
            treatment = {"bands": list(black_out), "hold_all": hold_all, "safe_private": keep_safe_private}
            treatment["edition"] = EDITION
            run = _Run(output, pseudonyms, settings, released, treatment, before, progress or (lambda text: None))
            rows = run.run(paths)
            if keep_key:
                write_key(secret, paths, rows, output)
            return run.finish(rows)
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
class _Run:
    """One run. Rows are plain dictionaries with the names of `COLUMNS`."""

    output: Path
    pseudonyms: Pseudonyms
    settings: dict[str, str]
    released: set[str]
    treatment: dict[str, Any]
    before: dict[str, dict[str, Any]]
    progress: Callable[[str], None]

    def run(self, paths: list[Path]) -> list[dict[str, Any]]:
        self.output.mkdir(parents=True, exist_ok=True)
        for leftover in self.output.rglob(f"{DRAFT}*"):
            leftover.unlink()
        rows: dict[int, dict[str, Any]] = {}
        files: list[_File] = []
        for number, path in enumerate(paths, 1):
            try:
                files.append(self._header(number, path))
            except Refused as problem:
                rows[number] = file_row(number, state="refused", reason=str(problem))
            if number % SAY_EVERY == 0:
                self.progress(f"{number} of {len(paths)} headers read")
        self._save([], finished=False)
        mixed = _mixed_series(files)
        seen: set[str] = set()
        saved = time.monotonic()
        for count, file in enumerate(files, 1):
            if file.series in mixed:
                reason = "its series carries more than one patient identifier"
                rows[file.number] = file_row(file.number, state="refused", reason=reason)
            elif file.instance in seen:
                reason = "an earlier file of the source has the same SOP Instance UID"
                rows[file.number] = file_row(file.number, state="refused", reason=reason)
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
        done = summarise(self.output, rows, tuple(self._notes(rows)))
        self._save(rows, finished=True, **{key: value for key, value in done.to_dict().items() if key != "files"})
        return done

    def _header(self, number: int, path: Path) -> _File:
        """Reads all headers before any file is written, because a series may hold two patients."""
        if not is_dicom(path):
            raise Refused("it is not a DICOM file (no DICM after 128 bytes)")
        header = _open(path)
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
        patient = self.pseudonyms.patient(identity)
        study, series, instance = (self.pseudonyms.uid(uids[name]) for name in UIDS)
        row = file_row(number, patient=patient, study=study, series=series, kind=kind, identified=identity.split()[0])
        row["name"] = f"{patient}/{series}/{instance}.dcm"
        return _File(number, path, identity, uids["SeriesInstanceUID"], uids["SOPInstanceUID"], row)

    def _file(self, file: _File) -> dict[str, Any]:
        """Writes one file, or finds it written; the row says which."""
        row, name = file.row, file.row["name"]
        old = self.before.get(name, {})
        row["released"] = name in self.released or bool(old.get("released"))
        row.update(self.treatment)
        unchanged = all(old.get(name) == row[name] for name in ("released", *self.treatment))
        if unchanged and (self.output / old["file"]).is_file():
            return {**old, "number": file.number, "already_there": True}
        try:
            dataset, reasons, notes = self._deidentified(file)
        except (Refused, pixeldata.UnsafePixels) as problem:
            return file_row(file.number, state="refused", reason=str(problem))
        except Exception:
            # Whatever pydicom says may quote a value of the header: only that it failed is said.
            return file_row(file.number, state="refused", reason="it is damaged in a way that easydl does not know")
        if row["released"]:
            dataset.BurnedInAnnotation, reasons = "NO", []
        folder, other = ("quarantine", "images") if reasons else ("images", "quarantine")
        row["state"] = "quarantined" if reasons else "written"
        row["file"], row["reason"], row["notes"] = f"{folder}/{name}", "; ".join(reasons), "; ".join(notes)
        row["modality"] = str(dataset.get("Modality") or "")
        with replacing(self.output / row["file"]) as draft:
            dataset.save_as(draft, enforce_file_format=True)
        (self.output / other / name).unlink(missing_ok=True)
        return row

    def _deidentified(self, file: _File) -> tuple[Dataset, list[str], list[str]]:
        """The new data set, why a person must look at it, and what was taken from its pixels."""
        source, kind, bands = _open(file.path), file.row["kind"], tuple(self.treatment["bands"])
        shift, private = self.settings["dates"] == "shift", self.treatment["safe_private"]
        dataset = clean(source, self.pseudonyms, file.identity, shift=shift, safe_private=private)
        dataset.preamble, dataset.file_meta = b"\0" * 128, _file_meta(source, dataset)
        notes = pixeldata.copy_pixels(source, dataset)
        reasons = ["every file was to be looked at (hold_all)"] if self.treatment["hold_all"] else []
        if kind != "image":
            return dataset, reasons, notes
        reasons += quarantine.header_reasons(source)
        try:
            compressed = dataset.file_meta.TransferSyntaxUID not in pixeldata.NATIVE
            if compressed and any(pixeldata.beyond_stored_bits(dataset, one) for one in pixeldata.frames(dataset)):
                pixeldata.decompress(dataset)
                notes.append("written uncompressed, because bits beside the stored ones were set")
            elif compressed and notes and not pixeldata.same_frames(source, dataset):
                raise Refused("its compressed frames cannot be freed of comments without a change of pixels")
            if any(bands):
                pixeldata.decompress(dataset, bands)
                notes.append("edges blackened and written uncompressed")
                reasons = reasons or ["its edges were blackened: look whether that was enough"]
            reasons += quarantine.text_reasons(pixeldata.frames(dataset))
            count = int(dataset.get("NumberOfFrames") or 1)
            if count > pixeldata.MAX_FRAMES:
                notes.append(f"burned-in text was looked for in {pixeldata.MAX_FRAMES} of {count} frames")
        except Refused:
            raise
        except Exception:
            if any(bands):
                raise
            reasons.append("its pixels cannot be decoded here, so burned-in text could not be looked for")
        return dataset, reasons, notes

    def _notes(self, rows: list[dict[str, Any]]) -> Iterator[str]:
        kept = [row for row in rows if row["state"] != "refused"]
        modalities = {row["modality"] for row in kept}
        if modalities & {"CT", "MR", "PT"}:
            yield "A face can be reconstructed from the slices of a head: easydl removes none."
        if "PT" in modalities and self.settings["dates"] == "remove":
            yield "PET without times: standardised uptake values can no longer be computed."
        without_id = {row["patient"]: row["identified"] for row in kept if row["identified"] != "id"}
        if without_id:
            how = "by name and birth date" if "name" in without_id.values() else "by study"
            yield f"{len(without_id)} pseudonyms rest on no PatientID: these patients were distinguished {how}."
        changed = sum(bool(row["notes"]) for row in kept)
        if changed:
            yield f"There are notes on the pixels of {changed} files: see the column notes."
        unknown = self.released - {row["name"] for row in kept}
        if unknown:
            yield f"{len(unknown)} of the released names are not files of this source: nothing was released for them."

    def _save(self, rows: list[dict[str, Any]], *, finished: bool, **more: Any) -> None:
        """Rows of earlier runs stay in the report, so that a later run knows what is there."""
        known = {**self.before, **{row["name"]: row for row in rows if row["name"]}}
        refused = [row for row in rows if row["state"] == "refused"]
        report = {**more, "finished": finished, "settings": self.settings, "files": [*known.values(), *refused]}
        write_text(self.output / REPORT, json.dumps(report, indent=1, default=str))


def _open(path: Path) -> Any:
    try:
        return open_dicom(path)
    except EasyDLError as problem:
        raise Refused("it cannot be read: it is damaged, cut short, or made to fill the memory") from problem


def _mixed_series(files: list[_File]) -> set[str]:
    patients: dict[str, set[str]] = {}
    for file in files:
        patients.setdefault(file.series, set()).add(file.identity)
    return {series for series, identities in patients.items() if len(identities) > 1}


def _file_meta(source: Any, dataset: Dataset) -> Any:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = source.file_meta.TransferSyntaxUID
    meta.ImplementationClassUID, meta.ImplementationVersionName = UID(IMPLEMENTATION_UID), "EASYDL"
    return meta


def _check_paths(source: Path, output: Path, secret: Path) -> None:
    here, there, key = source.resolve(), output.resolve(), secret.resolve()
    if not source.exists():
        raise InputError("The source does not exist.", "a folder of DICOM files, or one file.", "Correct the path.")
    if here == there or here in there.parents or there in here.parents:
        raise InputError(
            "The output lies in the source, or the source in the output.",
            "two separate folders, because the input is never changed.",
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
def _without_pydicom_messages() -> Iterator[None]:
    """pydicom's warnings and log lines quote values of the header: none of this thread's is let through."""
    thread = threading.get_ident()

    def from_elsewhere(record: logging.LogRecord) -> bool:
        return threading.get_ident() != thread

    loggers = [logging.getLogger(name) for name in PYDICOM_LOGGERS]
    for logger in loggers:
        logger.addFilter(from_elsewhere)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(from_elsewhere)
