"""A rate limit for every source address, in bounded memory."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Final

IPV6_PREFIX: Final = 64
"""Bits of an IPv6 address that tell one site from another; a host chooses the others as it likes."""


class RateLimiter:
    """A token bucket for each source, kept as the one instant at which the bucket would be full again.

    Sources beyond `capacity` push out those that were silent longest; who is pushed out starts with a full bucket, so
    a source that keeps sending stays limited.
    """

    def __init__(self, rate: float, burst: int, capacity: int) -> None:
        """`rate` in events per second, `burst` events at once, `capacity` sources."""
        self._interval = 1 / rate
        # a thousandth of a token, so that rounding does not cost a whole one
        self._depth = (burst + 0.001) / rate
        self._capacity = capacity
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def allow(self, ip: str, now: float) -> bool:
        """Whether one more event from `ip` is within its rate; takes a token if so."""
        source = source_of(ip)
        full_at = max(self._full_at.get(source, now), now) + self._interval
        allowed = full_at - now <= self._depth
        if allowed:
            self._full_at[source] = full_at
        # who is refused counts as heard, too: else a flood would be forgotten, and start anew
        self._full_at.move_to_end(source)
        if len(self._full_at) > self._capacity:
            self._full_at.popitem(last=False)
        return allowed

    def __len__(self) -> int:
        return len(self._full_at)


def source_of(ip: str) -> str:
    """Return what an address is counted under: itself, or the /64 of an IPv6 address."""
    if ":" not in ip:
        return ip
    prefix = int(ipaddress.IPv6Address(ip.partition("%")[0])) >> (128 - IPV6_PREFIX)
    return f"{prefix:x}/{IPV6_PREFIX}"
