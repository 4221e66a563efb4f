"""One widget for one option: label, help, limits and choices are those of `easydl.options`. It checks nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import streamlit as st
from pydantic.fields import FieldInfo

from easydl import option_text
from easydl.option_text import help_text, limits, none_text, title
from easydl.options import RunOptions

OPTIONS = RunOptions.model_fields
COLUMNS = ("mask", "patient", "split", "time", "group")
"""The options, beside lists, that name a column of the table."""
YES_NO = {"auto": "auto", True: "yes", False: "no"}
NONE = object()
"""What a form holds when the box for None is ticked."""
LEFT_TO_CODE = {
    "source": "it is the field of the path, or the upload",
    "column": "`split`, on the page Data, says the same",
    "name": "the study's name in the list is used",
}
"""The options that have no widget of their own, and why."""


def option_widget(name: str, place: Any = st, *, value: Any = None, columns: Sequence[str] = (), **shown: Any) -> Any:
    """The widget of an option.

    Args:
        name: The option.
        place: Where it goes, such as a column of the page.
        value: What it holds at first, as the option's value.
        columns: The columns of the table at hand.
        shown: What this page shows otherwise, such as ``choices`` or ``placeholder``; ``by_name`` for a number of each class.

    Returns:
        What the person chose, for `chosen`.
    """
    option = OPTIONS[name]
    form, types = option_text.form(option), [option_text.origin(one) for one in option_text.members(option)]
    shown = {"label": title(name, option), "help": help_text(option)} | shown
    held = [] if value is None or value == option.default else option_text.texts(option, value)
    choices = shown.pop("choices", None) or option_text.choices(option) or (list(YES_NO) if form == "switch" else None)
    if form == "flag":
        return place.checkbox(value=bool(option.default if value is None else value), **shown)
    if choices and form != "list":
        shown = {"format_func": lambda choice: YES_NO.get(choice, choice)} | shown
        return place.selectbox(options=choices, index=position(choices, value), **shown)
    by_name = shown.pop("by_name", False)
    word = option_text.has_word(option)
    if (int in types or float in types) and not (by_name or word):
        value = None if isinstance(value, dict) else value  # of another study, with more classes
        return _number(option, place, value, shown)
    nothing = "found by name" if "Found by name" in shown["help"] else "not given"
    shown = {"placeholder": "chosen from the images" if tuple in types or word else option.default or nothing} | shown
    if tuple in types:
        return place.text_input(value=", ".join(held), **shown | {"placeholder": _usual(option)})
    if form in ("list", "named"):
        options = list(choices or dict.fromkeys([*held, *columns]))
        shown |= {"placeholder": f"such as {option.examples[-1]}"} if by_name and option.examples else {}
        kept = [one for one in held if one in options]
        return place.multiselect(options=options, default=kept, accept_new_options=choices is None, **shown)
    if name in COLUMNS:
        options = list(dict.fromkeys([*held, *columns]))
        index = options.index(held[0]) if held else None
        return place.selectbox(options=options, index=index, accept_new_options=True, **shown)
    return place.text_input(value="".join(held), **shown)


def _number(option: FieldInfo, place: Any, value: Any, shown: Mapping[str, Any]) -> Any:
    integer = int in option_text.members(option)
    low, high = (None if end is None else int(end) if integer else float(end) for end in limits(option))
    steps = {} if integer else {"step": 0.0001, "format": "%.5f"}
    # What the images do not settle has a limit or a price that only a person can name.
    unset = "not given" if {"guarantee", "cost"} & set(title("", option).lower().split()) else "chosen from the images"
    shown = {"placeholder": unset, **steps, **shown}
    return place.number_input(min_value=low, max_value=high, value=option.default if value is None else value, **shown)


def _usual(option: FieldInfo) -> str:
    return ", ".join(map(str, option.default)) if isinstance(option.default, tuple) else "chosen from the images"


def none_widget(name: str, place: Any = st, *, value: Any = "") -> bool:
    """The box for None, where that is a choice of its own."""
    return place.checkbox(
        none_text(name, OPTIONS[name]).rstrip("."), value=value is None, help=help_text(OPTIONS[name])
    )


def widgets(names: Iterable[str], values: Mapping[str, Any], *, columns: Sequence[str] = ()) -> dict[str, Any]:
    """The widgets of several options in two columns, the boxes below."""
    given: dict[str, Any] = {}
    flags = [name for name in names if option_text.form(OPTIONS[name]) == "flag"]
    places = st.columns(2)
    for number, name in enumerate(name for name in names if name not in flags):
        given[name] = option_widget(name, places[number % 2], value=values.get(name), columns=columns)
    for name in names:
        if name in flags:
            given[name] = option_widget(name, value=values.get(name))
        elif option_text.allows_none(OPTIONS[name]) and none_widget(name, value=values.get(name, "")):
            given[name] = NONE
    return given


def chosen(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the options that a form holds.

    Raises:
        InputError: A field holds what cannot be read.
    """
    return {
        name: None if value is NONE else option_text.parsed(name, OPTIONS[name], value) for name, value in given.items()
    }


def position(choices: Sequence[Any], value: Any) -> int:
    """Where a value stands among the choices, or the first."""
    return next((place for place, one in enumerate(choices) if one == value and type(one) is type(value)), 0)
