"""WebSocket connections that are open: everything that is written to them, and how they end.

The owner of some kind of connection extends this; an adapter calls `receive` and the `on_*` of one connection. Nothing
awaits a client, so no client can hold up another.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Protocol

from visavis_server.core import frames
from visavis_server.core.signaling.counts import Histogram
from visavis_server.sockets.outbox import CLOSE_TIMEOUT, Outbox
from visavis_shared import ids
from visavis_shared.closing import LEAVING, CloseCode

logger = logging.getLogger(__name__)


class DeliveryCount(Protocol):
    """Counts messages forwarded to a connection."""

    @property
    def delivered(self) -> int:
        """How many so far."""


class Connections(ABC):
    """Connections of one kind; lives on one event loop."""

    def __init__(self, count: DeliveryCount) -> None:
        """`count` goes up with every message that is forwarded to a connection."""
        self._loop = asyncio.get_running_loop()
        self._leaving: set[Outbox] = set()
        """Those that have been sent a close frame and not gone yet; each for at most CLOSE_TIMEOUT."""
        self._dirty: list[Outbox] = []
        """Outboxes to flush at the end of this turn of the loop."""
        self.closed: Counter[int] = Counter()
        """Connections closed for reasons of the server's by code; a shutdown is none."""
        self.delays = Histogram()
        """Seconds from reading a forwarded message to writing it, at the most: of all that a turn of the loop forwards
        from its first read to its last write."""
        self.read_at = 0.0
        """While an adapter handles what it has read: since when, on the loop's clock; 0 otherwise."""
        self._began_at = 0.0
        """When what this turn writes first was read."""
        self._count = count
        self._delivered_before = 0

    # --- what the owner decides ---------------------------------------------------------------------------------------

    @abstractmethod
    def receive(self, outbox: Outbox, data: frames.Payload, *, text: bool) -> None:
        """Handle one message; called for a connection that is being closed, too."""

    @abstractmethod
    def on_alive(self, outbox: Outbox) -> None:
        """Note that the client of an open connection lives."""

    @abstractmethod
    def on_gone(self, outbox: Outbox) -> None:
        """Forget a connection that is being closed or has ended. Idempotent."""

    @property
    @abstractmethod
    def outboxes(self) -> Collection[Outbox]:
        """Those of the open connections."""

    # --- what an adapter tells ----------------------------------------------------------------------------------------

    def on_ping(self, outbox: Outbox, data: frames.Payload) -> None:
        """Answer a client's ping with the same body."""
        if outbox.open:
            self.on_alive(outbox)
            self.put(outbox, frames.frame(frames.PONG, data))

    def on_pong(self, outbox: Outbox) -> None:
        """Note that a client answers."""
        if outbox.open:
            self.on_alive(outbox)

    def on_close(self, outbox: Outbox, code: int | None) -> None:
        """Answer a client's close frame by the same code and close; or close, if it answered ours."""
        if outbox.open:
            logger.debug("%s closed its connection with %s", outbox.peer_id, code)
            outbox.left = code in LEAVING
            self.retire(outbox, frames.close_frame(code))
        outbox.finish()

    def on_violation(self, outbox: Outbox, code: int, reason: str) -> None:
        """Close a connection whose client broke the WebSocket protocol."""
        if outbox.open:
            logger.debug("%s broke the WebSocket protocol: %s", outbox.peer_id, ids.printable(reason))
            self.dismiss(outbox, code, reason)
            outbox.hang_up()

    def on_lost(self, outbox: Outbox) -> None:
        """Forget a connection that has ended. Idempotent."""
        self._leaving.discard(outbox)
        outbox.on_lost()
        self.on_gone(outbox)

    # --- writing and closing ------------------------------------------------------------------------------------------

    def put(self, outbox: Outbox, frame: bytes) -> bool:
        """Write a frame at the end of this turn of the loop; False, with nothing done, when too much is unread."""
        if not outbox.put(frame):
            return False
        if not outbox.dirty:
            outbox.dirty = True
            if not self._dirty:
                self._began_at = self.read_at or self._loop.time()
                self._loop.call_soon(self._flush)
            self._dirty.append(outbox)
        return True

    def retire(self, outbox: Outbox, close_frame: bytes) -> None:
        """Send a close frame to an open connection and forget it."""
        self._leaving.add(outbox)
        outbox.retire(close_frame)
        self.on_gone(outbox)

    def dismiss(self, outbox: Outbox, code: int, reason: str) -> None:
        """Close an open connection for a reason of the server's, and forget it."""
        self.closed[code] += 1
        self.retire(outbox, frames.close_frame(code, reason))
        if code == CloseCode.TOO_MANY:
            outbox.ignore()

    async def close_all(self, open_ones: Sequence[Outbox]) -> None:
        """Send 1001 to `open_ones`, and wait until all connections are gone, at most CLOSE_TIMEOUT."""
        for outbox in open_ones:
            self._leaving.add(outbox)
            outbox.retire(frames.close_frame(CloseCode.GOING_AWAY, "the server shuts down"))
        waiting = [outbox.gone.wait() for outbox in self._leaving]
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await asyncio.gather(*waiting)
        except TimeoutError:
            for outbox in list(self._leaving):
                outbox.abort()

    def _flush(self) -> None:
        """Write everything collected in this turn of the loop, one write a connection."""
        dirty, self._dirty = self._dirty, []
        for outbox in dirty:
            outbox.dirty = False
            outbox.flush()
        count = self._count.delivered - self._delivered_before
        if count:
            self._delivered_before += count
            self.delays.observe(self._loop.time() - self._began_at, count)
