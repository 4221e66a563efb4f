"""A killed training goes on where it was: one file holds weights, optimizer, counters and history, or none does."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from easydl.networks.metadata import ModelMetadata
from easydl.studies import Study
from easydl.training.averaging import Averaged
from easydl.training.callbacks import Watch
from easydl.training.plan import Asked, Plan

NAME = "checkpoint.npz"
LEAST_SECONDS = 10.0


class Checkpoint(keras.callbacks.Callback):
    """Saves the state after epochs, at most every ten seconds, and restores it when training begins again.

    Args:
        folder: The run folder.
        watch: Whose history is saved.
        early: The early stopping whose best weights and counter are saved.
        key: See `training_key`.
        state: A loaded checkpoint to go on from, or None.
        averaged: The average of the weights that is saved too, or None.
    """

    def __init__(
        self,
        folder: Path,
        watch: Watch,
        early: keras.callbacks.EarlyStopping,
        key: str,
        state: dict[str, Any] | None,
        averaged: Averaged | None = None,
    ) -> None:
        super().__init__()
        self.averaged = averaged
        self.folder, self.watch, self.early, self.key, self.state = folder, watch, early, key, state
        self._saved = 0.0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Put the saved optimizer and early-stopping state back (the weights were set before)."""
        if self.state is None:
            return
        self.model.optimizer.build(self.model.trainable_variables)
        for variable, value in zip(self.model.optimizer.variables, self.state["optimizer"], strict=True):
            variable.assign(value)
        facts = self.state["facts"]
        self.early.best, self.early.wait, self.early.best_epoch = (
            facts["best"],
            facts["wait"],
            facts["best_epoch"],
        )
        self.early.best_weights = self.state["best"]

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Save, unless it was done a moment ago."""
        if time.monotonic() - self._saved < LEAST_SECONDS:
            return
        self._saved = time.monotonic()
        best, average = self.early.best_weights or [], self.averaged.mean if self.averaged else []
        facts = {
            "key": self.key, "epoch": epoch + 1, "best": float(self.early.best if self.early.best is not None else "inf"),
            "wait": int(self.early.wait), "best_epoch": int(self.early.best_epoch or 0), "rows": self.watch.rows,
            "counts": [len(self.model.weights), len(self.model.optimizer.variables), len(best), len(average)],
        }  # fmt: skip
        arrays = [
            *(np.asarray(w) for w in self.model.weights),
            *(np.asarray(v) for v in self.model.optimizer.variables),
            *(np.asarray(w) for w in best),
            *average,
        ]
        temporary = self.folder / (NAME + ".tmp")
        with open(temporary, "wb") as file:
            named: dict[str, Any] = {f"a{number}": array for number, array in enumerate(arrays)}
            np.savez(file, facts=np.frombuffer(json.dumps(facts).encode(), np.uint8), **named)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.folder / NAME)


def training_key(
    metadata: ModelMetadata, plan: Plan, asked: Asked, parts: Sequence[Study], targets: Sequence[Any] = ()
) -> str:
    """What must be the same for a checkpoint to be taken up: the network, every choice, the images and their targets.

    Args:
        recipe: Of the network. What `fit` itself writes into it does not count, or a training could not be taken up
            with the same model.
        plan: Every choice.
        asked: What was asked: the loss and the seed.
        parts: The training and the validation part.
        targets: Arrays, or dicts of them: labels, masks, and what the network is told beside the image; None counts as
            nothing.

    Returns:
        A SHA-256, for all processes.
    """
    choices = (
        metadata.builder,
        metadata.arguments,
        metadata.classes,
        metadata.pretrained,
        metadata.normalise,
        plan,
        asked.loss,
    )
    found = hashlib.sha256(f"{choices}|{asked.seed}".encode())
    for part in parts:
        found.update("".join([*part.digests(), "|"]).encode())
    for one in keras.tree.flatten(list(targets)):
        if one is not None:
            found.update(np.ascontiguousarray(one).data)
    return found.hexdigest()


def load_checkpoint(folder: Path | None, key: str) -> dict[str, Any] | None:
    """The saved state when there is one for this very training, else None. Damaged files count as none.

    Returns:
        ``facts`` (counters and history), ``weights``, ``optimizer``, ``best`` and ``average`` (lists of arrays).
    """
    if folder is None or not (folder / NAME).is_file():
        return None
    try:
        with np.load(folder / NAME, allow_pickle=False) as file:
            facts = json.loads(bytes(file["facts"]).decode())
            if facts["key"] != key:
                return None
            arrays = [file[f"a{number}"] for number in range(sum(facts["counts"]))]
            ends = np.cumsum(facts["counts"])
            weights, optimizer, best, average = (arrays[a:b] for a, b in zip([0, *ends], ends, strict=False))
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile):
        return None
    return {"facts": facts, "weights": weights, "optimizer": optimizer, "best": best or None, "average": average}
