"""The settings of a run, checked when they are read. They are the arguments of load, split, the builders and fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from easydl.errors import RunError
from easydl.fileio import write_text

LOAD = (
    "image", "label", "mask", "patient", "split", "task", "classes", "label_separator", "raters", "heads", "root",
    "merge_labels", "resample_masks", "collapse_instances", "mask_labels", "override",
)  # fmt: skip
"""The settings that are arguments of `easydl.load`, under the same names and with the same defaults."""


class RunConfig(BaseModel):
    """Everything that repeats a run. Field names are the arguments of the functions they go to.

    Attributes:
        source: Table or folder, as for `easydl.load`.
        image: Column, or columns, with the images.
        label: Column with the class or number, or columns of 0 and 1, one finding each.
        mask: Column with the masks; makes it a segmentation.
        patient: ``"auto"``, a column, or None for "every image is a patient".
        split: Column with a ready-made split, or None to split here.
        task: As for `easydl.load`.
        classes: The classes in order, as for `easydl.load`, or None to sort them.
        label_separator: As for `easydl.load`.
        raters: Columns of several raters, as for `easydl.load`.
        heads: Columns of several questions, as for `easydl.load`.
        root: Folder of the images, as for `easydl.load`.
        merge_labels: As for `easydl.load`.
        resample_masks: As for `easydl.load`.
        collapse_instances: As for `easydl.load`.
        mask_labels: Names for the values in the masks, as for `easydl.load`.
        sizes: Shares of train, val and test.
        model: A name from `easydl.models`; ``auto`` chooses by the study.
        encoder: As for `easydl.segmenter`.
        pretrained: As for `easydl.classifier`, or for the encoder of a segmenter.
        covariates: Columns that the model is told beside the image, as for `easydl.classifier`.
        size: Side of the model's input in pixels, or None to choose.
        augment: Preset with or without extras (``auto+mixup``), as for `easydl.fit`.
        epochs: As for `easydl.fit`.
        batch_size: As for `easydl.fit`.
        learning_rate: As for `easydl.fit`.
        fine_tune: As for `easydl.fit`.
        window: As for `easydl.fit`.
        normalise: As for `easydl.fit`.
        spacing_mm: As for `easydl.fit`.
        loss: As for `easydl.fit`.
        seed: Of the split, the training and the intervals.
        heatmaps: How many test images are explained.
        override: A reason, in writing, for going on in spite of a blocking trap.
        name: What to call the study.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    image: str | list[str] | None = None
    label: str | list[str] | None = None
    mask: str | None = None
    patient: str | None = "auto"
    split: str | None = None
    task: Literal["auto", "classification", "multilabel", "regression", "ordinal", "multitask", "segmentation"] = "auto"
    classes: list[str] | None = None
    label_separator: str | None = None
    raters: list[str] | None = None
    heads: list[str] | dict[str, list[str] | Literal[1]] | None = None
    root: str | None = None
    merge_labels: bool = False
    resample_masks: bool = False
    collapse_instances: bool = False
    mask_labels: dict[str, int | list[int]] | None = None
    sizes: tuple[float, float, float] = (0.6, 0.2, 0.2)
    model: str = "auto"
    encoder: str | None = None
    pretrained: bool | str = False
    covariates: list[str] | None = None
    size: int | None = Field(default=None, ge=16, le=2048)
    augment: str = "auto"
    epochs: int | None = Field(default=None, ge=1, le=10_000)
    batch_size: int | None = Field(default=None, ge=1, le=4096)
    learning_rate: float | None = Field(default=None, gt=0, lt=10)
    fine_tune: bool | Literal["auto"] = "auto"
    window: str | tuple[float, float] | None = None
    normalise: Literal["percentile", "z-score"] = "percentile"
    spacing_mm: tuple[float, ...] | None = None
    loss: str = "auto"
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    heatmaps: int = Field(default=6, ge=0, le=100)
    override: str | None = None
    name: str | None = None

    def reading(self) -> dict[str, Any]:
        """The keyword arguments of `easydl.load` that read this run's study."""
        return self.model_dump(include=set(LOAD))

    def save(self, folder: Path) -> None:
        """Write config.json into a run folder."""
        write_text(folder / "config.json", json.dumps(self.model_dump(), indent=1))

    @classmethod
    def open(cls, folder: Path) -> RunConfig:
        """Read config.json of a run folder.

        Raises:
            RunError: There is none, or it holds other settings than these.
        """
        try:
            return cls.model_validate_json((folder / "config.json").read_text(encoding="utf-8"))
        except OSError as problem:
            raise RunError(
                f"{folder} is no run folder: it has no config.json.",
                "the folder of a run.",
                "Choose another folder.",
            ) from problem
        except ValidationError as problem:
            raise settings_error(problem) from problem


def settings_error(problem: ValidationError) -> RunError:
    """Pydantic's complaint as one of ours: the first wrong setting, and what it may be."""
    first = problem.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "settings"
    return RunError(
        f"The setting {where} is {first.get('input')!r}.",
        f"{first['msg'][0].lower()}{first['msg'][1:]}.",
        f"Correct {where}.",
    )
