"""A model written as one `.keras` file, so that nothing is ever lost. Reading is in `load`.

A file holds the network, its weights and its metadata, not the optimizer.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import time
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from easydl.errors import RESEARCH_USE, ModelError
from easydl.fileio import disk_full, is_disk_full
from easydl.networks.metadata import ModelMetadata, metadata_of

SCHEMA = 2
"""1: trained on volumes in the order of their files. 2: on volumes in one orientation. For images they are the same."""
OURS, WEIGHTS = "easydl.json", "model.weights.h5"
STALE_S = 3600


def save_model(model: Any, path: str | Path) -> Path:
    """Save a model as one ``.keras`` file that plain Keras opens too.

    The file is written in the same folder, read back, and only then given its name: an older file there
    is whole at every moment, also when the disk fills up or the power fails. The optimizer is left out.

    Args:
        model: A model of easydl (or any Keras model with one input and one output).
        path: Where to; must end in ``.keras``. Missing folders are made.

    Returns:
        The path.

    Raises:
        ModelError: Another suffix, or the file could not be written. An older file is as it was.
        DiskFullError: There is no room for it. An older file is as it was.

    Example:
        >>> import easydl, pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> save_model(easydl.classifier("tiny", size=32), folder / "model.keras").name
        'model.keras'
    """
    path = Path(path).expanduser()
    if path.suffix != ".keras":
        raise ModelError(f"The model file is called {path.name}.", "a name that ends in .keras.", "Rename it.")
    metadata = metadata_of(model)
    if not metadata.easydl:
        metadata = metadata.model_copy(update={"easydl": versions()["easydl"]})
    draft = path.with_name(f".{path.stem}.{os.getpid()}.tmp.keras")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        _bare(model).save(draft)
        _add_metadata(draft, metadata)
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile) as problem:
        if is_disk_full(problem):
            raise disk_full(path) from problem
        raise ModelError(
            f"The model could not be written to {path.name}: {as_text(problem)}.",
            "a folder that can be written to, with room for twice the model.",
            "Free some space or choose another folder. A file that was there before is unchanged.",
        ) from problem
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    return path


def _sweep(path: Path) -> None:
    """Remove drafts that a killed process left in the folder; young ones may still be being written."""
    for draft in path.parent.glob(f".{glob.escape(path.stem)}.*.tmp.keras"):
        if draft.stat().st_mtime < time.time() - STALE_S:
            draft.unlink(missing_ok=True)


def _bare(model: Any) -> Any:
    """The same layers, never compiled: no optimizer, no loss that plain Keras would not know."""
    import keras

    # A Sequential model made of layers alone knows its tensors only as lists.
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return keras.Model(model.input, model.output, name=model.name)


def _add_metadata(draft: Path, metadata: ModelMetadata) -> None:
    with zipfile.ZipFile(draft) as archive:
        sums = {}
        for name in archive.namelist():
            with archive.open(name) as member:
                sums[name] = hashlib.file_digest(member, "sha256").hexdigest()  # type: ignore[arg-type]
    facts = metadata.model_dump(mode="json")
    sums["metadata"] = metadata_sum(facts)
    text = {"schema": SCHEMA, "note": RESEARCH_USE, "metadata": facts, "sha256": sums, "versions": versions()}
    with zipfile.ZipFile(draft, "a") as archive:
        archive.writestr(OURS, json.dumps(text, indent=1, allow_nan=False))
    with zipfile.ZipFile(draft) as archive:
        if (bad := archive.testzip()) is not None:
            raise OSError(f"{bad} did not read back as it was written")


def metadata_sum(facts: Any) -> str:
    """Checksum of metadata as they stand in the file, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Installed versions of what makes and opens the file; empty where it is not installed."""
    out = {}
    for short, package in (("easydl", "easydl-med"), ("keras", "keras"), ("tensorflow", "tensorflow")):
        try:
            out[short] = version(package)
        except PackageNotFoundError:
            out[short] = ""
    return out


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def as_text(problem: BaseException) -> str:
    """One short line for an exception, without the path that an OSError carries."""
    text = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
    return (text or type(problem).__name__).splitlines()[0].rstrip(".")[:200]
