"""How `train`, `evaluate` and `audit` read a study: the arguments of `easydl.load` as options, written once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from easydl.errors import InputError


def reading(
    *,
    image: Annotated[
        list[str] | None, typer.Option(help="Column with the images; repeat it for several channels.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="Column with the class or number; repeat it for columns of 0 and 1, one finding each."),
    ] = None,
    mask: Annotated[str | None, typer.Option(help="Column with the masks.")] = None,
    patient: Annotated[str, typer.Option(help="Column with the patient.")] = "auto",
    no_patients: Annotated[
        bool, typer.Option("--no-patients", help="Every image is a patient of its own (on the record).")
    ] = False,
    task: Annotated[
        str, typer.Option(help="classification, multilabel, regression, ordinal, segmentation, or auto.")
    ] = "auto",
    classes: Annotated[list[str] | None, typer.Option(help="A class; repeat it for all, in their order.")] = None,
    label_separator: Annotated[
        str | None, typer.Option(help="What separates several findings in one label cell, such as ';'.")
    ] = None,
    raters: Annotated[
        list[str] | None, typer.Option(help="Column of one reader; repeat it for all: the majority is the label.")
    ] = None,
    heads: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN[=CLASS,CLASS]",
            help="Column of one of several questions, with its classes in order if you like, or =1 for a number; repeat it.",
        ),
    ] = None,
    root: Annotated[str | None, typer.Option(help="Folder of the images, when it is not the table's.")] = None,
    merge_labels: Annotated[
        bool, typer.Option("--merge-labels", help="Labels that differ only by spaces or case are one.")
    ] = False,
    resample_masks: Annotated[
        bool, typer.Option("--resample-masks", help="Bring masks on another grid to their image's.")
    ] = False,
    collapse_instances: Annotated[
        bool, typer.Option("--collapse-instances", help="Every value but 0 in a mask is foreground.")
    ] = False,
    mask_labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE[,VALUE]", help="Name of a value (or several) in the masks; repeat it for all."
        ),
    ] = None,
) -> dict[str, Any]:
    """The keyword arguments of `easydl.load` that these options mean."""
    return {
        "image": _one(image), "label": _one(label), "mask": mask, "patient": None if no_patients else patient,
        "task": task, "classes": classes or None, "label_separator": label_separator, "raters": raters or None,
        "heads": _questions(heads or []) or None, "root": root, "merge_labels": merge_labels, "resample_masks": resample_masks,
        "collapse_instances": collapse_instances, "mask_labels": _named(mask_labels or []) or None,
    }  # fmt: skip


def reads_a_study(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `reading` in place of its parameter ``study``, which gets what they mean.

    typer makes options of a function's signature and knows no way to share them, so two signatures become one.
    """
    own = inspect.signature(command, eval_str=True)
    shared = inspect.signature(reading, eval_str=True).parameters

    @functools.wraps(command)
    def joined(**given: Any) -> None:
        command(study=reading(**{name: given.pop(name) for name in shared}), **given)

    parameters = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in own.parameters.items()
        for one in (shared.values() if name == "study" else [parameter])
    ]
    joined.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    joined.__annotations__ = {one.name: one.annotation for one in parameters}
    return joined


def _one(columns: list[str] | None) -> str | list[str] | None:
    return columns[0] if columns and len(columns) == 1 else columns or None


def _questions(texts: list[str]) -> list[str] | dict[str, list[str] | int]:
    """``["cancer", "age"]`` as it is; ``["cancer=no,yes", "age=1"]`` as ``{"cancer": ["no", "yes"], "age": 1}``.

    Raises:
        InputError: Some name their classes and others do not, or there is no name.
    """
    if not any("=" in text for text in texts):
        return texts
    found: dict[str, list[str] | int] = {}
    for text in texts:
        name, _, classes = text.partition("=")
        listed = [one.strip() for one in classes.split(",") if one.strip()]
        if not name.strip() or not listed:
            raise InputError(
                f"--heads {text!r} is no column with its classes.",
                "for every question its column and classes, or for every question its column alone.",
                "Write for example: --heads cancer=no,yes --heads age=1",
            )
        found[name.strip()] = 1 if listed == ["1"] else listed
    return found


def _named(texts: list[str]) -> dict[str, int | list[int]]:
    """``["tumour=1,4"]`` as ``{"tumour": [1, 4]}``; a name that comes twice has the values of both.

    Raises:
        InputError: There is no name, or a value is no whole number.
    """
    found: dict[str, list[int]] = {}
    for text in texts:
        name, _, values = text.rpartition("=")
        try:
            found.setdefault(name.strip(), []).extend(int(value) for value in values.split(","))
        except ValueError:
            name = ""
        if not name.strip():
            raise InputError(
                f"--mask-labels {text!r} is no name with its values.",
                "a name and one or more whole numbers, such as tumour=1 or tumour=1,4.",
                "Write for example: --mask-labels background=0 --mask-labels edema=2 --mask-labels tumour=1,4",
            )
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}
