"""Candidates as SDP lines (RFC 8839 section 5.1), and this side's own (RFC 8445 section 5.1), by aioice."""

from __future__ import annotations

import ipaddress
from typing import Final

from aioice.candidate import Candidate as Line
from aioice.candidate import candidate_foundation, candidate_priority

from visavis_peer.core.ice import Candidate
from visavis_shared.stun import Address

MOST_PREFERRED: Final = 65535
"""ICE's highest local preference (RFC 8445 section 5.1.2.1)."""


def host_candidate(address: Address, preference: int) -> Candidate:
    """Return the host candidate of a socket; `preference` is ICE's local preference, 0 to 65535."""
    return _candidate("host", address, preference=preference)


def server_reflexive_candidate(base: Candidate, mapped: Address) -> Candidate:
    """Return the server-reflexive candidate of the host candidate `base` (RFC 8445 section 5.1.1.2)."""
    return _candidate("srflx", mapped, base.address, base.host, (base.priority >> 8) & 0xFFFF)


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
    """Return a candidate; those of one kind and `base` IP address (None: their own) share their foundation."""
    return Candidate(
        type=kind,
        host=address[0],
        port=address[1],
        priority=candidate_priority(1, kind, preference),
        foundation=candidate_foundation(kind, "udp", base or address[0]),
        related=related,
    )


def to_line(candidate: Candidate) -> str:
    """Return the SDP line of a candidate of this side."""
    related_host, related_port = candidate.related or (None, None)
    return Line(
        foundation=candidate.foundation,
        component=1,
        transport="udp",
        priority=candidate.priority,
        host=candidate.host,
        port=candidate.port,
        type=candidate.type,
        related_address=related_host,
        related_port=related_port,
    ).to_sdp()


def read_candidate(line: str) -> Candidate | None:
    """Return the candidate in an SDP line, None if it is none of UDP and component 1 at a numeric address."""
    try:
        said = Line.from_sdp(line)
        ip = ipaddress.ip_address(said.host)
    except (ValueError, IndexError):
        return None
    if isinstance(ip, ipaddress.IPv6Address) and ip.scope_id is not None:
        return None  # which of this machine's interfaces: no peer knows
    if said.component != 1 or said.transport.lower() != "udp":
        return None
    # the address in one way of writing, so that its candidates can be counted
    return Candidate(said.type, str(ip), said.port, said.priority, said.foundation)
