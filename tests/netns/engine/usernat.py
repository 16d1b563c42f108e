"""A NAT for IPv4: a packet in, the translated packet out. No I/O and no clock."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final, NamedTuple

from tests.netns.engine import icmp_errors
from tests.netns.engine.mappings import TCP_LIFETIME, TCP_TRANSITORY_LIFETIME, MappingEntry, MappingTable
from tests.netns.engine.packets import (
    ICMP,
    TCP,
    UDP,
    Endpoint,
    Header,
    MalformedPacket,
    Rewrite,
    address_number,
    address_text,
    read_header,
    read_ports,
    rewrite,
)
from tests.netns.engine.settings import NatSettings

FRAGMENTED_MAX: Final = 256
"""Datagrams in fragments whose translation is remembered, the latest."""

_MULTICAST: Final = 224 << 24
_ECHO_REPLY: Final = 0
_ECHO_REQUEST: Final = 8
_TCP_FLAGS_AT: Final = 13
_FIN, _SYN, _RST = 0x01, 0x02, 0x04


@dataclass(slots=True)
class NatCounts:
    """What has become of the packets so far."""

    outbound: int = 0
    inbound: int = 0
    hairpinned: int = 0
    filtered: int = 0
    """Came in without a mapping, or without its permission."""
    exhausted: int = 0
    """Went out, and there was no port left."""
    dropped: int = 0
    """Malformed, out of order in fragments, not unicast, or of a protocol that is not translated."""

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


class _Drop(NamedTuple):
    counter: str


_Verdict = Rewrite | _Drop


class UserNat:
    """The NAT between an inside prefix and the outside."""

    def __init__(self, settings: NatSettings, inside: str, external: Sequence[str], rng: random.Random) -> None:
        """`inside` is the prefix behind the NAT (CIDR), `external` its addresses outside.

        Raises ValueError when they do not fit the settings.
        """
        self._settings = settings
        network = ipaddress.IPv4Network(inside)
        self._network, self._netmask = int(network.network_address), int(network.netmask)
        self.counts = NatCounts()
        self._table = MappingTable(settings, self._numbers(external), rng)
        self._pool = frozenset(self._table.pool)
        self._fragmented: dict[tuple[int, int, int, int], Rewrite] = {}

    def __repr__(self) -> str:
        pool = ", ".join(address_text(ip) for ip in self._table.pool)
        return f"UserNat({self._settings.mapping}, {self._settings.filtering}, {pool}, {len(self._table)} mappings)"

    def _numbers(self, external: Sequence[str]) -> list[int]:
        if len(external) != self._settings.pool_size:
            raise ValueError(f"the pool has {self._settings.pool_size} addresses, not {len(external)}")
        return [address_number(text) for text in external]

    def mappings(self, now: float) -> list[MappingEntry]:
        """Return those that have not expired."""
        return [entry for entry in self._table.entries() if entry.expires_at > now]

    def flush(self) -> None:
        """Forget everything; the same internal endpoint may get the same external one again."""
        self._table.clear()

    def rebind(self) -> None:
        """Forget all UDP mappings; no new one gets a port that one of these had."""
        self._table.clear(protocol=UDP, retire=True)

    def move(self, external: Sequence[str]) -> None:
        """Have other external addresses, as many as before; everything is forgotten.

        Raises ValueError when there are more or fewer.
        """
        self._table.move(self._numbers(external))
        self._pool = frozenset(self._table.pool)

    def receive_packet(self, packet: bytes, now: float) -> bytes | None:
        """Return what becomes of an IPv4 packet from either side at `now` (seconds); None when it is dropped."""
        try:
            header = read_header(packet)
            inside = header.source_ip & self._netmask == self._network
            if header.protocol == ICMP and header.first and icmp_errors.is_error(packet, header):
                translate = self._error_outbound if inside else self._error_inbound
                return translate(packet, header, now)
            verdict = self._outbound(packet, header, now) if inside else self._inbound(packet, header, now)
        except MalformedPacket:
            verdict = _Drop("dropped")
        if isinstance(verdict, _Drop):
            self._count(verdict.counter)
            return None
        return rewrite(packet, header, verdict)

    def _count(self, counter: str) -> None:
        setattr(self.counts, counter, getattr(self.counts, counter) + 1)

    def _outbound(self, packet: bytes, header: Header, now: float) -> _Verdict:
        if header.destination_ip >= _MULTICAST or not self._translates(packet, header):
            return _Drop("dropped")
        if not header.first:
            return self._follow_first_fragment(header)
        source_port, destination_port = read_ports(packet, header)
        internal = Endpoint(header.source_ip, source_port)
        remote = Endpoint(header.destination_ip, 0 if header.protocol == ICMP else destination_port)
        entry = self._table.outbound(header.protocol, internal, remote, now)
        if entry is None:
            return _Drop("exhausted")
        if header.protocol == TCP:
            _follow_connection(entry, packet[header.size + _TCP_FLAGS_AT], now)
        if header.destination_ip in self._pool:
            verdict = self._hairpin(header, entry, Endpoint(header.destination_ip, destination_port), now)
        else:
            self.counts.outbound += 1
            verdict = Rewrite(source=entry.external)
        return self._remember_fragmented(header, verdict)

    def _hairpin(self, header: Header, sender: MappingEntry, destination: Endpoint, now: float) -> _Verdict:
        """Send back in what an inside host sends to an external address, from an external one (RFC 4787 REQ-9a)."""
        if not self._settings.hairpinning or header.protocol == ICMP:
            return _Drop("filtered")
        receiver = self._table.inbound(header.protocol, destination, sender.external, now)
        if receiver is None:
            return _Drop("filtered")
        self.counts.hairpinned += 1
        return Rewrite(source=sender.external, destination=receiver.internal)

    def _inbound(self, packet: bytes, header: Header, now: float) -> _Verdict:
        if header.destination_ip not in self._pool or not self._translates(packet, header):
            return _Drop("dropped")
        if not header.first:
            return self._follow_first_fragment(header)
        source_port, destination_port = read_ports(packet, header)
        remote = Endpoint(header.source_ip, 0 if header.protocol == ICMP else source_port)
        external = Endpoint(header.destination_ip, destination_port)
        entry = self._table.inbound(header.protocol, external, remote, now)
        if entry is None:
            return self._remember_fragmented(header, _Drop("filtered"))
        if header.protocol == TCP:
            _follow_connection(entry, packet[header.size + _TCP_FLAGS_AT], now)
        self.counts.inbound += 1
        return self._remember_fragmented(header, Rewrite(destination=entry.internal))

    def _translates(self, packet: bytes, header: Header) -> bool:
        if header.protocol == ICMP and header.first:
            return len(packet) > header.size and packet[header.size] in (_ECHO_REQUEST, _ECHO_REPLY)
        return header.protocol in (UDP, TCP, ICMP)

    def _remember_fragmented(self, header: Header, verdict: _Verdict) -> _Verdict:
        """Keep the translation of a first fragment for those that follow it (RFC 4787 REQ-14, in order)."""
        if header.more_fragments and isinstance(verdict, Rewrite):
            if len(self._fragmented) >= FRAGMENTED_MAX:
                del self._fragmented[next(iter(self._fragmented))]
            self._fragmented[_datagram(header)] = verdict
        return verdict

    def _follow_first_fragment(self, header: Header) -> _Verdict:
        datagram = _datagram(header)
        verdict = self._fragmented.get(datagram)
        if verdict is None:
            return _Drop("dropped")
        if not header.more_fragments:
            del self._fragmented[datagram]
        return verdict

    def _error_inbound(self, packet: bytes, header: Header, now: float) -> bytes | None:
        """Translate an error about a packet that had gone out: its sender is inside (RFC 5508 REQ-4)."""
        quoted = icmp_errors.read_quoted(packet, header)
        entry = None
        if header.destination_ip in self._pool:
            entry = self._table.find(quoted.protocol, quoted.source, now)
        if entry is None or not self._table.admits(entry, quoted.destination, now):
            self._count("filtered")
            return None
        self.counts.inbound += 1
        outer = Rewrite(destination=entry.internal)
        return icmp_errors.rewrite_error(packet, header, outer, Rewrite(source=entry.internal))

    def _error_outbound(self, packet: bytes, header: Header, now: float) -> bytes | None:
        """Translate an error about a packet that had come in: its receiver is inside (RFC 5508 REQ-5)."""
        quoted = icmp_errors.read_quoted(packet, header)
        for entry in self.mappings(now):
            if (entry.protocol, entry.internal) == (quoted.protocol, quoted.destination) and self._table.admits(
                entry, quoted.source, now
            ):
                self.counts.outbound += 1
                outer = Rewrite(source=entry.external)
                return icmp_errors.rewrite_error(packet, header, outer, Rewrite(destination=entry.external))
        self._count("filtered")
        return None


def _datagram(header: Header) -> tuple[int, int, int, int]:
    return header.source_ip, header.destination_ip, header.protocol, header.identification


def _follow_connection(entry: MappingEntry, flags: int, now: float) -> None:
    """Let a connection that ends be forgotten sooner."""
    if flags & _SYN:
        entry.lifetime = TCP_LIFETIME
    elif flags & (_FIN | _RST):
        entry.lifetime = TCP_TRANSITORY_LIFETIME
        entry.expires_at = now + entry.lifetime
