"""The commands that look into what a model has learned: features, image-map, nearest, feature-maps and experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from easydl.cli.arguments import (
    Case,
    Covariate,
    Figure,
    Model,
    Source,
    Units,
    check_paths,
    covariates,
    write_figure,
)
from easydl.cli.options import with_options
from easydl.errors import RESEARCH_USE, InputError
from easydl.fileio import csv_text, write_text
from easydl.options import LoadOptions
from easydl.options_of_use import AblationOptions, FragilityOptions, GalleryOptions, MapOptions, NearestOptions


@with_options
def features(
    model: Model,
    source: Source,
    *,
    options: LoadOptions,
    output: Annotated[Path, typer.Option("--output", "-o", help="The table to write.")] = Path("features.csv"),
) -> None:
    """Write what a model computes of every image before it answers, a row for each image, for other statistics."""
    import easydl

    check_paths(model, source)
    study = easydl.load(source, **options.model_dump())
    table = easydl.features(model, study)
    kept = [*study.image_columns[:1], "patient", *(["label"] if "label" in study.frame else [])]
    text = csv_text(study.frame[kept].join(table))
    written = write_text(output, f"# {RESEARCH_USE}\n{text}", mode=0o600)
    typer.echo(f"{table.shape[1]} features of {len(table)} images. Written: {written}\n{RESEARCH_USE}")


@with_options
def image_map(
    model: Model,
    source: Source,
    *,
    options: LoadOptions,
    how: MapOptions,
    colour: Annotated[str | None, typer.Option(help="A column, error, or island; the label when not given.")] = None,
    output: Figure = Path("image_map.png"),
) -> None:
    """Show which images a model takes for alike, and which column explains each group of them."""
    import easydl

    check_paths(model, source)
    drawn = easydl.image_map(model, easydl.load(source, **options.model_dump()), **how.model_dump())
    _written(drawn, drawn.show(colour), output)


@with_options
def gallery(
    model: Model,
    source: Source,
    *,
    options: LoadOptions,
    how: GalleryOptions,
    target: Annotated[
        str | None, typer.Option(help="The class, label or task to explain; the predicted class when not given.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The figure to write.")] = Path("gallery.png"),
) -> None:
    """Draw heatmaps of a study side by side, the surest wrong answers first, each with its verdict."""
    import easydl

    study = easydl.load(source, **options.model_dump())
    figure = easydl.gallery(easydl.load_model(model), study, target=target, **how.model_dump())
    _written(RESEARCH_USE, figure, output)


@with_options
def nearest(
    model: Model,
    case: Case,
    source: Annotated[str, typer.Argument(help="The study to look in, usually that of the training.")],
    *,
    options: LoadOptions,
    how: NearestOptions,
    output: Figure = Path("nearest.png"),
) -> None:
    """Find the cases of a study that are most alike to one image, as a model sees them."""
    import easydl

    check_paths(model, case)
    check_paths(model, source)
    study = easydl.load(source, **options.model_dump())
    found = easydl.nearest(model, case, study, units=options.units, **how.model_dump())
    _written(found, found.show(), output)


def feature_maps(
    model: Model,
    case: Case,
    layer: Annotated[str | None, typer.Option(help="A layer with maps; a deep one when not given.")] = None,
    units: Units = "auto",
    output: Figure = Path("feature_maps.png"),
) -> None:
    """Draw the filters of a network's first layer and the maps that it makes of one image."""
    import easydl

    check_paths(model, case)
    _written(RESEARCH_USE, easydl.feature_maps(model, case, layer=layer, units=units), output)


def explain(
    model: Model,
    case: Case,
    hide: Annotated[
        str | None, typer.Option(help="What to hide: top,bottom,left,right in pixels, or the file of a mask.")
    ] = None,
    insert: Annotated[str | None, typer.Option(help="Another image, of which --part is inserted.")] = None,
    part: Annotated[str | None, typer.Option(help="What of it: top,bottom,left,right, or the file of a mask.")] = None,
    at: Annotated[
        str | None, typer.Option(help="row,column where the part begins; where it was when not given.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="The class or label; what the model answers when not given.")
    ] = None,
    covariate: Covariate = None,
    units: Units = "auto",
    output: Figure = Path("explained.png"),
) -> None:
    """Hide a part of an image, or insert a part of another, and see what the answer becomes."""
    import easydl

    if (insert is None) != (part is None):
        raise InputError("One of --insert and --part was given.", "both.", "Say which image, and which part of it.")
    if at is not None and not isinstance(_region(at), tuple):
        raise InputError(f"--at is {at!r}.", "whole numbers: row,column.", "Write for example: --at 40,60")
    check_paths(model, case)
    given = {
        "hide": _region(hide),
        "insert": (insert, _region(part)) if insert else None,
        "at": _region(at),
        "target": target,
        "covariates": covariates(covariate),
        "units": units,
    }
    found = easydl.explain(model, case, **given)
    _written(found, found.show(), output)


@with_options
def ablation(
    model: Model,
    source: Source,
    *,
    options: LoadOptions,
    how: AblationOptions,
    output: Figure = Path("ablation.png"),
) -> None:
    """Remove one kind of information from every image of a test part, and measure again."""
    import easydl

    check_paths(model, source)
    found = easydl.ablation(model, easydl.load(source, **options.model_dump()), **how.model_dump())
    _written(found, found.show(), output)


@with_options
def fragility(
    model: Model,
    source: Source,
    *,
    options: LoadOptions,
    how: FragilityOptions,
    output: Figure = Path("fragility.png"),
) -> None:
    """Ask how small a change of the image changes a model's answers, made against the model and at random."""
    import easydl

    check_paths(model, source)
    found = easydl.fragility(model, easydl.load(source, **options.model_dump()), **how.model_dump())
    _written(found, found.show(), output)


def _region(text: str | None) -> Any:
    """Numbers as a tuple; the path of a mask as it is."""
    if text is None or not set(text) <= set("-0123456789, "):
        return text
    try:
        return tuple(int(one) for one in text.split(",") if one.strip())
    except ValueError:
        return text


def _written(found: Any, figure: Any, output: Path) -> None:
    write_figure(figure, output)
    typer.echo(f"{found}\nWritten: {output}")
