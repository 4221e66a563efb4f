"""One secret of this computer, and digests keyed with it: names that nobody without the secret can guess or repeat."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from easydl.errors import EasyDLError, InputError
from easydl.fileio import DRAFT, workspace

SECRET_NAME = "easydl.secret"
MIN_LENGTH = 32
"""Characters in a secret: 128 bits when written in hexadecimal digits."""


def keyed_digest(kind: str, text: str, secret: bytes) -> bytes:
    """HMAC-SHA256 of a text, 32 bytes; another one for each kind of thing (``"patient"``, ``"uid"``)."""
    return hmac.new(secret, f"easydl {kind} {text}".encode(), hashlib.sha256).digest()


def default_secret() -> Path:
    """Where the secret lies when no other place is given: in the easydl folder of this user."""
    return workspace() / SECRET_NAME


def read_secret(path: Path) -> bytes:
    """Read the secret, or make one that only this user can read (mode 0600)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            _make(path)
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise InputError(
                "The secret file can be read by other users of this computer.",
                "a file that only you can read and write (mode 0600).",
                "Run: chmod 600 and the file's name. If others may have read it, start again with a new secret.",
            )
        key = path.read_bytes().strip()
    except OSError as problem:
        raise InputError(
            "The secret file cannot be read or made.",
            "a file in a folder of yours.",
            "Name another file with secret= (on the command line --secret).",
        ) from problem
    if len(key) < MIN_LENGTH:
        raise InputError(
            f"The secret file holds {len(key)} characters.",
            f"at least {MIN_LENGTH} characters that nobody can guess.",
            "Name a file that does not exist yet, and easydl makes a good one.",
        )
    return key


class Secret(NamedTuple):
    """A secret, and a note when it lasts no longer than this process ("" when it is this computer's)."""

    key: bytes
    note: str = ""

    @property
    def fingerprint(self) -> str:
        """Tells two secrets apart without giving either away: 12 hexadecimal digits."""
        return keyed_digest("fingerprint", "", self.key).hex()[:12]


def computer_secret() -> Secret:
    """The secret of this computer; where it cannot be kept, one of this process, so that images can still be read."""
    return _secret_at(default_secret())


@lru_cache(8)
def _secret_at(path: Path) -> Secret:
    try:
        return Secret(read_secret(path))
    except EasyDLError as problem:
        note = "pseudonyms of patients hold for this process only, because this computer's secret cannot be used"
        return Secret(secrets.token_hex(32).encode(), f"{note} ({problem.found.rstrip('.').lower()})")


def _make(path: Path) -> None:
    """A new secret, whole or not there: another process that starts now must not read half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=DRAFT)
    draft = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
        try:
            os.link(draft, path)  # Unlike a renaming it never takes the place of a secret that is there.
        except FileExistsError:
            return
        except OSError:  # a disk without hard links
            os.rename(draft, path)
    finally:
        draft.unlink(missing_ok=True)
