"""Choose or drop files or a folder: they go to the disk one by one, with a bar, and the page goes on answering.

Streamlit's own uploader draws every file again for every file that arrives: with 1,200 the page stands still for minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import streamlit as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from easydl.errors import EasyDLError
from easydl.workspace import Workspace
from easydl.workspace.incoming import MARK

ADDRESS = "/easydl/arriving"
_PARTS = Path(__file__).parent / "arriving_files"


async def arrive(request: Request) -> Response:
    """Take one file of a batch."""
    if MARK not in request.headers:
        return PlainTextResponse("This is no upload of the app's own page.", 403)
    try:
        number = int(request.path_params["number"])
        await Workspace().incoming.receive(request.path_params["batch"], number, request.stream())
    except EasyDLError as problem:
        return PlainTextResponse(f"{problem.found} {problem.do}", 400)
    except OSError as problem:
        return PlainTextResponse(f"The file could not be kept ({problem.strerror}).", 507)
    return PlainTextResponse("kept")


ROUTES = [Route(ADDRESS + "/{batch}/{number:int}", arrive, methods=["PUT"])]


def files_place(key: str, label: str, *, folder: bool = False) -> dict[str, Any] | None:
    """The place to choose or drop files, or a folder with all that is in it.

    Returns:
        Once they have arrived: the ``batch`` and their ``names``, as the browser says them.
    """
    st.markdown(label)
    show: Callable[..., Any] = st.components.v2.component(
        "easydl_files",
        html=(_PARTS / "place.html").read_text(encoding="utf-8"),
        css=(_PARTS / "place.css").read_text(encoding="utf-8"),
        js=(_PARTS / "place.js").read_text(encoding="utf-8"),
    )
    given = show(key=key, data={"address": ADDRESS, "folder": folder}, on_arrived_change=lambda: None)
    arrived = getattr(given, "arrived", None)
    return dict(arrived) if arrived else None


@contextmanager
def arrived_files(arrived: dict[str, Any]) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """The files that have arrived, one by one with their names; afterwards they are gone."""
    incoming = Workspace().incoming
    try:
        yield incoming.files(arrived["batch"], arrived["names"])
    finally:
        incoming.drop(arrived["batch"])
