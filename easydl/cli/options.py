"""Options become options of the command line. What they are called, mean and may be is written in `easydl.options`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, get_args

import typer
from pydantic.fields import FieldInfo

from easydl import option_text
from easydl.option_model import Options
from easydl.option_text import help_text, limits, none_text, title

LONGEST_HELP = 110
_NONE, _TEXT = "_is_none", "_as_text"


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of each parameter that is annotated with `Options`; it receives them checked.

    typer makes options of a function's signature, so the fields become parameters of it.
    """
    own = inspect.signature(command, eval_str=True)
    models = {name: one.annotation for name, one in own.parameters.items() if _is_options(one.annotation)}
    parameters = []
    for name, parameter in own.parameters.items():
        added = _parameters(models[name]) if name in models else [parameter]
        parameters += [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in added]

    @functools.wraps(command)
    def joined(**given: Any) -> None:
        checked = {name: model.checked(**_settings(model, given)) for name, model in models.items()}
        command(**checked, **given)

    parameters.sort(key=lambda one: one.default is not inspect.Parameter.empty)
    joined.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    joined.__annotations__ = {one.name: one.annotation for one in parameters}
    return joined


def _is_options(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Options)


def _parameters(model: type[Options]) -> Iterator[inspect.Parameter]:
    for name, option in model.model_fields.items():
        for suffix, annotation, default in _faces(name, option):
            yield inspect.Parameter(
                name + suffix, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
            )


def _faces(name: str, option: FieldInfo) -> Iterator[tuple[str, Any, Any]]:
    """An option's parameters: its own, and one more where None or a text has a flag of its own."""
    text, flag, form = _help(name, option), option_text.flag(name), option_text.form(option)
    repeated = f"{text} Repeat it for several."
    if option.is_required():
        yield "", Annotated[str, typer.Argument(help=text)], inspect.Parameter.empty
    elif form == "flag" and isinstance(option.default, bool):
        short = f"{title(name, option)}." if name in option_text.TEXT_FLAGS else text
        flags = f"{flag}/{option_text.none_flag(name)}" if option.default else flag
        yield "", Annotated[bool, typer.Option(flags, help=short)], option.default
    elif form in ("flag", "switch"):
        yield "", Annotated[bool | None, typer.Option(f"{flag}/{option_text.none_flag(name)}", help=text)], None
    elif form in ("named", "list"):
        yield "", Annotated[list[str] | None, typer.Option(flag, metavar=_metavar(option), help=repeated)], None
    elif form == "numbers":
        yield "", Annotated[option.annotation, typer.Option(flag, help=text)], option.default
    else:
        numbers = () if option_text.has_word(option) else (int, float)
        kind = next((one for one in numbers if one in option_text.members(option)), str)
        yield "", Annotated[kind | None, typer.Option(flag, metavar=_metavar(option), help=text)], None
    if name in option_text.TEXT_FLAGS:
        yield _TEXT, Annotated[str | None, typer.Option(option_text.TEXT_FLAGS[name], help=help_text(option))], None
    if option_text.allows_none(option):
        yield _NONE, Annotated[bool, typer.Option(option_text.none_flag(name), help=none_text(name, option))], False


def _settings(model: type[Options], given: dict[str, Any]) -> dict[str, Any]:
    """What was given for the options of a model; it is taken out of ``given``."""
    settings: dict[str, Any] = {}
    for name, option in model.model_fields.items():
        value, text = given.pop(name), given.pop(name + _TEXT, None)
        if given.pop(name + _NONE, False):
            settings[name] = None
        elif text is not None:
            settings[name] = text
        elif value is not None and value != []:
            settings[name] = option_text.parsed(name, option, value)
    return settings


def _metavar(option: FieldInfo) -> str | None:
    origins = {option_text.origin(one) for one in option_text.members(option)}
    if dict in origins:
        return "NAME[=VALUE,VALUE]" if list in origins else "NAME=VALUE[,VALUE]"
    if choices := option_text.choices(option):
        return "|".join(choices)
    if option_text.form(option) == "list":
        return "TEXT" if list in origins else "NUMBER"
    if option_text.has_word(option):
        word = next(get_args(one)[0] for one in option_text.members(option) if option_text.origin(one) is Literal)
        return f"NUMBER|{word}"
    return "NAME|LOW,HIGH" if tuple in origins and str in origins else None


def _help(name: str, option: FieldInfo) -> str:
    text = help_text(option, longest=LONGEST_HELP)
    low, high = limits(option)
    numbers = f" ({low} to {high})" if low is not None and high is not None else ""
    example = (
        f" For example: {' '.join(f'{option_text.flag(name)} {one}' for one in option.examples)}."
        if option.examples
        else ""
    )
    usual = option_text.form(option) in ("text", "switch") and option.default is not None and not option.is_required()
    default = f"  [default: {option.default}]" if usual else ""
    return f"{text.rstrip('.')}{numbers}.{example}{default}"
