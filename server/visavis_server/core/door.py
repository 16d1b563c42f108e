"""Connections that have not asked for anything yet: how many there may be, and for how long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds in which a request has to be complete: three retransmissions of a lost packet."""
PENDING_LIMIT: Final = 1000
"""Such connections at once: as many as come in a second after a restart, at some 10 KiB each."""
SOURCE_PENDING_LIMIT: Final = 64
"""Of these from one address (an IPv6 /64): a site whose agents all come back at once."""

_K = TypeVar("_K", bound=Hashable)


class Door(Generic[_K]):
    """The connections without a request, oldest first. `now` is in seconds on a monotonic clock."""

    def __init__(self, limit: int = PENDING_LIMIT, source_limit: int = SOURCE_PENDING_LIMIT) -> None:
        self.refused = 0
        """Connections turned away because there were too many."""
        self.expired = 0
        """Connections closed because no request came."""
        self._limit = limit
        self._source_limit = source_limit
        self._pending: dict[_K, tuple[str, float]] = {}
        """Source and arrival of each."""
        self._sources: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._pending)

    def arrive(self, connection: _K, source: str, now: float) -> bool:
        """Note a new connection; False when it has to go, because too many wait. An empty source is not counted."""
        if len(self._pending) >= self._limit or (source and self._sources[source] >= self._source_limit):
            self.refused += 1
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
        self.expired += len(late)
        return late
