"""The door: nothing behind it is reached without the token, by whatever way one comes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from easydl.workspace.door import CLOSED, Door

pytestmark = pytest.mark.quick
TOKEN = "right-token"
ROUTES = ("/", "/check", "/_stcore/health", "/_stcore/upload_file/a/b", "/media/1.png", "/static/x.js")


async def behind(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "in", "path": scope["path"]})


def ask(path: str = "/", query: str = "", cookie: str = "", *, kind: str = "http", method: str = "GET") -> list[Any]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": f"{kind}.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"cookie", cookie.encode())] if cookie else []
    scope = {
        "type": kind, "method": method, "path": path, "query_string": query.encode(), "headers": headers,
        "server": ("127.0.0.1", 8501),
    }  # fmt: skip
    asyncio.run(Door(behind, token=TOKEN)(scope, receive, send))
    return sent


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    ("query", "cookie"),
    [
        ("", ""),
        ("token=wrong", ""),
        ("token=", ""),
        ("Token=right-token", ""),
        ("", "easydl-8501=wrong"),
        ("", "easydl-8502=right-token"),
        ("", "other=right-token"),
        ("", "easydl-8501"),
        ("", ";;=,\x7f"),
        ("token=ä", "easydl-8501=ä"),
    ],
)
def test_without_the_token_every_route_is_one_sentence(path: str, method: str, query: str, cookie: str) -> None:
    answer = ask(path, query, cookie, method=method)
    assert [answer[0]["status"], CLOSED.encode() in answer[1]["body"]] == [403, True]
    assert ask(path, query, cookie, kind="websocket") == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("cookie", ["easydl-8501=right-token", "a=b; easydl-8501=right-token; c=d"])
def test_the_cookie_of_this_app_opens_everything(path: str, cookie: str) -> None:
    for way in ({}, {"method": "PUT"}, {"kind": "websocket"}):
        assert ask(path, cookie=cookie, **way) == [{"type": "in", "path": path}]


def test_the_first_page_gets_the_cookie_and_an_address_without_the_token() -> None:
    start = ask("/results", "study=0123&token=right-token&run=a+b")[0]
    headers = dict(start["headers"])
    assert start["status"] == 303
    assert headers[b"location"] == b"/results?study=0123&run=a+b"
    held = headers[b"set-cookie"].decode()
    assert held.startswith("easydl-8501=right-token;") and "HttpOnly" in held and "SameSite" in held
    assert ask("/results", "study=0123", held.split(";")[0]) == [{"type": "in", "path": "/results"}]
    elsewhere = dict(ask("//evil.example", "token=right-token")[0]["headers"])
    assert elsewhere[b"location"] == b"/evil.example", "never to another computer"


def test_what_is_no_page_is_answered_with_the_token_itself() -> None:
    assert ask("/_stcore/health", "token=right-token") == [{"type": "in", "path": "/_stcore/health"}]
    assert ask("/", "token=right-token", kind="websocket") == [{"type": "in", "path": "/"}]
