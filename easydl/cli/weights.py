"""The commands ``easydl weights ...``, a few lines each. All logic is in `easydl.networks.pretrained`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from easydl.errors import RESEARCH_USE

weights = typer.Typer(
    no_args_is_help=True, help="Pretrained weights on this computer: list, fetch, verify, where.", rich_markup_mode=None
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@weights.command(name="list")
def list_weights(as_json: Json = False) -> None:
    """List the networks that have published weights, and which of these are here."""
    from easydl.networks.pretrained import inventory

    table = inventory.available()
    text = table.to_json(orient="records", indent=1) if as_json else f"{table.to_string(index=False)}\n{RESEARCH_USE}"
    typer.echo(text)


@weights.command()
def fetch(
    names: Annotated[list[str], typer.Argument(help="Networks from `easydl weights list`.")],
    source: Annotated[str, typer.Option(help="imagenet or radimagenet.")] = "imagenet",
) -> None:
    """Bring weights to this computer, so that it can work offline. What is here already is only checked."""
    from easydl.networks import listing
    from easydl.networks.pretrained.sources import fetch

    for entry in [listing.find(name, "classifier") for name in names]:
        typer.echo(fetch(entry, source))


@weights.command()
def verify(as_json: Json = False) -> None:
    """Check every weights file on this computer. Exit code 1 when one is damaged."""
    from easydl.networks.pretrained import inventory

    rows = inventory.verify()
    text = "\n".join(row["sentence"] for row in rows)
    typer.echo(json.dumps(rows, indent=1) if as_json else text)
    if any(row["state"] == "damaged" for row in rows):
        raise typer.Exit(1)


@weights.command()
def where(as_json: Json = False) -> None:
    """Say in which folders weights lie, how much is there, and how to change folder, mirror and proxy."""
    from easydl.networks.pretrained import inventory

    places = inventory.where()
    typer.echo(json.dumps(places, indent=1) if as_json else places["text"])
