"""The errors a user meets, each in three parts, and the sentence every output carries. No logic of its own."""

from __future__ import annotations

RESEARCH_USE = (
    "Research use only. Not a medical device. Not for diagnosis or treatment decisions. "
    "Not cleared or approved by any regulator."
)


class EasyDLError(Exception):
    """Something the user can put right: what was found, what was expected, what to do.

    Args:
        found: What was found and where (file, row, value). Never a patient's name.
        expected: What was expected instead.
        do: The next step that puts it right.

    Attributes:
        problems: Every single problem, when there are more than the message shows.
    """

    problems: tuple[str, ...] = ()

    def __init__(self, found: str, expected: str, do: str) -> None:
        self.found, self.expected, self.do = found, expected, do
        super().__init__(f"{found}\nExpected: {expected}\nWhat to do: {do}")


class InputError(EasyDLError, ValueError):
    """A file, a table or an argument that cannot be used as it is."""


class LeakageError(EasyDLError):
    """Training or testing would be dishonest: a trap that blocks until it is removed or overridden in writing."""


class ModelError(EasyDLError):
    """A model that does not fit the study, or a model file that cannot be trusted or read."""


class WeightsError(EasyDLError):
    """Pretrained weights that are not here and cannot be fetched, or are not what they should be."""


class RunError(EasyDLError):
    """A run folder that cannot be used: busy, stopped half way, or not a run folder."""


class Stopped(Exception):
    """Somebody asked a run to stop. Not an error: what was finished until then is kept."""


class MissingPackageError(EasyDLError, ImportError):
    """An optional package is needed for what was asked."""


def missing_package(package: str, extra: str, purpose: str) -> MissingPackageError:
    """The error for an optional package that is not installed.

    The distribution is called ``easydl-med``; the name ``easydl`` on PyPI is somebody else's, so the advice
    names the package itself.
    """
    return MissingPackageError(
        f"{purpose} needs the package {package}, which is not installed.",
        f"{package} beside easydl (the optional extra [{extra}] of easydl-med).",
        f"Run: python -m pip install {package}",
    )
