"""The schema of metrics.json: whatever does not fit it is refused before it is shown. It computes nothing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=0)]
Cell = str | int | float | None


class Row(BaseModel):
    """One number of the table; ``value``, ``low`` and ``high`` are null where undefined."""

    model_config = ConfigDict(allow_inf_nan=False)

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: Count
    unit_of_n: str
    note: str = ""
    images: Count = 0
    unit: str = ""


class Curve(BaseModel):
    """One ROC curve and its band; the band may be empty."""

    model_config = ConfigDict(allow_inf_nan=False)

    fpr: list[float]
    tpr: list[float]
    grid: list[float] = Field(default_factory=list)
    low: list[float] = Field(default_factory=list)
    high: list[float] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_length(self) -> Curve:
        if len(self.fpr) != len(self.tpr) or not len(self.grid) == len(self.low) == len(self.high):
            raise ValueError("the lists of a curve differ in length")
        return self


class CaseRow(BaseModel):
    """One case and class of a segmentation, or one image that was made again; further columns are kept."""

    model_config = ConfigDict(allow_inf_nan=False, extra="allow")
    __pydantic_extra__: dict[str, Cell] = Field(init=False)

    image: str
    patient: str
    structure: str = Field(default="", alias="class")
    dice: float | None = None


class Stored(BaseModel):
    """The whole file."""

    model_config = ConfigDict(allow_inf_nan=False)

    task: Literal[
        "classification", "multilabel", "ordinal", "regression", "multitask", "segmentation", "reconstruction"
    ]
    classes: list[str] = Field(min_length=1)
    table: list[Row]
    positive: str | None = None
    patients_known: bool = True
    images: Count = 0
    patients: Count = 0
    per_class: dict[str, dict[str, Count]] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    confusion: list[list[Count]] | None = None
    curves: dict[str, Curve] = Field(default_factory=dict)
    cases: list[CaseRow] | None = None
    points: dict[str, list[float]] = Field(default_factory=dict)
    heads: dict[str, Stored] = Field(default_factory=dict)
    seed: int = 0
    resamples: Count = 0

    @model_validator(mode="after")
    def _square(self) -> Stored:
        if self.points and len({len(self.points.get(side, ())) for side in ("reference", "prediction")}) > 1:
            raise ValueError("the points differ in length")
        if self.task == "segmentation" and any(
            {"structure", "dice"} - one.model_fields_set for one in self.cases or ()
        ):
            raise ValueError("a case lacks its class or its Dice")
        size = len(self.classes)
        if self.confusion is not None and [len(row) for row in self.confusion] != [size] * size:
            raise ValueError("the confusion matrix does not fit the classes")
        return self
