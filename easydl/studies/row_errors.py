"""Work on the rows of a table: the problems of all rows become one error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from easydl.errors import EasyDLError, InputError


def many(count: int, what: str) -> str:
    """A count with its noun: ``"1 row"``, ``"2 rows"``."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def problems(found: Sequence[str], total: int, expected: str, do: str, more: str = "") -> InputError:
    """One error for all bad rows of a table: five are shown, with the count; all are in its ``problems``."""
    shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
    error = InputError(f"{len(found)} of {total} rows cannot be used: {shown}.{more}", expected, do)
    error.problems = tuple(found)
    return error


def for_rows(work: Callable[[int], Any], rows: Iterable[int], total: int) -> list[Any]:
    """Do something for every row on two threads; all unreadable images are collected into one error.

    Raises:
        InputError: Images could not be read; five are named, with the count.
    """
    bad: list[str] = []
    advice: set[tuple[str, str]] = set()

    def attempt(row: int) -> Any:
        try:
            return work(row)
        except EasyDLError as problem:
            bad.append(f"row {row + 2}: {problem.found.rstrip('.')}")
            advice.add((problem.expected, problem.do))
            return None

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(attempt, rows))
    if bad:
        general = (
            "an image in every row that can be read whole.",
            "Export these images again, or leave their rows out with exclude= (--exclude).",
        )
        raise problems(bad, total, *(advice.pop() if len(advice) == 1 else general))
    return results
