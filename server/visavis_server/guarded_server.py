"""The TCP side of the server: connections that must ask for something soon, and a listener that ends without losses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web

from visavis_server.core.buckets import counted_source
from visavis_server.core.door import Door
from visavis_server.core.forwarding import IpNetwork, is_trusted, parse_address
from visavis_server.http_handler import HttpServer
from visavis_server.websocket import observed_address
from visavis_shared.tasks import own

DOOR_INTERVAL: Final = 1.0
"""Seconds between two looks at the connections that have not asked for anything."""


class GuardedServer(HttpServer):
    """An HTTP server whose connections have to ask for something soon, and may not be too many before they do."""

    def __init__(self, door: Door[asyncio.Transport], proxies: Sequence[IpNetwork], *args: Any, **options: Any) -> None:
        """Every connection is noted at the `door`; those of `proxies` are many clients', and counted in total only."""
        super().__init__(*args, **options)
        self._door = door
        self._proxies = proxies
        self._transports: dict[web.RequestHandler, asyncio.Transport] = {}
        self._closed = False
        self._watching = own(self._watch())

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """See web.Server."""
        super().connection_made(handler, transport)
        if self._closed:  # accepted before that, and nobody would ever close it
            transport.abort()
        self._transports[handler] = transport
        observed = observed_address(transport)
        address = parse_address(observed[0]) if observed is not None else None
        source = "" if address is None or is_trusted(address, self._proxies) else counted_source(str(address))
        if not self._door.arrive(transport, source, asyncio.get_running_loop().time()):
            transport.abort()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """See web.Server."""
        super().connection_lost(handler, exc)
        transport = self._transports.pop(handler, None)
        if transport is not None:
            self._door.settle(transport)

    async def shutdown(self, timeout: float | None = None) -> None:
        """See web.Server."""
        self._closed = True
        self._watching.cancel()
        await super().shutdown(timeout)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(DOOR_INTERVAL)
            for transport in self._door.overdue(asyncio.get_running_loop().time()):
                transport.abort()


async def stop_accepting(listener: asyncio.Server) -> None:
    """Close a listener, so that every client is either served or turned away. Idempotent.

    What asyncio has accepted in the turn of its loop in which a listener is closed it neither serves nor closes
    (`Server._attach` fails; CPython 3.11 to 3.13), and the client waits in vain; so accepting ends a turn before.
    """
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # the loop of Windows has no readers
        for accepting in listener.sockets:
            loop.remove_reader(accepting.fileno())
    await asyncio.sleep(0)
    listener.close()
