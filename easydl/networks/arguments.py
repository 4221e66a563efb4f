"""What the builders accept: class names, channels, sizes and seeds, checked in words. It builds nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from easydl.errors import InputError
from easydl.networks.metadata import Covariate, Head, Task
from easydl.networks.registry import Entry

MOST_CLASSES, MOST_CHANNELS, LARGEST = 1000, 64, 4096
MOST_LEVELS, MOST_CHOSEN, COARSEST = 5, 4, 4
# Axes whose spacing differs by more than this are not halved together.
UNEQUAL = 2.0
DEFAULT_SIDE = {2: 128, 3: 48}
PRETRAINED_SIDE = 96
CLASSIFIER_TASKS = ("classification", "ordinal", "multilabel", "regression")
MOST_HEADS, MOST_COVARIATES, MOST_CATEGORIES = 20, 100, 100


def class_names(classes: Any, task: Task) -> tuple[str, ...]:
    """Class names from a number or a sequence of names.

    Args:
        classes: How many, or their names in the order of the outputs; None for 2 (1 value for regression). A
            segmenter's first class is the background.
        task: Sets the smallest number: 2 for classification and segmentation, 1 for the others.

    Returns:
        The names; ``class 0``, ``class 1``... when only a number was given (``background`` first for
        segmentation).

    Raises:
        InputError: Too few or too many, a name that is empty or given twice, or not a sequence.

    Example:
        >>> class_names(3, "segmentation")
        ('background', 'class 1', 'class 2')
    """
    least = 2 if task in ("classification", "ordinal", "segmentation") else 1
    if classes is None:
        classes = 1 if task == "regression" else 2
    if whole(classes):
        given: list[Any] = [f"class {number}" for number in range(min(int(classes), MOST_CLASSES + 1))]
        if task == "segmentation" and given:
            given[0] = "background"
    elif isinstance(classes, Sequence) and not isinstance(classes, (str, bytes)):
        given = list(classes)
    else:
        raise InputError(
            f"`classes` is {classes!r}.",
            "a whole number or a list of names.",
            "Give classes=study.classes, or classes=2.",
        )
    if not least <= len(given) <= MOST_CLASSES:
        raise InputError(
            f"`classes` gives {len(given) if not whole(classes) else int(classes)} class(es).",
            f"{least} to {MOST_CLASSES} for {task}.",
            "A yes/no question has two classes: one for yes and one for no." if least == 2 else "Name what is wanted.",
        )
    names = tuple(str(one) for one in given)
    if any(not name.strip() for name in names) or len(set(names)) < len(names):
        raise InputError(
            f"The class names {', '.join(map(repr, names[:5]))} hold an empty or a repeated name.",
            "a name of its own for every class.",
            "Correct the labels.",
        )
    return names


def head_classes(heads: Any) -> dict[str, Head]:
    """What each head of a network with several questions answers.

    Args:
        heads: From the head's name to a number of classes, their names, or 1 for a number to be measured.

    Raises:
        InputError: No dict of such, no or too many heads, or two names that Keras would call the same.
    """
    if not isinstance(heads, Mapping) or not 1 <= len(heads) <= MOST_HEADS:
        raise InputError(
            f"`heads` is {heads!r:.100}.",
            f"a dict with 1 to {MOST_HEADS} questions and their classes.",
            'Give heads={"cancer": ["no", "yes"], "density": 4}, for instance.',
        )
    out: dict[str, Head] = {}
    for name, asked in heads.items():
        if not isinstance(name, str) or not re.search(r"[A-Za-z0-9]", name):
            raise InputError(f"A head is called {name!r}.", "a name with a letter or number.", "Rename it.")
        if whole(asked) and asked == 1:
            out[name] = Head(task="regression", classes=(name,))
        else:
            out[name] = Head(task="classification", classes=class_names(asked, "classification"))
    if len({layer_name(name) for name in out}) < len(out):
        raise InputError(
            f"Two of the heads {', '.join(out)} differ only in signs.", "names that differ in letters.", "Rename one."
        )
    return out


def layer_name(name: str) -> str:
    """A head's name as the start of a layer's name: letters, numbers and underscores."""
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower()


def covariate_columns(covariates: Any, classes: Any) -> tuple[Covariate, ...]:
    """The columns of the clinical table that a network takes, with their values in words or None for numbers.

    Args:
        covariates: Column names, looked up in what ``classes.covariates`` says of the study's columns; or a dict
            from name to its values, None for a number. None or empty for none.
        classes: A study's class names.

    Raises:
        InputError: Neither of these, a name twice, an unknown column, or too many values.
    """
    if not covariates:
        return ()
    known = getattr(classes, "covariates", None)
    if isinstance(covariates, Mapping):
        given = dict(covariates)
    elif isinstance(covariates, Sequence) and not isinstance(covariates, (str, bytes)):
        unknown = [one for one in covariates if known is not None and one not in known]
        if unknown:
            raise InputError(
                f"`covariates` names {unknown[0]!r}, which is no such column of the study.",
                f"columns with numbers or with few words: {', '.join(known) or 'none'}." if known is not None else "",
                "Correct the name, or leave it out.",
            )
        if len(set(covariates)) < len(covariates):
            raise InputError("`covariates` names a column twice.", "each column once.", "Leave one out.")
        given = {one: (known or {}).get(one) for one in covariates}
    else:
        raise InputError(
            f"`covariates` is {covariates!r:.100}.",
            "a list of columns, or a dict from column to its values.",
            'Give covariates=["age", "sex"], for instance.',
        )
    if len(given) > MOST_COVARIATES:
        raise InputError(
            f"`covariates` names {len(given)} columns.", f"at most {MOST_COVARIATES}.", "Choose those that matter."
        )
    out = []
    for name, values in given.items():
        good = values is None or (
            isinstance(values, Sequence)
            and not isinstance(values, (str, bytes))
            and 2 <= len(values) <= MOST_CATEGORIES
            and len({str(value) for value in values}) == len(values)
        )
        if not isinstance(name, str) or not name.strip() or not good:
            raise InputError(
                f"The covariate {name!r} has the values {values!r:.100}.",
                f"None for a number, or a list of 2 to {MOST_CATEGORIES} different words.",
                'Give {"age": None, "sex": ["F", "M"]}, for instance.',
            )
        out.append(Covariate(name=name, categories=None if values is None else tuple(str(value) for value in values)))
    return tuple(out)


def channel_count(channels: Any, classes: Any) -> int:
    """Channels of the input: as given, else what the study's classes say, else 1.

    Raises:
        InputError: Not a whole number from 1 to 64.
    """
    value = getattr(classes, "channels", 1) if channels is None else channels
    if not whole(value) or not 1 <= value <= MOST_CHANNELS:
        raise InputError(
            f"`channels` is {value!r}.",
            f"a whole number from 1 to {MOST_CHANNELS}.",
            "Use 1 for grey images, 3 for colour, or the number of series that are stacked.",
        )
    return int(value)


def image_size(size: Any, classes: Any, entry: Entry, *, pretrained: bool = False) -> tuple[int, ...]:
    """The spatial size of a classifier's input.

    Args:
        size: One number for every side, or one per side, in pixels; None for 128 (48 in 3D), or less where
            the study's images are smaller than that.
        classes: A study's class names carry the size of its images.
        entry: The network: its dimension and the smallest side it takes.
        pretrained: Whether it starts from trained weights: its filters know structures of a few pixels in photographs of
            224, so smaller images are enlarged to 96 rather than left as they are.

    Returns:
        One number per side.

    Raises:
        InputError: The wrong number of sides, or one too small or too large.
    """
    if size is None:
        default = DEFAULT_SIDE[entry.dimension]
        known = getattr(classes, "image_size", None)
        sides: Any = (default,) * entry.dimension
        if known and len(known) == entry.dimension:
            # One square of the longest side: nothing is cropped, small images are not blown up (but for trained filters).
            least = max(entry.smallest, PRETRAINED_SIDE if pretrained else 0)
            longest = [max(known)] * 2 if entry.dimension == 2 else list(known)
            sides = tuple(max(least, min(default, int(side))) for side in longest)
    else:
        sides = (size,) * entry.dimension if whole(size) else size
    return _checked(sides, entry)


def grid_size(size: Any, entry: Entry, multiples: Sequence[int] | None = None) -> tuple[int | None, ...]:
    """The spatial size of a segmenter's input: None for any, or one fixed by the user.

    Args:
        size: As given.
        entry: The network.
        multiples: What every side must be a multiple of, axis by axis; the entry's own when not given.

    Raises:
        InputError: The wrong number of sides, or one that is no multiple of the network's.
    """
    if size is None:
        return (None,) * entry.dimension
    steps = multiples or (entry.multiple,) * entry.dimension
    sides = _checked((size,) * entry.dimension if whole(size) else size, entry)
    if any(side % step for side, step in zip(sides, steps, strict=True)):
        better = " x ".join(str(-(-side // step) * step) for side, step in zip(sides, steps, strict=True))
        words = str(steps[0]) if len(set(steps)) == 1 else " x ".join(map(str, steps))
        raise InputError(
            f"`size` is {' x '.join(map(str, sides))}.",
            f"sides that are multiples of {words} for {entry.name}.",
            f"Use {better}, or size=None for a network that takes any such size.",
        )
    return sides


Halvings = tuple[tuple[int, ...], ...]
"""For every level of a U-Net, what each axis is divided by: 2, or 1 for an axis that is left as it is."""


def halvings(levels: Any, classes: Any, entry: Entry, *, least: int = 2) -> Halvings:
    """How a U-Net halves the size, level by level: as given, else what the study's images allow, else the default.

    Where the axes differ in spacing by more than 2, the fine ones are halved first, until all are about equal: halving
    thick slices as well would join what lies centimetres apart before the network has seen what lies beside it.

    Args:
        levels: 2 to 5; or for each of so many levels what every axis is divided by, 1 or 2; or None to choose.
        classes: A study's class names carry the size and spacing of its images.
        entry: The network.
        least: The fewest that are chosen.

    Returns:
        For a study: so that the coarsest map is 4 to 8 pixels at its narrowest, within 2 to 4; else 4 in 2D, 3 in 3D.

    Raises:
        InputError: Neither of these.

    References:
        Isensee et al. 2021, nnU-Net, 10.1038/s41592-020-01008-z (supplementary note 2: pooling by spacing and size).
    """
    if levels is None:
        return _chosen(classes, entry, least)
    if whole(levels) and 2 <= levels <= MOST_LEVELS:
        return steps_of(int(levels), entry.dimension)
    listed = isinstance(levels, Sequence) and not isinstance(levels, (str, bytes)) and 2 <= len(levels) <= MOST_LEVELS
    if not listed or not all(_step(one, entry.dimension) for one in levels):
        raise InputError(
            f"`levels` is {levels!r:.100}.",
            f"a whole number from 2 to {MOST_LEVELS}, or a list of so many steps such as "
            f"{(1, 2, 2)[-entry.dimension :]}: 1 or 2 for each of {entry.dimension} axes, one of them 2.",
            "Leave it out to have it chosen.",
        )
    return tuple(tuple(int(number) for number in one) for one in levels)


def steps_of(levels: Any, dimension: int) -> Halvings:
    """The halvings of so many levels of all axes, or those that are listed."""
    return ((2,) * dimension,) * levels if whole(levels) else tuple(tuple(one) for one in levels)


def multiples_of(steps: Halvings) -> tuple[int, ...]:
    """What every side must be a multiple of, axis by axis, so that each halving is exact."""
    return tuple(math.prod(axis) for axis in zip(*steps, strict=True))


def _chosen(classes: Any, entry: Entry, least: int) -> Halvings:
    size, spacing = getattr(classes, "image_size", None), getattr(classes, "spacing_mm", None)
    default = {2: 4, 3: 3}[entry.dimension]
    if not size or len(size) != entry.dimension:
        return steps_of(max(least, default), entry.dimension)
    if entry.dimension == 2 or not spacing or max(spacing) <= UNEQUAL * min(spacing):
        levels = min(MOST_CHOSEN, int(math.log2(max(min(size), 16) / COARSEST)))
        return steps_of(max(least, levels), entry.dimension)
    left, mm = [float(side) for side in size], [float(one) for one in spacing]
    steps: list[tuple[int, ...]] = []
    while len(steps) < MOST_CHOSEN:
        step = tuple(
            2 if one <= UNEQUAL * min(mm) and side / 2 >= COARSEST else 1 for side, one in zip(left, mm, strict=True)
        )
        if max(step) == 1:
            break
        left = [side / by for side, by in zip(left, step, strict=True)]
        mm = [one * by for one, by in zip(mm, step, strict=True)]
        steps.append(step)
    fine = tuple(2 if one <= UNEQUAL * min(spacing) else 1 for one in spacing)
    return (*steps, *[fine] * (least - len(steps)))


def _step(one: Any, dimension: int) -> bool:
    good = isinstance(one, Sequence) and not isinstance(one, (str, bytes)) and len(one) == dimension
    return good and all(whole(number) and number in (1, 2) for number in one) and max(one) == 2


def seed_of(seed: Any) -> int:
    """A seed.

    Raises:
        InputError: Not a whole number from 0 to 2**32 - 1.
    """
    if not whole(seed) or not 0 <= seed < 2**32:
        raise InputError(f"`seed` is {seed!r}.", "a whole number from 0 to 4294967295.", "Use seed=0, for instance.")
    return int(seed)


def fits_study(entry: Entry, classes: Any) -> None:
    """Refuse a 2D network for a study of volumes, and the reverse.

    Raises:
        InputError: The study's dimension is not the network's.
    """
    dimension = getattr(classes, "dimension", None)
    if dimension in (2, 3) and dimension != entry.dimension:
        words = {2: "images (2D)", 3: "volumes (3D)"}
        twin = {"classifier": {2: 'classifier("resnet")', 3: 'classifier("resnet3d18")'}}.get(
            entry.kind, {2: "unet()", 3: "unet3d()"}
        )[dimension]
        raise InputError(
            f"The study holds {words[dimension]}; {entry.name} takes {words[entry.dimension]}.",
            f"a network for {words[dimension]}.",
            f"Use easydl.{twin.replace('()', '(...)')}.",
        )


def whole(value: Any) -> bool:
    """True for a whole number (a NumPy one as well), False for True and False."""
    import numpy as np

    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _checked(sides: Any, entry: Entry) -> tuple[int, ...]:
    good = isinstance(sides, Sequence) and not isinstance(sides, (str, bytes)) and len(sides) == entry.dimension
    if not good or not all(whole(side) and entry.smallest <= side <= LARGEST for side in sides):
        raise InputError(
            f"`size` is {sides!r}.",
            f"{entry.dimension} whole numbers from {entry.smallest} to {LARGEST} pixels for {entry.name}.",
            f"Use size={DEFAULT_SIDE[entry.dimension]}, for instance.",
        )
    return tuple(int(side) for side in sides)
