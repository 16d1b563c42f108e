"""Who may come in: how many TCP connections there may be, and for how long those that ask for nothing.

    arrives  ->  pending  --request-->  busy  --answer-->  idle  --request-->  busy …

Every connection counts from the moment it is accepted, for its address and in total; a WebSocket stays busy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from visavis_server.core.access.causes import Cause

HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds in which a request has to be complete: three retransmissions of a lost packet."""
PENDING_LIMIT: Final = 1000
"""Such connections at once: as many as come in a second after a restart, at some 10 KiB each."""
SOURCE_PENDING_LIMIT: Final = 64
"""Of these from one address (an IPv6 /64): a site whose agents all come back at once."""
IDLE_LIMIT: Final = 256
"""Connections at once that have been answered and wait for a further request: who polls REST, and proxies in front."""
RESERVED_DESCRIPTORS: Final = 64
"""Descriptors for listeners, STUN, files, the log, and refusals: connections never take them."""

_K = TypeVar("_K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many connections there may be at once."""

    peers: int
    """WebSockets."""
    pending: int = PENDING_LIMIT
    """Those without a request."""
    idle: int = IDLE_LIMIT
    """Those that wait for a further request."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.peers + self.pending + self.idle


def capacity_of(peer_limit: int, descriptors: int | None) -> Capacity:
    """Return how many connections fit: `peer_limit` WebSockets, or fewer where there are too few `descriptors`."""
    wanted = Capacity(peer_limit)
    if descriptors is None or descriptors - RESERVED_DESCRIPTORS >= wanted.total:
        return wanted
    had = max(descriptors - RESERVED_DESCRIPTORS, 16)
    pending, idle = min(PENDING_LIMIT, had // 4), min(IDLE_LIMIT, had // 8)
    return Capacity(min(peer_limit, had - pending - idle), pending, idle)


class Door(Generic[_K]):
    """The TCP connections of a server. `now` is in seconds on a monotonic clock; sources as `counted_source` says."""

    def __init__(
        self,
        capacity: Capacity,
        source_limit: int = 0,
        source_pending_limit: int = SOURCE_PENDING_LIMIT,
        refusals: Counter[Cause] | None = None,
    ) -> None:
        """`source_limit` bounds the connections of one source, 0 for no limit; `refusals` counts by cause."""
        self.refusals: Counter[Cause] = Counter() if refusals is None else refusals
        self.capacity = capacity
        self._source_limit = source_limit
        self._source_pending_limit = source_pending_limit
        self._sources: dict[_K, str] = {}
        """Of every connection; empty where it is not counted by source."""
        self._by_source: Counter[str] = Counter()
        self._pending_by_source: Counter[str] = Counter()
        self._pending: dict[_K, float] = {}
        """When each of those without a request arrived, oldest first."""
        self._idle: dict[_K, None] = {}
        """Those that wait for a further request, longest first."""

    @property
    def refused(self) -> int:
        """Connections turned away because too many asked for nothing."""
        return self.refusals[Cause.PENDING]

    @property
    def expired(self) -> int:
        """Connections closed because no request came."""
        return self.refusals[Cause.HANDSHAKE]

    @property
    def total(self) -> int:
        """Connections at the moment."""
        return len(self._sources)

    def __len__(self) -> int:
        """Return how many have made no request yet."""
        return len(self._pending)

    def share_of(self, source: str) -> float:
        """Return which part of all connections a source has, 0.0 to 1.0."""
        return self._by_source[source] / max(self.total, 1)

    def arrive(self, connection: _K, source: str, now: float) -> tuple[Cause | None, _K | None]:
        """Note a new connection.

        Returns why it has to go, with nothing noted, or None; and an idle one that has to make way for it, or None.
        An empty `source` is counted in total only.
        """
        cause = self._excess_of(source)
        if cause is None and len(self._pending) >= self.capacity.pending:
            cause = Cause.PENDING
        evicted = None
        if cause is None and self.total >= self.capacity.total:
            evicted = next(iter(self._idle), None)
            if evicted is None:
                cause = Cause.DESCRIPTORS
            else:
                self.leave(evicted)
        if cause is not None:
            self.refusals[cause] += 1
            return cause, None
        self._sources[connection] = source
        self._pending[connection] = now
        self._count(source, 1)
        return None, evicted

    def name(self, connection: _K, source: str) -> Cause | None:
        """Count a pending connection, which a proxy has passed on, for the client that the proxy names.

        Returns why it has to go, or None; `leave` has to follow in either case once it is gone.
        """
        cause = self._excess_of(source)
        if cause is not None:
            self.refusals[cause] += 1
            return cause
        self._count(self._sources[connection], -1)
        self._sources[connection] = source
        self._count(source, 1)
        return None

    def settle(self, connection: _K) -> None:
        """A connection has made a request. Idempotent."""
        self._idle.pop(connection, None)
        if self._pending.pop(connection, None) is not None:
            self._release(self._pending_by_source, self._sources[connection])

    def rest(self, connection: _K) -> _K | None:
        """A connection has been answered and may ask again; returns one that has to make way for it, or None."""
        if connection not in self._sources or connection in self._pending:
            return None
        self._idle[connection] = None
        if len(self._idle) <= self.capacity.idle:
            return None
        longest = next(iter(self._idle))
        del self._idle[longest]
        return longest

    def leave(self, connection: _K) -> None:
        """A connection is gone. Idempotent."""
        self.settle(connection)
        source = self._sources.pop(connection, None)
        if source is not None:
            self._release(self._by_source, source)

    def overdue(self, now: float) -> list[_K]:
        """Return the connections whose time for a request is over, and forget them."""
        late: list[_K] = []
        for connection, arrived_at in self._pending.items():
            if now - arrived_at < HANDSHAKE_TIMEOUT:
                break
            late.append(connection)
        for connection in late:
            self.leave(connection)
        self.refusals[Cause.HANDSHAKE] += len(late)
        return late

    def _excess_of(self, source: str) -> Cause | None:
        if not source:
            return None
        if self._source_limit and self._by_source[source] >= self._source_limit:
            return Cause.ADDRESS_CONNECTIONS
        return Cause.PENDING if self._pending_by_source[source] >= self._source_pending_limit else None

    def _count(self, source: str, number: int) -> None:
        for counter in (self._by_source, self._pending_by_source):
            counter[source] += number
            if not counter[source]:
                del counter[source]

    @staticmethod
    def _release(counter: Counter[str], source: str) -> None:
        counter[source] -= 1
        if not counter[source]:
            del counter[source]
