"""The commands that help to choose and to plan: compare, learning-curve, interval-width."""

from __future__ import annotations

from typing import Annotated

import typer

from easydl.cli.arguments import Output, Source, Table, show_result
from easydl.cli.options import with_options
from easydl.cli.weights import Json
from easydl.options import LoadOptions
from easydl.options_of_planning import CompareOptions, CurveOptions, PlanOptions, TuneOptions


def _known_cost(against: str | None) -> str | None:
    """A word that is not known is refused before anything is fitted."""
    from easydl.comparison.drawing import check_against

    check_against(against)
    return against


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
    against: Annotated[
        str | None,
        typer.Option(
            metavar="ms|mb",
            callback=_known_cost,
            help="Draw the figure over what an answer costs: milliseconds for an image on this machine, or megabytes of parameters.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare baselines and networks on folds by patient, or trained models on one test set."""
    import easydl

    found = easydl.compare(easydl.load(source, **options.model_dump()), models, **trial.model_dump())
    show_result(found, output, as_json, **({} if against is None else {"against": against}))


@with_options
def tune(
    source: Source,
    *,
    space: Annotated[
        list[str],
        typer.Option(
            "--try",
            metavar="NAME=VALUE,VALUE",
            help="A setting and its values, or a range LOW..HIGH. Repeat it for several. For example: --try model=tiny,resnet18 "
            "--try learning_rate=0.001,0.003",
        ),
    ],
    options: LoadOptions,
    trial: TuneOptions,
    output: Table = None,
    as_json: Json = False,
) -> None:
    """Choose a network's settings on folds by patient, nested; the test part of a split study is never read."""
    import easydl
    from easydl.comparison.search_space import read_space

    found = easydl.tune(
        easydl.load(source, **options.model_dump()), read_space(space), verbose=not as_json, **trial.model_dump()
    )
    show_result(found, output, as_json)


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
    show_result(easydl.learning_curve(study, model, **trial.model_dump()), output, as_json)


@with_options
def interval_width(plan: PlanOptions, *, output: Output = None) -> None:
    """Say how wide a test's 95% interval will be with so many patients, before they are collected."""
    import easydl

    show_result(easydl.interval_width(**plan.model_dump()), output, as_json=False)
