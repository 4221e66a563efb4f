"""The commands that say what a model knows: explain-as-tree, importance, describe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from easydl.cli.arguments import Case, Covariate, Model, Output, Source, Units, check_paths, covariates, show_result
from easydl.cli.options import with_options
from easydl.cli.weights import Json
from easydl.options import LoadOptions
from easydl.options_of_use import DescribeOptions, ShufflingOptions, TreeOptions

FOREST = "forest"


@with_options
def explain_as_tree(
    model: Model,
    source: Source,
    *,
    options: LoadOptions,
    how: TreeOptions,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Explain a model as if-then rules on features that a person can read, and say how far the rules agree with it."""
    import easydl

    check_paths(model, source)
    study = easydl.load(source, **options.model_dump())
    show_result(easydl.explain_as_tree(model, study, **how.model_dump()), output, as_json)


@with_options
def importance(
    model: Annotated[str, typer.Argument(help="A model file (.keras) with covariates, or forest.")],
    source: Source,
    *,
    options: LoadOptions,
    how: ShufflingOptions,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Say what each input is worth: how much worse the answers get when it is shuffled between patients."""
    import easydl

    if model != FOREST:
        check_paths(Path(model), source)
    study = easydl.load(source, **options.model_dump())
    given = {**how.model_dump(), "override": options.override}
    show_result(easydl.importance(model, study, **given), output, as_json)


@with_options
def describe(
    model: Model,
    case: Case,
    *,
    how: DescribeOptions,
    covariate: Covariate = None,
    units: Units = "auto",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write the text to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Describe one case in sentences, each with its number."""
    import easydl

    check_paths(model, case)
    found = easydl.describe(model, case, covariates=covariates(covariate), units=units, **how.model_dump())
    typer.echo(json.dumps(found.to_dict(), indent=1) if as_json else found.text)
    if output is not None:
        typer.echo(f"Written: {found.save(output)}", err=as_json)
