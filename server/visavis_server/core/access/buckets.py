"""How much a client may say: token buckets for a connection, an address, and a sender with its target.

Every rate has a burst that a busy agent does not reach. What is beyond is refused; who does not stop is closed.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from visavis_server.core.access.causes import Cause
from visavis_server.core.access.rate import NETWORK_FACTOR, SOURCE_CAPACITY, RateLimiter, network_of, source_of
from visavis_shared.endpoints import parse_ip

PAIR_CAPACITY: Final = 50_000
"""Pairs of sender and target that are remembered, at about 200 bytes each."""
REFUSAL_INTERVAL: Final = 1.0
"""Seconds between two refusals that a client is told of: a flood must not be answered by another one."""
PATIENCE: Final = 10.0
"""Seconds' worth of its rate that a connection may send beyond its bucket before it is closed."""
_ROUNDING: Final = 1e-6
"""Seconds, so that the sum of a burst's intervals is within it."""
BURST: Final = 10.0
"""Seconds' worth of a rate that may come at once."""
MESSAGE_RATE: Final = 100.0
"""Messages per second of one connection: its burst of 1,000 is that of an agent which meets 63 others at once and sends
each an OFFER or ANSWER and some ten candidates."""
ADDRESS_RATE: Final = 1000.0
"""Messages per second of all connections of one address: ten agents behind one NAT that do so at the same time."""
PAIR_RATE: Final = 30.0
"""Directed messages per second from one sender to one target: 32 candidates and an OFFER within a second or so."""

ROOM_RATE: Final = 1.0
"""Rooms per second that one address may make: with the burst, and five minutes for which empty ones are kept, at most
400 of 10,000 are its own."""
ROOM_BURST: Final = 100
"""Rooms that it may make at once: more than one for each agent that it may have connected, as after a restart."""


JOIN_RATE: Final = 2.0
"""JOINs per second of rooms where others are, by one address: each has every member gather candidates and offer, and of
four such newcomers a second an agent serves all (core/session_budget.py of the peer)."""
JOIN_BURST: Final = 128
"""Such JOINs at once: all agents that it may have connected, twice in a minute."""


class _Sites:
    """A rate by address, and NETWORK_FACTOR times that by the network around it."""

    def __init__(self, rate: float, burst: int) -> None:
        """`rate` is per second, 0 for no limit."""
        self._addresses = RateLimiter(rate, burst, SOURCE_CAPACITY) if rate else None
        self._networks = RateLimiter(rate * NETWORK_FACTOR, burst * NETWORK_FACTOR, SOURCE_CAPACITY) if rate else None

    def allow(self, source: str, now: float) -> bool:
        """Take one into account, of a `source` that is counted (not empty), unless it is one too many."""
        addresses, networks = self._addresses, self._networks
        if addresses is None or networks is None or not source:
            return True
        network = network_of(source)
        if not (addresses.has(source, now) and networks.has(network, now)):
            return False
        addresses.charge(source, now)
        networks.charge(network, now)
        return True


class Bucket:
    """The bucket of one connection, as the instant at which it is full again."""

    __slots__ = ("full_at", "patience_full_at", "told_at")

    def __init__(self) -> None:
        self.full_at = 0.0
        self.patience_full_at = 0.0
        self.told_at = float("-inf")


class Buckets:
    """All buckets of a server, and the count of what was refused."""

    def __init__(
        self,
        message_rate: float = MESSAGE_RATE,
        address_rate: float = ADDRESS_RATE,
        pair_rate: float = PAIR_RATE,
        room_rate: float = ROOM_RATE,
        join_rate: float = JOIN_RATE,
    ) -> None:
        """Rates per second; 0 is unlimited."""
        self.refusals: Counter[Cause] = Counter()
        self._message_rate = message_rate
        self._addresses = _limiter(address_rate, SOURCE_CAPACITY)
        self._pairs = _limiter(pair_rate, PAIR_CAPACITY)
        self._makers = _Sites(room_rate, ROOM_BURST)
        self._joiners = _Sites(join_rate, JOIN_BURST)

    def admit(self, bucket: Bucket, source: str, now: float) -> Cause | None:
        """Take a message of a connection into account; returns why it is refused, or None."""
        rate = self._message_rate
        if rate:
            full_at = max(bucket.full_at, now) + 1 / rate
            if full_at - now > BURST + _ROUNDING:
                return self._refuse(Cause.CONNECTION_RATE)
            bucket.full_at = full_at
        if self._addresses is not None and source and not self._addresses.allow(source, now):
            return self._refuse(Cause.ADDRESS_RATE)
        return None

    def admit_directed(self, sender_id: str, target_id: str, now: float) -> Cause | None:
        """Take a directed message into account; returns why it is refused, or None."""
        if self._pairs is not None and not self._pairs.allow(f"{sender_id}>{target_id}", now):
            return self._refuse(Cause.PAIR_RATE)
        return None

    def admit_room(self, source: str, now: float) -> Cause | None:
        """Take a room into account that is to be made; returns why it is refused, or None."""
        return None if self._makers.allow(source, now) else self._refuse(Cause.ROOM_RATE)

    def admit_join(self, source: str, now: float) -> Cause | None:
        """Take a JOIN of a room where others are into account; returns why it is refused, or None."""
        return None if self._joiners.allow(source, now) else self._refuse(Cause.JOIN_RATE)

    def is_told(self, bucket: Bucket, now: float) -> bool:
        """Whether a refusal is to be told to the client, at most one a REFUSAL_INTERVAL."""
        if now - bucket.told_at < REFUSAL_INTERVAL:
            return False
        bucket.told_at = now
        return True

    def is_patient(self, bucket: Bucket, now: float) -> bool:
        """Take a refused message into account; False when the connection is to be closed for sending on."""
        rate = self._message_rate
        if not rate:
            return True
        bucket.patience_full_at = max(bucket.patience_full_at, now) + 1 / rate
        return bucket.patience_full_at - now <= PATIENCE + _ROUNDING

    def _refuse(self, cause: Cause) -> Cause:
        self.refusals[cause] += 1
        return cause


def counted_source(ip: str) -> str:
    """Return what an address's messages and connections are counted under: nothing (empty) for this host itself.

    What comes from loopback is a program of the operator, or a proxy that has not been declared as one.
    """
    try:
        address = parse_ip(ip.partition("%")[0])
    except ValueError:
        return ""
    return "" if address.is_loopback else source_of(ip)


def _limiter(rate: float, capacity: int) -> RateLimiter | None:
    return RateLimiter(rate, round(BURST * rate), capacity) if rate else None
