"""Options as text and back: how a command line, a report and a text field write a value. It checks no limits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from easydl.errors import InputError
from easydl.option_model import validator

Form = Literal["flag", "switch", "named", "list", "numbers", "text"]

NONE_FLAGS = {"patient": "--no-patients"}
"""How None is said where it is not the default and ``--no-NAME`` would be misread."""
TEXT_FLAGS = {"pretrained": "--weights"}
"""How a text is given to an option whose own flag is yes or no."""


def members(option: FieldInfo) -> list[Any]:
    """The types that an option may have, None left out."""
    annotation = option.annotation
    union = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    bare = (get_args(member)[0] if get_origin(member) is Annotated else member for member in union)
    return [member for member in bare if member is not type(None)]


def origin(annotation: Any) -> Any:
    """``list`` of ``list[str]``; a plain type as it is."""
    return get_origin(annotation) or annotation


def form(option: FieldInfo) -> Form:
    """How an option is written: once, several times, as ``NAME=VALUE``, or as a flag."""
    types = members(option)
    origins = {origin(one) for one in types}
    if dict in origins:
        return "named"
    if list in origins or any(get_origin(one) is tuple and get_args(one)[-1] is Ellipsis for one in types):
        return "list"
    if bool in origins:
        return "switch" if Literal in origins else "flag"
    return "numbers" if tuple in origins and str not in origins else "text"


def has_word(option: FieldInfo) -> bool:
    """Whether an option takes a number or a word."""
    origins = {origin(one) for one in members(option)}
    return Literal in origins and bool(origins & {int, float}) and dict not in origins


def choices(option: FieldInfo) -> list[str]:
    """The words among which an option chooses; empty when it takes any text."""
    types = members(option)
    return [word for one in types for word in get_args(one)] if all(get_origin(one) is Literal for one in types) else []


def allows_none(option: FieldInfo) -> bool:
    """Whether None is a choice of its own and not the default."""
    return option.default is not None and type(None) in get_args(option.annotation)


def flag(name: str) -> str:
    """``batch_size`` as ``--batch-size``."""
    return f"--{name.replace('_', '-')}"


def none_flag(name: str) -> str:
    """The flag that says None."""
    return NONE_FLAGS.get(name, f"--no-{name.replace('_', '-')}")


def texts(option: FieldInfo, value: Any) -> list[str]:
    """A value as texts, one for each time that its option is repeated."""
    if isinstance(value, dict):
        return [f"{name}={','.join(map(str, _listed(one)))}" for name, one in value.items()]
    if isinstance(value, tuple) and form(option) == "text":
        return [",".join(map(str, value))]
    return [str(one) for one in _listed(value)]


def limits(option: FieldInfo) -> tuple[float | None, float | None]:
    """The lowest and highest value of a numeric option; None where there is none."""
    # Beside a word, as in ``0.001 | "find"``, the limits stand at the number itself.
    fields = [
        extra for one in get_args(option.annotation) if get_origin(one) is Annotated for extra in get_args(one)[1:]
    ]
    known = [*option.metadata, *(limit for one in fields for limit in one.metadata)]
    ends = {name: getattr(one, name) for one in known for name in ("ge", "gt", "le", "lt") if hasattr(one, name)}
    return ends.get("ge", ends.get("gt")), ends.get("le", ends.get("lt"))


def title(name: str, option: FieldInfo) -> str:
    """What a form calls an option."""
    return option.title or name.replace("_", " ").capitalize()


def none_text(name: str, option: FieldInfo) -> str:
    """What None means, where it is a choice beside the default: the sentence of the description that says so."""
    sentences = help_text(option).split(". ")
    meaning = next((sentence for sentence in sentences if sentence.startswith("None ")), f"no {name.replace('_', ' ')}")
    meaning = meaning.removeprefix("None says that ").rstrip(".")
    return f"{meaning[0].upper()}{meaning[1:]}."


def help_text(option: FieldInfo, *, longest: int | None = None) -> str:
    """An option's description without markup, shortened to its first sentence where it is longer than ``longest``."""
    text = str(option.description).replace("``", "")
    return re.split(r"(?<=\.)\s", text)[0] if longest and len(text) > longest else text


def words(name: str, option: FieldInfo, value: Any) -> list[str]:
    """A value as words of a command."""
    if value is None or value is False:
        return [none_flag(name)]
    if value is True:
        return [flag(name)]
    if form(option) == "numbers":
        return [flag(name), *texts(option, value)]
    called = TEXT_FLAGS.get(name, flag(name))
    return [word for text in texts(option, value) for word in (called, text)]


def parsed(name: str, option: FieldInfo, given: Any) -> Any:
    """The value of what a command line or a form holds: nothing, a text, several texts, or a value already."""
    if given is None or given == "" or (isinstance(given, (list, tuple)) and not given):
        return option.default
    if isinstance(given, str):
        several = form(option) in ("numbers", "list", "named")
        return value_of(name, option, [part.strip() for part in given.split(",")] if several else [given])
    return value_of(name, option, [str(one) for one in given]) if isinstance(given, (list, tuple)) else given


def value_of(name: str, option: FieldInfo, given: Sequence[str]) -> Any:
    """The value that texts mean, one for each time that the option was repeated.

    Raises:
        InputError: A ``NAME=VALUE`` lacks its name or its value, or the value is of another type.
    """
    origins = {origin(one) for one in members(option)}
    if float in origins and dict in origins and len(given) == 1 and _is_number(given[0]):
        return _number(given[0])
    if (
        dict in origins
        and list(given) != [option.default]
        and (list not in origins or any("=" in text for text in given))
    ):
        return _named(name, option, given)
    if form(option) in ("named", "list"):
        return given[0] if str in origins and len(given) == 1 else list(given)
    if form(option) == "numbers":
        return tuple(given)
    pair = given[0].split(",")
    return tuple(map(_number, pair)) if tuple in origins and all(map(_is_number, pair)) and pair[1:] else given[0]


def _named(name: str, option: FieldInfo, given: Sequence[str]) -> dict[str, Any]:
    """``["tumour=1,4"]`` as ``{"tumour": [1, 4]}``; a name that comes twice has the values of both."""
    collected: dict[str, list[str]] = {}
    for text in given:
        # Where the values are text a value may hold an equals sign; where they are numbers, a name may.
        key, _, values = text.partition("=") if "str" in str(_values_type(option)) else text.rpartition("=")
        listed = collected.setdefault(key.strip(), [])
        listed += [value.strip() for value in values.split(",")]
        single = {key: _number(one[0]) for key, one in collected.items() if len(one) == 1 and _is_number(one[0])}
        try:
            named = validator(option).validate_python({**collected, **single})
        except ValidationError:
            named = None
        if named is None or not key.strip() or not all(listed):
            raise InputError(
                f"{text!r} is not a valid value of the option {name.replace('_', '-')}.",
                f"a name and its value or values, such as {option.examples[-1] if option.examples else 'NAME=VALUE'}.",
                f"Write for example: {' '.join(f'{flag(name)} {one}' for one in option.examples or ())}",
            )
    return named or {}


def _values_type(option: FieldInfo) -> Any:
    return next(get_args(one)[1] for one in members(option) if get_origin(one) is dict)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(text: str) -> int | float:
    return float(text) if set(text) - set("+-0123456789") else int(text)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
