"""The commands that help to choose and to plan: compare, learning-curve, interval-width."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from easydl.cli.options import with_options
from easydl.cli.weights import Json
from easydl.fileio import write_text
from easydl.options import LoadOptions
from easydl.options_of_planning import CompareOptions, CurveOptions, PlanOptions

Source = Annotated[str, typer.Argument(help="A table (CSV, Excel), a folder of class folders, or a folder of DICOM.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Also write the figure (.png, .svg, .pdf) or the numbers (.json).")
]


@with_options
def compare(
    source: Source,
    models: Annotated[
        list[str],
        typer.Argument(
            help="Baselines (prevalence, metadata, thumbnail, forest, features) and networks; or model files and run "
            "folders, which are all tested on the source."
        ),
    ],
    *,
    options: LoadOptions,
    trial: CompareOptions,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Compare baselines and networks on folds by patient, or trained models on one test set."""
    import easydl

    _show(easydl.compare(easydl.load(source, **options.model_dump()), models, **trial.model_dump()), output, as_json)


@with_options
def learning_curve(
    source: Source,
    model: Annotated[str, typer.Argument(help="A baseline or a network.")] = "forest",
    *,
    options: LoadOptions,
    trial: CurveOptions,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Say what more patients would bring: a model measured at several numbers of training patients."""
    import easydl

    study = easydl.load(source, **options.model_dump())
    _show(easydl.learning_curve(study, model, **trial.model_dump()), output, as_json)


@with_options
def interval_width(plan: PlanOptions, *, output: Output = None) -> None:
    """Say how wide a test's 95% interval will be with so many patients, before they are collected."""
    import easydl

    _show(easydl.interval_width(**plan.model_dump()), output, as_json=False)


def _show(found: Any, output: Path | None, as_json: bool) -> None:
    """Print a result; write its figure, or its numbers, where that was asked for."""
    typer.echo(json.dumps(found.to_dict(), indent=1) if as_json else repr(found))
    if output is None:
        return
    if output.suffix == ".json":
        write_text(output, json.dumps(found.to_dict(), indent=1))
    else:
        found.show().savefig(output)
    typer.echo(f"Written: {output}", err=as_json)
