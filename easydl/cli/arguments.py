"""Arguments that several commands take, and how they are checked before TensorFlow is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from easydl.errors import InputError

Model = Annotated[Path, typer.Argument(help="A model file (.keras) of easydl.")]
Covariate = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="Covariate of one image: age=61. Repeat it for several.")
]

Units = Annotated[
    str, typer.Option(metavar="auto|HU", help="HU for CT in a file that does not say its units (NIfTI, TIFF).")
]


def check_paths(model: Path, source: str) -> None:
    """What is wrong with the paths is said at once: TensorFlow takes seconds to load."""
    from easydl._tf import load_tensorflow_for_a_command
    from easydl.prediction import cascades

    cascades.check_paths(model, source)
    load_tensorflow_for_a_command()


def covariates(texts: list[str] | None) -> dict[str, str] | None:
    """The covariates of one image, as ``--covariate age=61`` gives them."""
    for text in texts or ():
        if not text.partition("=")[0].strip() or "=" not in text:
            raise InputError(
                f"--covariate {text!r} has no value.", "a name and its value.", "Write: --covariate age=61"
            )
    return {name.strip(): value.strip() for name, _, value in (text.partition("=") for text in texts or ())} or None
