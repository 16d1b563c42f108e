"""Candidates (RFC 8445 section 5.1), and which of the peer's are ever sent to.

As the RFC has it: types, priorities and foundations (sections 5.1.1 to 5.1.3, 7.1.1 and 7.3.1.3).

Beyond it: who can make agents link can name any address, so a remote candidate is taken only where a peer can be. None
of a broadcast or multicast address, of a cloud's metadata service, or of this machine or its link where this side is
not there itself; ADDRESS_COUNT of one IP address; the first `limits.CANDIDATE_COUNT` (the RFC leaves such bounds to the
implementation, section 19.5.1).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from visavis_peer.core.nat.destinations import embedded
from visavis_shared.stun import Address

ADDRESS_COUNT: Final = 4
"""Candidates of one IP address that are checked: its host, mapped and predicted ports; more would flood it."""
NAMED_TYPES: Final = frozenset({"host", "srflx", "relay"})
"""Types of candidates that a peer may name; its peer-reflexive ones are ours to find."""
_PEER_REFLEXIVE: Final = 110
"""Type preference (RFC 8445 section 5.1.2.2)."""
_MOST_PREFERRED: Final = 65535
_RESERVED: Final = ipaddress.ip_network("240.0.0.0/4")
"""With the limited broadcast address (RFC 1112 section 4, RFC 919)."""
_COMPATIBLE: Final = ipaddress.ip_network("::/96")
"""IPv4-compatible, deprecated (RFC 4291 section 2.5.5.1); with the loopback address."""
_METADATA: Final = ipaddress.ip_address("169.254.169.254")
_METADATA_V6: Final = ipaddress.ip_address("fd00:ec2::254")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A transport address of UDP, component 1."""

    type: str
    """`host`, `srflx`, `prflx` or `relay`."""
    host: str
    """Numeric IP address, in its one canonical way of writing."""
    port: int
    priority: int
    """RFC 8445 section 5.1.2."""
    foundation: str
    """The same for candidates of one type, base and server (section 5.1.1.3)."""
    related: Address | None = None
    """The base of a reflexive candidate, or what the TURN server of a relayed one sees (RFC 8839 section 5.1)."""

    @property
    def address(self) -> Address:
        """Where it is."""
        return self.host, self.port

    @property
    def version(self) -> int:
        """4 or 6: candidates of one IP version are paired (RFC 8445 section 6.1.2.2)."""
        return 6 if ":" in self.host else 4


def peer_reflexive(address: Address, priority: int | None = None) -> Candidate:
    """Return a remote candidate that the peer has not named (RFC 8445 section 7.3.1.3).

    `priority` is what its check says, None where it was found otherwise.
    """
    if priority is None:
        priority = (_PEER_REFLEXIVE << 24) | (_MOST_PREFERRED << 8) | 0xFF
    return Candidate("prflx", *address, priority, foundation="prflx {} {}".format(*address))


def peer_reflexive_priority(base: Candidate) -> int:
    """Return the PRIORITY of checks from `base`: what a peer-reflexive candidate of it would have (section 7.1.1)."""
    return (_PEER_REFLEXIVE << 24) | (base.priority & 0xFFFFFF)


def is_usable(candidate: Candidate) -> bool:
    """Whether this agent can check a candidate that a peer has named: unicast, of a type that peers name.

    No peer is at a broadcast address or at the metadata service of a cloud, which only its own guests can reach.
    """
    ip = ipaddress.ip_address(candidate.host)
    if ip.is_multicast or ip.is_unspecified or is_never_a_peer(ip):
        return False
    in_range = 1 <= candidate.port <= 65535 and 0 <= candidate.priority < 2**31
    return in_range and candidate.type in NAMED_TYPES


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
