"""What `easydl.export` wrote and how far it answers as the Keras model does. It measures nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from easydl.errors import RESEARCH_USE
from easydl.evaluation.formatting import number


@dataclass(frozen=True)
class Agreement:
    """One comparison of a converted model with the Keras model.

    Attributes:
        measure: What is compared.
        value: A fraction (0 to 1) for ``same decision``; a difference in the unit of the output for others.
        low: Lower limit of the 95% interval, by patient; NaN where there is none.
        high: Upper limit.
        n: Patients (or images, where patients are not known) behind it.
        unit_of_n: What ``n`` counts.
        images: Images behind it.
        note: How the interval was computed, or why it could not be.
    """

    measure: str
    value: float
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    unit_of_n: str = "patients"
    images: int = 0
    note: str = ""

    def __str__(self) -> str:
        images = "" if self.unit_of_n == "images" else f", {self.images} images"
        behind = f"{self.n} {self.unit_of_n}{images}"
        if self.measure.endswith("same decision"):
            return f"{self.measure}: {self._percent(self.value)} ({self._interval(self._percent)}, {behind})"
        if "minus" in self.measure:
            return f"{self.measure}: {self.value:+.4f} ({self._interval('{:+.4f}'.format)}, {behind})"
        plain = _small(self.value)
        if "largest" in self.measure:
            return f"{self.measure}: {plain} ({behind})"
        return f"{self.measure}: {plain} ({self._interval(_small)}, {behind})"

    def _interval(self, text: Any) -> str:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return self.note or "interval not computable"
        return f"95% CI {text(self.low)} to {text(self.high)}"

    @staticmethod
    def _percent(value: float) -> str:
        return f"{100 * value:.1f}%" if value in (0.0, 1.0) or 0.0005 <= value < 0.9995 else f"{100 * value:.3g}%"


@dataclass(frozen=True)
class Size:
    """Bytes of what was written, and of the same model in the same format as float32 and not pruned.

    Attributes:
        bytes: Of the model's files together.
        zipped: Of these in a zip file, in which Huffman's code gives frequent values short words.
        plain: ``bytes`` of the float32 model.
        plain_zipped: ``zipped`` of the float32 model.
    """

    bytes: int
    zipped: int
    plain: int
    plain_zipped: int

    @property
    def ratio(self) -> float:
        """Of the float32 model's bytes."""
        return self.bytes / self.plain

    @property
    def zipped_ratio(self) -> float:
        """Of the float32 model's zipped bytes."""
        return self.zipped / self.plain_zipped

    def __str__(self) -> str:
        return (
            f"{_bytes(self.bytes)}, {100 * self.ratio:.0f}% of float32 ({_bytes(self.plain)}); zipped "
            f"{_bytes(self.zipped)}, {100 * self.zipped_ratio:.0f}% of float32 zipped ({_bytes(self.plain_zipped)})"
        )


@dataclass(frozen=True, eq=False)
class Export:
    """A converted model.

    Attributes:
        path: The file; for OpenVINO the .xml, whose weights lie in a .bin of the same name.
        sidecar: The JSON file that says what goes in and what comes out.
        weights: ``float32``, ``float16`` or ``int8``.
        pruned: The fraction of the weights that were set to 0.
        size: How large it is.
        agreement: Every comparison with the Keras model; empty without a study.
        notes: What else is to be known of them.
    """

    path: Path
    sidecar: Path
    weights: str
    pruned: float | None
    size: Size
    agreement: list[Agreement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def table(self) -> pd.DataFrame:
        """The comparisons as a table."""
        columns = ["measure", "value", "low", "high", "n", "unit_of_n", "images", "note"]
        return pd.DataFrame([vars(one) for one in self.agreement], columns=columns)

    @property
    def same_decisions(self) -> Agreement | None:
        """The fraction of equal decisions (of equal pixels, for masks), of several heads the lowest; None without one."""
        found = [one for one in self.agreement if "same" in one.measure]
        return min(found, key=lambda one: one.value, default=None)

    def __str__(self) -> str:
        pruned = f", {100 * self.pruned:.0f}% of the weights pruned" if self.pruned else ""
        lines = [f"{self.path}: {self.weights}{pruned}. {self.size}."]
        lines += [f"{str(one)[0].upper()}{str(one)[1:]}." for one in self.agreement]
        return "\n".join([*lines, *self.notes, f"What goes in and comes out: {self.sidecar.name}.", RESEARCH_USE])

    def __repr__(self) -> str:
        same = self.same_decisions
        agree = "" if same is None else f", {same}"
        return f"<Export {self.path.name}: {self.weights}, {_bytes(self.size.bytes)}{agree}. {RESEARCH_USE}>"

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON takes it."""
        rows = [{key: None if value != value else value for key, value in vars(one).items()} for one in self.agreement]
        return {
            "path": str(self.path),
            "sidecar": str(self.sidecar),
            "weights": self.weights,
            "pruned": self.pruned,
            "size": {**vars(self.size), "ratio": self.size.ratio, "zipped_ratio": self.size.zipped_ratio},
            "agreement": rows,
            "notes": self.notes,
            "research_use": RESEARCH_USE,
        }


def _bytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 10_000 else f"{count:,} bytes"


def _small(value: float) -> str:
    return number(value) if 0.005 <= abs(value) <= 1 else f"{value:.3g}"
