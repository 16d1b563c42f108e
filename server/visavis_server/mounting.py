"""The server as a part of somebody else's aiohttp application, mounted with `add_subapp`."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

from visavis_server.app import SignalingServer
from visavis_server.core.rest.targets import parse_target
from visavis_server.setup.settings import Settings
from visavis_server.sockets.rest import refusal

Authorize = Callable[[web.Request], bool | Awaitable[bool]]
"""Tells whether a request may pass."""
SERVER: Final = web.AppKey("visavis", SignalingServer)
"""Where the application keeps its server, once it has started."""
_TAIL: Final = "/{tail:.*}"


def application(settings: Settings | None = None, *, authorize: Authorize | None = None) -> web.Application:
    """Return the signaling server as an application of its own, to be run or mounted: WebSocket, REST, relay, STUN.

    It starts and stops with the application that it is part of. TCP is that one's: `host`, `port`, `tls_cert`, the
    limits on connections that ask for nothing, and `path_prefix` (which is where it is mounted) do not apply; STUN, if
    not off, listens by `host` and `stun_port`. Starting raises CannotListen, KeyFileError or SettingsError, as that of
    Server does.

    `authorize`, a function or coroutine function, is called with each request (also the upgrade to a WebSocket, whose
    Authorization header has the agent's `token`) before anything else is done with it. Anything but True refuses it:
    with 401 where it shows no Authorization header, 403 where it does. Not asked for are `/relay`, which takes nobody
    but by a token that a client got over its WebSocket, and the pages at `/r/`, which say nothing of anybody. What it
    raises ends the request as aiohttp handles it.
    """
    app = web.Application()
    given = settings or Settings()
    resource = app.router.add_resource(_TAIL)

    async def start(app: web.Application) -> None:
        prefix = resource.canonical.removesuffix("/{tail}")
        app[SERVER] = SignalingServer(given.model_copy(update={"path_prefix": prefix}), mounted=True)
        await app[SERVER].start()

    async def stop(app: web.Application) -> None:
        await app[SERVER].close()

    async def handle(request: web.Request) -> web.StreamResponse:
        server = app[SERVER]
        path = parse_target(request.raw_path).below(server.settings.path_prefix) or ""
        if authorize is not None and path != "/relay" and not path.startswith("/r/"):
            allowed = authorize(request)
            if inspect.isawaitable(allowed):
                allowed = await allowed
            if allowed is not True:
                return _refusal(request, path)
        return await server.handle(request)

    resource.add_route("*", handle)
    app.on_startup.append(start)
    app.on_shutdown.append(stop)
    return app


def _refusal(request: web.Request, path: str) -> web.Response:
    if hdrs.AUTHORIZATION in request.headers:
        return refusal(HTTPStatus.FORBIDDEN, "not allowed", path)
    response = refusal(HTTPStatus.UNAUTHORIZED, "not allowed", path)
    response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    return response
