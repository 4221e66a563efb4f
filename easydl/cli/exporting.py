"""The command for other programs: export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from easydl.cli.arguments import Model, check_paths
from easydl.cli.options import with_options
from easydl.cli.weights import Json
from easydl.options import LoadOptions
from easydl.options_of_use import ExportOptions


@with_options
def export(
    model: Model,
    output: Annotated[Path, typer.Argument(help="The file to write: .tflite, .onnx or .xml (OpenVINO).")],
    source: Annotated[
        str | None,
        typer.Argument(help="A table or folder to measure on: the validation part. With --to int8 it is needed."),
    ] = None,
    *,
    options: LoadOptions,
    chosen: ExportOptions,
    as_json: Json = False,
) -> None:
    """Convert a model for other programs, and measure on a study how far it still answers as the Keras model does."""
    import easydl

    check_paths(model, source or str(model))
    study = None if source is None else easydl.load(source, **options.model_dump())
    made = easydl.export(model, output, study, verbose=not as_json, **chosen.model_dump())
    if as_json:
        typer.echo(json.dumps(made.to_dict(), indent=1, allow_nan=False))
