"""The command ``easydl``: the same names as in Python, a few lines each. All logic is in the functions they call."""

from __future__ import annotations

import sys
from typing import Any

import typer

from easydl.cli.commands import app
from easydl.errors import EasyDLError, Stopped

__all__ = ["app", "main"]


def main() -> None:
    """Run the command; whatever goes wrong becomes three plain lines and an exit code, never a traceback."""
    try:
        # Outside its standalone mode typer returns the code of typer.Exit instead of raising it.
        sys.exit(app(standalone_mode=False) or 0)
    except EasyDLError as problem:
        typer.echo(str(problem), err=True)
        sys.exit(1)
    except (typer.Abort, KeyboardInterrupt, Stopped):
        typer.echo("Stopped.", err=True)
        sys.exit(130)
    except Exception as problem:
        usage: Any = getattr(problem, "format_message", None)
        if usage is None:
            _unexpected(problem)
        typer.echo(f"{usage()}\nSee: easydl --help", err=True)
        sys.exit(2)


def _unexpected(problem: Exception) -> None:
    from easydl.workspace import Workspace

    log = Workspace().note_error(problem, f"easydl {' '.join(sys.argv[1:2])}")
    typer.echo(
        f"Something went wrong that easydl does not know ({type(problem).__name__}).\n"
        f"What to do: please report it with the file {log}.",
        err=True,
    )
    sys.exit(1)
