"""What the outside sees of a training, and how it stops one: status.json, history.csv, printed lines, the file ``stop``."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import keras

from easydl.fileio import write_status, write_text

HEARTBEAT_S, LOOK_S = 2.0, 0.25


class Progress(keras.callbacks.Callback):
    """Writes progress into a run folder (None: memory only) and stops the training when the file ``stop`` appears."""

    def __init__(self, folder: Path | None, show: int = 0) -> None:
        super().__init__()
        self.folder, self.show = folder, show
        self.rows: list[dict[str, Any]] = []
        self.stage, self.stage_epochs, self.stopped = "train", 0, False
        self._looked = self._beat = 0.0

    def status(self, **facts: Any) -> None:
        """Write facts into status.json, where there is a run folder."""
        if self.folder is not None:
            write_status(self.folder, **facts)

    def say(self, *sentences: str) -> None:
        """Print sentences, a line each, unless silence was chosen."""
        if self.show:
            print("\n".join(sentences), flush=True)

    def begin(self, stage: str, epochs: int) -> None:
        """Name the stage that follows and its maximum number of epochs."""
        self.stage, self.stage_epochs = stage, epochs
        self.status(state="running", stage="training", part=stage, epoch=0, epochs=epochs)

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
            self.status()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Append the epoch to history.csv and say where the training is."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.rows.append({"epoch": len(self.rows) + 1, "stage": self.stage, **values})
        if self.folder is None:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.folder / "history.csv", text.getvalue())
        self.status(epoch=epoch + 1, epochs=self.stage_epochs, metrics=values)

    def history(self) -> dict[str, list[float]]:
        """All stages as Keras' ``history.history``: a list per name; NaN where a stage did not measure it."""
        names = [name for name in self._columns() if name not in ("epoch", "stage")]
        return {name: [row.get(name, float("nan")) for row in self.rows] for name in names}

    def lowest(self, stage: str) -> float:
        """The lowest validation loss of a stage; infinite where there is none."""
        losses = [row.get("val_loss", float("inf")) for row in self.rows if row["stage"] == stage]
        return min((loss for loss in losses if loss == loss), default=float("inf"))

    def _columns(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows for name in row))
