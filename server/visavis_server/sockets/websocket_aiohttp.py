"""The WebSocket endpoint on aiohttp's own engine, `web.WebSocketResponse`: its answer to the upgrade, its frame reader.

What it hands out goes to the same connections as with our own engine (`websocket`), which also write everything and end
the connection. Only documented interfaces of aiohttp are used, so that this one works where a later aiohttp does not
take ours; and it is what ours is compared with in tests. It costs a task and a wake-up a connection.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Literal

from aiohttp import WebSocketError, WSMsgType, hdrs, web

from visavis_server.sockets.connections import Connections
from visavis_server.sockets.outbox import Outbox
from visavis_server.sockets.websocket import Connect, WebSocketEndpoint
from visavis_shared.closing import CloseCode

# it warns of subprotocols that it does not know, with all that a client has named: among it may be its token
logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)

_MORE: Final = frozenset({WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.PONG})
"""What more may follow; anything else ends a connection."""


class AiohttpEndpoint(WebSocketEndpoint):
    """Turns upgrade requests into connections of one kind, on a server with `handler_cancellation`."""

    def __init__(self, owner: Connections, connect: Connect, size_limit: int, subprotocol: str | None = None) -> None:
        """See WebSocketEndpoint."""
        super().__init__(owner, connect, size_limit, subprotocol)
        self._size_bound = size_limit + 1
        """aiohttp refuses a message of this size (3.14.5: `max_msg_size` itself is too big)."""

    def _accept(self, request: web.BaseRequest) -> bytes | None:
        """Return nothing, for aiohttp writes the answer, or None where either engine refuses the request."""
        valid = super()._accept(request) is not None and self._new_socket().can_prepare(request).ok
        return b"" if valid else None

    async def _carry(self, request: web.BaseRequest, outbox: Outbox) -> web.StreamResponse:
        socket = self._new_socket()
        chosen = self._chosen(request)
        if chosen is not None:
            socket.headers[hdrs.SEC_WEBSOCKET_PROTOCOL] = chosen
        try:
            # writes the answer before anything is awaited, so before the outbox is flushed
            await socket.prepare(request)
            while await self._receive(socket, outbox):
                pass
            # until aiohttp cancels this because the connection has ended
            await outbox.gone.wait()
        finally:
            # also where one of our bugs is on its way to become an HTTP answer, which would be no frame
            outbox.abort()
        return socket

    async def _receive(self, socket: _Socket, outbox: Outbox) -> bool:
        """Hand the owner the next message; False when it was the last one that is looked at."""
        message = await socket.receive()
        owner = self._owner
        owner.read_at = asyncio.get_running_loop().time()
        match message.type:
            case WSMsgType.TEXT:
                owner.receive(outbox, message.data, text=True)
            case WSMsgType.BINARY:
                owner.receive(outbox, message.data, text=False)
            case WSMsgType.PING:
                owner.on_ping(outbox, bytes(message.data))
            case WSMsgType.PONG:
                owner.on_pong(outbox)
            case WSMsgType.CLOSE:
                owner.on_close(outbox, message.data or None)
            case WSMsgType.ERROR:
                if not isinstance(message.data, WebSocketError):
                    raise message.data
                owner.on_violation(outbox, message.data.code, str(message.data))
            case _:
                pass
        owner.read_at = 0.0
        return message.type in _MORE and not outbox.ignored

    def _new_socket(self) -> _Socket:
        return _Socket(
            autoclose=False, autoping=False, compress=False, max_msg_size=self._size_bound, decode_text=False
        )


class _Socket(web.WebSocketResponse[Literal[False]]):
    """aiohttp's engine, without its way of closing."""

    async def close(self, *, code: int = CloseCode.NORMAL, message: bytes = b"", drain: bool = True) -> bool:
        """Do nothing: the owner sends the close frame, with a reason."""
        return False
