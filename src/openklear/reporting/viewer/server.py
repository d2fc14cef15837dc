"""The local server of the page: GET alone, on this machine's own address, for pages of its own.

Completions are hostile, and so may other pages be that a browser on this machine shows: a request whose Host is not
local, or that another page sends, is refused; the page may run no script but ours and load nothing from elsewhere; no
path of a request names a file.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from openklear.durable.files import json_text
from openklear.errors import OpenKlearError, UsageError
from openklear.grading.bounds import is_local_name, is_loopback
from openklear.reporting.viewer.answers import Answers
from openklear.reporting.viewer.growing import Since
from openklear.reporting.viewer.pages import KINDS, SCRIPTS, STYLES, static

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
LOOPBACK = "127.0.0.1"
_SAME = {"same-origin", "none"}


class LocalOnly:
    """Refuses what does not come from this machine's own page, and puts the same headers on every answer."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        request = Request(scope)
        fault = refusal(request.headers.get("host", ""), request.headers.get("origin"), dict(request.headers))
        answer = self._inner if fault is None else _fault(HTTPStatus.FORBIDDEN, fault)
        await answer(scope, receive, _with_headers(send))


def refusal(host: str, origin: str | None, headers: dict[str, str]) -> str | None:
    """Why a request is not answered; None where it is."""
    if not is_local_name(host):
        return "this server answers to localhost only"
    if origin is not None and origin != f"http://{host}":
        return "this server answers to its own page only"
    if headers.get("sec-fetch-site", "none") not in _SAME:
        return "this server answers to its own page only"
    return None


def _with_headers(send: Send) -> Send:
    async def sent(message: Any) -> None:
        if message["type"] == "http.response.start":
            extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        await send(message)

    return sent


def application(roots: Sequence[Path]) -> ASGIApp:
    """The page over some directories."""
    asked = Answers(roots)
    one = "/data/{of:str}/{id:str}/{problem:int}/{sample:int}"
    routes = [
        Route("/", _file("index.html")),
        *(Route(f"/static/{name}", _file(name)) for name in (*SCRIPTS, *STYLES)),
        Route("/favicon.ico", _nothing),
        Route("/data/list", _answer(lambda request: asked.listed())),
        Route("/data/changes", _answer(lambda request: asked.changes())),
        Route("/data/evaluation/{id}", _answer(lambda r: asked.evaluation(r.path_params["id"], _since(r)))),
        Route("/data/phase/{id}", _answer(lambda r: asked.phase(r.path_params["id"]))),
        Route(one.replace("{of:str}", "completion"), _answer(lambda r: asked.completion(*_place(r)))),
        Route(one.replace("{of:str}", "explain"), _answer(lambda r: asked.explained(*_place(r)))),
        Route("/data/iteration/{id}/{number:int}", _answer(lambda r: _phase(asked, r).iteration(_number(r)))),
        Route("/data/rollout/{id}/{number:int}/{problem:int}/{sample:int}", _answer(lambda r: _rollout(asked, r))),
        Route("/data/clip/{id}/{number:int}/{problem:int}/{sample:int}", _answer(lambda r: _clip(asked, r))),
    ]
    return LocalOnly(Starlette(routes=routes))


def listen(host: str, port: int) -> socket.socket:
    """A socket at an address of this machine. UsageError where the address is another, or the port is taken."""
    if not is_loopback(host):
        raise UsageError(
            f"{host}: the page has no authentication, so it is shown on this machine alone, at {LOOPBACK}; from "
            f"another machine: ssh -L {port}:{LOOPBACK}:{port} THIS_MACHINE"
        )
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((host, port))
    except OSError as error:
        opened.close()
        raise UsageError(f"port {port} of {host} cannot be had: {error.strerror}; give another --port") from error
    return opened


def serve(roots: Sequence[Path], port: int, on_ready: Callable[[str], None], host: str = LOOPBACK) -> None:
    """Serve until a signal ends it; `on_ready` gets the address once connections are taken. For the main thread."""
    opened = listen(host, port)
    at = opened.getsockname()
    shown = f"[{at[0]}]" if ":" in at[0] else at[0]
    config = uvicorn.Config(
        application(roots), ws="none", lifespan="off", log_level="error", access_log=False, server_header=False
    )
    with opened:
        opened.listen(64)
        on_ready(f"http://{shown}:{at[1]}/")
        uvicorn.Server(config).run(sockets=[opened])


Endpoint = Callable[[Request], Awaitable[Response]]


def _answer(made: Callable[[Request], Any]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            value = await run_in_threadpool(made, request)
        except OpenKlearError as error:
            return _fault(HTTPStatus.NOT_FOUND, str(error))
        except OSError as error:  # a file went away while it was read
            return _fault(HTTPStatus.NOT_FOUND, f"{error.filename}: {error.strerror}")
        return Response(json_text(value), media_type="application/json")

    return endpoint


def _fault(status: HTTPStatus, what: str) -> Response:
    return Response(json_text({"fault": what}), status, media_type="application/json")


async def _nothing(request: Request) -> Response:
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _file(name: str) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return Response(static(name), headers={"content-type": KINDS[name.rpartition(".")[2]]})

    return endpoint


def _since(request: Request) -> Since | None:
    generation, _, count = request.query_params.get("since", "").partition(":")
    return Since(generation, int(count)) if count.isascii() and count.isdigit() and len(count) < 12 else None


def _place(request: Request) -> tuple[str, int, int]:
    found = request.path_params
    return found["id"], found["problem"], found["sample"]


def _number(request: Request) -> int:
    return int(request.path_params["number"])


def _phase(asked: Answers, request: Request) -> Any:
    return asked.phase_view(request.path_params["id"])


def _rollout(asked: Answers, request: Request) -> dict[str, Any]:
    _, group, sample = _place(request)
    found: dict[str, Any] = _phase(asked, request).rollout(_number(request), group, sample)
    return found


def _clip(asked: Answers, request: Request) -> dict[str, Any]:
    _, group, sample = _place(request)
    found: dict[str, Any] = _phase(asked, request).clip(_number(request), group, sample)
    return found
