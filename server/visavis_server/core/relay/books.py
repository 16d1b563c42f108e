"""Accounts of what addresses, and pairs of them, have relayed: rate, volume, and places for pairs of peers."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final

PAIR_IDLE: Final = 60.0
"""Seconds without traffic after which a pair no longer counts as one of its address's sessions."""
VOLUME_TIME: Final = 86_400.0
"""Seconds in which the volume of a pair or an address is there again, little by little."""
BURST: Final = 2.0
"""Seconds' worth of its rate that a pair or an address may send at once."""
ROUNDING: Final = 1e-6
"""Seconds that sums of floating-point numbers may be off."""


class Bucket:
    """A token bucket as the instant at which it is full again."""

    __slots__ = ("_full_at",)

    def __init__(self) -> None:
        self._full_at = 0.0

    def allow(self, size: int, rate: int, now: float) -> bool:
        """Take so many bytes into account, unless they are beyond `rate` (bytes per second, 0 is unlimited)."""
        if not rate:
            return True
        full_at = max(self._full_at, now) + size / rate
        if full_at - now > BURST + ROUNDING:
            return False
        self._full_at = full_at
        return True


class Book:
    """Rate and volume of two addresses or of one, whichever peers, rooms and connections of theirs it was."""

    __slots__ = ("_counted_at", "_volume", "bucket", "places")

    def __init__(self) -> None:
        self.bucket = Bucket()
        self.places: OrderedDict[tuple[str, str], tuple[float, str]] = OrderedDict()
        """Of an address: when it has last sent for each pair of peers, of late, and what the other end is counted
        under; at most `RelayRules.sessions`, the longest unused first."""
        self._volume = 0.0
        self._counted_at = 0.0

    def has_volume(self, size: int, limit: int, now: float) -> bool:
        """Whether so many bytes more are within the limit; 0 is unlimited."""
        if not limit:
            return True
        self._volume = max(0.0, self._volume - (now - self._counted_at) * limit / VOLUME_TIME)
        self._counted_at = now
        return self._volume + size <= limit

    def count(self, size: int) -> None:
        """Note that so many bytes have been sent."""
        self._volume += size

    def has_place(self, pair: tuple[str, str], other: str, limit: int, now: float) -> bool:
        """Whether there may be traffic of one pair more, if it is one, whose `other` end is counted so; 0 is unlimited.

        Where all places are taken, one other end that has most of them makes way for one that has less.
        """
        if not limit or pair in self.places:
            return True
        while self.places and now - next(iter(self.places.values()))[0] > PAIR_IDLE:
            self.places.popitem(last=False)
        return len(self.places) < limit or self._count(other) + 1 < self._count(self._greediest())

    def use(self, pair: tuple[str, str], other: str, limit: int, now: float) -> None:
        """Note traffic of a pair that has a place, or gets one."""
        if pair not in self.places and len(self.places) >= limit:
            greediest = self._greediest()
            del self.places[next(each for each, (_, end) in self.places.items() if end == greediest)]
        self.places[pair] = now, other
        self.places.move_to_end(pair)

    def _count(self, other: str) -> int:
        return sum(end == other for _, end in self.places.values())

    def _greediest(self) -> str:
        """Return the other end that has most places."""
        return Counter(end for _, end in self.places.values()).most_common(1)[0][0]
