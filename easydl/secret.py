"""One secret of this computer, and digests keyed with it: names that nobody without the secret can guess or repeat."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from easydl.errors import InputError
from easydl.fileio import workspace

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
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            handle = -1
        if handle >= 0:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(32) + "\n")
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
