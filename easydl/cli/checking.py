"""The commands that look at data and change nothing: audit, inspect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from easydl.cli.arguments import Source
from easydl.cli.listing import show
from easydl.cli.options import with_options
from easydl.cli.weights import Json
from easydl.options import LoadOptions


@with_options
def audit(
    source: Source,
    *,
    options: LoadOptions,
    model: Annotated[
        Path | None, typer.Option(help="A trained model: also what it rests on, how much it overfits, where it errs.")
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Also show the borders to a network: letters, scales, logos. A second for 100 images."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Look for traps before training, and with --model for those it fell into. Exit code 2 when one of them blocks."""
    import easydl

    study = easydl.load(source, **options.model_dump())
    result = easydl.audit(study, model=None if model is None else easydl.load_model(model), full=full)
    show(result.to_dict() if as_json else repr(result), as_json)
    if result.blocking:
        raise typer.Exit(2)


def inspect(
    path: Annotated[str, typer.Argument(help="A folder, a table, an image, or folder#key of one series.")],
    as_json: Json = False,
) -> None:
    """Say what lies there: patients, series, images, and what is refused and why. Nothing is loaded or changed."""
    import easydl

    contents = easydl.inspect(path)
    show(contents.to_dict() if as_json else contents.text, as_json)
