"""Which external port a new mapping gets (RFC 4787 section 4.2)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Final, assert_never

from tests.netns.engine.settings import NatSettings
from visavis_shared.nat import Allocation

_RANDOM_TRIES: Final = 32
"""With three quarters of the ports taken, one allocation in ten thousand has to search the range in order."""


class PortAllocator:
    """Gives the ports of one external address and one protocol."""

    def __init__(self, settings: NatSettings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self._low, self._high = settings.ports
        self._last = rng.randint(self._low, self._high)
        self._blocks: dict[int, int] = {}

    def allocate(self, wanted: int, host: int, is_free: Callable[[int], bool]) -> int | None:
        """Return a free port for `host`, whose internal port is `wanted`; None when it can have none."""
        match self._settings.allocation:
            case Allocation.PRESERVING:
                if self._low <= wanted <= self._high and is_free(wanted):
                    return wanted
                return self._any(self._low, self._high, is_free)
            case Allocation.SEQUENTIAL:
                return self._next(is_free)
            case Allocation.RANDOM:
                return self._any(self._low, self._high, is_free)
            case Allocation.BLOCK:
                low = self._block(host)
                return None if low is None else self._any(low, low + self._settings.block_size - 1, is_free)
            case allocation:
                assert_never(allocation)

    def _any(self, low: int, high: int, is_free: Callable[[int], bool]) -> int | None:
        tries = (self._rng.randint(low, high) for _ in range(_RANDOM_TRIES))
        return _first(tries, is_free) or _first(range(low, high + 1), is_free)

    def _next(self, is_free: Callable[[int], bool]) -> int | None:
        count = self._high - self._low + 1
        foreign = self._rng.randint(0, self._settings.foreign_max)
        first = self._last + self._settings.step * (1 + foreign)
        order = (self._low + (first - self._low + self._settings.step * nth) % count for nth in range(count))
        port = _first(order, is_free)
        if port is not None:
            self._last = port
        return port

    def _block(self, host: int) -> int | None:
        """Return the lowest port of the host's block; None when there are more hosts than blocks."""
        low = self._blocks.get(host)
        if low is None:
            low = self._low + len(self._blocks) * self._settings.block_size
            if low + self._settings.block_size - 1 > self._high:
                return None
            self._blocks[host] = low
        return low


def _first(ports: Iterable[int], is_free: Callable[[int], bool]) -> int | None:
    return next((port for port in ports if is_free(port)), None)
