"""What several commands share: arguments, checked before TensorFlow is loaded, and how a result is printed and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from easydl.errors import InputError
from easydl.fileio import replacing, write_text

Model = Annotated[Path, typer.Argument(help="A model file (.keras) of easydl.")]
Source = Annotated[str, typer.Argument(help="A table (CSV, Excel), a folder of class folders, or a folder of DICOM.")]
Case = Annotated[str, typer.Argument(help="An image, a volume or a series.")]
Covariate = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="Covariate of one image: age=61. Repeat it for several.")
]

Addresses = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT,HOST:PORT",
        help="Train on several computers, each started with this command; the first writes the folder. Not given, "
        "TF_CONFIG counts, if a cluster has set it.",
    ),
]
Number = Annotated[int | None, typer.Option(help="Which of --workers this computer is, from 0.")]
Units = Annotated[
    str, typer.Option(metavar="auto|HU", help="HU for CT in a file that does not say its units (NIfTI, TIFF).")
]
FIGURES = (".png", ".svg", ".pdf")


def _figure_path(path: Path | None) -> Path | None:
    """A figure's name is checked before anything is computed for it."""
    return _checked(path, FIGURES)


def _result_path(path: Path | None) -> Path | None:
    return _checked(path, (*FIGURES, ".json"))


def _checked(path: Path | None, known: tuple[str, ...]) -> Path | None:
    if path is not None and path.suffix.lower() not in known:
        raise InputError(
            f"--output is {path.name}.", f"a name that ends in {', '.join(known)}.", "Choose another name."
        )
    return path


Figure = Annotated[
    Path, typer.Option("--output", "-o", callback=_figure_path, help="The figure to write (.png, .svg, .pdf).")
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        callback=_result_path,
        help="Also write the figure (.png, .svg, .pdf) or the numbers (.json).",
    ),
]


Table = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        callback=lambda path: _checked(path, (*FIGURES, ".json", ".csv")),
        help="Also write the figure (.png, .svg, .pdf), the table (.csv) or the numbers (.json).",
    ),
]


def check_paths(model: Path, source: str) -> None:
    """What is wrong with the paths is said at once: TensorFlow takes seconds to load."""
    from easydl._tf import load_tensorflow_for_a_command
    from easydl.prediction import cascades

    cascades.check_paths(model, source)
    load_tensorflow_for_a_command()


def workers_of(addresses: str | None, number: int | None) -> Any:
    """This process among several workers, or None."""
    import os

    from easydl.training.workers import Workers

    return Workers.of(addresses, number, os.environ.get("TF_CONFIG"))


def covariates(texts: list[str] | None) -> dict[str, str] | None:
    """The covariates of one image, as ``--covariate age=61`` gives them."""
    for text in texts or ():
        if not text.partition("=")[0].strip() or "=" not in text:
            raise InputError(
                f"--covariate {text!r} has no value.", "a name and its value.", "Write: --covariate age=61"
            )
    return {name.strip(): value.strip() for name, _, value in (text.partition("=") for text in texts or ())} or None


def show_result(found: Any, output: Path | None, as_json: bool, **drawn: Any) -> None:
    """Print a result; write its figure, ``drawn`` in this way, or its numbers, where that was asked for."""
    typer.echo(json.dumps(found.to_dict(), indent=1) if as_json else repr(found))
    if output is None:
        return
    if output.suffix.lower() == ".csv":
        found.save(output)
    elif output.suffix.lower() == ".json":
        write_text(output, json.dumps(found.to_dict(), indent=1, allow_nan=False))
    else:
        write_figure(found.show(**drawn), output)
    typer.echo(f"Written: {output}", err=as_json)


def write_figure(figure: Any, output: Path) -> None:
    """Write a figure in the format of its name, all or nothing."""
    with replacing(output) as draft:
        figure.savefig(draft, format=output.suffix.lower().lstrip("."), bbox_inches="tight")
