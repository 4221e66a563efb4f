"""What the builders accept: a study's summary, class names, channels, sizes, seeds. It builds nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from easydl.errors import InputError, unknown_name
from easydl.networks.metadata import Covariate, Head
from easydl.networks.registry import Entry
from easydl.studies.summary import StudySummary
from easydl.tasks import CLASSIFIER_TASKS, Task

MOST_CLASSES, LARGEST = 1000, 4096
DEFAULT_SIDE = {2: 128, 3: 48}
# Pretrained filters know photographs of 224 pixels. Smaller images are enlarged no more than twice, but to at least 96.
PRETRAINED_SIDE, LEAST_PRETRAINED = 224, 96
MOST_HEADS, MOST_COVARIATES, MOST_CATEGORIES = 20, 100, 100

# Lowest, highest, step, and what to do instead.
INTEGERS = {
    "channels": (1, 64, 1, "Use 1 for grey images, 3 for colour, or the number of series that are stacked."),
    "width": (4, 64, 4, "Use width=16; fewer filters make a faster and simpler network."),
    "seed": (0, 2**32 - 1, 1, "Use seed=0, for instance."),
}


@dataclass(frozen=True)
class Outputs:
    """What a network is to predict: one task with its class names, or several heads."""

    task: Task
    classes: tuple[str, ...]
    heads: dict[str, Head]


def summary_of(study: Any) -> StudySummary | None:
    """The summary of a study, or one that was given as it is.

    Raises:
        InputError: It is neither.
    """
    summary = getattr(study, "summary", study)
    if summary is None or isinstance(summary, StudySummary):
        return summary
    raise InputError(
        f"`study` is {study!r:.100}.",
        "a study from easydl.load, or its summary.",
        "Give the names of classes as classes=[...].",
    )


def integer(name: str, value: Any) -> int:
    """An argument of the table `INTEGERS`.

    Raises:
        InputError: It is not an integer, or out of its range.
    """
    least, most, step, do = INTEGERS[name]
    if not is_integer(value) or not least <= value <= most or value % step:
        kind = "an integer" if step == 1 else f"a multiple of {step}"
        raise InputError(f"`{name}` is {value!r}.", f"{kind} from {least} to {most}.", do)
    return int(value)


def is_integer(value: Any) -> bool:
    """True for an integer (a NumPy one as well), False for True and False."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_list(value: Any) -> bool:
    """True for a sequence that is not text."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def class_names(classes: Any, task: Task) -> tuple[str, ...]:
    """Class names from a number or a sequence of names; ``class 0``, ``class 1``... when only a number is known.

    Raises:
        InputError: Too few or too many, a name that is empty or given twice, or not a sequence.

    Example:
        >>> class_names(3, Task.SEGMENTATION)
        ('background', 'class 1', 'class 2')
    """
    if classes is None:
        classes = 1 if task.is_value else 2
    if not is_integer(classes) and not is_list(classes):
        raise InputError(
            f"`classes` is {classes!r}.", "an integer or a list of names.", "Give classes=study.classes, or classes=2."
        )
    count = int(classes) if is_integer(classes) else len(classes)
    if not task.fewest_classes <= count <= MOST_CLASSES:
        yes_or_no = "A yes/no task has two classes: one for yes and one for no."
        raise InputError(
            f"`classes` gives {count} class(es).",
            f"{task.fewest_classes} to {MOST_CLASSES} for {task}.",
            yes_or_no if task.fewest_classes == 2 else "Name what is wanted.",
        )
    if is_integer(classes):
        first = "background" if task.has_masks else "class 0"
        return (first, *(f"class {number}" for number in range(1, count)))
    names = tuple(str(name) for name in classes)
    if any(not name.strip() for name in names) or len(set(names)) < len(names):
        raise InputError(
            f"The class names {', '.join(map(repr, names[:5]))} hold an empty or a repeated name.",
            "a different name for every class.",
            "Correct the labels.",
        )
    return names


def head_classes(heads: Any) -> dict[str, Head]:
    """What each head of a network with several tasks predicts.

    Raises:
        InputError: Not a dict of classes, no or too many heads, or two names that Keras would call the same.
    """
    if not isinstance(heads, Mapping) or not 1 <= len(heads) <= MOST_HEADS:
        raise InputError(
            f"`heads` is {heads!r:.100}.",
            f"a dict with 1 to {MOST_HEADS} tasks and their classes.",
            'Give heads={"cancer": ["no", "yes"], "density": 4}, for instance.',
        )
    out: dict[str, Head] = {}
    for name, classes in heads.items():
        if not isinstance(name, str) or not re.search(r"[A-Za-z0-9]", name):
            raise InputError(f"A head is called {name!r}.", "a name with a letter or number.", "Rename it.")
        if is_integer(classes) and classes == 1:
            out[name] = Head(task=Task.REGRESSION, classes=(name,))
        else:
            out[name] = Head(task=Task.CLASSIFICATION, classes=class_names(classes, Task.CLASSIFICATION))
    if len({layer_name(name) for name in out}) < len(out):
        raise InputError(
            f"Two of the heads {', '.join(out)} differ only in signs.", "names that differ in letters.", "Rename one."
        )
    return out


def layer_name(name: str) -> str:
    """A head's name as the start of a layer's name: letters, numbers and underscores."""
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower()


def classifier_outputs(summary: StudySummary | None, task: Any, classes: Any, heads: Any) -> Outputs:
    """What a classifier predicts: as given, else as the study says, else two classes.

    Raises:
        InputError: Arguments that contradict each other or the study, or a task of another builder.
    """
    if heads is not None and (task not in (None, Task.MULTITASK) or classes is not None):
        other = "`classes`" if classes is not None else f"task={task!r}"
        raise InputError(
            f"`heads` was given together with {other}.",
            "either `heads`, or `classes` and `task`.",
            "Give the classes of each head in `heads`.",
        )
    if heads is not None:
        task = Task.MULTITASK
    elif task is None:
        task = summary.task if summary else Task.CLASSIFICATION
    if heads is None and summary:
        heads = summary.heads or None
    if task not in CLASSIFIER_TASKS and (task != Task.MULTITASK or heads is None):
        raise InputError(
            f"`task` is {str(task)!r}.",
            f"one of {', '.join(CLASSIFIER_TASKS)}.",
            "For segmentation, build easydl.unet or easydl.unet3d; for several tasks, give `heads`.",
        )
    task = Task(task)
    if summary and summary.task != task:
        raise _contradiction("task", task, summary.task)
    if not task.is_multiple:
        return Outputs(task, study_classes(summary, classes, task), {})
    if classes is not None:
        raise _contradiction("classes", classes, "the classes of each head")
    given = head_classes(heads)
    known = head_classes(summary.heads) if summary else given
    if _outputs_of(given) != _outputs_of(known):
        raise _contradiction("heads", ", ".join(given), ", ".join(known))
    return Outputs(task, tuple(given), given)


def _outputs_of(heads: Mapping[str, Head]) -> dict[str, set[str]]:
    return {name: set(head.classes) for name, head in heads.items()}


def study_classes(summary: StudySummary | None, classes: Any, task: Task) -> tuple[str, ...]:
    """Class names as given, in any order; else those of the study.

    Raises:
        InputError: As for `class_names`, or other classes than the study's.
    """
    if summary is None:
        return class_names(classes, task)
    if classes is None or (is_integer(classes) and classes == len(summary.classes)):
        classes = summary.classes
    names = class_names(classes, task)
    if set(names) != set(summary.classes):
        raise _contradiction("classes", ", ".join(names), ", ".join(summary.classes))
    return names


def _contradiction(argument: str, given: Any, known: Any) -> InputError:
    return InputError(
        f"`{argument}` is {given}; the study says {known}.",
        f"`{argument}` as in the study.",
        f"Leave `{argument}` out, or load the study as it is meant.",
    )


def covariate_columns(covariates: Any, summary: StudySummary | None) -> tuple[Covariate, ...]:
    """The covariates that a network takes, with their categories (from the study, or a dict) or None for numbers.

    Raises:
        InputError: Neither a list nor a dict, a name twice, an unknown column, or too many categories.
    """
    if not covariates:
        return ()
    if isinstance(covariates, Mapping):
        columns = dict(covariates)
    elif is_list(covariates):
        columns = _looked_up(covariates, summary)
    else:
        raise InputError(
            f"`covariates` is {covariates!r:.100}.",
            "a list of columns, or a dict from column to its categories.",
            'Give covariates=["age", "sex"], for instance.',
        )
    if len(columns) > MOST_COVARIATES:
        raise InputError(
            f"`covariates` names {len(columns)} columns.", f"at most {MOST_COVARIATES}.", "Choose those that matter."
        )
    return tuple(_covariate(name, categories) for name, categories in columns.items())


def _looked_up(covariates: Sequence[Any], summary: StudySummary | None) -> dict[Any, Any]:
    known = summary.covariates if summary else None
    unknown = [name for name in covariates if known is not None and name not in known]
    if unknown:
        raise unknown_name(
            f"`covariates` names {unknown[0]!r}, which is not a usable column of the study.",
            unknown[0],
            known or (),
            do="Correct the name, or leave it out.",
            expected="columns with numbers or with few categories: {}.",
        )
    if len(set(covariates)) < len(covariates):
        raise InputError("`covariates` names a column twice.", "each column once.", "Leave one out.")
    return {name: (known or {}).get(name) for name in covariates}


def _covariate(name: Any, categories: Any) -> Covariate:
    good = categories is None or (
        is_list(categories)
        and 2 <= len(categories) <= MOST_CATEGORIES
        and len({str(category) for category in categories}) == len(categories)
    )
    if not isinstance(name, str) or not name.strip() or not good:
        raise InputError(
            f"The covariate {name!r} has the categories {categories!r:.100}.",
            f"None for a number, or a list of 2 to {MOST_CATEGORIES} different categories.",
            'Give {"age": None, "sex": ["F", "M"]}, for instance.',
        )
    return Covariate(name=name, categories=None if categories is None else tuple(map(str, categories)))


def channel_count(channels: Any, summary: StudySummary | None) -> int:
    """Channels of the input: as given, else those of the study, else 1."""
    return integer("channels", (summary.channels if summary else 1) if channels is None else channels)


HEADS = ("linear", "forest")


def head_kind(head: Any) -> str:
    """What stands between features and logits."""
    if head not in HEADS:
        raise unknown_name(f"`head` is {head!r}.", head, HEADS)
    return str(head)


def image_size(size: Any, summary: StudySummary | None, entry: Entry, *, pretrained: bool = False) -> tuple[int, ...]:
    """The spatial size of a classifier's input: as given, else by the study's images, at most 128 (48 in 3D).

    With pretrained weights for images it is the size of photographs that the filters know, 224.

    Raises:
        InputError: The wrong number of sides, or one too small or too large.
    """
    if size is not None:
        return _checked((size,) * entry.dimension if is_integer(size) else size, entry)
    pretrained = pretrained and entry.dimension == 2
    default = PRETRAINED_SIDE if pretrained else DEFAULT_SIDE[entry.dimension]
    known = summary.image_size if summary else None
    if not known or len(known) != entry.dimension:
        return _checked((default,) * entry.dimension, entry)
    # One square of the longest side: nothing is cropped, small images are not blown up (but for trained filters).
    least = max(entry.smallest, LEAST_PRETRAINED if pretrained else 0)
    longest = [max(known) * (2 if pretrained else 1)] * 2 if entry.dimension == 2 else list(known)
    return _checked(tuple(max(least, min(default, int(side))) for side in longest), entry)


def grid_size(size: Any, entry: Entry, multiples: Sequence[int] | None = None) -> tuple[int | None, ...]:
    """The spatial size of a segmenter's input: None for any, or one fixed size, a multiple of ``multiples``.

    Raises:
        InputError: The wrong number of sides, or one that is not such a multiple.
    """
    if size is None:
        return (None,) * entry.dimension
    steps = multiples or (entry.multiple,) * entry.dimension
    sides = _checked((size,) * entry.dimension if is_integer(size) else size, entry)
    if any(side % step for side, step in zip(sides, steps, strict=True)):
        better = " x ".join(str(-(-side // step) * step) for side, step in zip(sides, steps, strict=True))
        multiple = str(steps[0]) if len(set(steps)) == 1 else " x ".join(map(str, steps))
        raise InputError(
            f"`size` is {' x '.join(map(str, sides))}.",
            f"sides that are multiples of {multiple} for {entry.name}.",
            f"Use {better}, or size=None for a network that takes any such size.",
        )
    return sides


def _checked(sides: Any, entry: Entry) -> tuple[int, ...]:
    good = is_list(sides) and len(sides) == entry.dimension
    if not good or not all(is_integer(side) and entry.smallest <= side <= LARGEST for side in sides):
        raise InputError(
            f"`size` is {sides!r}.",
            f"{entry.dimension} integers from {entry.smallest} to {LARGEST} pixels for {entry.name}.",
            f"Use size={DEFAULT_SIDE[entry.dimension]}, for instance.",
        )
    return tuple(int(side) for side in sides)


def fits_study(entry: Entry, summary: StudySummary | None) -> None:
    """Refuse a 2D network for a study of volumes, and the reverse.

    Raises:
        InputError: The study's dimension is not the network's.
    """
    if summary is None or summary.dimension == entry.dimension:
        return
    kinds = {2: "images (2D)", 3: "volumes (3D)"}
    instead = {
        "classifier": {2: 'classifier("resnet", ...)', 3: 'classifier("resnet3d18", ...)'},
        "segmenter": {2: "unet(...)", 3: "unet3d(...)"},
        "image_to_image": {2: 'image_to_image("denoising_unet", ...)', 3: 'image_to_image("denoising_unet3d", ...)'},
    }
    raise InputError(
        f"The study holds {kinds[summary.dimension]}; {entry.name} takes {kinds[entry.dimension]}.",
        f"a network for {kinds[summary.dimension]}.",
        f"Use easydl.{instead[entry.kind][summary.dimension]}.",
    )
