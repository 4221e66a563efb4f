"""A `.keras` file of easydl opened without running anything in it: checked part by part, then built anew.

It reads no other kind of file, and never asks Keras to make a model from what a file says.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from easydl.errors import EasyDLError, ModelError
from easydl.networks.ensembles import rebuilt_members
from easydl.networks.freezing import freeze_statistics
from easydl.networks.metadata import ModelMetadata, attach, metadata_of
from easydl.networks.model_file import hdf5
from easydl.networks.model_file.save import OURS, SCHEMA, WEIGHTS, as_text, metadata_sum
from easydl.networks.surgery import set_target_scale, set_window

Build = Callable[[ModelMetadata], Any]
MEMBERS = ("config.json", "metadata.json", WEIGHTS, OURS)
MOST_JSON, MOST_WEIGHTS, MOST_RATIO = 8_000_000, 2_000_000_000, 100
ARGUMENTS = {
    "classifier": {"name", "channels", "size", "task", "heads", "covariates", "scaling", "seed"},
    "segmenter": {"name", "encoder", "channels", "size", "width", "levels", "deep_supervision", "scaling", "seed"},
    "image_to_image": {"name", "channels", "size", "width", "seed"},
}
LATER = {"head", "activation", "stochastic_depth"}
"""Arguments that are there only where they are not the builder's default."""
_UNREADABLE = (
    OSError,
    ValueError,
    RuntimeError,
    EOFError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)


def opened(path: str | Path, build: Build) -> Any:
    """The Keras model of a file: ``build`` lays out the network of its metadata, the weights are copied into it.

    Raises:
        ModelError: No such file, another kind of file, or one that is damaged, altered or newer than this easydl.
    """
    path = Path(path).expanduser()
    try:
        with zipfile.ZipFile(_sniffed(path)) as archive, tempfile.TemporaryDirectory() as scratch:
            metadata, sums = _metadata(archive, path.name)
            unpacked = Path(scratch) / WEIGHTS
            _compare_sums(archive, sums, unpacked, path.name)
            model = _rebuilt(metadata, build, path.name)
            _copy_weights(model, metadata, unpacked, Path(scratch), path.name)
    except _UNREADABLE as problem:
        raise _damaged(path.name, as_text(problem)) from problem
    return model


def metadata_in(path: str | Path) -> ModelMetadata:
    """The metadata of a model file, checked against their schema. No network is built, no array is read.

    Raises:
        ModelError: As for `load_model`.
    """
    path = Path(path).expanduser()
    try:
        with zipfile.ZipFile(_sniffed(path)) as archive:
            return _metadata(archive, path.name)[0]
    except _UNREADABLE as problem:
        raise _damaged(path.name, as_text(problem)) from problem


def _sniffed(path: Path) -> Path:
    if path.is_dir() or not path.exists():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ModelError(
            f"{path.name or path} {what}.",
            "a .keras file that easydl saved.",
            "Correct the path of the model file.",
        )
    with open(path, "rb") as file:
        start = file.read(8)
    kind = "not a model file"
    if start.startswith(b"\x89HDF"):
        kind = "an HDF5 file (.h5)"
    elif start[:1] == b"\x80":
        kind = "a Python pickle, which can run any program when it is opened"
    if not start.startswith(b"PK\x03\x04"):
        raise _foreign(path.name, kind)
    return path


def _metadata(archive: zipfile.ZipFile, name: str) -> tuple[ModelMetadata, dict[str, str]]:
    infos = archive.infolist()
    names = [info.filename for info in infos]
    if OURS not in names:
        if any(one.endswith("data.pkl") for one in names):
            raise _foreign(name, "a PyTorch file (.pt), which can run any program when it is opened")
        raise _foreign(
            name,
            "a Keras model that easydl did not make" if "config.json" in names else "some other zip file",
        )
    if sorted(names) != sorted(MEMBERS):
        odd = next((one for one in names if one not in MEMBERS or names.count(one) > 1), "fewer")
        raise _damaged(name, f"it should hold {len(MEMBERS)} parts, and holds {odd[:40]!r} besides or instead")
    for info in infos:
        most = MOST_WEIGHTS if info.filename == WEIGHTS else MOST_JSON
        if info.flag_bits & 1 or info.file_size > most or info.file_size > MOST_RATIO * max(info.compress_size, 1):
            raise _damaged(name, f"its part {info.filename} is locked or unpacks to an absurd size")
    try:
        text = json.loads(archive.read(OURS), parse_constant=_no_constant)
        schema, facts, sums = text["schema"], text["metadata"], text["sha256"]
        if isinstance(schema, int) and schema > SCHEMA:
            raise ModelError(
                f"{name} was made by a newer easydl (file schema {schema}; this one reads {SCHEMA}).",
                "a file of this easydl or an older one.",
                "Update easydl.",
            )
        if schema not in (1, SCHEMA) or not isinstance(sums, dict):
            raise ValueError("schema")
        metadata = ModelMetadata.model_validate(facts)
        if schema == 1 and metadata.dimension == 3:
            raise ModelError(
                f"{name} was trained on volumes in the order of their files, and they are now read in one orientation.",
                "a model of volumes made by this easydl.",
                "Train it again.",
            )
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise _damaged(name, f"its {OURS} is not as easydl writes it") from problem
    if sums.get("metadata") != metadata_sum(facts):
        raise _altered(name, OURS)
    return metadata, {str(key): str(value) for key, value in sums.items()}


def _no_constant(word: str) -> Any:
    raise ValueError(word)


def _compare_sums(archive: zipfile.ZipFile, sums: dict[str, str], unpacked: Path, name: str) -> None:
    for member in MEMBERS[:3]:
        digest, size = hashlib.sha256(), 0
        most = MOST_WEIGHTS if member == WEIGHTS else MOST_JSON
        with archive.open(member) as source, open(unpacked, "wb") as out:
            while block := source.read(1 << 20):
                size += len(block)
                if size > most:
                    raise _damaged(name, f"its part {member} unpacks to an absurd size")
                digest.update(block)
                out.write(block)
        if digest.hexdigest() != sums.get(member):
            raise _altered(name, member)


def _rebuilt(metadata: ModelMetadata, build: Build, name: str) -> Any:
    if metadata.builder == "keras":
        raise ModelError(
            f"{name} holds a Keras model that was built by hand, not by easydl.",
            "a model of easydl.classifier, easydl.unet, easydl.unet3d or their siblings.",
            "If you trust where it comes from, open it with keras.saving.load_model and use that.",
        )
    try:
        if set(metadata.arguments) - LATER != ARGUMENTS[metadata.builder]:
            raise ValueError("other arguments")
        model = rebuilt_members(metadata, build)
        built = metadata_of(model)
        for fact in ("task", "dimension", "channels", "size", "heads", "members"):
            if getattr(built, fact) != getattr(metadata, fact):
                raise ValueError(fact)
        columns = [[(one.name, one.categories) for one in each.covariates] for each in (built, metadata)]
        if columns[0] != columns[1]:
            raise ValueError("covariates")
        attach(model, metadata)
        if metadata.builder == "segmenter" and metadata.pretrained:
            freeze_statistics(model)
        for head, (mean, std) in metadata.target.items():
            set_target_scale(model, mean, std, head=head)
        return set_window(model, metadata.window, metadata.units)
    except (EasyDLError, ValueError, TypeError) as problem:
        raise _damaged(name, f"its {OURS} describes no network that easydl builds") from problem


def _copy_weights(model: Any, metadata: ModelMetadata, unpacked: Path, scratch: Path, name: str) -> None:
    import h5py
    import numpy as np

    # What Keras would write for this very network is what the file has to hold, path by path.
    model_file = scratch / "expected.weights.h5"
    model.save_weights(model_file)
    with h5py.File(model_file, "r") as file:
        expected = {
            path: (item.shape, item.dtype, str(item.parent.attrs.get("name", "")))
            for path, item in hdf5.datasets(file, most_bytes=MOST_WEIGHTS, exact=True).items()
        }
    room = sum(math.prod(shape) * dtype.itemsize for shape, dtype, _ in expected.values())
    try:
        with h5py.File(unpacked, "r") as file:
            found = hdf5.datasets(file, most_bytes=4 * room, exact=True)
            if set(found) != set(expected):
                raise hdf5.UnsafeFile(f"its weights are of another network ({len(found)} arrays, not {len(expected)})")
            for path, (shape, dtype, layer) in expected.items():
                if found[path].shape != shape or found[path].dtype != dtype:
                    have = found[path].shape
                    if layer == "logits" and have[:-1] == shape[:-1] and have != shape:
                        raise hdf5.UnsafeFile(
                            f"it names {len(metadata.classes)} classes, but its weights are for {have[-1]}"
                        )
                    raise hdf5.UnsafeFile(
                        f"its layer {layer} has the shape {have} ({found[path].dtype}), not {shape} ({dtype})"
                    )
                if dtype.kind == "f" and not np.isfinite(found[path][()]).all():
                    raise hdf5.UnsafeFile(f"its layer {layer} holds weights that are not finite (NaN or infinite)")
    except hdf5.UnsafeFile as problem:
        raise _damaged(name, str(problem)) from None
    except (OSError, ValueError, KeyError, RuntimeError) as problem:
        raise _damaged(name, "its weights are not a readable HDF5 file") from problem
    try:
        model.load_weights(unpacked)
    except (OSError, ValueError, KeyError) as problem:
        raise _damaged(name, "its weights do not fit the network") from problem


def _foreign(name: str, kind: str) -> ModelError:
    return ModelError(
        f"{name} is {kind}.",
        "a .keras file that easydl saved.",
        "A Keras model from someone you trust opens with keras.saving.load_model; easydl takes that model.",
    )


def _damaged(name: str, why: str) -> ModelError:
    return ModelError(
        f"{name} cannot be used: {why}.",
        "a .keras file as easydl.save_model wrote it.",
        "Get the file again from where it was made; it may have been damaged on the way.",
    )


def _altered(name: str, member: str) -> ModelError:
    return _damaged(name, f"its part {member} has been changed since it was saved (checksum)")
