"""A rate limit for every source address, in bounded memory."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Final

from visavis_shared.endpoints import native

SOURCE_CAPACITY: Final = 10_000
"""Addresses, or networks, that are remembered for each purpose: as many as there may be connections."""
IPV6_PREFIX: Final = 64
"""Bits of an IPv6 address that tell one site from another; a host chooses the others as it likes."""
IPV6_NETWORK: Final = 48
"""Bits that providers give a site at most (RFC 6177): whoever has such a network has 65,536 of the former."""
NETWORK_FACTOR: Final = 4
"""A network (IPv4 /24, IPv6 /48) has so many times what an address has: neighbours behind one provider."""


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
        self._heard(source)
        return allowed

    def has(self, key: str, now: float) -> bool:
        """Whether one more event of `key`, a source as `source_of` returns it or anything else, is within its rate."""
        full_at = self._full_at.get(key)
        if full_at is None:
            return True
        self._full_at.move_to_end(key)
        return max(full_at, now) + self._interval - now <= self._depth

    def charge(self, key: str, now: float) -> None:
        """Take a token of `key`, for which there is one (`has`)."""
        self._full_at[key] = max(self._full_at.get(key, now), now) + self._interval
        self._heard(key)

    def _heard(self, key: str) -> None:
        if key in self._full_at:
            self._full_at.move_to_end(key)
        if len(self._full_at) > self._capacity:
            self._full_at.popitem(last=False)

    def __len__(self) -> int:
        return len(self._full_at)


def source_of(ip: str) -> str:
    """Return what an address is counted under: itself, or the /64 of an IPv6 address."""
    if ":" not in ip:
        return ip
    address = native(ipaddress.IPv6Address(ip.partition("%")[0]))
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    prefix = int(address) >> (128 - IPV6_PREFIX)
    return f"{prefix:x}/{IPV6_PREFIX}"


def network_of(source: str) -> str:
    """Return what the network around a source is counted under: an IPv4 /24 or an IPv6 /48; empty for no address."""
    if source.endswith(f"/{IPV6_PREFIX}"):
        prefix = int(source.removesuffix(f"/{IPV6_PREFIX}"), 16) >> (IPV6_PREFIX - IPV6_NETWORK)
        return f"{prefix:x}/{IPV6_NETWORK}"
    return f"{source.rpartition('.')[0]}/24" if source else ""
