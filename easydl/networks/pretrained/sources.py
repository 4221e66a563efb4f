"""Pretrained weights: looked for on this computer, else downloaded and checked. `transfer` copies them."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from easydl.errors import InputError, WeightsError, did_you_mean, unknown_name
from easydl.networks.pretrained.download import TIMEOUT_S, NotDownloaded, download
from easydl.networks.pretrained.weights_file import digest, read, room
from easydl.networks.registry import ENTRIES, SOURCES, TITLES, Entry, weights_entry

SUFFIXES = (".keras", ".h5", ".hdf5")
# What a run folder calls its model (`easydl.runs`).
MODEL_FILE = "model.keras"
RADIMAGENET_PAGE = "https://github.com/BMEII-AI/RadImageNet"
LOCAL = ("localhost", "127.0.0.1", "::1")
SHIPPED = "efficientnetlite0"
"""The network whose weights come with the package."""
DIGITS = {"sha256": 64, "md5": 32}
_SUM = re.compile(r"(sha256|md5)=([0-9a-fA-F]+)")
_NAMED = re.compile(r"\.(sha256|md5)-([0-9a-f]+)\.(?:keras|h5|hdf5)")


class Published(NamedTuple):
    """A file of weights as its makers publish it.

    Attributes:
        entry: The network whose weights it holds.
        source: ``imagenet`` or ``radimagenet``.
        file: Its official name.
        url: Where it can be fetched; empty where no address leads to the file itself.
        checksum: md5 or sha256 in hexadecimal; empty where none is published.
    """

    entry: Entry
    source: str
    file: str
    url: str
    checksum: str


def published(entry: Entry, source: str) -> Published | None:
    """The published file that a network can start from (for an inflated one that of its 2D version), or None."""
    owner = weights_entry(entry)
    if source == "radimagenet":
        known = Published(owner, source, owner.radimagenet_file, "", "")
    else:
        known = Published(owner, source, owner.weights_file, owner.weights_url, owner.weights_hash)
    return known if known.file else None


def shipped() -> Path:
    """The folder of the weights that come with the package, with their licence."""
    return Path(__file__).parent / "shipped"


def folders() -> list[Path]:
    """Where weights files are looked for, the first also being where downloads go.

    The folder in the environment variable ``EASYDL_WEIGHTS`` when set, then Keras' own (``models`` below
    ``KERAS_HOME`` or ``~/.keras``), then the one inside the package.
    """
    own = os.environ.get("EASYDL_WEIGHTS", "").strip()
    keras_home = os.environ.get("KERAS_HOME", "").strip() or os.path.join("~", ".keras")
    keras = Path(keras_home).expanduser() / "models"
    return [*([Path(own).expanduser()] if own else []), keras, shipped()]


def mirror() -> str:
    """The web folder that stands in for the official addresses: ``EASYDL_WEIGHTS_URL``, or nothing."""
    return os.environ.get("EASYDL_WEIGHTS_URL", "").strip().rstrip("/")


def here(file: str) -> Path | None:
    """A file of this name in one of the folders, or None. It is not looked into."""
    return next((folder / file for folder in folders() if (folder / file).is_file()), None)


def locate(entry: Entry, pretrained: Any) -> Path | None:
    """The file with the weights to start from (`easydl.classifier` has the choices); None for random weights.

    Raises:
        InputError: Neither a known word, a file, a run folder with a model, nor an address with a checksum.
        WeightsError: The network has no such weights, or they cannot be had.
    """
    if pretrained is False or pretrained is None:
        return None
    if (network := network_in(pretrained)) is not None:
        return _as_file(network)
    if pretrained is True:
        return fetch(entry)
    if isinstance(pretrained, str) and pretrained in SOURCES:
        return fetch(entry, pretrained)
    if isinstance(pretrained, str) and re.match(r"https?://", pretrained):
        return _from_address(entry, pretrained)
    why = "."
    if isinstance(pretrained, (str, os.PathLike)) and str(pretrained):
        path = Path(pretrained).expanduser()
        file = path / MODEL_FILE if path.is_dir() else path
        if file.is_file() and file.suffix.lower() in SUFFIXES:
            return file
        why = f", a folder without {MODEL_FILE}." if path.is_dir() else ", and there is no such file."
    raise InputError(
        f"`pretrained` is {pretrained!r}{why}",
        'True or "imagenet", "radimagenet", False, the path of a .keras file or run folder of easydl or of an .h5 '
        "weights file, or an https address with its checksum.",
        f"{did_you_mean(pretrained, SOURCES)}Correct it, or use pretrained=True.",
    )


def network_in(pretrained: Any) -> Any:
    """A Keras model that was given to start from, or that `easydl.pretrain` made; None for everything else."""
    network = getattr(pretrained, "model", pretrained)
    return network if hasattr(network, "get_weights") else None


def _as_file(network: Any) -> Path:
    """A model as a file of this process's own, so that it is checked and copied as any other."""
    from easydl.networks.model_file.save import save_model

    folder = Path(tempfile.mkdtemp(prefix="easydl_start_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return save_model(network, folder / MODEL_FILE)


def fetch(entry: Entry, source: str = "imagenet", *, timeout_s: float = TIMEOUT_S) -> Path:
    """The published weights file of a network: from the cache, else downloaded once.

    A file that is already there under its official name is used without the network. A download only gets its name
    once its length, checksum and contents are right. The environment variable ``EASYDL_WEIGHTS_URL`` names a mirror: a
    web folder with the files under their official names. RadImageNet's files lie behind a page that only a person can
    click through, so they come from the cache or a mirror.

    Raises:
        InputError: Another source.
        WeightsError: No weights exist for this network; nothing in the cache and no download; a file that is
            not what it should be. The message names the file, where to get it and where to put it.

    References:
        Mei et al. 2022, RadImageNet, 10.1148/ryai.210315.
    """
    if source not in SOURCES:
        raise unknown_name(f"The source is {source!r}.", source, SOURCES)
    known = published(entry, source)
    if known is None:
        having = ", ".join(one.name for one in ENTRIES.values() if published(one, source))
        raise WeightsError(
            f"There are no {TITLES[source]} weights for {entry.name}.",
            f"one of {having}.",
            "Choose one of these networks, or use pretrained=False.",
        )
    if cached := here(known.file):
        check(cached, known, f"{cached} is damaged or something else:")
        return cached
    url = f"{mirror()}/{known.file}" if mirror() else known.url
    if not url:
        raise _missing(entry, known, "")
    try:
        return download(
            url,
            folders()[0] / known.file,
            most_bytes=_most(known),
            timeout_s=timeout_s,
            check=lambda part: check(part, known, "the download is incomplete or something else:"),
        )
    except NotDownloaded as problem:
        raise _missing(entry, known, str(problem)) from problem
    except WeightsError as problem:
        raise _missing(entry, known, problem.found) from None


def _most(known: Published) -> int:
    """Bytes that a file may take; a whole model holds its optimizer's state too."""
    return room(known.entry) * (4 if known.source == "radimagenet" else 1)


def check(path: Path, known: Published, blame: str) -> None:
    """Compare a file with what its makers publish: its checksum where there is one, and every array in it.

    Raises:
        WeightsError: It is damaged, or another file; the message begins with ``blame``.
    """
    again = f"get it again, from {known.url or RADIMAGENET_PAGE}"
    do = f"Delete it and {again}, or use pretrained=False."
    kind = "sha256" if len(known.checksum) == DIGITS["sha256"] else "md5"
    if known.checksum and (found := digest(path, kind)) != known.checksum:
        raise WeightsError(f"{blame} its checksum is {found}.", f"{kind} {known.checksum}.", do)
    try:
        count = sum(array.size for layer in read(path, known.entry) for array in layer)
    except WeightsError as problem:
        raise WeightsError(f"{blame} {problem.found}", problem.expected, do) from problem
    if count != known.entry.parameters:
        raise WeightsError(
            f"{blame} it holds {count:,} weights.", f"{known.entry.parameters:,} for {known.entry.name}.", do
        )


def check_sum(path: Path) -> bool | None:
    """Whether a file from an address still has the checksum in its name; None where its name holds none."""
    found = _NAMED.search(path.name)
    return None if found is None else digest(path, found[1]) == found[2]


def _from_address(entry: Entry, address: str) -> Path:
    url, _, after = address.partition("#")
    parts, given = urlsplit(url), _SUM.fullmatch(after)
    # A query may hold a password, so it is never repeated.
    plain = f"{parts.scheme}://{parts.hostname}{parts.path}"
    name = unquote(PurePosixPath(parts.path).name)
    stem, suffix = os.path.splitext(re.sub(r"[^\w.-]", "_", name))
    if parts.scheme != "https" and parts.hostname not in LOCAL:
        why = "is not encrypted (http)"
    elif suffix.lower() not in SUFFIXES:
        why = f"does not end in {' or '.join(SUFFIXES)}"
    elif given is None or len(given[2]) != DIGITS[given[1]]:
        why = "comes without a checksum"
    else:
        return _fetch_address(entry, url, plain, f"{stem[:80]}.{given[1]}-{given[2].lower()}{suffix.lower()}")
    raise InputError(
        f"The address {plain} {why}.",
        "https://.../file.h5#sha256= and 64 hexadecimal digits, or #md5= and 32.",
        "Ask whoever publishes the file for its checksum and write it behind the address after a #, or download the "
        "file yourself and give its path.",
    )


def _fetch_address(entry: Entry, url: str, plain: str, name: str) -> Path:
    if cached := here(name):
        if not check_sum(cached):
            raise WeightsError(
                f"{cached} does not have the checksum in its name.",
                f"the file as it lies at {plain}.",
                "Delete it; it is then fetched again.",
            )
        return cached
    target = folders()[0] / name

    def right(part: Path) -> None:
        if not check_sum(part):
            raise ValueError("the file has another checksum than the address says")

    try:
        return download(url, target, check=right, most_bytes=4 * room(weights_entry(entry)))
    except NotDownloaded as problem:
        raise WeightsError(
            f"The weights at {plain} are not here and could not be downloaded: {str(problem).rstrip('.')}.",
            f"the file {name} in the folder {target.parent}.",
            "Get the file on a computer with internet and put it there under this name, or give its path.",
        ) from problem


def _missing(entry: Entry, known: Published, why: str) -> WeightsError:
    reason = f"could not be downloaded: {why.rstrip('.')}" if why else "no address leads to the file itself"
    do = (
        f"Get {known.url} on a computer with internet and put it there, or use {SHIPPED}, whose weights come with easydl, "
        "or pretrained=False."
    )
    if known.source == "radimagenet":
        do = (
            f"Open {RADIMAGENET_PAGE} in a browser, follow its link to the pretrained Keras models, and put the file "
            f"there, or use {SHIPPED} with pretrained=True, whose weights come with easydl."
        )
    return WeightsError(
        f"The {TITLES[known.source]} weights of {entry.name} are not here and {reason}.",
        f"the file {known.file} in the folder {folders()[0]}.",
        do,
    )
