"""Pretrained weights: looked for on this computer, else fetched and checked. `transfer` copies them."""

from __future__ import annotations

import contextlib
import http.client
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from easydl.errors import InputError, WeightsError
from easydl.networks.catalogue import ENTRIES, Entry
from easydl.networks.transfer import digest, read, room

TIMEOUT_S = 30.0


def folders() -> list[Path]:
    """Where weights files are looked for, the first also being where downloads go.

    The folder in the environment variable ``EASYDL_WEIGHTS`` when set, then Keras' own (``models`` below
    ``KERAS_HOME`` or ``~/.keras``).
    """
    own = os.environ.get("EASYDL_WEIGHTS", "").strip()
    keras_home = os.environ.get("KERAS_HOME", "").strip() or os.path.join("~", ".keras")
    keras = Path(keras_home).expanduser() / "models"
    return [Path(own).expanduser(), keras] if own else [keras]


def locate(entry: Entry, pretrained: bool | str | Path) -> Path | None:
    """The file with the weights to start from.

    Args:
        entry: The network.
        pretrained: False for none; True or ``"imagenet"`` for the official ImageNet file (see `fetch`); a
            path to a ``.keras`` file of ours or an ``.h5`` weights file of the same backbone.

    Returns:
        The file, or None for random weights.

    Raises:
        InputError: Neither a known word nor a file.
        WeightsError: The network has no ImageNet weights, or they cannot be had.
    """
    if pretrained is False or pretrained is None:
        return None
    if pretrained is True or pretrained == "imagenet":
        return fetch(entry)
    path = Path(pretrained).expanduser() if isinstance(pretrained, (str, os.PathLike)) else None
    if path is not None and path.is_file() and path.suffix.lower() in (".keras", ".h5", ".hdf5"):
        return path
    raise InputError(
        f"`pretrained` is {pretrained!r}" + (", and there is no such file." if path is not None else "."),
        'True or "imagenet", False, or the path of a .keras file of easydl or of an .h5 weights file.',
        "Correct the path, or use pretrained=True.",
    )


def fetch(entry: Entry, *, timeout_s: float = TIMEOUT_S) -> Path:
    """The official ImageNet weights file of a network: from the cache, else downloaded once.

    A file that is already there under its official name is used without the network. A download goes to a
    ``.part`` file and is only given its name once its length, checksum and contents are right. The
    environment variable ``EASYDL_WEIGHTS_URL`` names a mirror: a web folder with the files under their
    official names.

    Args:
        entry: The network.
        timeout_s: Seconds without an answer after which the server is given up.

    Returns:
        The file.

    Raises:
        WeightsError: No weights exist for this network; nothing in the cache and no download; a file that is
            not what it should be. The message names the file, where to get it and where to put it.

    Example:
        >>> from easydl.networks.catalogue import ENTRIES
        >>> fetch(ENTRIES["mobilenet_025"]).name  # doctest: +SKIP
        'mobilenet_2_5_224_tf_no_top.h5'
    """
    if not entry.weights_file:
        having = ", ".join(one.name for one in ENTRIES.values() if one.weights_file)
        raise WeightsError(
            f"There are no ImageNet weights for {entry.name}.",
            f"one of {having}.",
            "Choose one of these networks, or use pretrained=False.",
        )
    for folder in folders():
        cached = folder / entry.weights_file
        if cached.is_file():
            _verify(cached, entry, f"{cached} is damaged or something else:")
            return cached
    target = folders()[0] / entry.weights_file
    mirror = os.environ.get("EASYDL_WEIGHTS_URL", "").strip()
    url = f"{mirror.rstrip('/')}/{entry.weights_file}" if mirror else entry.weights_url
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        print(f"Downloading {entry.weights_file} ({entry.megabytes:.0f} MB) ...", file=sys.stderr)
        _download(url, part, room(entry), timeout_s)
        _verify(part, entry, "the download is incomplete or something else:")
        os.replace(part, target)
    except WeightsError as problem:
        raise _missing(entry, problem.found) from None
    except (OSError, http.client.HTTPException, ValueError) as problem:
        raise _missing(entry, _words(problem)) from problem
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return target


def _verify(path: Path, entry: Entry, blame: str) -> None:
    do = f"Delete it and get it again, from {entry.weights_url}, or use pretrained=False."
    if entry.weights_md5 and (md5 := digest(path, "md5")) != entry.weights_md5:
        raise WeightsError(f"{blame} its checksum is {md5}.", f"md5 {entry.weights_md5}.", do)
    try:
        count = sum(array.size for layer in read(path, entry) for array in layer)
    except WeightsError as problem:
        raise WeightsError(f"{blame} {problem.found}", problem.expected, do) from problem
    if count != entry.parameters:
        raise WeightsError(f"{blame} it holds {count:,} weights.", f"{entry.parameters:,} for {entry.name}.", do)


def _download(url: str, part: Path, most_bytes: int, timeout_s: float) -> None:
    if urlsplit(url).scheme not in ("https", "http"):
        raise ValueError(f"{url} is no web address")
    got = 0
    with urllib.request.urlopen(url, timeout=timeout_s) as answer, open(part, "wb") as out:
        while block := answer.read(1 << 20):
            got += len(block)
            if got > most_bytes:
                raise ValueError(f"the server sends more than the {most_bytes / 1e6:.0f} MB expected")
            out.write(block)
        out.flush()
        os.fsync(out.fileno())
        promised = answer.headers.get("Content-Length", "")
    if promised.isdigit() and int(promised) != got:
        raise ValueError(f"the download broke off after {got:,} of {int(promised):,} bytes")


def _words(problem: Exception) -> str:
    if isinstance(problem, urllib.error.HTTPError):
        return f"the server answered {problem.code}"
    if isinstance(problem, urllib.error.URLError):
        return f"no connection ({problem.reason})"
    if isinstance(problem, (PermissionError, FileExistsError, NotADirectoryError)):
        return "the folder for it cannot be written to"
    return str(problem) or type(problem).__name__


def _missing(entry: Entry, why: str) -> WeightsError:
    return WeightsError(
        f"The ImageNet weights of {entry.name} are not here and could not be downloaded: {why.rstrip('.')}.",
        f"the file {entry.weights_file} in the folder {folders()[0]}.",
        f"Get {entry.weights_url} on a computer with internet and put it there, or use pretrained=False.",
    )
