"""The door of the app: who has the token of its address comes in, everybody else gets one sentence. Plain ASGI."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

TOKEN = "token"
"""The part of the address that holds it."""
CLOSED = (
    "This page opens only with the whole address that easydl printed when it was started, with its token: copy it from "
    "the terminal, or start the app again."
)
_NOT_ALLOWED = 1008  # of RFC 6455; before a socket is accepted, the server answers 403
_ENTRANCE = "/_stcore/"  # what lies there is fetched by the page itself, which needs no clean address


class Door:
    """ASGI middleware before every route of the app: pages, sockets, uploads, downloads.

    The first page asked for with the token gets a cookie of this browser session and its address without the token, so
    that it stands in no history and in no screenshot.

    Args:
        app: What lies behind the door.
        token: What the address holds; a new one at each start.
    """

    def __init__(self, app: App, *, token: str) -> None:
        self.app, self._token = app, token.encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Let in or turn away."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        fields = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        fits = any(name == TOKEN and self._is(value) for name, value in fields)
        page = scope["type"] == "http" and scope["method"] == "GET" and not scope["path"].startswith(_ENTRANCE)
        if fits and page:
            rest = urlencode([(name, value) for name, value in fields if name != TOKEN])
            # One slash: two would name another computer.
            address = "/" + scope["path"].lstrip("/\\") + (f"?{rest}" if rest else "")
            # No port is part of a cookie's place, so the name tells two apps apart. Lax: a link in a mail opens it.
            cookie = f"{self._cookie(scope)}={self._token.decode()}; Path=/; HttpOnly; SameSite=Lax"
            headers = [(b"location", address.encode("latin-1", "ignore")), (b"set-cookie", cookie.encode())]
            await _answer(send, 303, headers, "")
        elif fits or self._known(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": _NOT_ALLOWED})
        else:
            await _answer(send, 403, [], f"<!doctype html><title>easydl</title><p>{CLOSED}</p>")

    def _is(self, value: str) -> bool:
        return hmac.compare_digest(value.encode(), self._token)

    def _known(self, scope: Message) -> bool:
        for name, value in scope["headers"]:
            if name == b"cookie":
                try:
                    held = SimpleCookie(value.decode("latin-1")).get(self._cookie(scope))
                except CookieError:
                    continue
                if held is not None and self._is(held.value):
                    return True
        return False

    @staticmethod
    def _cookie(scope: Message) -> str:
        return f"easydl-{(scope.get('server') or ('', 0))[1]}"


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], page: str) -> None:
    kind = [(b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *kind]})
    await send({"type": "http.response.body", "body": page.encode()})
