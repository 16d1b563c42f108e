"""The PROXY protocol, versions 1 and 2: what an L4 proxy says of the connection that it passes on.

The specification is HAProxy's `proxy-protocol.txt`. A header stands before everything else, TLS included.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import Final

from visavis_server.core.errors import ServerError
from visavis_shared.endpoints import native
from visavis_shared.stun import Address

HEADER_TIMEOUT: Final = 2.0
"""Seconds in which a proxy has to send its whole header: it does so with the first segment."""
HEADER_SIZE: Final = 2048
"""Bytes of a header at most: addresses and TLVs, among them a client's certificate name, stay below 1 KiB."""
_V1_SIZE: Final = 107
"""Bytes of the longest line of version 1 (section 2.1)."""
_V1: Final = b"PROXY "
_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEAD: Final = struct.Struct("!12sBBH")
_LOCAL, _PROXY = 0x20, 0x21
"""Version 2 with its commands (section 2.2)."""
_FAMILIES: Final = {0x11: "!4s4sHH", 0x21: "!16s16sHH"}
"""Layout of the addresses, for a stream over IPv4 and one over IPv6."""


class MalformedHeader(ServerError):
    """What stands where a header should is none; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a header says."""

    size: int
    """Bytes of the header."""
    client: Address | None
    """The client's address and port; None where the proxy speaks for itself or does not know."""


def may_begin(data: bytes) -> bool:
    """Whether the first bytes of a connection, of which more may follow, are or can become those of a header.

    No request of HTTP and no TLS record begins so.
    """
    return any(data.startswith(mark) or (data and mark.startswith(data)) for mark in (_V1, _V2))


def is_header(data: bytes) -> bool:
    """Whether the first bytes of a connection are certainly those of a header."""
    return data.startswith((_V1, _V2))


def parse(data: bytes) -> ProxyHeader | None:
    """Read the header at the beginning of `data`; None while it is incomplete.

    Raises MalformedHeader.
    """
    if not may_begin(data):
        raise MalformedHeader("it does not begin with a PROXY header" if data else "nothing came")
    if data.startswith(_V1):
        return _parse_line(data)
    if data.startswith(_V2):
        return _parse_binary(data)
    return None


def _parse_line(data: bytes) -> ProxyHeader | None:
    line, end, _ = data[:_V1_SIZE].partition(b"\r\n")
    if not end:
        if len(data) >= _V1_SIZE:
            raise MalformedHeader("the line is too long")
        return None
    size = len(line) + len(end)
    match line.split(b" "):
        case [_, b"UNKNOWN", *_]:
            return ProxyHeader(size, None)
        case [_, (b"TCP4" | b"TCP6") as family, source, target, source_port, target_port]:
            version = 4 if family == b"TCP4" else 6
            _address(target, version)
            _port(target_port)
            return ProxyHeader(size, (_address(source, version), _port(source_port)))
    raise MalformedHeader("the line does not name family, addresses and ports")


def _address(text: bytes, version: int) -> str:
    try:
        address = ipaddress.ip_address(text.decode("ascii"))
    except ValueError:
        raise MalformedHeader("an address is not valid") from None
    if address.version != version or "%" in str(address):
        raise MalformedHeader("an address is not of the family that the header names")
    return str(native(address))


def _port(text: bytes) -> int:
    if not text.isdigit() or len(text) > 5 or int(text) > 65535:
        raise MalformedHeader("a port is not valid")
    return int(text)


def _parse_binary(data: bytes) -> ProxyHeader | None:
    if len(data) < _V2_HEAD.size:
        return None
    _, command, family, length = _V2_HEAD.unpack_from(data)
    size = _V2_HEAD.size + length
    if size > HEADER_SIZE:
        raise MalformedHeader(f"it is longer than {HEADER_SIZE} bytes")
    if command not in (_LOCAL, _PROXY):
        raise MalformedHeader("version or command is unknown")
    if len(data) < size:
        return None
    if command == _LOCAL or family not in _FAMILIES:
        return ProxyHeader(size, None)
    layout = _FAMILIES[family]
    if length < struct.calcsize(layout):
        raise MalformedHeader("the addresses are missing")
    source, _, port, _ = struct.unpack_from(layout, data, _V2_HEAD.size)
    return ProxyHeader(size, (str(native(ipaddress.ip_address(source))), port))
