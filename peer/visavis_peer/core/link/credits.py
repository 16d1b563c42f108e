"""Credits: how many bytes of each stream the receiver takes before its application has read.

QUIC engines widen their windows as data arrives, whether anybody reads it or not. Above them, the receiver of a stream
says up to which byte it takes, and says more as the application reads; so a reader that stops makes the writer wait,
and the memory of both sides is bounded. Every stream has WINDOW_BASE; what it gets above comes out of one pool, and so
does what this side sends and the peer, which may grant anything, has not acknowledged.
"""

from __future__ import annotations

from typing import Final

from visavis_shared.errors import VisavisError

WINDOW_BASE: Final = 8 << 10
"""Bytes of a new stream that need no credit; known to both sides, so a short exchange waits for nothing."""
WINDOW_START: Final = 256 << 10
"""Bytes that a stream gets as soon as it is seen to carry more: a round trip of 20 ms at 100 Mbit/s."""
POOL: Final = 13 << 18
"""Bytes that one link keeps of both directions together: credit lent above WINDOW_BASE, and what the engine sends, kept
until it is acknowledged. With a WINDOW_BASE for each of STREAM_COUNT streams of either side and what waits in writers
(link/writer.py) 6.5 MiB, which leaves a fifth of the 8 that a link may take for bookkeeping."""
SHARE: Final = 2 << 20
"""Bytes of the pool that one direction takes at most, so that there is always something left for the other. One stream
alone fills 20 MB/s at a round trip of 100 ms."""
WINDOW_MAX: Final = SHARE + WINDOW_BASE
"""Bytes of a window at most: what is more than that below a limit has been read."""
STREAM_COUNT: Final = 64
"""Streams that one side has open at a time; the engine lets the peer open 100."""


class Overrun(VisavisError):
    """The peer sends more than it was granted."""


class CreditPool:
    """What the two directions of one link share."""

    def __init__(self) -> None:
        self.sending = 0
        """Bytes that the engine has, to be sent or to be acknowledged."""
        self.lent = 0
        """Bytes that windows have."""

    @property
    def may_send(self) -> bool:
        """Whether the engine may have more."""
        return self.sending < min(SHARE, POOL - self.lent)

    def take(self, wanted: int) -> int:
        """Return how much of `wanted` there is for a window, and take it."""
        taken = max(0, min(wanted, SHARE - self.lent, POOL - self.lent - self.sending))
        self.lent += taken
        return taken

    def give_back(self, size: int) -> None:
        """Take back what a window had."""
        self.lent -= size


class ReceiveWindow:
    """The credit of one incoming stream."""

    def __init__(self, pool: CreditPool) -> None:
        self.size = WINDOW_BASE
        self.limit = WINDOW_BASE
        """Byte up to which the peer may send."""
        self.received = 0
        self.consumed = 0
        self._pool = pool

    def on_received(self, size: int) -> int | None:
        """Count bytes that came in; return a new limit to tell the peer, if there is one.

        Raises Overrun.
        """
        self.received += size
        if self.received > self.limit:
            raise Overrun(f"{self.received - self.limit} bytes beyond its credit")
        if self.size == WINDOW_BASE and self.received > WINDOW_BASE // 2:
            self.size += self._pool.take(WINDOW_START - WINDOW_BASE)
            return self._grant()
        return None

    def on_consumed(self, size: int) -> int | None:
        """Count bytes that the application has read; return a new limit to tell the peer, if there is one."""
        self.consumed += size
        if self.limit - self.consumed > self.size * 3 // 4:
            return None
        if self.limit - self.received < self.size // 2:
            # the sender keeps up with what it may send: it is this window that holds it back
            self.size += self._pool.take(self.size)
        return self._grant()

    def release(self) -> None:
        """Give back what the pool lent. Idempotent."""
        self._pool.give_back(self.size - WINDOW_BASE)
        self.size = WINDOW_BASE

    def _grant(self) -> int | None:
        limit = self.consumed + self.size
        if limit <= self.limit:
            return None
        self.limit = limit
        return limit
