"""What a tree may ask of an image and its row of the table: readable features and covariates, each with its words."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from easydl.comparison.readable import NAMES, readable_features
from easydl.comparison.regions import REGION_NAMES, region_features
from easydl.evaluation.formatting import UNITS, unit_of

if TYPE_CHECKING:
    from easydl.networks.metadata import Covariate, ModelMetadata
    from easydl.studies import Study

_IN_GREY_VALUES = re.compile(r"(lowest|highest|mean) grey value|grey value that|standard deviation of the grey values")


@dataclass(frozen=True)
class Input:
    """One column that a tree may ask about.

    Attributes:
        name: Of the column.
        phrase: In a sentence, as in ``the homogeneity (texture)``.
        unit: Of its numbers; empty for a number without.
        category: Whether it is 1 or 0: a category of the table, with ``phrase`` as in ``sex is F``.
        shown: From a number of the column to the one that is read.
    """

    name: str
    phrase: str
    unit: str = ""
    category: bool = False
    shown: Callable[[float], float] = float

    def number(self, value: float) -> str:
        """A threshold in three digits that mean something, with its unit."""
        read = self.shown(value)
        digits = max(0, 2 - int(np.floor(np.log10(abs(read))))) if read else 0
        text = f"{read:,.{min(digits, 4)}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return f"{text} {self.unit}" if self.unit else text


def inputs_of(study: Study, metadata: ModelMetadata) -> tuple[list[Input], np.ndarray, list[str]]:
    """The columns that vary in a study, their values ``(rows, columns)``, and notes on what was filled in."""
    facts = study.facts()
    values = np.concatenate([readable_features(facts), region_features(facts)], axis=1).astype(float)
    hounsfield = {one.units for one in facts} == {"HU"}
    inputs = [_readable(name, "HU" if hounsfield else "") for name in (*NAMES, *REGION_NAMES)]
    notes = ["Of a volume its middle slice is described."] if study.dimension == 3 else []
    columns: list[np.ndarray] = []
    for covariate in metadata.covariates:
        if covariate.name in study.frame.columns:
            known, table, note = _covariate(covariate, study.frame[covariate.name])
            inputs, columns, notes = [*inputs, *known], [*columns, table], [*notes, *note]
    values = np.concatenate([values, *columns], axis=1)
    varying = np.ptp(values, axis=0) > 0
    return [one for one, varies in zip(inputs, varying, strict=True) if varies], values[:, varying], notes


def _readable(name: str, unit: str) -> Input:
    group, _, rest = name.rpartition(": ")
    text, _, more = rest.partition(" (")
    aside = "; ".join(filter(None, [group, more.removesuffix(")")]))
    if group.startswith("largest"):
        phrase = f"the {text} of the {group}" + (f" ({more}" if more else "")
    else:
        phrase = f"the {text}" + (f" ({aside})" if aside else "")
    if group == "noise":  # kept as a logarithm, which nobody reads
        return Input(name, phrase, unit or "grey values", shown=lambda value: float(10**value))
    return Input(name, phrase, unit if _IN_GREY_VALUES.match(name) else "")


def _covariate(covariate: Covariate, column: pd.Series) -> tuple[list[Input], np.ndarray, list[str]]:
    if covariate.categories is not None:
        cells = column.astype("string").str.strip()
        values = [(cells == value).fillna(False).to_numpy(float) for value in covariate.categories]
        texts = [f"{covariate.name} is {value}" for value in covariate.categories]
        return [Input(text, text, category=True) for text in texts], np.stack(values, axis=1), []
    numbers = pd.to_numeric(column, errors="coerce")
    missing, unit = int(numbers.isna().sum()), unit_of(covariate.name)
    filled = numbers.fillna(numbers.median()).fillna(0.0).to_numpy(float)
    note = [f"{covariate.name} is not known for {missing} images: the median was taken there."] if missing else []
    return [Input(covariate.name, covariate.name, unit if unit in UNITS.values() else "")], filled[:, None], note
