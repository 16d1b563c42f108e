"""IPv4 packets as a NAT sees them: endpoints read and rewritten, checksums kept right (RFC 1624)."""

from __future__ import annotations

import socket
import struct
from typing import Final, NamedTuple

ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17

HEADER_SIZE_MIN: Final = 20
_TTL_MAX: Final = 255
_CHECKSUM_AT: Final = {TCP: 16, UDP: 6, ICMP: 2}
"""Where a transport header has its checksum."""
_TRANSPORT_SIZE_MIN: Final = {TCP: 20, UDP: 8, ICMP: 8}
_ECHO_ID_AT: Final = 4
_MODULUS: Final = 0xFFFF
"""One's complement sums are sums modulo this, and 2 to the 16 is 1: an address counts as its number."""


class Endpoint(NamedTuple):
    """An address and a port (TCP, UDP) or query identifier (ICMP echo), as numbers."""

    ip: int
    port: int

    @classmethod
    def of(cls, ip: str, port: int) -> Endpoint:
        return cls(address_number(ip), port)

    def __str__(self) -> str:
        return f"{address_text(self.ip)}:{self.port}"


def address_number(text: str) -> int:
    return int.from_bytes(socket.inet_aton(text), "big")


def address_text(number: int) -> str:
    return socket.inet_ntoa(number.to_bytes(4, "big"))


class MalformedPacket(ValueError):
    """Not an IPv4 packet, or too short for what it claims to be."""


class Header(NamedTuple):
    """What a NAT reads of an IPv4 packet."""

    size: int
    protocol: int
    source_ip: int
    destination_ip: int
    identification: int
    fragment_offset: int
    more_fragments: bool

    @property
    def first(self) -> bool:
        """Whether the transport header is in this packet."""
        return self.fragment_offset == 0

    @property
    def fragmented(self) -> bool:
        return self.fragment_offset != 0 or self.more_fragments


def read_header(packet: bytes, at: int = 0) -> Header:
    """Read the IPv4 header at `at`.

    Raises MalformedPacket.
    """
    if len(packet) < at + HEADER_SIZE_MIN or packet[at] >> 4 != 4:
        raise MalformedPacket("no IPv4 header")
    size = (packet[at] & 0x0F) * 4
    if size < HEADER_SIZE_MIN or len(packet) < at + size:
        raise MalformedPacket("an IPv4 header of impossible length")
    identification, fragment = struct.unpack_from("!HH", packet, at + 4)
    source, destination = struct.unpack_from("!II", packet, at + 12)
    return Header(
        size=size,
        protocol=packet[at + 9],
        source_ip=source,
        destination_ip=destination,
        identification=identification,
        fragment_offset=fragment & 0x1FFF,
        more_fragments=bool(fragment & 0x2000),
    )


def read_ports(packet: bytes, header: Header, at: int = 0) -> tuple[int, int]:
    """Return source and destination port of the packet at `at`; both are the identifier in an ICMP query.

    Raises MalformedPacket.
    """
    start = at + header.size
    # an ICMP error quotes as little as 8 bytes of the transport header (RFC 792)
    if len(packet) < start + (8 if at else _TRANSPORT_SIZE_MIN[header.protocol]):
        raise MalformedPacket("a transport header cut short")
    if header.protocol == ICMP:
        identifier = int.from_bytes(packet[start + _ECHO_ID_AT : start + _ECHO_ID_AT + 2], "big")
        return identifier, identifier
    source, destination = struct.unpack_from("!HH", packet, start)
    return source, destination


class Rewrite(NamedTuple):
    """New endpoints of a packet; None stays as it is."""

    source: Endpoint | None = None
    destination: Endpoint | None = None


def rewrite(packet: bytes, header: Header, change: Rewrite) -> bytes:
    """Return `packet` with other endpoints and one hop more to live.

    The hop is the one that the kernel takes away for nothing: it routes a packet to the NAT's device and from there
    again. Ports of fragments but the first are not there to change.
    """
    buffer = bytearray(packet)
    _raise_ttl(buffer)
    rewrite_at(buffer, header, 0, change)
    return bytes(buffer)


def rewrite_at(buffer: bytearray, header: Header, at: int, change: Rewrite) -> None:
    """Change the endpoints of the IPv4 packet at `at`, which may be one that an ICMP error quotes and has cut short."""
    difference = 0
    for new, old, offset in ((change.source, header.source_ip, 12), (change.destination, header.destination_ip, 16)):
        if new is not None:
            struct.pack_into("!I", buffer, at + offset, new.ip)
            difference += new.ip - old
    _adjust(buffer, at + 10, difference)
    if header.first and header.protocol in _CHECKSUM_AT:
        _rewrite_ports(buffer, header.protocol, at + header.size, change, difference)


def _rewrite_ports(buffer: bytearray, protocol: int, start: int, change: Rewrite, difference: int) -> None:
    if protocol == ICMP:
        offsets, difference = (_ECHO_ID_AT, _ECHO_ID_AT), 0  # no pseudo header
    else:
        offsets = (0, 2)
    for new, offset in zip((change.source, change.destination), offsets, strict=True):
        if new is not None:
            (old,) = struct.unpack_from("!H", buffer, start + offset)
            struct.pack_into("!H", buffer, start + offset, new.port)
            difference += new.port - old
    where = start + _CHECKSUM_AT[protocol]
    if len(buffer) < where + 2:
        return
    if protocol == UDP:
        if buffer[where : where + 2] == b"\0\0":
            return  # sent without a checksum (RFC 768)
        _adjust(buffer, where, difference, zero=_MODULUS)
    else:
        _adjust(buffer, where, difference)


def _raise_ttl(buffer: bytearray) -> None:
    if buffer[8] < _TTL_MAX:
        buffer[8] += 1
        _adjust(buffer, 10, 1 << 8)


def _adjust(buffer: bytearray, where: int, difference: int, *, zero: int = 0) -> None:
    """Correct the checksum at `where` for words that have grown by `difference` in sum."""
    (old,) = struct.unpack_from("!H", buffer, where)
    struct.pack_into("!H", buffer, where, (old - difference) % _MODULUS or zero)


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    words: tuple[int, ...] = struct.unpack(f"!{len(data) // 2}H", data)
    return _MODULUS - sum(words) % _MODULUS
