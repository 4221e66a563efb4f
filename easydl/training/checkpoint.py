"""A killed training goes on where it was: one file holds weights, optimizer, counters and history, or none does."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import keras
import numpy as np

from easydl.fileio import replacing
from easydl.networks import save_model
from easydl.networks.metadata import ModelMetadata
from easydl.studies import Study
from easydl.training import workers
from easydl.training.averaging import Averaged
from easydl.training.callbacks import MEMBERS, Progress
from easydl.training.own_objects import mark_of
from easydl.training.plan import Plan, Settings
from easydl.training.strategies import random_states

NAME = "checkpoint.npz"
LEAST_SECONDS = 10.0


@dataclass(frozen=True)
class State:
    """What a checkpoint holds: ``facts`` are the key, the counters and the history, the others lists of arrays.

    ``random`` are the counters of what draws inside the network, such as dropout.
    """

    facts: dict[str, Any]
    weights: list[np.ndarray]
    optimizer: list[np.ndarray]
    best: list[np.ndarray]
    average: list[np.ndarray]
    random: list[np.ndarray]

    @property
    def ended(self) -> bool:
        """Whether no epoch is left: the training was over, and only its model had not been written."""
        return bool(self.facts["ended"])


class Checkpoint(keras.callbacks.Callback):
    """Saves the state after epochs, at most every ten seconds, and restores it when training begins again."""

    def __init__(
        self,
        progress: Progress,
        early: keras.callbacks.EarlyStopping,
        key: str,
        state: State | None,
        averaged: Averaged | None = None,
    ) -> None:
        super().__init__()
        self.progress, self.early, self.key, self.state, self.averaged = progress, early, key, state, averaged
        self._saved = 0.0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Put the saved optimizer and early-stopping state back (the weights were set before)."""
        if self.state is None:
            return
        self.model.optimizer.build(self.model.trainable_variables)
        for variable, value in zip(self.model.optimizer.variables, self.state.optimizer, strict=True):
            variable.assign(value)
        for variable, value in zip(random_states(self.model), self.state.random, strict=True):
            variable.assign(value)
        for name in ("best", "wait", "best_epoch"):
            setattr(self.early, name, self.state.facts[name])
        self.early.best_weights = self.state.best or None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Save, unless it was done a moment ago, or the epoch was stopped in the middle and has to be trained again."""
        ended = self.model.stop_training or epoch + 1 >= self.params["epochs"]
        recent = time.monotonic() - self._saved < LEAST_SECONDS and not ended
        if recent or self.progress.stopped or self.progress.checkpoints is None:
            return
        self._saved = time.monotonic()
        early = self.early
        facts = {
            "key": self.key,
            "epoch": epoch + 1,
            "best": float(early.best if early.best is not None else "inf"),
            "wait": int(early.wait),
            "best_epoch": int(early.best_epoch or 0),
            "rows": self.progress.rows,
            "measured": self.progress.measured,
            "ended": bool(ended),
        }
        average = self.averaged.mean if self.averaged else []
        weights, optimizer, random = self.model.weights, self.model.optimizer.variables, random_states(self.model)
        parts = (weights, optimizer, early.best_weights or [], average, random)
        with self.progress.on_a_full_disk(NAME):
            save_state(self.progress.checkpoints, State(facts, *(list(map(np.asarray, part)) for part in parts)))


def save_state(folder: Path, state: State) -> None:
    """Write a checkpoint; it is on the disk, whole, before the old one goes."""
    parts = (state.weights, state.optimizer, state.best, state.average, state.random)
    facts = json.dumps({**state.facts, "counts": [len(part) for part in parts]}).encode()
    arrays = chain.from_iterable(parts)
    named: dict[str, Any] = {f"a{number}": array for number, array in enumerate(arrays)}
    with replacing(folder / NAME) as draft, open(draft, "wb") as file:
        np.savez(file, facts=np.frombuffer(facts, np.uint8), **named)
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(folder: Path | None, key: str) -> State | None:
    """The saved state when there is one for this very training, else None. Damaged files count as none."""
    if folder is None or not (folder / NAME).is_file():
        return None
    try:
        with np.load(folder / NAME, allow_pickle=False) as file:
            facts = json.loads(bytes(file["facts"]).decode())
            if facts["key"] != key:
                return None
            arrays = [file[f"a{number}"] for number in range(sum(facts["counts"]))]
            ends = np.cumsum(facts["counts"])
            return State(facts, *(arrays[a:b] for a, b in zip([0, *ends], ends, strict=False)))
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, TypeError, zipfile.BadZipFile):
        return None


def load_for_all(folder: Path | None, key: str) -> State | None:
    """`load_checkpoint`; where several workers train, all get what the first has."""
    team, state = workers.team(), load_checkpoint(folder, key)
    facts = team.from_first(lambda: None if state is None else state.facts)
    if team.strategy is None or facts is None:
        return state
    parts = [] if state is None else [state.weights, state.optimizer, state.best, state.average, state.random]
    ends = np.cumsum(team.from_first(lambda: [len(part) for part in parts]))
    arrays = team.arrays(list(chain.from_iterable(parts)))
    return State(facts, *(arrays[a:b] for a, b in zip([0, *ends], ends, strict=False)))


def leave(folder: Path, model: keras.Model, *, stopped: bool) -> None:
    """Write the model of a training, and only then let its checkpoint go; a stopped training can be gone on with."""
    save_model(model, folder / "model.keras")
    if not stopped:
        (folder / NAME).unlink(missing_ok=True)
        shutil.rmtree(folder / MEMBERS, ignore_errors=True)


def training_key(
    metadata: ModelMetadata, plan: Plan, settings: Settings, parts: Sequence[Study], targets: Sequence[Any] = ()
) -> str:
    """SHA-256 of all that decides a training: the network, every choice, the images of both parts and their targets.

    What `fit` itself writes into the metadata does not count, or a training could not be taken up with the same model.
    ``targets`` are arrays, or dicts of them: labels, masks, covariates; None counts as nothing.
    """
    choices = (
        metadata.builder,
        metadata.arguments,
        metadata.classes,
        metadata.pretrained,
        metadata.normalise,
        plan,
        mark_of(settings.loss),
    )
    digest = hashlib.sha256(f"{choices}|{settings.seed}".encode())
    own = (settings.optimizer, settings.metrics, settings.callbacks, settings.learning_rate, settings.preset_own)
    digest.update(mark_of(own).encode())
    for part in parts:
        digest.update("".join([*part.digests(), "|"]).encode())
    for array in keras.tree.flatten(list(targets)):
        if array is not None:
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
