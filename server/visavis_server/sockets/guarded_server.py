"""The HTTP server behind the door: its connections have to ask for something soon, and make way when they do not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from visavis_server.core.access.door import Door
from visavis_server.sockets.acceptor import Visitor
from visavis_server.sockets.http_handler import HttpServer
from visavis_shared.tasks import own

DOOR_INTERVAL: Final = 1.0
"""Seconds between two looks at the connections that have not asked for anything."""


class GuardedServer(HttpServer):
    """An HTTP server whose connections are visitors at a door."""

    def __init__(self, door: Door[Visitor], drop: Callable[[Visitor], None], *args: Any, **options: Any) -> None:
        """`drop` cuts a connection that has been at the `door` for too long."""
        super().__init__(*args, **options)
        self._door = door
        self._drop = drop
        self._visitors: dict[web.RequestHandler, Visitor] = {}
        """Of each connection that has been handed over."""
        self._closed = False
        self._watching = own(self._watch())

    def admit(self, visitor: Visitor) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        handler = self()
        self._visitors[handler] = visitor
        return handler

    def visitor_of(self, request: web.BaseRequest) -> Visitor | None:
        """Return whose connection a request has come by; None when that is gone."""
        return self._visitors.get(request.protocol)

    def rest(self, visitor: Visitor) -> None:
        """A request has been answered; its connection may wait for another one, unless too many do."""
        longest = self._door.rest(visitor)
        if longest is not None and isinstance(longest.transport, asyncio.WriteTransport):
            longest.transport.close()

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """See web.Server."""
        super().connection_made(handler, transport)
        self._visitors[handler].transport = transport
        if self._closed:  # accepted before that, and nobody would ever close it
            transport.abort()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """See web.Server."""
        super().connection_lost(handler, exc)
        visitor = self._visitors.pop(handler, None)
        if visitor is not None:
            self._door.leave(visitor)

    async def shutdown(self, timeout: float | None = None) -> None:
        """See web.Server."""
        self._closed = True
        self._watching.cancel()
        await super().shutdown(timeout)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(DOOR_INTERVAL)
            for visitor in self._door.overdue(asyncio.get_running_loop().time()):
                self._drop(visitor)
