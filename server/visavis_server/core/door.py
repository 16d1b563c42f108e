"""Connections that have not asked for anything yet: how many there may be, and for how long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from visavis_server.core.buckets import Cause

HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds in which a request has to be complete: three retransmissions of a lost packet."""
PENDING_LIMIT: Final = 1000
"""Such connections at once: as many as come in a second after a restart, at some 10 KiB each."""
SOURCE_PENDING_LIMIT: Final = 64
"""Of these from one address (an IPv6 /64): a site whose agents all come back at once."""

_K = TypeVar("_K", bound=Hashable)


class Door(Generic[_K]):
    """The connections without a request, oldest first. `now` is in seconds on a monotonic clock."""

    def __init__(
        self,
        limit: int = PENDING_LIMIT,
        source_limit: int = SOURCE_PENDING_LIMIT,
        refusals: Counter[Cause] | None = None,
    ) -> None:
        """`refusals` is where those turned away are counted by cause."""
        self.refusals: Counter[Cause] = Counter() if refusals is None else refusals
        self._limit = limit
        self._source_limit = source_limit
        self._pending: dict[_K, tuple[str, float]] = {}
        """Source and arrival of each."""
        self._sources: Counter[str] = Counter()

    @property
    def refused(self) -> int:
        """Connections turned away because there were too many."""
        return self.refusals[Cause.PENDING]

    @property
    def expired(self) -> int:
        """Connections closed because no request came."""
        return self.refusals[Cause.HANDSHAKE]

    def __len__(self) -> int:
        return len(self._pending)

    def arrive(self, connection: _K, source: str, now: float) -> bool:
        """Note a new connection; False when it has to go, because too many wait. An empty source is not counted."""
        if len(self._pending) >= self._limit or (source and self._sources[source] >= self._source_limit):
            self.refusals[Cause.PENDING] += 1
            return False
        self._pending[connection] = (source, now)
        self._sources[source] += 1
        return True

    def settle(self, connection: _K) -> None:
        """A connection has made a request, or is gone. Idempotent."""
        found = self._pending.pop(connection, None)
        if found is not None:
            source, _ = found
            self._sources[source] -= 1
            if not self._sources[source]:
                del self._sources[source]

    def overdue(self, now: float) -> list[_K]:
        """Return the connections whose time is over, and forget them."""
        late: list[_K] = []
        for connection, (_, arrived_at) in self._pending.items():
            if now - arrived_at < HANDSHAKE_TIMEOUT:
                break
            late.append(connection)
        for connection in late:
            self.settle(connection)
        self.refusals[Cause.HANDSHAKE] += len(late)
        return late
