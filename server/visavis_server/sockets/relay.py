"""The relay's connections: a message comes in, and goes out to the peer that it names, within the same step."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from http import HTTPStatus
from typing import ClassVar, Final

from visavis_server.core import frames
from visavis_server.core.access import buckets
from visavis_server.core.access.causes import Cause
from visavis_server.core.errors import ServerError
from visavis_server.core.relay.relay import Drop, DropCause, Forward, Relay
from visavis_server.core.signaling import replies
from visavis_server.core.signaling.edge import Edge
from visavis_server.sockets.connections import Connections
from visavis_server.sockets.outbox import Outbox
from visavis_server.sockets.switchboard import now_ms
from visavis_shared.closing import CloseCode
from visavis_shared.errors import ErrorCode
from visavis_shared.ids import PEER_ID_BYTES

logger = logging.getLogger(__name__)

SUBPROTOCOL: Final = "visavis.relay"
"""Of the relay's connections, where a client offers it."""
MESSAGE_SIZE: Final = 65_536
"""Bytes of a relayed message, the peer id included: a batch of datagrams, and short enough for others to have turns."""
_REFUSALS: Final[dict[DropCause, tuple[ErrorCode, str]]] = {
    "not_introduced": (ErrorCode.PEER_NOT_FOUND, "OFFER and ANSWER have not been exchanged with this peer"),
    "volume": (ErrorCode.RELAY_LIMIT, "these two peers have relayed as much as they may"),
    "address_volume": (ErrorCode.RELAY_LIMIT, "this address has relayed as much as it may"),
    "sessions": (ErrorCode.RELAY_LIMIT, "this address relays for as many pairs of peers as it may"),
    "rate": (ErrorCode.RATE_LIMITED, "these two peers relay faster than they may"),
    "address_rate": (ErrorCode.RATE_LIMITED, "this address relays faster than it may"),
    "early": (ErrorCode.RELAY_LIMIT, "the peer has no relay connection yet, and no more is kept for it"),
    "unread": (ErrorCode.RELAY_LIMIT, "the peer does not read what it is sent"),
    "invalid": (ErrorCode.INVALID_MESSAGE, "the relay takes a peer id and bytes"),
}
"""What the sender of a dropped message is told, once a second at most for each cause."""
_PING: Final = frames.frame(frames.PING, b"")


class Unauthorized(ServerError):
    """A connection shows no token that is valid."""

    status: ClassVar = HTTPStatus.UNAUTHORIZED


class RelayConnections(Connections):
    """The relay's books and the connections that they are about."""

    def __init__(self, relay: Relay, edge: Edge, interval: float) -> None:
        """The `edge` limits connections; `interval` is the time between sweeps and pings, in seconds."""
        super().__init__(relay)
        self.relay = relay
        self._edge = edge
        self._interval = interval
        self._open: dict[str, Outbox] = {}
        """By peer_id."""
        self._sources: dict[str, str] = {}
        """What each of these is counted under at the edge."""
        self._sweep_handle = self._loop.call_later(interval, self._sweep)

    def connect(
        self, _request: object, transport: asyncio.Transport, preamble: bytes, authorization: str, address: str
    ) -> Outbox:
        """Take over a connection whose upgrade is accepted.

        Raises Unauthorized or ServerFull.
        """
        scheme, _, shown = authorization.partition(" ")
        token = shown.strip() if scheme.lower() == "bearer" else ""
        peer_id = self.relay.peer_of(token)
        if peer_id is None:
            self._edge.buckets.refusals[Cause.RELAY_TOKEN] += 1
            raise Unauthorized("the relay needs the token of a connected peer")
        source = buckets.counted_source(address)
        self._edge.admit(source, self._sources.get(peer_id))
        self._sources[peer_id] = source
        kept = self.relay.connect(peer_id, address, self._loop.time())
        former = self._open.pop(peer_id, None)
        if former is not None:
            self.dismiss(former, CloseCode.REPLACED, "replaced by a later connection")
        outbox = self._open[peer_id] = Outbox(peer_id, transport, self._loop)
        self.put(outbox, preamble)
        for source, body in kept:
            self._deliver(outbox, bytes.fromhex(source) + body)
        return outbox

    def receive(self, outbox: Outbox, data: frames.Payload, *, text: bool) -> None:
        """Forward a binary message; there are no others."""
        if not outbox.open:
            return
        now = self._loop.time()
        if text or len(data) <= PEER_ID_BYTES:
            self._refuse(outbox, self.relay.on_invalid(outbox.peer_id, now), "message")
            return
        target = data[:PEER_ID_BYTES].hex()
        match self.relay.forward(outbox.peer_id, data, now):
            case Forward():
                to = self._open.get(target)
                if to is not None:
                    # in place: a copy of it would cost more than everything else here
                    relayed = data if isinstance(data, bytearray) else bytearray(data)
                    relayed[:PEER_ID_BYTES] = bytes.fromhex(outbox.peer_id)
                    if not self._deliver(to, relayed):
                        self._refuse(outbox, self.relay.on_unread(outbox.peer_id, now), f"peer_id: {target}")
            case Drop() as drop:
                self._refuse(outbox, drop, f"peer_id: {target}")
            case _:
                pass

    @property
    def outboxes(self) -> Collection[Outbox]:
        """See Connections."""
        return self._open.values()

    def on_alive(self, outbox: Outbox) -> None:
        """Nothing depends on it: what ends a relay connection is its TCP connection or its peer."""

    def on_gone(self, outbox: Outbox) -> None:
        """Forget a connection, unless a later one has taken its place."""
        if self._open.get(outbox.peer_id) is outbox:
            del self._open[outbox.peer_id]
            self._edge.release(self._sources.pop(outbox.peer_id))
            self.relay.disconnect(outbox.peer_id)

    async def close(self) -> None:
        """Close all connections, at most CLOSE_TIMEOUT."""
        self._sweep_handle.cancel()
        await self.close_all(list(self._open.values()))
        self._open.clear()

    def _deliver(self, to: Outbox, message: frames.Payload) -> bool:
        return self.put(to, frames.frame(frames.BINARY, message))

    def _refuse(self, outbox: Outbox, drop: Drop, details: str) -> None:
        """Tell a sender why its message is dropped, if it is to be told now."""
        if drop.tell is not None:
            code, message = _REFUSALS[drop.tell]
            if code is ErrorCode.RATE_LIMITED:
                details = f"limit: relay_{drop.tell}; {details}"
            self.put(outbox, frames.frame(frames.TEXT, replies.error(code, message, details, now_ms(), None)))

    def _sweep(self) -> None:
        self._sweep_handle = self._loop.call_later(self._interval, self._sweep)
        for peer_id in self.relay.handle_timer(self._loop.time()):
            outbox = self._open.get(peer_id)
            if outbox is not None:
                self.dismiss(outbox, CloseCode.PEER_GONE, "the peer is gone")
        for outbox in list(self._open.values()):
            self.put(outbox, _PING)
