"""A file from a web address: whole and checked, or not at all. It does not know what the file is for."""

from __future__ import annotations

import contextlib
import http.client
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

TIMEOUT_S, ATTEMPTS, WAIT_S = 30.0, 3, 0.5
_BLOCK = 1 << 18


class NotDownloaded(Exception):
    """Why a file could not be had, as text."""


def download(
    url: str, target: Path, *, check: Callable[[Path], None], most_bytes: int, timeout_s: float = TIMEOUT_S
) -> Path:
    """Download a file. It gets its name only once it is whole and checked.

    It arrives in a ``.part`` file with a random name, so that two processes never write into the same one; what is left
    of a broken download is deleted. Lost connections and busy servers are tried again after a short wait. Proxies are
    those of the environment (``HTTPS_PROXY``, ``HTTP_PROXY``, ``NO_PROXY``) or of the system. ``check`` raises when the
    file is not what it should be.

    Raises:
        NotDownloaded: No connection, no such file, no room for it.
    """
    part = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(ATTEMPTS):
            try:
                _receive(url, part, target.name, most_bytes, timeout_s)
                break
            except (OSError, http.client.HTTPException) as problem:
                if attempt + 1 == ATTEMPTS or not _may_pass(problem):
                    raise
                time.sleep(WAIT_S * 2**attempt)
        check(part)
        _rename(part, target)
    except (OSError, http.client.HTTPException, ValueError) as problem:
        raise NotDownloaded(_as_text(problem)) from problem
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return target


def _receive(url: str, part: Path, name: str, most_bytes: int, timeout_s: float) -> None:
    if urlsplit(url).scheme not in ("https", "http"):
        raise ValueError(f"{url} is not a web address")
    # A new opener: urlopen keeps the proxies of its first call in this process.
    opener = urllib.request.build_opener()
    got = 0
    with opener.open(url, timeout=timeout_s) as response, open(part, "wb") as out:
        if url.startswith("https:") and not response.geturl().startswith("https:"):
            raise ValueError("the server sends on to an address without encryption")
        promised = response.headers.get("Content-Length", "")
        whole = int(promised) if promised.isdigit() else 0
        with _progress(name, whole) as show:
            while block := response.read(_BLOCK):
                got += len(block)
                if got > most_bytes:
                    raise ValueError(f"the server sends more than the {most_bytes / 1e6:.0f} MB expected")
                out.write(block)
                show(got)
        out.flush()
        os.fsync(out.fileno())
    if whole and whole != got:
        raise ConnectionError(f"the download broke off after {got:,} of {whole:,} bytes")


@contextlib.contextmanager
def _progress(name: str, whole: int) -> Iterator[Callable[[int], None]]:
    """One line that counts up on a terminal; one line when the output goes to a file."""
    terminal = bool(sys.stderr and sys.stderr.isatty())
    of = f" of {whole / 1e6:.0f} MB" if whole else " MB"
    if not terminal:
        print(f"Downloading {name} ({whole / 1e6:.1f} MB) ..." if whole else f"Downloading {name} ...", file=sys.stderr)
        yield lambda got: None
        return
    try:
        yield lambda got: print(f"\rDownloading {name}: {got / 1e6:.0f}{of}", end="", file=sys.stderr, flush=True)
    finally:
        print(file=sys.stderr)


def _rename(part: Path, target: Path) -> None:
    try:
        os.replace(part, target)
    except PermissionError:
        # Windows: another process had the same file first, and somebody is reading it.
        if not target.is_file():
            raise


def _may_pass(problem: Exception) -> bool:
    """Whether the same request may succeed in a moment: a lost connection or a busy server, not a refusal."""
    if isinstance(problem, urllib.error.HTTPError):
        return problem.code in (408, 429) or problem.code >= 500
    if isinstance(problem, urllib.error.URLError):
        return not isinstance(problem.reason, ssl.SSLCertVerificationError)
    return isinstance(problem, (ConnectionError, TimeoutError, http.client.HTTPException))


def _as_text(problem: Exception) -> str:
    if isinstance(problem, urllib.error.HTTPError):
        return f"the server answered {problem.code}"
    if isinstance(problem, urllib.error.URLError):
        return f"no connection ({problem.reason})"
    if isinstance(problem, (PermissionError, FileExistsError, NotADirectoryError)):
        return "the folder for it cannot be written to"
    return str(problem) or type(problem).__name__
