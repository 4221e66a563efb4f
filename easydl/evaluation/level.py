"""The level of the intervals: 95%, or more where one test part has been looked at several times. It makes no interval."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LEVEL = 0.95
_level: ContextVar[float] = ContextVar("level", default=LEVEL)


def level() -> float:
    """The level of every interval that is made now: `LEVEL`, or more within `over_looks`."""
    return _level.get()


@contextmanager
def over_looks(looks: int) -> Iterator[None]:
    """Make intervals that hold at `LEVEL` for all of several looks at one test part together (Bonferroni).

    Args:
        looks: How often the part has been looked at, this time included; 1 changes nothing.

    Example:
        >>> with over_looks(2):
        ...     round(level(), 4)
        0.975

    References:
        Dunn OJ. Multiple comparisons among means. J Am Stat Assoc 1961;56:52-64.
    """
    token = _level.set(1 - (1 - LEVEL) / max(1, looks))
    try:
        yield
    finally:
        _level.reset(token)
