"""The networks that can be built by name: found, listed and filtered. It builds nothing, loads no TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from easydl.errors import unknown_name
from easydl.networks.registry import ENTRIES, SOURCES, STEP_CLASSES, Entry, weights_entry

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("classifier", "segmenter", "image_to_image")
COLUMNS = ("name", "kind", "dimension", "parameters", "megabytes", "gflops", "step", "pretrained", "paper")


def names(kind: str) -> list[str]:
    """The names that a kind of builder knows, in the order of the registry."""
    return [entry.name for entry in ENTRIES.values() if entry.kind == kind]


def find(name: str, kind: str | tuple[str, ...], dimension: int | None = None) -> Entry:
    """The entry with a name, or with another name that people use for it.

    Raises:
        InputError: No such name; the message lists the choices (those of ``dimension``, where that is known).

    Example:
        >>> find("resnet50v2", "classifier").name
        'resnet'
    """
    entry = _named(name) if isinstance(name, str) else None
    kinds = (kind,) if isinstance(kind, str) else kind
    if entry is None or entry.kind not in kinds:
        hint = ""
        if entry is not None:
            hint = f' {entry.name} is a {entry.kind}: build it with easydl.{entry.kind}("{entry.name}").'
        choices = [one for each in kinds for one in names(each) if dimension in (None, ENTRIES[one].dimension)]
        do = "Choose one of these names; the command `easydl models` lists them with their size."
        raise unknown_name(f"Unknown {' or '.join(kinds)} {name!r}.{hint}", name, choices, do=do)
    return entry


def _named(name: str) -> Entry | None:
    return ENTRIES.get(name) or next((entry for entry in ENTRIES.values() if name in entry.also), None)


def sources(entry: Entry) -> tuple[str, ...]:
    """The sources of published weights for a network: its own, or those of the 2D network it inflates."""
    return weights_entry(entry).pretrained


def models(
    *,
    kind: str | None = None,
    dimension: int | None = None,
    pretrained: str | bool | None = None,
    at_most_megabytes: float | None = None,
    cost: str | None = None,
) -> pd.DataFrame:
    """The networks that can be built by name, all of them or those that fit.

    Args:
        kind: Only ``"classifier"``, ``"segmenter"`` or ``"image_to_image"``.
        dimension: Only 2 (images) or 3 (volumes).
        pretrained: Only those with weights from this source (``"imagenet"``, ``"radimagenet"``); True for any.
        at_most_megabytes: Only those whose weights take at most this many MB.
        cost: Only those whose training step was measured to be of this class: ``"light"``, ``"medium"`` or ``"heavy"``.

    Returns:
        One row per network with the columns ``name``, ``kind``, ``dimension`` (2 or 3), ``parameters`` (a count;
        classifiers without their head), ``megabytes`` (MB of the weights in float32), ``gflops`` (10^9 operations
        for one image at the default size), ``step`` (the class of a training step's measured time on a processor:
        light is up to 1.5 times MobileNetV2's, medium up to 6 times), ``pretrained`` (sources of published weights)
        and ``paper``.

    Raises:
        InputError: A filter is not one of its choices.

    Example:
        >>> table = models(kind="classifier", pretrained="imagenet", at_most_megabytes=1)
        >>> list(table["name"])
        ['mobilenet_025']
    """
    import pandas as pd

    for argument, value, choices in (
        ("kind", kind, KINDS),
        ("dimension", dimension, (2, 3)),
        ("pretrained", pretrained, (*SOURCES, True)),
        ("cost", cost, tuple(name for name, _ in STEP_CLASSES)),
    ):
        if value is not None and value not in choices:
            raise unknown_name(f"`{argument}` is {value!r}.", value, choices, do="Choose one, or leave it out.")
    rows = [
        {
            "name": entry.name,
            "kind": entry.kind,
            "dimension": entry.dimension,
            "parameters": entry.parameters,
            "megabytes": round(entry.megabytes, 1),
            "gflops": entry.gflops,
            "step": entry.cost,
            "pretrained": ", ".join(sources(entry)),
            "paper": entry.paper,
        }
        for entry in ENTRIES.values()
        if (kind is None or entry.kind == kind)
        and (dimension is None or entry.dimension == dimension)
        and (pretrained is None or (bool(sources(entry)) if pretrained is True else pretrained in sources(entry)))
        and (at_most_megabytes is None or entry.megabytes <= at_most_megabytes)
        and (cost is None or entry.cost == cost)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))
