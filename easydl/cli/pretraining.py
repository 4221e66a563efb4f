"""The command for images without labels: pretrain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from easydl.cli.arguments import Source
from easydl.cli.options import with_options
from easydl.cli.weights import Json
from easydl.errors import RESEARCH_USE, InputError
from easydl.options import LoadOptions
from easydl.options_of_learning import PretrainOptions


def _keras_path(path: Path) -> Path:
    if path.suffix != ".keras":
        raise InputError(f"--output is {path.name}.", "a name that ends in .keras.", "Choose another name.")
    return path


@with_options
def pretrain(
    source: Source,
    model: Annotated[str, typer.Argument(help="The network: a classifier of easydl models.")] = "tiny",
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", callback=_keras_path, help="The weights (.keras), for --weights of train.")
    ],
    options: LoadOptions,
    chosen: PretrainOptions,
    as_json: Json = False,
) -> None:
    """Pretrain a network on images without labels. Give images that no test is to count: they count as seen."""
    import easydl

    study = easydl.load(source, **options.model_dump())
    found = easydl.pretrain(study, model, verbose=not as_json, **chosen.model_dump())
    written = found.save(output)
    said = "\n".join([*found.notes, f"Written: {written}", RESEARCH_USE])
    typer.echo(json.dumps(found.to_dict(), indent=1) if as_json else said)
