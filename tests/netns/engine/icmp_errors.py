"""ICMP errors and the packets they quote (RFC 792, RFC 5508 section 4)."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from tests.netns.engine.packets import (
    ICMP,
    Endpoint,
    Header,
    MalformedPacket,
    Rewrite,
    checksum,
    read_header,
    read_ports,
    rewrite,
    rewrite_at,
)

_ERRORS: Final = frozenset({3, 4, 11, 12})
"""Destination unreachable, source quench, time exceeded, parameter problem."""
_HEADER_SIZE: Final = 8


class Quoted(NamedTuple):
    """The packet that an error is about."""

    protocol: int
    source: Endpoint
    destination: Endpoint


def is_error(packet: bytes, header: Header) -> bool:
    """Whether an ICMP packet is an error and not a query."""
    return len(packet) > header.size and packet[header.size] in _ERRORS


def read_quoted(packet: bytes, header: Header) -> Quoted:
    """Return what an error quotes.

    Raises MalformedPacket.
    """
    at = header.size + _HEADER_SIZE
    inner = read_header(packet, at)
    source_port, destination_port = read_ports(packet, inner, at)
    if inner.protocol == ICMP:
        # a query has one identifier, which is the inside host's; the remote's port counts as 0
        if is_error(packet[at:], inner):
            raise MalformedPacket("an error about an error")
        destination_port = 0
    return Quoted(
        inner.protocol,
        Endpoint(inner.source_ip, source_port),
        Endpoint(inner.destination_ip, destination_port),
    )


def rewrite_error(packet: bytes, header: Header, outer: Rewrite, quoted: Rewrite) -> bytes:
    """Return the error with other endpoints inside and out.

    Of the outer ones only the addresses count. The quoted packet's own checksums are kept right as well, as far as
    they are there (RFC 5508 REQ-3).
    """
    at = header.size + _HEADER_SIZE
    buffer = bytearray(packet)
    rewrite_at(buffer, read_header(packet, at), at, quoted)
    struct.pack_into("!H", buffer, header.size + 2, 0)
    # an error has no ports: what follows its header is the checksum's and the quoted packet's
    moved = bytearray(rewrite(bytes(buffer), header._replace(fragment_offset=1), outer))
    struct.pack_into("!H", moved, header.size + 2, checksum(bytes(moved[header.size :])))
    return bytes(moved)
