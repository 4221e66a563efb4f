"""What a metric is: a name, a function of a test's sample, a unit; and the one run that makes Metrics of a list of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from easydl.evaluation.findings import findings
from easydl.evaluation.intervals import Interval, PatientBootstrap
from easydl.evaluation.results import Metrics, Row
from easydl.tasks import Task

FEW_PATIENTS, SOME_PATIENTS, WIDE = 10, 30, 0.10
PATIENTS_UNKNOWN = (
    "Patients are unknown: every image counts as its own patient. If a patient has several images, these intervals are "
    "too narrow."
)


@dataclass(frozen=True)
class Resampling:
    """How intervals are made: patients (images where nobody knows the patients) are drawn so often, with this seed."""

    patients_known: bool = True
    seed: int = 0
    resamples: int = 2000

    @property
    def unit_of_n(self) -> str:
        """What is counted and drawn."""
        return "patients" if self.patients_known else "images"

    def bootstrap(self, patients: object, labels: object = None, *, content: object) -> PatientBootstrap:
        """The bootstrap over these patients, drawn within their labels, in the order of what is measured of them."""
        return PatientBootstrap(patients, labels, content=content, resamples=self.resamples, seed=self.seed)


class Estimate(NamedTuple):
    """A number with its interval, the patients and images it rests on, and what a reader must know about it."""

    value: float
    interval: Interval
    patients: int
    images: int
    note: str = ""

    def noted(self, note: str) -> Estimate:
        """The same with a note."""
        return self._replace(note=note)


class Sample(Protocol):
    """The images of a test as a task's metrics take them."""

    resampling: Resampling
    images: int
    patients: int


S = TypeVar("S", bound=Sample)


@dataclass(frozen=True)
class Metric(Generic[S]):
    """One line of a test's table: ``unit`` is empty for a fraction; ``more`` are those to be read after the first."""

    name: str
    measure: Callable[[S], Estimate]
    unit: str = ""
    more: bool = False

    def row(self, sample: S) -> dict[str, Any]:
        """The line for a sample."""
        estimate = self.measure(sample)
        resampling = sample.resampling
        # An interval resamples patients; where none is known every image stands for one, and the note must say so.
        made = (
            estimate.interval.note if resampling.patients_known else estimate.interval.note.replace("patient", "image")
        )
        return {
            "name": self.name,
            "value": float(estimate.value),
            "low": estimate.interval.low,
            "high": estimate.interval.high,
            "n": int(estimate.patients),
            "unit_of_n": resampling.unit_of_n,
            "note": "; ".join(part for part in (estimate.note, made) if part),
            "images": int(estimate.images),
            "unit": self.unit,
            "more": self.more,
        }


def run(task: Task, classes: Sequence[str], metrics: Sequence[Metric[S]], sample: S, **more: Any) -> Metrics:
    """Measure a sample by every metric, the headline first; ``more`` are further fields of `Metrics`."""
    rows = [metric.row(sample) for metric in sorted(metrics, key=lambda metric: metric.more)]
    resampling = sample.resampling
    return Metrics(
        task=task,
        classes=tuple(classes),
        table=[Row(**row) for row in rows],
        notes=[*more.pop("notes"), *_width_notes(rows[0])],
        warnings=findings(task, rows, sample),
        patients_known=resampling.patients_known,
        images=sample.images,
        patients=sample.patients,
        seed=resampling.seed,
        resamples=resampling.resamples,
        **more,
    )


def size_notes(patients: Mapping[str, int], unit_of_n: str) -> list[str]:
    """A sentence, or none, on how few test patients there are in each class: fewer than 10 mean little."""
    few = [f"{name} {n}" for name, n in patients.items() if n < FEW_PATIENTS]
    some = [f"{name} {n}" for name, n in patients.items() if n < SOME_PATIENTS]
    if few:
        return [f"Too few to mean much: fewer than {FEW_PATIENTS} test {unit_of_n} ({', '.join(few)})."]
    if some:
        return [f"Read with caution: fewer than {SOME_PATIENTS} test {unit_of_n} ({', '.join(some)})."]
    return []


def _width_notes(headline: Mapping[str, Any]) -> list[str]:
    """A sentence, or none, on a headline whose interval is wide."""
    if headline["unit"] or not (headline["high"] - headline["low"]) / 2 > WIDE:
        return []
    return [
        f"The interval of the {headline['name']} is wider than ±{WIDE:.2f}: a larger test set, or "
        "cross-validation by patient, is needed before drawing conclusions."
    ]
