"""What the outside sees of a training, and how it stops one: status.json, history.csv and the file ``stop``."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import keras

from easydl.fileio import write_status, write_text

HEARTBEAT_S, LOOK_S = 2.0, 0.25


class Watch(keras.callbacks.Callback):
    """Writes progress into a run folder and stops the training when the file ``stop`` appears there.

    Args:
        folder: The run folder, or None to keep the history in memory only.
        rows: History of an interrupted training to go on from.
    """

    def __init__(self, folder: Path | None, rows: list[dict[str, Any]] | None = None) -> None:
        super().__init__()
        self.folder = folder
        self.rows: list[dict[str, Any]] = rows or []
        self.stage, self.stage_epochs, self.stopped = "train", 0, False
        self._looked = self._beat = 0.0

    def begin(self, stage: str, epochs: int) -> None:
        """Name the phase that follows and how many epochs it may take."""
        self.stage, self.stage_epochs = stage, epochs
        if self.folder is not None:
            write_status(self.folder, state="running", stage="training", part=stage, epoch=0, epochs=epochs)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Look for the stop file, but no more often than four times a second."""
        now = time.monotonic()
        if self.folder is None or now - self._looked < LOOK_S:
            return
        self._looked = now
        if (self.folder / "stop").exists():
            self.stopped = True
            self.model.stop_training = True
        if now - self._beat > HEARTBEAT_S:
            self._beat = now
            write_status(self.folder)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Append the epoch to history.csv and say where the training is."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.rows.append({"epoch": len(self.rows) + 1, "stage": self.stage, **values})
        if self.folder is None:
            return
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.folder / "history.csv", text.getvalue())
        write_status(self.folder, epoch=epoch + 1, epochs=self.stage_epochs, metrics=values)

    def merged(self) -> dict[str, list[float]]:
        """All phases as Keras' ``history.history``: a list per name; NaN where a phase did not measure it."""
        names = [n for n in dict.fromkeys(name for row in self.rows for name in row) if n not in ("epoch", "stage")]
        return {name: [row.get(name, float("nan")) for row in self.rows] for name in names}
