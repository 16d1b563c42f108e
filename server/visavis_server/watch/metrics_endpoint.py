"""The listener of whoever watches the server: /metrics, and /ready and /health from before it listens until it is gone.

It is never the public one: how many rooms and peers there are is nobody's business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

from visavis_server.core.rest import views
from visavis_server.sockets.http_handler import Fault, HttpServer
from visavis_server.sockets.switchboard import now_ms
from visavis_server.watch.metrics import Exposition

logger = logging.getLogger(__name__)

CONNECTION_COUNT: Final = 16
"""Connections at once, far more than there are monitoring systems; the oldest makes way, so nobody can occupy it."""
SHUTDOWN_TIMEOUT: Final = 0.3
"""Seconds for answers under way."""


class MetricsEndpoint:
    """Answers on a port of its own."""

    def __init__(self, is_ready: Callable[[], bool]) -> None:
        """`is_ready` tells whether the server takes connections."""
        self.port = 0
        """Known once started."""
        self._is_ready = is_ready
        self._exposition: Exposition | None = None
        self._http = _FewConnections(self._answer, access_log=None, on_fault=_on_fault, on_bug=_on_bug)
        self._listener: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen, before there is anything to measure.

        Raises OSError.
        """
        self._listener = await asyncio.get_running_loop().create_server(self._http, host, port)
        self.port = self._listener.sockets[0].getsockname()[1]

    def measure(self, exposition: Exposition) -> None:
        """Serve the metrics of a server that has started."""
        self._exposition = exposition

    async def close(self) -> None:
        """Close everything. Idempotent."""
        if self._listener is not None:
            self._listener.close()
        await self._http.shutdown(SHUTDOWN_TIMEOUT)

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            return web.Response(status=HTTPStatus.METHOD_NOT_ALLOWED, headers={hdrs.ALLOW: "GET, HEAD"})
        match request.path:
            case "/metrics" if self._exposition is not None:
                text = await self._exposition.text()
                return web.Response(body=text, headers={hdrs.CONTENT_TYPE: Exposition.CONTENT_TYPE})
            case "/metrics":
                return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text="the server is starting\n")
            case "/health":
                return _document(views.health(now_ms()))
            case "/ready" if self._is_ready():
                return _document(views.ready(now_ms()))
            case "/ready":
                return _document(views.not_ready(now_ms()), HTTPStatus.SERVICE_UNAVAILABLE)
            case _:
                return web.Response(status=HTTPStatus.NOT_FOUND, text="this port has /metrics, /ready and /health\n")


class _FewConnections(HttpServer):
    """An HTTP server whose oldest connection makes way for one too many."""

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """See web.Server."""
        super().connection_made(handler, transport)
        for oldest in self.connections[:-CONNECTION_COUNT]:
            if oldest.transport is not None:
                oldest.transport.abort()


def _on_fault(_: web.BaseRequest, fault: Fault) -> None:
    logger.debug("a request for metrics cannot be understood: %s", fault)


def _on_bug(error: BaseException | None) -> None:
    logger.error("a request for metrics could not be handled", exc_info=error)


def _document(body: bytes, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(status=status, body=body + b"\n", content_type="application/json")
