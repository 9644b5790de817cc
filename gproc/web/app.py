"""The ASGI application: pages, JSON, event streams and figures.  docs/web.md describes each path."""

from __future__ import annotations

import asyncio
import importlib.resources
import signal
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gproc.client.watching import FRESH_S, Watching
from gproc.errors import GprocError
from gproc.request.signals import can_be_sent
from gproc.web.access import HEADERS, TokenCheck
from gproc.web.figures import text_of
from gproc.web.rows import VERSION, JsonRow, OutputRows, Told, change, told_of

_FILES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_QUIET_S: Final = 15.0
"""An event stream says at least so often that it is there, which proxies want, and finds out whether the browser is."""

_BODY_BYTES_MAX: Final = 4096
_BODY_S: Final = 10.0
"""Within so many seconds a body must have come, as the head before it."""

_UNSEEN: Final = (
    "gproc web: open the address that it printed at its start; it has a token that this request lacks.  Programs send "
    "it as `Authorization: Bearer TOKEN`.  A Unix socket needs none, but is asked for by an address or as localhost.\n"
)


class _Guard:
    """Lets in requests that `TokenCheck` allows, and adds `HEADERS` to every answer.

    Every client may have the page itself: it is the same on every machine, and says nothing without the token.
    """

    def __init__(self, app: ASGIApp, access: TokenCheck) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_on(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                fields = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *fields]}  # type: ignore[misc]
            await send(message)

        answer: ASGIApp = self._app
        if scope["path"] not in _FILES and not self._access.allows(Request(scope).headers):
            answer = PlainTextResponse(_UNSEEN, 401)
        await answer(scope, receive, send_on)  # type: ignore[arg-type]


def application(
    watching: Watching, access: TokenCheck, name_of_user: Callable[[int], str], *, control: bool
) -> ASGIApp:
    """control: jobs may be ended from the page."""
    pages = _Pages(watching, access, name_of_user, control)
    routes = [Route(path, _File(name, kind)) for path, (name, kind) in _FILES.items()]
    routes += [
        Route("/api/v1/tree", pages.tree),
        Route("/api/v1/jobs", pages.jobs),
        Route("/api/v1/events", pages.events),
        Route("/api/v1/jobs/{job}/log", pages.log),
        Route("/api/v1/jobs/{job}/kill", pages.kill, methods=["POST"]),
        Route("/metrics", pages.metrics),
    ]
    return _Guard(Starlette(routes=routes), access)


class _File:
    def __init__(self, name: str, kind: str) -> None:
        self._answer = Response((importlib.resources.files("gproc.web") / "page" / name).read_bytes(), media_type=kind)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(scope, receive, send)


class _Pages:
    """What is told, of one master."""

    def __init__(
        self, watching: Watching, access: TokenCheck, name_of_user: Callable[[int], str], control: bool
    ) -> None:
        self._watching, self._access, self._name_of_user, self._control = watching, access, name_of_user, control

    async def tree(self, _request: Request) -> Response:
        told = await self._now()
        return _json({"version": VERSION, **told.head, "nodes": list(told.nodes.values())})

    async def jobs(self, _request: Request) -> Response:
        told = await self._now()
        return _json({"version": VERSION, "trouble": told.head["trouble"], "jobs": list(told.jobs.values())})

    async def events(self, _request: Request) -> Response:
        return StreamingResponse(self._changes(), media_type="text/event-stream")

    async def log(self, request: Request) -> Response:
        output = self._output(request.path_params["job"], request.query_params.get("nodes") or None)
        return StreamingResponse(output, media_type="text/event-stream")

    async def kill(self, request: Request) -> Response:
        if not self._control:
            return PlainTextResponse("this page only shows: start gproc web with --control to end jobs by it\n", 403)
        if not self._access.is_from_our_page(request.headers):
            return PlainTextResponse("a request of JSON from our own page is wanted\n", 403)
        body = b""
        try:
            async with asyncio.timeout(_BODY_S):
                async for part in request.stream():
                    body += part
                    if len(body) > _BODY_BYTES_MAX:
                        return PlainTextResponse("the request is too large\n", 413)
        except (TimeoutError, ClientDisconnect):
            return PlainTextResponse("the request is not whole\n", 408)
        try:
            asked = msgspec.json.decode(body or b"{}", type=_Kill)
            if not can_be_sent(asked.signal):
                raise msgspec.ValidationError(f"{asked.signal} is no signal that a job can be sent")
            await self._watching.kill(request.path_params["job"], asked.signal)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return PlainTextResponse(f"{error}\n", 400)
        except GprocError as error:
            return PlainTextResponse(f"{error}\n", 409)
        return _json({})

    async def metrics(self, _request: Request) -> Response:
        figures = text_of(await self._watching.look())
        return Response(figures, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _now(self) -> Told:
        return told_of(await self._watching.look(), self._name_of_user)

    async def _changes(self) -> AsyncIterator[bytes]:
        yield _event("about", {"version": VERSION, "control": self._control})
        told: Told | None = None
        said_s = time.monotonic()
        while True:
            fresh = await self._now()
            row = change(told, fresh)
            if row is not None:
                told = fresh
                yield _event("change", row)
            elif time.monotonic() - said_s >= _QUIET_S:
                yield b": still here\n\n"
            else:
                await asyncio.sleep(2 * FRESH_S)
                continue
            said_s = time.monotonic()
            await asyncio.sleep(2 * FRESH_S)

    async def _output(self, job: str, nodes: str | None) -> AsyncIterator[bytes]:
        rows = OutputRows()
        try:
            async for event in self._watching.follow(job, nodes):
                for row in rows.rows(event):
                    yield _event("output", row)
        except GprocError as error:
            yield _event("trouble", {"trouble": str(error)})
        yield _event("end", {})


class _Kill(msgspec.Struct, forbid_unknown_fields=True):
    signal: int = signal.SIGTERM


def _json(row: JsonRow) -> Response:
    return Response(msgspec.json.encode(row) + b"\n", media_type="application/json")


def _event(name: str, row: JsonRow) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(row))
