"""The WebSocket endpoint on aiohttp (RFC 6455): upgrade and frames in; everything written goes by `connections`.

aiohttp does HTTP. After the upgrade its protocol hands whatever the network brings to a parser that is set with
`set_parser`; ours dispatches every message at once, within that read: no task, queue, future or wake-up a message, and
one order of processing. Nothing else of aiohttp's WebSocket is used but its unmasking in C; `websocket_aiohttp` has the
engine that uses all of it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, cast

from aiohttp import hdrs, web
from aiohttp._websocket.helpers import websocket_mask  # in C; exported nowhere else
from aiohttp.http import HttpVersion11

from visavis_server.core import frames
from visavis_server.core.signaling.edge import ServerFull
from visavis_server.sockets.connections import Connections
from visavis_server.sockets.outbox import Outbox
from visavis_server.sockets.relay import Unauthorized
from visavis_server.sockets.rest import CORS, refusal
from visavis_shared.endpoints import native, parse_ip
from visavis_shared.headers import TOKEN as TOKEN_HEADER
from visavis_shared.stun import Address

Connect = Callable[[web.BaseRequest, asyncio.Transport, bytes, str, str], Outbox]
"""Takes over a connection: request, transport, preamble, the Authorization header, the client's address (empty where
unknown); raises Unauthorized or ServerFull."""

PROTOCOL_VERSION: Final = "13"
"""Sec-WebSocket-Version (RFC 6455 section 4.1)."""
_TOKEN_PREFIX: Final = "token."  # noqa: S105 -- what stands before one
"""In the list of subprotocols: pages can set no header."""
FRAMES_AT_ONCE: Final = 64
"""Frames of one client that are handled before others have their turn. One read may bring 256 KiB: 10,000 KEEP_ALIVEs,
which would keep the loop busy for some 20 ms. These take about 0.3 ms, and a client that does not flood has fewer."""
_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Section 1.3."""
_KEY_SIZE: Final = 16
"""Bytes of a decoded Sec-WebSocket-Key (section 4.1)."""


class WebSocketEndpoint:
    """Turns upgrade requests into connections of one kind."""

    def __init__(self, owner: Connections, connect: Connect, size_limit: int, subprotocol: str | None = None) -> None:
        """`connect` takes over a connection; `size_limit` bounds a message in bytes.

        `subprotocol` is the one that is spoken here, and beside which a browser may show a token (docs/protocol.md).
        """
        self._owner = owner
        self._connect = connect
        self._size_limit = size_limit
        self._subprotocol = subprotocol

    async def handle(self, request: web.BaseRequest, address: str) -> web.StreamResponse:
        """Serve one request of a client at `address`; returns when the connection has ended."""
        preamble = self._accept(request)
        transport = request.transport
        if preamble is None or transport is None:
            headers = {"Sec-Websocket-Version": PROTOCOL_VERSION, **CORS}
            return web.Response(status=HTTPStatus.BAD_REQUEST, text="Bad Request\n", headers=headers)
        shown = self._authorization(request)
        try:
            outbox = self._connect(request, transport, preamble, shown, address)
        except Unauthorized as error:
            response = refusal(error.status, str(error), request.path)
            response.headers[hdrs.WWW_AUTHENTICATE] = _challenge(error, shown)
            return response
        except ServerFull as error:
            response = refusal(error.status, f"the server takes no connection: {error}", request.path)
            response.headers[hdrs.RETRY_AFTER] = str(error.retry_after)
            return response
        try:
            return await self._carry(request, outbox)
        finally:
            # nobody stays registered whose connection is not being read
            self._owner.on_lost(outbox)

    def _accept(self, request: web.BaseRequest) -> bytes | None:
        """Return what is to be written before the first frame, None where the request is no valid upgrade."""
        accept = accept_key(request)
        if accept is None:
            return None
        chosen = self._chosen(request)
        protocol = b"" if chosen is None else b"Sec-WebSocket-Protocol: %b\r\n" % chosen.encode()
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n%b\r\n" % (accept, protocol)
        )

    def _chosen(self, request: web.BaseRequest) -> str | None:
        """Return the subprotocol of the answer: ours if it was asked for, and never what a token stands in."""
        return self._subprotocol if self._subprotocol in _subprotocols(request) else None

    def _authorization(self, request: web.BaseRequest) -> str:
        """Return what the client shows to this server: Authorization may hold its login to a proxy in front."""
        token = request.headers.get(TOKEN_HEADER)
        if token is None and self._chosen(request) is not None:
            tokens = [each for each in _subprotocols(request) if each.startswith(_TOKEN_PREFIX)]
            token = tokens[0].removeprefix(_TOKEN_PREFIX) if len(tokens) == 1 else None
        return request.headers.get(hdrs.AUTHORIZATION, "") if token is None else f"Bearer {token}"

    async def _carry(self, request: web.BaseRequest, outbox: Outbox) -> web.StreamResponse:
        """Hand the owner what comes in, until the connection has ended."""
        request.protocol.keep_alive(False)
        # takes any object with these two methods, and feeds it at once what came in one segment with the request
        request.protocol.set_parser(cast("Any", _Inbox(self._owner, outbox, self._size_limit)))
        await outbox.gone.wait()
        return _Upgraded()


def _subprotocols(request: web.BaseRequest) -> list[str]:
    """Return the subprotocols that a client offers (RFC 6455 section 11.3.4)."""
    lines = request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, ())
    return [each.strip() for line in lines for each in line.split(",")]


def _challenge(error: Unauthorized, shown: str) -> str:
    """Return a WWW-Authenticate that says what is wrong with what was shown, if anything was (RFC 6750 section 3)."""
    reason = "".join(each for each in str(error) if each.isascii() and each.isprintable() and each not in '"\\')
    return f'Bearer error="invalid_token", error_description="{reason}"' if shown else "Bearer"


def accept_key(request: web.BaseRequest) -> bytes | None:
    """Return Sec-WebSocket-Accept for a valid upgrade request, None for any other (section 4.2.1)."""
    headers = request.headers
    key = headers.get(hdrs.SEC_WEBSOCKET_KEY, "")
    try:
        key_size = len(base64.b64decode(key, validate=True))
    except (binascii.Error, ValueError):
        key_size = 0
    valid = (
        request.method == hdrs.METH_GET
        and request.version >= HttpVersion11
        and headers.get(hdrs.UPGRADE, "").strip().lower() == "websocket"
        and "upgrade" in (token.strip().lower() for token in headers.get(hdrs.CONNECTION, "").split(","))
        and headers.get(hdrs.SEC_WEBSOCKET_VERSION, "").strip() == PROTOCOL_VERSION
        and key_size == _KEY_SIZE
    )
    if not valid:
        return None
    # SHA-1 is what the protocol says; it proves understanding, not identity
    return base64.b64encode(hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest())


def observed_address(transport: asyncio.Transport) -> Address | None:
    """Return the client's TCP address, an IPv4 one as such even on a dual-stack socket."""
    peer = transport.get_extra_info("peername")
    if not peer:
        return None
    ip, port = str(peer[0]).partition("%")[0], int(peer[1])
    return str(native(parse_ip(ip))), port


class _Inbox:
    """What aiohttp's protocol feeds after the upgrade, in place of its own frame parser."""

    __slots__ = ("_loop", "_outbox", "_owner", "_read_at", "_reader")

    def __init__(self, owner: Connections, outbox: Outbox, size_limit: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self._outbox = outbox
        self._reader = frames.FrameReader(size_limit, websocket_mask)
        self._read_at = 0.0
        """When what is being handled was read, see Connections.read_at."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Dispatch what came in; (False, b"") tells aiohttp that there is more to come and nothing left over."""
        self._read_at = self._loop.time()
        self._dispatch(data)
        if self._reader.has_more:
            self._outbox.pause_reading()
            self._loop.call_soon(self._go_on)
        return False, b""

    def feed_eof(self) -> None:
        """The connection has ended."""
        self._owner.on_lost(self._outbox)

    def _go_on(self) -> None:
        """Dispatch more of what has been read; read on when that is done."""
        if self._outbox.ignored or self._outbox.gone.is_set():
            return
        self._dispatch(b"")
        if self._reader.has_more:
            self._loop.call_soon(self._go_on)
        else:
            self._outbox.resume_reading()

    def _dispatch(self, data: bytes) -> None:
        """Dispatch no more than the others can wait for."""
        owner, outbox = self._owner, self._outbox
        owner.read_at = self._read_at
        for opcode, payload in self._reader.receive(data, FRAMES_AT_ONCE):
            match opcode:
                case frames.TEXT:
                    owner.receive(outbox, payload, text=True)
                case frames.BINARY:
                    owner.receive(outbox, payload, text=False)
                case frames.PING:
                    owner.on_ping(outbox, payload)
                case frames.PONG:
                    owner.on_pong(outbox)
                case _:
                    owner.on_close(outbox, frames.close_code(payload))
        owner.read_at = 0.0
        violation = self._reader.violation
        if violation is not None:
            owner.on_violation(outbox, violation.code, violation.reason)


class _Upgraded(web.StreamResponse):
    """What a handler returns for a connection that is no longer HTTP: nothing is left to be written."""

    def __init__(self) -> None:
        super().__init__(status=HTTPStatus.SWITCHING_PROTOCOLS)
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None
