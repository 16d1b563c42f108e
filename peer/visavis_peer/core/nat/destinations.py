"""How many packets may go to an address that a peer has named, before anybody there has answered.

Whoever can make agents link can name any address, so what goes there unasked is counted by address over all sessions of
the agent: checks, their repetitions, openers and probes together. What a peer's own checks have brought in may be
matched, which makes nothing more of it; and an answer, which only who has received the question can give, ends the
counting for its session and gives back what that session has spent.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from visavis_peer.core.counts import PROBE_BUDGET
from visavis_shared import limits
from visavis_shared.endpoints import native

PACKET_COUNT: Final = 64
"""Packets to one address without an answer: two sockets, two candidates of a peer, and ten transmissions of each."""
STRANGER_SHARE: Final = 32
"""Of these, those that peers may spend whom the server does not see at that address: so nobody spends for others what
their links would need."""
SESSION_COUNT: Final = 256
"""Packets of one session to all addresses that have not answered: 16 addresses, 16 to each."""
PROBE_COUNT: Final = 3 * PROBE_BUDGET
"""Probes and openers for probes to one address: three rounds of a session, of which one finds nearly every path."""
QUIET_TIME: Final = 300.0
"""Seconds without an attempt after which an address is forgotten: five of the longest waits between two rounds."""
RETRY_TIMES: Final = (4.0, 12.0, 25.0, 55.0)
"""Seconds without an attempt after which an address may be tried once more, the first time and so on, the last of them
from then on: a little less than a peer waits between two rounds (backoff.py). Who asks on and on never is."""
TABLE_SIZE: Final = 1024
"""Addresses that are counted: of 32 sessions at once with a candidate at as many each. Of more, those that were sent
least make way."""
_EARNED: Final = PACKET_COUNT
_HOSTS: Final = 2 * limits.CANDIDATE_COUNT
"""Addresses of one session: its candidates, and as many that only its peer's checks have shown."""


def destination(host: str) -> str:
    """Return what packets to a numeric address are counted by: the host that gets them, whichever way it is written."""
    ip = ipaddress.ip_address(host)
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    return str(embedded(ip) or ipaddress.IPv6Address(int(ip)))


def embedded(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 one stands for: IPv4-mapped, 6to4 (RFC 3056), or of NAT64; else None."""
    within = native(ip)
    return within if isinstance(within, ipaddress.IPv4Address) else ip.sixtofour


@dataclass(slots=True)
class _Count:
    packets: int = 0
    probes: int = 0
    tries: int = 0
    """How often it has been tried anew."""
    sent_at: float = 0.0
    """When a packet was last to go there."""


class Destinations:
    """What one agent has sent to addresses that have not answered; `now` is in seconds, monotonic."""

    def __init__(self) -> None:
        self._counts: dict[str, _Count] = {}
        self.refused_count = 0
        """Packets that were not sent."""

    def __repr__(self) -> str:
        return f"<Destinations {len(self._counts)} counted, {self.refused_count} packets refused>"

    def take(self, host: str, now: float, *, seen: bool) -> bool:
        """Whether one more packet may go to `host` (a `destination`); if so it is counted.

        `seen` tells whether the server sees the peer there for whom it is.
        """
        count = self._count(host, now)
        if now - count.sent_at >= RETRY_TIMES[min(count.tries, len(RETRY_TIMES) - 1)]:
            count.packets, count.tries = 0, count.tries + 1
        count.sent_at = now
        if count.packets >= (PACKET_COUNT if seen else STRANGER_SHARE):
            self.refused_count += 1
            return False
        count.packets += 1
        return True

    def take_probe(self, host: str, now: float) -> bool:
        """Whether one more packet of a plan (core.strategy) may go to `host`; if so it is counted."""
        count = self._count(host, now)
        if count.probes >= PROBE_COUNT:
            self.refused_count += 1
            return False
        count.probes += 1
        count.sent_at = now
        return True

    def give_back(self, host: str, packets: int, probes: int) -> None:
        """Forget packets whose session was answered by `host`."""
        count = self._counts.get(host)
        if count is not None:
            count.packets = max(0, count.packets - packets)
            count.probes = max(0, count.probes - probes)

    def clear(self) -> None:
        """Begin anew: this machine is in another network, from where everything may be otherwise."""
        self._counts.clear()

    def _count(self, host: str, now: float) -> _Count:
        count = self._counts.get(host)
        if count is not None and now - count.sent_at >= QUIET_TIME:
            count = None
        if count is None:
            if host not in self._counts and len(self._counts) >= TABLE_SIZE:
                del self._counts[min(self._counts, key=lambda each: self._weight(each, now))]
            count = self._counts[host] = _Count(sent_at=now)
        return count

    def _weight(self, host: str, now: float) -> tuple[bool, int, float]:
        count = self._counts[host]
        return now - count.sent_at < QUIET_TIME, count.packets + count.probes, count.sent_at


class Allowance:
    """What one session may send to the addresses that its peer names. Hosts are numeric addresses."""

    def __init__(self, destinations: Destinations, packet_count: int = SESSION_COUNT) -> None:
        """`packet_count` is how many packets may go to addresses that have not answered, all of them together."""
        self._left = packet_count
        self.confirmed = True
        """Whether the peer has said, knowing this side's credentials, that it takes part: by ANSWER, READY or a check.
        A session that awaits that sets it to False."""
        self._seen: str | None = None
        self._destinations = destinations
        self._answered: set[str] = set()
        self._earned: dict[str, int] = {}
        """Packets that may go out because as many checks have come in, by host."""
        self._spent: dict[str, list[int]] = {}
        """Packets and probes that have gone out on the agent's account, by host."""

    def see(self, host: str | None) -> None:
        """Note by which IP address the server sees the peer; what is no address is none."""
        try:
            self._seen = None if host is None else destination(host)
        except ValueError:
            self._seen = None

    def may_send(self, host: str, now: float) -> bool:
        """Whether one more packet may go there now; if so, it is counted."""
        key = destination(host)
        if key in self._answered:
            return True
        if self._earned.get(key, 0):
            self._earned[key] -= 1
            return True
        taken = self._left > 0 and self._destinations.take(key, now, seen=key == self._seen)
        if taken:
            self._left -= 1
            self._spent.setdefault(key, [0, 0])[0] += 1
        return taken

    def has_answered(self, host: str) -> bool:
        """Whether what was sent there has been answered, so that nothing more is counted."""
        return destination(host) in self._answered

    def may_probe(self, host: str, now: float) -> bool:
        """Whether one more packet of a plan may go there: only to where the peer is seen, once it takes part."""
        key = destination(host)
        taken = self.confirmed and key == self._seen and self._destinations.take_probe(key, now)
        if taken:
            self._spent.setdefault(key, [0, 0])[1] += 1
        return taken

    def on_check(self, host: str) -> None:
        """A check of the peer has come from there; its source may be forged, so that it earns a packet and no more."""
        key = destination(host)
        if key in self._earned or len(self._earned) < _HOSTS:
            self._earned[key] = min(self._earned.get(key, 0) + 1, _EARNED)

    def on_answer(self, host: str) -> None:
        """A check that was sent there has been answered from there."""
        key = destination(host)
        self._answered.add(key)
        packets, probes = self._spent.pop(key, (0, 0))
        self._left += packets
        self._destinations.give_back(key, packets, probes)
