"""The official `.h5` weights files: their arrays, checked before and after they are read. It knows no models."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from easydl.errors import WeightsError
from easydl.networks.model_file import hdf5
from easydl.networks.registry import Entry

# Official files hold a little more than the weights: names, attributes, alignment.
SLACK = 1.25, 4_000_000


def room(entry: Entry) -> int:
    """The most bytes that a weights file of a network may take."""
    return int(entry.parameters * 4 * SLACK[0]) + SLACK[1]


def digest(path: Path, kind: str) -> str:
    """Checksum of a file, ``md5`` or ``sha256``, in hexadecimal: publishers use either."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def read(path: Path, entry: Entry) -> list[list[Any]]:
    """The arrays of an ``.h5`` file, weights alone or a whole model, per layer that has any, in the order of the file.

    Raises:
        WeightsError: No weights file, one that points outside itself or is too large, or NaN inside.
    """
    import h5py

    try:
        with h5py.File(path, "r") as opened:
            # A whole model keeps its weights one level down, next to the state of its optimizer.
            whole = isinstance(opened.get("model_weights", getlink=True), h5py.HardLink)
            file = opened["model_weights"] if whole else opened
            found = hdf5.datasets(file, most_bytes=room(entry), exact=False)
            layers = []
            for name in hdf5.texts(file, "layer_names"):
                if isinstance(file.get(name), h5py.Group) and (inner := hdf5.texts(file[name], "weight_names")):
                    layers.append([np.asarray(found[f"{name}/{one}"]) for one in inner])
    except hdf5.UnsafeFile as problem:
        raise _refused(path, str(problem)) from None
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as problem:
        raise _refused(path, "it is not a complete HDF5 weights file") from problem
    if not layers:
        raise _refused(path, "it lists no layers (a .weights.h5 of Keras 3 is another format)")
    if not all(np.isfinite(array).all() for layer in layers for array in layer):
        raise _refused(path, "it holds weights that are not finite (NaN or infinite)")
    return layers


def _refused(path: Path, why: str) -> WeightsError:
    return WeightsError(
        f"{path.name} cannot be used: {why}.",
        "an .h5 weights file as keras.applications publishes it.",
        "Delete the file and get it again.",
    )
