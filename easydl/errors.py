"""The errors a user sees, each in three parts, and the sentence that every output carries."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import TypeVar

RESEARCH_USE = (
    "Research use only. Not a medical device. Not for diagnosis or treatment decisions. "
    "Not cleared or approved by any regulator."
)

MOST_FRAMES = 60
"""Of a traceback, the innermost: a recursion without end has a thousand."""


class EasyDLError(Exception):
    """Something the user can correct: what was found, what was expected, what to do.

    Args:
        found: What was found and where (file, row, value). Never a patient's name.
        expected: What was expected instead.
        do: The next step that corrects it.

    Attributes:
        problems: All problems, when there are more than the message shows.
    """

    problems: tuple[str, ...] = ()

    def __init__(self, found: str, expected: str, do: str) -> None:
        self.found, self.expected, self.do = found, expected, do
        super().__init__(f"{found}\nExpected: {expected}\nWhat to do: {do}")

    def __reduce__(self) -> tuple[type[EasyDLError], tuple[str, str, str], dict[str, object]]:
        # Of three arguments, where exceptions are rebuilt from their message: another process would die of it.
        return type(self), (self.found, self.expected, self.do), self.__dict__

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of sixty lines of traceback; a debugger and ``raise`` elsewhere are as ever."""
        return str(self).splitlines()


class InputError(EasyDLError, ValueError):
    """A file, a table or an argument that cannot be used as it is."""


class LeakageError(EasyDLError):
    """A trap would make the test result wrong: it blocks until it is removed or overridden in writing."""


class ModelError(EasyDLError):
    """A model that does not fit the study, or a model file that cannot be trusted or read."""


class WeightsError(EasyDLError):
    """Pretrained weights that are not cached and cannot be downloaded, or whose hash is wrong."""


class RunError(EasyDLError):
    """A run folder that cannot be used: busy, incomplete, or not a run folder."""


class DiskFullError(RunError, OSError):
    """A disk without room for a file that has to be written."""


class Stopped(Exception):
    """A run was stopped on request. Not an error: what was finished is kept."""


Kind = TypeVar("Kind", bound=EasyDLError)


def did_you_mean(given: object, choices: Iterable[object]) -> str:
    """``'Did you mean "mobilenet"? '`` for what is nearly one of the choices, or a part of it; otherwise nothing."""
    word = str(given).strip().casefold()
    likeness = {}
    for name in map(str, choices):
        other = name.casefold()
        part = 0.3 if len(word) >= 3 and word in other else 0.0  # "xray" is meant for chest_xray
        likeness[name] = SequenceMatcher(None, word, other).ratio() + part
    least = max(0.6, max(likeness.values(), default=0.0) - 0.09)
    near = sorted((name for name, like in likeness.items() if like >= least), key=lambda name: -likeness[name])[:2]
    return f"Did you mean {' or '.join(map(_quoted, near))}? " if near else ""


def unknown_name(
    found: str,
    given: object,
    choices: Iterable[object],
    *,
    do: str = "Choose one of them.",
    expected: str = "one of {}.",
    kind: type[Kind] = InputError,  # type: ignore[assignment]
) -> Kind:
    """The error for a name that is none of the choices, with the one that was probably meant."""
    names = list(choices)
    listed = ", ".join(str(name) for name in names)
    return kind(found, expected.replace("{}", listed), did_you_mean(given, names) + do)


def _quoted(text: str) -> str:
    return f'"{text}"'


class MissingPackageError(EasyDLError, ImportError):
    """An optional package is needed and not installed."""


def missing_package(package: str, extra: str, purpose: str) -> MissingPackageError:
    """The error for an optional package, or several with spaces between; ``easydl`` on PyPI is another project's."""
    *others, last = package.split()
    names = f"packages {', '.join(others)} and {last}, which are" if others else f"package {package}, which is"
    return MissingPackageError(
        f"{purpose} needs the {names} not installed.",
        f"{package} in the same environment (the optional extra [{extra}] of easydl-med).",
        f"Run: python -m pip install {package}",
    )


def frames_of(error: BaseException) -> str:
    """Where an error arose, for a log: types, files and lines, and our own sentences.

    The messages of other libraries are left out: they quote values, and those of a header name the patient.
    """
    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in chain:
        chain.append(one)
        one = one.__cause__ or one.__context__
    lines = []
    for one in reversed(chain):
        lines.append("Traceback (most recent call last):")
        frames = traceback.extract_tb(one.__traceback__, limit=-MOST_FRAMES)
        lines += [f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}' for frame in frames]
        said = str(one) if isinstance(one, EasyDLError) else "(its message is not kept: it may hold values of a file)"
        lines.append(f"{type(one).__module__}.{type(one).__qualname__}: {said}")
    return "\n".join(lines) + "\n"
