"""A NAT in one word, for statistics."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from visavis_shared.nat.behaviour import Filtering, Mapping
from visavis_shared.nat.report import NatReport


class NatKind(StrEnum):
    """What stands before an agent, as far as it knows (RFC 4787 sections 4.1 and 5)."""

    UNKNOWN = "unknown"
    BLOCKED = "blocked"
    """No UDP at all."""
    NONE = "none"
    FIREWALL = "firewall"
    """No translation, but filtering."""
    ENDPOINT_INDEPENDENT = "endpoint_independent"
    """Endpoint-independent mapping; filtering is unknown."""
    FULL_CONE = "full_cone"
    """The same with endpoint-independent filtering."""
    ADDRESS_RESTRICTED = "address_restricted"
    """The same with address-dependent filtering."""
    PORT_RESTRICTED = "port_restricted"
    """The same with address-and-port-dependent filtering."""
    ADDRESS_DEPENDENT = "address_dependent"
    """Address-dependent mapping."""
    SYMMETRIC = "symmetric"
    """Address-and-port-dependent mapping."""
    OTHER = "other"
    """A word that this version does not know."""


_BY_FILTERING: Final = {
    None: NatKind.ENDPOINT_INDEPENDENT,
    Filtering.ENDPOINT_INDEPENDENT: NatKind.FULL_CONE,
    Filtering.ADDRESS_DEPENDENT: NatKind.ADDRESS_RESTRICTED,
    Filtering.ADDRESS_AND_PORT_DEPENDENT: NatKind.PORT_RESTRICTED,
}


def nat_kind(report: NatReport | None) -> NatKind:
    """Return the word for what is reported."""
    if report is None:
        return NatKind.UNKNOWN
    if report.udp is False:
        return NatKind.BLOCKED
    if report.nat is False:
        return NatKind.NONE if report.filtering in (None, Filtering.ENDPOINT_INDEPENDENT) else NatKind.FIREWALL
    match report.mapping:
        case None:
            return NatKind.UNKNOWN
        case Mapping.ADDRESS_DEPENDENT:
            return NatKind.ADDRESS_DEPENDENT
        case Mapping.ADDRESS_AND_PORT_DEPENDENT:
            return NatKind.SYMMETRIC
    return _BY_FILTERING[report.filtering]
