"""The page and its stream over HTTP, on loopback, for who has the token.

Whoever can open a port of this machine could ask: other users, and any web page in a browser that
runs here. So every answer needs the token, which is the first part of the path and so is in every
address that the page asks for, and:

* ``Host`` must name loopback, or a name of a stranger's that is made to point here (DNS rebinding)
  would be as good as ours;
* ``Origin``, which browsers send along with what a page asks for, must be the page's own; the
  stream, which other origins may open by the rules of the web, wants it always.

What is served is a fixed list of files, read when the server starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from importlib.resources import files
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from edge_bts import __version__
from edge_bts.errors import EnvironmentMismatchError
from edge_bts.view.wire import Notice, Shown

__all__ = ["Hub", "application", "listen", "server"]

MOST_BROWSERS = 8
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.ASCII)
_ACKNOWLEDGED = re.compile(r"\d{1,12}", re.ASCII)
_POLICY_VIOLATION, _TRY_AGAIN_LATER = 1008, 1013


class Hub:
    """Hands what is published to all browsers, to each at its own pace.

    A browser says when it has taken a frame; until then the next waits, and is replaced if a
    newer one comes. So each is behind by one frame at most, and none delays another.

    Attributes:
        watched: Set while a browser is there.
    """

    def __init__(self) -> None:
        self.watched = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._browsers: set[_Browser] = set()
        self._notice: Notice | None = None

    def publish(self, said: Shown | Notice) -> None:
        """Hand something on; from any thread."""
        message = said.message()
        if self._loop is not None:
            # Between the end of the server and that of the threads the loop is closed.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._hand, said, message)

    def _hand(self, said: Shown | Notice, message: bytes | str) -> None:
        if isinstance(said, Notice):
            self._notice = said
        for browser in self._browsers:
            browser.put(message)

    @contextlib.asynccontextmanager
    async def running(self, _: Starlette) -> AsyncIterator[None]:
        """Remember the loop that browsers are served by."""
        self._loop = asyncio.get_running_loop()
        yield

    async def serve(self, websocket: WebSocket, welcome: Mapping[str, Any]) -> None:
        """Serve one browser until it goes."""
        if len(self._browsers) >= MOST_BROWSERS:
            await websocket.accept()
            await websocket.close(_TRY_AGAIN_LATER, f"{MOST_BROWSERS} browsers are watching")
            return
        browser = _Browser(websocket)
        self._browsers.add(browser)  # before anything is awaited, so that the limit holds
        self.watched.set()
        try:
            with contextlib.suppress(WebSocketDisconnect):  # it may go at any moment
                await websocket.accept()
                await websocket.send_text(json.dumps(welcome))
                if self._notice is not None:
                    browser.put(self._notice.message())
                await browser.run()
        finally:
            self._browsers.discard(browser)
            if not self._browsers:
                self.watched.clear()


class _Browser:
    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._frame: bytes | None = None
        self._notice: str | None = None
        self._ready = True
        self._changed = asyncio.Event()

    def put(self, message: bytes | str) -> None:
        if isinstance(message, bytes):
            self._frame = message
        else:
            self._notice = message
        self._changed.set()

    async def run(self) -> None:
        sending = asyncio.create_task(self._send())
        try:
            await self._listen()
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect):
                await sending

    async def _listen(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if not _ACKNOWLEDGED.fullmatch(message.get("text") or ""):
                await self._websocket.close(_POLICY_VIOLATION, "expected the number of a frame")
                return
            self._ready = True
            self._changed.set()

    async def _send(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._notice is not None:
                notice, self._notice = self._notice, None
                await self._websocket.send_text(notice)
            if self._ready and self._frame is not None:
                frame, self._frame = self._frame, None
                self._ready = False
                await self._websocket.send_bytes(frame)


def application(hub: Hub, token: str, welcome: Mapping[str, Any]) -> ASGIApp:
    """Return the application.

    Args:
        hub: Where frames come from.
        token: The first part of every path.
        welcome: What each browser is told first.
    """
    said = {"kind": "welcome", "version": __version__, **welcome}

    async def live(websocket: WebSocket) -> None:
        await hub.serve(websocket, said)

    routes = [
        Route(f"/{token}/{'' if name == 'index.html' else name}", _asset(name, content))
        for name, content in _assets().items()
    ]
    app = Starlette(routes=[*routes, WebSocketRoute(f"/{token}/live", live)], lifespan=hub.running)
    app.router.redirect_slashes = False
    return _Guard(app, token)


def _assets() -> dict[str, bytes]:
    folder = files("edge_bts.view").joinpath("assets")
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def _asset(name: str, content: bytes) -> Callable[[Request], Response]:
    kind = _TYPES[name[name.rindex(".") :]]

    def answer(_: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


class _Guard:
    """Refuses what has not the token, or comes from elsewhere; hardens what is answered."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if refusal := self._refusal(scope, headers, host):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close"})  # before it was accepted: 403
                return
            await PlainTextResponse(refusal, 403, _headers("localhost"))(scope, receive, send)
            return

        async def hardened(message: Any) -> None:
            if message["type"] == "http.response.start":
                said = [(k.encode(), v.encode()) for k, v in _headers(host).items()]
                message = {**message, "headers": [*message["headers"], *said]}
            await send(message)

        await self._app(scope, receive, hardened)

    def _refusal(self, scope: Scope, headers: Headers, host: str) -> str:
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not _LOOPBACK.fullmatch(host):
            return "This server answers to localhost alone.\n"
        if origins not in ([f"http://{host}"], [] if scope["type"] == "http" else None):
            return "This server answers to its own page alone.\n"
        first = scope["path"].split("/")[1:2]
        if not first or not secrets.compare_digest(first[0].encode(), self._token):
            return "Open the address that edge-bts view printed: it holds the token.\n"
        return ""


def _headers(host: str) -> dict[str, str]:
    """Return what a browser is told of every answer: run nothing but our files, tell nobody."""
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        f"connect-src 'self' ws://{host}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


def listen(port: int) -> socket.socket:
    """Return a socket that listens on loopback.

    Args:
        port: 0 takes a free one.

    Raises:
        EnvironmentMismatchError: The port cannot be listened at.
    """
    try:
        return socket.create_server(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        raise EnvironmentMismatchError(
            f"Expected to listen at 127.0.0.1:{port}, but {getattr(error, 'strerror', error)}; "
            "choose another --port, or 0 for a free one."
        ) from error


def server(app: ASGIApp) -> uvicorn.Server:
    """Return the server of an application; ``run(sockets=[listen(0)])`` serves until a signal."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=64,
        ws="websockets-sansio",
        ws_max_size=64,
        ws_per_message_deflate=False,  # speckle does not compress
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)
