"""The commands that list what there is: models, presets, doctor, ledger. All logic is in what they call."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from easydl.cli.weights import Json
from easydl.errors import RESEARCH_USE


def models(
    kind: Annotated[str | None, typer.Option(help="classifier, segmenter or image_to_image.")] = None,
    dimension: Annotated[int | None, typer.Option(help="2 for images, 3 for volumes.")] = None,
    pretrained: Annotated[str | None, typer.Option(help="Weights from imagenet or radimagenet.")] = None,
    at_most_megabytes: Annotated[float | None, typer.Option(help="Size of the weights.")] = None,
    cost: Annotated[str | None, typer.Option(help="Time of a training step: light, medium or heavy.")] = None,
    as_json: Json = False,
) -> None:
    """List the networks: size, cost, pretrained weights, paper."""
    import easydl

    listed = easydl.models(
        kind=kind, dimension=dimension, pretrained=pretrained, at_most_megabytes=at_most_megabytes, cost=cost
    )
    show(listed.to_dict("records") if as_json else listed.to_string(index=False), as_json)


def presets(as_json: Json = False) -> None:
    """List the augmentation presets and their anatomy rules."""
    import easydl

    listed = easydl.presets()
    show(listed.to_dict("records") if as_json else listed.to_string(index=False), as_json)


def doctor(
    speed: Annotated[
        bool, typer.Option("--speed", help="Also race processor, GPU, half precision and XLA; less than a minute.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what this computer has: versions, GPU, weights, and what to do about what is missing."""
    from easydl import machine

    facts = machine.doctor()
    lines = [f"{key}: {value}" for key, value in {**facts["versions"], **facts["folders"]}.items()]
    if speed:
        from easydl.training.racing import race

        found = race()
        facts["speed"] = found.to_dict()
        lines.append(found.text)
    text = "\n".join([facts["device"], *facts["advice"], *lines])
    show(facts if as_json else text, as_json)


def ledger(as_json: Json = False) -> None:
    """List every look at a test part on this computer, and check that no line was changed or lost. Exit code 2 when one was."""
    from easydl.evaluation.ledger import Ledger, account

    facts, text = account(found := Ledger.open())
    show(facts if as_json else text, as_json)
    if found.damage:
        raise typer.Exit(2)


def show(content: Any, as_json: bool) -> None:
    """Print text with the research-use sentence, or JSON."""
    text = json.dumps(content, indent=1, default=str) if as_json else str(content)
    typer.echo(text if as_json or RESEARCH_USE in text else f"{text}\n{RESEARCH_USE}")
