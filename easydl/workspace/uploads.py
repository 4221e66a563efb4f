"""A zip or uploaded files become a folder of the workspace, within limits. It reads no image and trusts no name."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import IO

from easydl.errors import InputError
from easydl.images.limits import is_dicom, is_nifti, is_raster
from easydl.studies.tables import TABLE_SUFFIXES

_IMAGES = "images (DICOM, NIfTI, PNG, JPEG or TIFF)"
_JUNK = {"__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db"}
_RESERVED = {"con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(1, 10))}
_ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
_CHUNK = 1 << 20
_ENTRY = 512  # bytes of a long path and its facts in the table of contents
# RuntimeError is how zipfile refuses what it does not know: a later version of the format, patched or sealed data.
_DAMAGE = (zipfile.BadZipFile, EOFError, struct.error, zlib.error, RuntimeError, OverflowError)
# Unicode categories that no name needs: control, direction marks, unassigned, line breaks.
_UNSAFE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


@dataclass(frozen=True)
class Limits:
    """How much one zip may hold before it is refused.

    Attributes:
        members: Most files (and folders) in the zip.
        total_bytes: Most bytes after unpacking.
        ratio: Most times larger than the zip the unpacked files may be, once they pass ``ratio_from_bytes``.
        ratio_from_bytes: Below this many unpacked bytes the ratio is not judged: empty masks pack very well.
        depth: Most folders within folders.
        spare_bytes: Free disk space that must remain afterwards.
    """

    members: int = 50_000
    total_bytes: int = 20 * 1024**3
    ratio: float = 200.0
    ratio_from_bytes: int = 1024**3
    depth: int = 16
    spare_bytes: int = 512 * 1024**2


def unpack(zip_path: str | Path, folder: str | Path, *, limits: Limits | None = None) -> Path:
    """Unpack a zip of images into a new or empty folder; all of it or nothing.

    Names are rewritten before they touch the disk (control characters go; reserved names and characters that
    some systems refuse are replaced); two names that become the same are kept apart by a number. System files
    (``__MACOSX``, ``.DS_Store``, ``Thumbs.db``, hidden files) are left out.

    Returns:
        The folder to load: ``folder``, or the single folder that everything in the zip lies in.

    Raises:
        InputError: The zip is damaged, encrypted, too large, holds another archive, links, or paths that lead outside.

    Example:
        >>> from tempfile import mkdtemp
        >>> source = Path(mkdtemp()) / "films.zip"
        >>> with zipfile.ZipFile(source, "w") as films:
        ...     films.writestr("films/normal/1.png", b"...")
        ...     films.writestr("films/nodule/2.png", b"...")
        >>> sorted(path.name for path in unpack(source, source.parent / "films").iterdir())
        ['nodule', 'normal']
    """
    limits = limits or Limits()
    zip_path, folder = Path(zip_path), Path(folder)
    _refuse_if_not_empty(folder)
    try:
        with _BoundedFile(zip_path, limits) as file, zipfile.ZipFile(file) as archive:
            members = _checked(archive.infolist(), zip_path.stat().st_size, limits)
            _check_disk(folder, sum(member.file_size for member, _ in members), limits)
            with _all_or_nothing(folder) as target:
                for member, name in members:
                    with archive.open(member) as source:
                        _write(source, target / name, most=member.file_size)
    except _DAMAGE as error:
        raise _damaged() from error
    return inner_folder(folder)


def keep(
    files: Iterable[tuple[str, IO[bytes]]],
    folder: str | Path,
    *,
    limits: Limits | None = None,
    tables: bool = False,
) -> tuple[Path, int]:
    """Write uploaded files (name as the user's computer gave it, open binary file) as `unpack` does; all or none.

    Args:
        files: Their names and content, read one by one.
        folder: A new or empty folder.
        limits: How many and how large.
        tables: Keep tables beside the images and leave out what is neither; else only images are taken.

    Returns:
        The folder to load, and how many files were left out.

    Raises:
        InputError: Something that is not an image, too many files, or names that lead outside.

    Example:
        >>> from io import BytesIO
        >>> from tempfile import mkdtemp
        >>> films = [("normal/1.png", BytesIO(b"...")), ("nodule/2.png", BytesIO(b"...")), ("a.pdf", BytesIO(b"..."))]
        >>> folder, left_out = keep(films, mkdtemp(), tables=True)
        >>> left_out
        1
        >>> sorted(path.name for path in folder.iterdir())
        ['nodule', 'normal']
    """
    limits = limits or Limits()
    folder = Path(folder)
    _refuse_if_not_empty(folder)
    names, written, left_out, total = _Names(limits), 0, 0, 0
    with _all_or_nothing(folder) as target:
        for number, (name, source) in enumerate(files, start=1):
            if number > limits.members:
                raise _too_many(limits)
            safe = names.safe(name, number)
            if safe is None:
                continue
            total += _write(source, target / safe, most=limits.total_bytes - total)
            if is_image(target / safe) or (tables and safe.suffix.lower() in TABLE_SUFFIXES):
                written += 1
                continue
            if not tables:
                raise InputError(
                    f"File {number} is not an image.", f"{_IMAGES}.", "Leave it out and choose the images again."
                )
            (target / safe).unlink()
            left_out += 1
        if not written:
            raise InputError(
                "The upload holds no file that can be used.",
                f"{_IMAGES}.",
                "Choose the images again; hidden files are left out.",
            )
    return inner_folder(folder), left_out


def is_image(path: Path) -> bool:
    """Whether a file is one that easydl reads pixels from: by its name, DICOM by its first bytes."""
    return is_raster(path) or is_nifti(path) or path.suffix.lower() == ".img" or is_dicom(path)


def inner_folder(folder: Path) -> Path:
    """The innermost folder that is reached through folders holding nothing but one folder."""
    while True:
        inside = list(folder.iterdir())
        if len(inside) != 1 or not inside[0].is_dir():
            return folder
        folder = inside[0]


def safe_name(name: str) -> str:
    """One file or folder name that every system accepts, of at most 120 characters with its ending; never empty.

    Example:
        >>> safe_name('scan: "left"?.png')
        'scan_ _left__.png'
        >>> safe_name("CON.png")
        '_CON.png'
    """
    name = "".join(c for c in name if unicodedata.category(c) not in _UNSAFE)
    name = unicodedata.normalize("NFC", name)
    name = "".join("_" if c in '<>:"/\\|?*' else c for c in name).strip().rstrip(". ")
    if len(name) > 120:
        ending = "".join(PurePosixPath(name).suffixes[-2:])[-16:]
        name = name[: 120 - len(ending)] + ending
    if name.split(".")[0].lower() in _RESERVED or name.startswith("~"):
        name = "_" + name
    return name or "_"


class _BoundedFile(FileIO):
    """A zip whose table of contents cannot fill the memory: `ZipFile` reads it in one piece, before anybody can look."""

    def __init__(self, path: Path, limits: Limits) -> None:
        super().__init__(path)
        self._limits = limits

    def read(self, size: int | None = -1) -> bytes:
        """At most as much at once as the table of contents of the most files that are allowed."""
        if size is not None and size > max(self._limits.members * _ENTRY, 2 * _CHUNK):
            raise _too_many(self._limits)
        return super().read(-1 if size is None else size) or b""


class _Names:
    """Gives every member a safe path, and no two members the same one."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._given: set[str] = set()
        self._raw: set[str] = set()

    def safe(self, raw: str, number: int) -> Path | None:
        """The relative path to write, or None for a file nobody needs."""
        parts = [part for part in raw.replace("\\", "/").split("/") if part not in ("", ".")]
        drive = bool(parts) and len(parts[0]) == 2 and parts[0][1] == ":"
        if raw.startswith(("/", "\\")) or ".." in parts or drive:
            raise InputError(
                f"File {number} has a path that leads outside the folder.",
                "paths within the zip, such as normal/1.png.",
                "Pack the folder again with an ordinary zip program, from within the folder.",
            )
        if not parts or any(part.lower() in _JUNK or part.startswith(".") for part in parts):
            return None
        if len(parts) > self._limits.depth:
            raise InputError(
                f"File {number} lies {len(parts)} folders deep.",
                f"at most {self._limits.depth} folders within folders.",
                "Pack the folder that holds the images, not the folders around it.",
            )
        if parts[-1].lower().endswith(_ARCHIVES):
            raise InputError(
                f"File {number} is itself an archive ({Path(parts[-1]).suffix}).",
                "images and tables, not archives within archives.",
                "Unpack the inner archive first, then pack the folder again.",
            )
        if raw in self._raw:
            raise InputError(
                f"File {number} has the same name as an earlier one.",
                "every name once.",
                "Pack the folder again with an ordinary zip program.",
            )
        self._raw.add(raw)
        folders = [safe_name(part) for part in parts[:-1]]
        stem, dot, ending = safe_name(parts[-1]).partition(".")
        path = "/".join([*folders, stem + dot + ending])
        count = 1  # casefold, because two names that differ by case are one file on Windows
        while path.casefold() in self._given:
            count += 1
            path = "/".join([*folders, f"{stem}-{count}{dot}{ending}"])
        self._given.add(path.casefold())
        return Path(*path.split("/"))


def _checked(infos: list[zipfile.ZipInfo], packed: int, limits: Limits) -> list[tuple[zipfile.ZipInfo, Path]]:
    if len(infos) > limits.members:
        raise _too_many(limits)
    names, members = _Names(limits), []
    for number, info in enumerate(infos, start=1):
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(
                f"File {number} of the zip is a link or a device, not a file.",
                "ordinary files and folders.",
                "Replace the links by the files themselves and pack the folder again.",
            )
        if info.flag_bits & 0x1:
            raise InputError(
                "The zip is protected by a password.",
                "a zip without a password.",
                "Unpack it with its password on this computer and open the folder instead.",
            )
        if info.is_dir():
            continue
        safe = names.safe(info.orig_filename, number)
        if safe is None:
            continue
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(
                f"File {number} of the zip is packed in a way easydl does not read.",
                "ordinary zip compression (deflate).",
                "Pack the folder again with the zip program of Windows, macOS or Linux.",
            )
        members.append((info, safe))
    if not members:
        raise InputError(
            "The zip holds no file that can be used.",
            f"{_IMAGES}, a folder for each class.",
            "Look inside the zip and pack the folder that holds the images.",
        )
    total = sum(info.file_size for info, _ in members)
    if total > limits.total_bytes:
        raise InputError(
            f"The zip would unpack to {total / 1024**3:.1f} GB.",
            f"at most {limits.total_bytes / 1024**3:.1f} GB.",
            "Unpack it on this computer and open the folder instead: a folder is not copied.",
        )
    if total > limits.ratio_from_bytes and total > limits.ratio * max(packed, 1):
        raise InputError(
            f"The zip would grow {total / max(packed, 1):,.0f} times, to {total / 1024**3:.1f} GB.",
            f"images, which grow less than {limits.ratio:,.0f} times.",
            "Check where the zip comes from. If you trust it, unpack it yourself and open the folder.",
        )
    return members


def _check_disk(folder: Path, total: int, limits: Limits) -> None:
    place = next(parent for parent in [folder.absolute(), *folder.absolute().parents] if parent.exists())
    free = shutil.disk_usage(place).free
    if total + limits.spare_bytes > free:
        raise InputError(
            f"The zip needs {total / 1024**3:.1f} GB and the disk has {free / 1024**3:.1f} GB free.",
            f"room for the files and {limits.spare_bytes / 1024**3:.1f} GB to spare.",
            "Free some space, or set EASYDL_WORKSPACE to a folder on a larger disk.",
        )


def _write(source: IO[bytes], path: Path, *, most: int) -> int:
    """Copy a file, but never more bytes than ``most``; returns how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with open(path, "xb") as target:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > most:
                raise InputError(
                    "The files are larger than allowed or than the zip says.",
                    f"at most {most:,} bytes here.",
                    "Check where the files come from, or open them from a folder on this computer.",
                )
            target.write(chunk)
    return written


@contextmanager
def _all_or_nothing(folder: Path) -> Iterator[Path]:
    """A hidden folder beside the final one, renamed at the end and removed when anything fails."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder.parent))
    try:
        yield work
        if folder.exists():
            folder.rmdir()
        os.replace(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _refuse_if_not_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"The folder {folder.name} already holds files.",
            "a new or an empty folder.",
            "Choose another folder; nothing is overwritten.",
        )


def _too_many(limits: Limits) -> InputError:
    return InputError(
        f"There are more than {limits.members:,} files.",
        f"at most {limits.members:,} files.",
        "Open them as a folder on this computer instead: a folder is not copied.",
    )


def _damaged() -> InputError:
    return InputError(
        "The file is not a zip, or it is damaged or was not uploaded completely.",
        "a complete zip file.",
        "Open it on this computer to check it, then pack and upload it again.",
    )
