"""What a set of options can do: check itself, tell its changes, fill a docstring. The options are in `easydl.options`."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from easydl.errors import EasyDLError, RunError, unknown_name

Function = TypeVar("Function", bound=Callable[..., Any])
NUMBER_ERRORS = ("float", "int", "greater", "less")


class Options(BaseModel):
    """A set of options. Each field has its type, its default, its limits and one description."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def checked(cls, **settings: Any) -> Self:
        """The options with these settings.

        Raises:
            EasyDLError: A setting is unknown or not valid.
        """
        try:
            return cls(**settings)
        except ValidationError as problem:
            raise settings_error(problem, cls.model_fields) from problem

    @classmethod
    def changed(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What settings from a file say that is not the default; values that are not valid are left out."""
        changed = {}
        for name, option in cls.model_fields.items():
            if option.is_required():
                continue
            try:
                value = validator(option).validate_python(settings.get(name, option.default))
            except ValidationError:
                continue
            if value != option.default:
                changed[name] = value
        return changed

    def arguments(self, of: type[Options]) -> dict[str, Any]:
        """The settings that are keyword arguments of the function whose options these are."""
        return self.model_dump(include=set(of.model_fields))


def settings_error(problem: ValidationError, fields: Iterable[str] = ()) -> EasyDLError:
    """The first setting that is not valid, and what it may be."""
    errors = problem.errors()
    first, given = errors[0], errors[0].get("input")
    own = first.get("ctx", {}).get("error")
    if isinstance(own, EasyDLError):  # raised by a check of ours, within pydantic's
        return own
    where = str(first["loc"][0]) if first["loc"] else "settings"
    words = [word for one in errors for word in re.findall(r"'([^']*)'", one.get("ctx", {}).get("expected", ""))]
    found, do = f"The setting {where} is {given!r}.", f"Correct {where}."
    if words and first["type"].startswith(NUMBER_ERRORS):
        expected = f"{first['msg'][0].lower()}{first['msg'][1:]}, or {' or '.join(words)}."
        return RunError(found, expected.replace("input should", "it should"), do)
    if words:
        return unknown_name(found, given, words, do=do, kind=RunError)
    if first["type"] == "extra_forbidden":
        expected, found = "a setting of easydl.", f"There is no setting {where!r}."
        return unknown_name(found, where, fields, do=do, expected=expected, kind=RunError)
    return RunError(found, f"{first['msg'][0].lower()}{first['msg'][1:]}.", do)


def validator(option: FieldInfo) -> TypeAdapter[Any]:
    """What checks one option by itself."""
    checked: Any = Annotated[option.annotation, option]
    return TypeAdapter(checked)


def documented(options: type[Options]) -> Callable[[Function], Function]:
    """Fill the line ``{options}`` of a function's docstring with its parameters' descriptions.

    The function keeps its own signature, which editors read; a test compares it with the options.
    """

    def fill(function: Function) -> Function:
        placeholder = re.search(r"^( *)\{options\}$", function.__doc__ or "", re.MULTILINE)  # no docstring under -OO
        if placeholder:
            indent = placeholder[1]
            names = [name for name in inspect.signature(function).parameters if name in options.model_fields]
            lines = [
                textwrap.fill(
                    f"{name}: {options.model_fields[name].description}", 118, initial_indent=indent,
                    subsequent_indent=f"{indent}    ", break_long_words=False, break_on_hyphens=False,
                )
                for name in names
            ]  # fmt: skip
            function.__doc__ = str(function.__doc__).replace(placeholder[0], "\n".join(lines))
        return function

    return fill
