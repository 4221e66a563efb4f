"""What the outside sees of a training, and how it stops one: status.json, history.csv, printed lines, the file ``stop``."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import keras
import numpy as np

from easydl.errors import DiskFullError
from easydl.fileio import read_status, write_status, write_text
from easydl.training.coach import Curve, Finding, of_member, settled
from easydl.training.rate_curve import LearningRates

HEARTBEAT_S, LOOK_S = 2.0, 0.25
MEMBERS = "members"


class Progress(keras.callbacks.Callback):
    """Writes progress into a run folder (None: memory only) and stops the training when the file ``stop`` appears."""

    def __init__(self, folder: Path | None, show: int = 0) -> None:
        super().__init__()
        self.folder, self.show = folder, show
        self.rows: list[dict[str, Any]] = []
        self.stage, self.stage_epochs, self.stopped = "train", 0, False
        self.measured: dict[str, float] = {}
        """What was decided by the clock, which a training that goes on has to keep to."""
        self.findings: list[Finding] = []
        self.curve: Curve | None = None
        """Of the last stage that the coach has looked at."""
        self.rates: LearningRates | None = None
        """What a search for the learning rate measured."""
        self.key, self.resumed = "", 0
        self._earlier: list[dict[str, Any]] = []
        self._member = ""
        self._before, self._begun = 0.0, time.monotonic()
        self._without: set[str] = set()
        self._looked = self._beat = 0.0

    @property
    def seconds(self) -> float:
        """How long this training has taken, in all processes that were at work on it."""
        return round(self._before + time.monotonic() - self._begun, 1)

    @property
    def checkpoints(self) -> Path | None:
        """Where checkpoints are kept: every member of an ensemble has its own, so that none is trained twice."""
        return self.folder / MEMBERS / self._member if self.folder is not None and self._member else self.folder

    def begin_member(self, number: int, of: int) -> None:
        """The rows that follow are those of another member."""
        self._keep_rows()
        self._member = str(number)
        if self.checkpoints is not None:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        self.say(f"Member {number} of {of}.")
        self.status(message=f"Training member {number} of {of}")

    def end_members(self) -> None:
        """The rows of all members become those of the training."""
        self._keep_rows()
        self.rows, self._earlier, self._member = self._earlier, [], ""

    def _keep_rows(self) -> None:
        named = [{**row, "stage": f"member {self._member}: {row['stage']}"} for row in self.rows]
        self._earlier, self.rows = [*self._earlier, *named], []

    def take_up(self, key: str) -> None:
        """Count on where an earlier process left the training of this key: its seconds, and how often it was resumed."""
        self.key = key
        known = read_status(self.folder).get("trained") if self.folder is not None else None
        if isinstance(known, dict) and known.get("key") == key:
            self._before, self.resumed = float(known["seconds"]), int(known["resumed"]) + 1

    def over(self) -> None:
        """Nothing is left to go on with: the next training of this key is another one."""
        self.key = ""
        self.status(trained=None)

    def status(self, **facts: Any) -> None:
        """Write facts into status.json, where there is a run folder."""
        if self.folder is None:
            return
        if self.key:
            facts["trained"] = {"key": self.key, "seconds": self.seconds, "resumed": self.resumed}
        with suppress(DiskFullError):
            write_status(self.folder, **facts)

    @contextmanager
    def on_a_full_disk(self, file: str) -> Iterator[None]:
        """Inside, a full disk ends nothing: the training goes on without this file, and says so here and in the status."""
        try:
            yield
        except DiskFullError as problem:
            sentence = f"{problem.found} The training goes on, but is not saved until there is room."
            if not self._without:
                self.say(sentence)
            self._without.add(file)
            self.status(message=sentence)
        else:
            if file in self._without:
                self._without.remove(file)
                if not self._without:
                    self.status(message="There is room on the disk again.")

    def say(self, *sentences: str) -> None:
        """Print sentences, a line each, unless silence was chosen."""
        if self.show:
            print("\n".join(sentences), flush=True)

    def expect(self, sentence: str) -> None:
        """Say how long it will take."""
        self._say_at_once(sentence)
        self.status(message=sentence)

    def found(self, findings: Sequence[Finding]) -> None:
        """Take up what the coach found, each once, and say at once what is grave."""
        known = {one.code for one in self.findings}
        new = [of_member(one, self._member) for one in findings if one.code not in known]
        if not new:
            return
        self.findings += new
        self._say_at_once(*(one.text for one in new if one.grave))
        self.status(coach=self.known())

    def known(self) -> list[dict[str, str]]:
        """What the coach found so far, for the status and the record of the training."""
        return [one.facts() for one in settled(self.findings)]

    def _say_at_once(self, *sentences: str) -> None:
        if sentences:
            # Keras' bar leaves its line open.
            self.say(*(["", *sentences] if self.show == 1 else sentences))

    def coached(self) -> list[Finding]:
        """All that the coach found, at the end; what was not said yet is said."""
        found = settled(self.findings)
        self.say(*(one.text for one in found if not one.grave))
        self.status(coach=self.known())
        return found

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
        values = _numbers(logs or {})
        self.rows.append({"epoch": len(self._earlier) + len(self.rows) + 1, "stage": self.stage, **values})
        if self.folder is None:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns(), lineterminator="\n")
        writer.writeheader()
        writer.writerows([*self._earlier, *self.rows])
        with self.on_a_full_disk("history.csv"):
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
        return list(dict.fromkeys(name for row in [*self._earlier, *self.rows] for name in row))


def _numbers(logs: Mapping[str, Any]) -> dict[str, float]:
    """The values of an epoch; a metric with a value for each class has as many, counted from 0."""
    values: dict[str, float] = {}
    for name, value in logs.items():
        several = np.asarray(value, float)
        values |= (
            {f"{name}[{k}]": float(one) for k, one in enumerate(several.ravel())}
            if several.ndim
            else {name: float(several)}
        )
    return values
