"""IPv4 packets for tests: built with right checksums, and read with a check that they are."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tests.netns.engine.packets import ICMP, TCP, UDP, Endpoint, checksum, read_header

Address = tuple[str, int]


def ipv4(
    protocol: int, source: str, destination: str, payload: bytes, *, ttl: int = 63, fragment: int = 0, ident: int = 7
) -> bytes:
    """Return a packet; `fragment` is the word of flags and offset."""
    start, end = Endpoint.of(source, 0).ip, Endpoint.of(destination, 0).ip
    header = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(payload), ident, fragment, ttl, protocol, 0, start, end)
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + payload


def udp(source: Address, destination: Address, payload: bytes = b"hello", *, ttl: int = 63) -> bytes:
    return ipv4(UDP, source[0], destination[0], udp_datagram(source, destination, payload), ttl=ttl)


def udp_datagram(source: Address, destination: Address, payload: bytes) -> bytes:
    header = struct.pack("!HHHH", source[1], destination[1], 8 + len(payload), 0)
    total = checksum(_pseudo(UDP, source, destination, 8 + len(payload)) + header + payload)
    return header[:6] + (total or 0xFFFF).to_bytes(2, "big") + payload


def tcp(source: Address, destination: Address, flags: int = 0x10, payload: bytes = b"hello") -> bytes:
    header = struct.pack("!HHIIBBHHH", source[1], destination[1], 1, 2, 5 << 4, flags, 1000, 0, 0)
    total = checksum(_pseudo(TCP, source, destination, len(header) + len(payload)) + header + payload)
    return ipv4(TCP, source[0], destination[0], header[:16] + total.to_bytes(2, "big") + header[18:] + payload)


def echo(source: str, destination: str, identifier: int, *, reply: bool = False) -> bytes:
    return ipv4(ICMP, source, destination, _icmp(0 if reply else 8, struct.pack("!HH", identifier, 1) + b"ping"))


def time_exceeded(source: str, destination: str, about: bytes, quoted_size: int = 64) -> bytes:
    """Return an ICMP error that quotes so many bytes of a packet."""
    return ipv4(ICMP, source, destination, _icmp(11, bytes(4) + about[:quoted_size]))


def _icmp(kind: int, rest: bytes) -> bytes:
    body = struct.pack("!BBH", kind, 0, 0) + rest
    return body[:2] + checksum(body).to_bytes(2, "big") + body[4:]


def _pseudo(protocol: int, source: Address, destination: Address, size: int) -> bytes:
    return struct.pack("!IIBBH", Endpoint.of(*source).ip, Endpoint.of(*destination).ip, 0, protocol, size)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a receiver makes of a packet; ports are identifiers in an echo."""

    source: Address
    destination: Address
    payload: bytes
    ttl: int


def read(packet: bytes | None) -> Seen:
    """Read a UDP, TCP or echo packet.

    Raises AssertionError when there is none, or one of its checksums is wrong.
    """
    assert packet is not None, "the packet was dropped"
    header = read_header(packet)
    assert checksum(packet[:20]) in (0, 0xFFFF), "IP checksum"
    body = packet[20:]
    source, destination = str(Endpoint(header.source_ip, 0))[:-2], str(Endpoint(header.destination_ip, 0))[:-2]
    if header.protocol == ICMP:
        assert checksum(body) in (0, 0xFFFF), "ICMP checksum"
        (identifier,) = struct.unpack_from("!H", body, 4)
        return Seen((source, identifier), (destination, identifier), body[8:], packet[8])
    ports = struct.unpack_from("!HH", body)
    seen = (source, ports[0]), (destination, ports[1])
    if header.protocol == TCP or body[6:8] != b"\0\0":
        pseudo = _pseudo(header.protocol, *seen, len(body))
        assert checksum(pseudo + body) in (0, 0xFFFF), "transport checksum"
    return Seen(*seen, body[8:] if header.protocol == UDP else body[20:], packet[8])
