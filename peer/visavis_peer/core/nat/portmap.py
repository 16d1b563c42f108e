"""Asking a gateway for a port: the messages of PCP (RFC 6887) and NAT-PMP (RFC 6886), without I/O.

Both speak to UDP port 5351 of the gateway and differ in the first byte, so both are asked at once.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from typing import Final, Literal

GATEWAY_PORT: Final = 5351
"""UDP port of PCP and NAT-PMP servers (RFC 6887 section 19, RFC 6886 section 1.1)."""
LIFETIME: Final = 240
"""Seconds asked for: renewed at half of it, and gone soon after an agent that died (RFC 6887 section 15: 120 and
more)."""
REQUEST_SCHEDULE: Final = (0.25, 0.5, 0.75)
"""Seconds between the transmissions: RFC 6886 section 3.1 begins with 250 ms; a gateway on the same LAN that has not
answered after 1.5 s does not speak the protocol."""

Protocol = Literal["pcp", "nat-pmp", "upnp"]

_PCP_VERSION: Final = 2
_PCP_MAP: Final = 1
_RESPONSE: Final = 0x80
_UDP: Final = 17
_PCP_REQUEST: Final = struct.Struct("!BBHI16s12sB3xHH16s")
_PCP_RESPONSE: Final = struct.Struct("!BBxBII12x12sB3xHH16s")
_PMP_ADDRESS_RESPONSE: Final = struct.Struct("!BBHI4s")
_PMP_MAP_REQUEST: Final = struct.Struct("!BBHHHI")
_PMP_MAP_RESPONSE: Final = struct.Struct("!BBHIHHI")
_PMP_MAP_UDP: Final = 1
PMP_ADDRESS_REQUEST: Final = b"\0\0"
"""NAT-PMP's question for the external address (RFC 6886 section 3.2)."""


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of the gateway's external address that leads to one of ours, whoever sends to it."""

    protocol: Protocol
    internal_port: int
    external_ip: str
    external_port: int
    lifetime: int
    """Seconds from the response on."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The gateway speaks the protocol and says no."""

    protocol: Protocol
    code: int
    """Result code of RFC 6887 section 7.4 or RFC 6886 section 3.5."""


def pcp_map_request(client_ip: str, nonce: bytes, internal_port: int, external_port: int, lifetime: int) -> bytes:
    """Return a MAP request for UDP (RFC 6887 section 11.1).

    `nonce` has 12 random bytes, the same for renewals; `external_port` 0 leaves the choice to the gateway; `lifetime` 0
    deletes the mapping.
    """
    any_address = _pcp_address("0.0.0.0" if ":" not in client_ip else "::")  # noqa: S104 -- means: any external address
    return _PCP_REQUEST.pack(
        _PCP_VERSION,
        _PCP_MAP,
        0,
        lifetime,
        _pcp_address(client_ip),
        nonce,
        _UDP,
        internal_port,
        external_port,
        any_address,
    )


def parse_pcp_response(data: bytes, nonce: bytes) -> PortMapping | Refusal | None:
    """Return what a PCP server says to the MAP request with `nonce`; None for anything else."""
    if len(data) < 4 or data[0] != _PCP_VERSION or data[1] != _RESPONSE | _PCP_MAP:
        return None
    if data[3]:
        return Refusal("pcp", data[3])
    if len(data) < _PCP_RESPONSE.size:
        return None
    fields = _PCP_RESPONSE.unpack_from(data)
    lifetime, (theirs, protocol, internal, external, address) = fields[3], fields[5:]
    if theirs != nonce or protocol != _UDP or not external:
        return None
    ip = ipaddress.IPv6Address(address)
    return PortMapping("pcp", internal, str(ip.ipv4_mapped or ip), external, lifetime)


def pmp_map_request(internal_port: int, external_port: int, lifetime: int) -> bytes:
    """Return a request to map a UDP port (RFC 6886 section 3.3); `lifetime` 0 deletes the mapping."""
    return _PMP_MAP_REQUEST.pack(0, _PMP_MAP_UDP, 0, internal_port, external_port, lifetime)


def parse_pmp_address(data: bytes) -> str | Refusal | None:
    """Return the external address that a NAT-PMP server tells; None for anything else."""
    if len(data) < 4 or data[0] != 0 or data[1] != _RESPONSE:
        return None
    code = int.from_bytes(data[2:4])
    if code:
        return Refusal("nat-pmp", code)
    if len(data) < _PMP_ADDRESS_RESPONSE.size:
        return None
    return str(ipaddress.IPv4Address(_PMP_ADDRESS_RESPONSE.unpack_from(data)[4]))


def parse_pmp_mapping(data: bytes, internal_port: int, external_ip: str) -> PortMapping | Refusal | None:
    """Return what a NAT-PMP server says to the request for `internal_port`; None for anything else."""
    if len(data) < 4 or data[0] != 0 or data[1] != _RESPONSE | _PMP_MAP_UDP:
        return None
    code = int.from_bytes(data[2:4])
    if code:
        return Refusal("nat-pmp", code)
    if len(data) < _PMP_MAP_RESPONSE.size:
        return None
    internal, external, lifetime = _PMP_MAP_RESPONSE.unpack_from(data)[4:]
    if internal != internal_port or not external:
        return None
    return PortMapping("nat-pmp", internal, external_ip, external, lifetime)


def is_useful(mapping: PortMapping, local_ip: str) -> bool:
    """Whether a mapping leads anywhere: a gateway behind another NAT tells a private address.

    Shared address space (RFC 6598) and our own address count as useless, too.
    """
    external = ipaddress.ip_address(mapping.external_ip)
    return str(external) != local_ip and external.is_global


def _pcp_address(ip: str) -> bytes:
    """Return an address as PCP writes it, an IPv4 one as IPv4-mapped (RFC 6887 section 5)."""
    address = ipaddress.ip_address(ip)
    if isinstance(address, ipaddress.IPv4Address):
        return bytes(10) + b"\xff\xff" + address.packed
    return address.packed
