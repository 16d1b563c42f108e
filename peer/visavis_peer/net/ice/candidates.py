"""Candidates: those of this side, and which of the peer's can be used (RFC 8445 section 5.1, RFC 8839 section 5.1)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from aioice.candidate import Candidate, candidate_foundation, candidate_priority

from visavis_peer.core.destinations import embedded
from visavis_shared.stun import Address

ADDRESS_COUNT: Final = 4
"""Candidates of one IP address that are checked: its host, mapped and predicted ports; more would flood it."""
_RESERVED: Final = ipaddress.ip_network("240.0.0.0/4")
"""With the limited broadcast address (RFC 1112 section 4, RFC 919)."""
_COMPATIBLE: Final = ipaddress.ip_network("::/96")
"""IPv4-compatible, deprecated (RFC 4291 section 2.5.5.1); with the loopback address."""
_METADATA: Final = ipaddress.ip_address("169.254.169.254")
_METADATA_V6: Final = ipaddress.ip_address("fd00:ec2::254")
MOST_PREFERRED: Final = 65535
"""ICE's highest local preference (RFC 8445 section 5.1.2.1)."""


def host_candidate(address: Address, preference: int) -> Candidate:
    """Return the host candidate of a socket; `preference` is ICE's local preference, 0 to 65535."""
    return _candidate("host", address, preference=preference)


def server_reflexive_candidate(base: Candidate, mapped: Address) -> Candidate:
    """Return the server-reflexive candidate of the host candidate `base` (RFC 8445 section 5.1.1.2)."""
    return _candidate("srflx", mapped, (base.host, base.port), base.host, (base.priority >> 8) & 0xFFFF)


def peer_reflexive_candidate(address: Address) -> Candidate:
    """Return a remote candidate that the peer has not named (RFC 8445 section 7.3.1.3)."""
    return _candidate("prflx", address)


def relayed_candidate(address: Address, related: Address) -> Candidate:
    """Return the candidate for an address on a TURN server; `related` is ours as the server sees it."""
    return _candidate("relay", address, related)


def _candidate(
    kind: str,
    address: Address,
    related: Address | None = None,
    base: str | None = None,
    preference: int = MOST_PREFERRED,
) -> Candidate:
    """Return a candidate of UDP, component 1.

    Those of one kind and `base` IP address (None: their own) share their foundation (RFC 8445 section 5.1.1.3).
    """
    related_host, related_port = related or (None, None)
    return Candidate(
        foundation=candidate_foundation(kind, "udp", base or address[0]),
        component=1,
        transport="udp",
        priority=candidate_priority(1, kind, preference),
        host=address[0],
        port=address[1],
        type=kind,
        related_address=related_host,
        related_port=related_port,
    )


def usable_candidate(line: str) -> Candidate | None:
    """Return the candidate in an SDP line if it is one that this agent can check: UDP, component 1, numeric unicast.

    No peer is at a broadcast address or at the metadata service of a cloud, which only its own guests can reach.
    """
    try:
        candidate = Candidate.from_sdp(line)
        ip = ipaddress.ip_address(candidate.host)
    except (ValueError, IndexError):
        return None
    if isinstance(ip, ipaddress.IPv6Address) and ip.scope_id is not None:
        return None  # which of this machine's interfaces: no peer knows
    candidate.host = str(ip)  # in one way of writing, so that its candidates can be counted
    if ip.is_multicast or ip.is_unspecified or is_never_a_peer(ip) or not 1 <= candidate.port <= 65535:
        return None
    if candidate.component != 1 or candidate.transport.lower() != "udp" or not 0 <= candidate.priority < 2**31:
        return None
    return candidate


def is_never_a_peer(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether nobody who could be asked for anything is at a unicast address."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip in _RESERVED or ip == _METADATA
    inner = embedded(ip)
    if ip.ipv4_mapped is not None or (inner is not None and not inner.is_global):
        return True  # RFC 6052 section 3.1: NAT64 leads to public addresses only
    return ip == _METADATA_V6 or (ip in _COMPATIBLE and not ip.is_loopback)


def is_reachable_from(host: str, own_hosts: Iterable[str], *, loopback: bool) -> bool:
    """Whether a peer's candidate may be checked from sockets at `own_hosts`: all are numeric addresses.

    Loopback only where `loopback` allows it and from a socket there, link-local only from such an address: so nobody
    has an agent send to services of its own machine, or to neighbours that it does not look for.
    """
    ip = ipaddress.ip_address(host)
    if ip.is_loopback and not loopback:
        return False
    if not (ip.is_loopback or ip.is_link_local):
        return True
    own = [each for each in map(ipaddress.ip_address, own_hosts) if each.version == ip.version]
    return any(each.is_loopback if ip.is_loopback else each.is_link_local for each in own)
