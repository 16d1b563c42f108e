"""Hands what the engine has to send to the paths of a link, and gives the engine its turn when that is due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from visavis_peer.link import quic
from visavis_peer.link.challenge import Way
from visavis_peer.link.quic import SecureConnection
from visavis_peer.link.routing import Routing
from visavis_peer.link.streams import StreamTable

HELD_COUNT: Final = 64
"""Datagrams given to the engine while the relay takes no more, 1 MiB at most; those that follow are dropped."""


class Pump:
    """The outgoing side of one connection, and its timer."""

    def __init__(
        self,
        connection: SecureConnection,
        routing: Routing,
        sent: Callable[[int], None],
        turned: Callable[[], None],
    ) -> None:
        """`sent` is told after each flush how many datagrams that was.

        `turned` is called when the engine has had its turn, and may have events.
        """
        self.streams = StreamTable(connection, self.wake)
        """What they have for the engine it gets at each flush."""
        self._connection = connection
        self._routing = routing
        self._sent = sent
        self._turned = turned
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._scheduled = False
        """Whether a flush is due at the end of this turn of the loop."""
        self._blocked = False
        """Whether the engine keeps what it has to send, for the relay takes no more at the moment."""
        self._held = 0
        """Datagrams among that."""
        self._closed = False

    def send_datagram(self, kind: int, data: bytes) -> None:
        """Send a QUIC datagram; it is lost without a path and where too many wait, for the engine keeps any number."""
        if self._routing.open and self._held < HELD_COUNT:
            self._held += self._blocked
            self._connection.send_datagram(bytes((kind,)) + data)
            self.wake()

    def send_on(self, way: Way, kind: int, data: bytes) -> None:
        """Send a QUIC datagram on a way that is not the link's; whatever else is due goes where it belongs before."""
        now = self._loop.time()
        if self._closed:
            return
        if self._routing.open:
            while due := self._connection.take_datagrams(now):
                self._routing.send(due, now)
        elif self._connection.datagram_size > quic.DATAGRAM_SIZE:
            self._connection.shrink(quic.DATAGRAM_SIZE)  # what has piled up may share the packet
        self._connection.send_datagram(bytes((kind,)) + data)
        way.send_datagrams(self._connection.take_datagrams(now, 1))
        self.wake()

    def wake(self) -> None:
        """Flush at the end of this turn of the loop."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what there is to send and the main path takes, and set the timer."""
        self._scheduled = False
        if not self._routing.open or self._closed:
            return  # the engine keeps everything until there is a path
        now, count = self._loop.time(), 0
        while room := self._room:
            self.streams.flush()
            datagrams = self._connection.take_datagrams(now, room)
            if not datagrams:
                break
            self._routing.send(datagrams, now)
            count += len(datagrams)
        self._blocked = not room
        if room:
            self._held = 0
        self._sent(count)
        self._set_timer()

    def close(self) -> None:
        """Send nothing more. Idempotent."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    @property
    def _room(self) -> int:
        """Bytes that may be sent now; the notice of the end always may."""
        return self._routing.room if self._connection.terminated is None else quic.DATAGRAM_SIZE

    def _set_timer(self) -> None:
        due = self._connection.next_timer()
        if due == self._timer_at and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        if due is None:
            self._timer = None
        else:
            self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._connection.handle_timer(max(self._loop.time(), self._timer_at or 0.0))
        self._turned()
        self.flush()
