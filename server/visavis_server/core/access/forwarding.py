"""Who a request comes from, where proxies stand in front, and which names and pages it may come by."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Final

from visavis_shared.endpoints import IpAddress, native, parse_ip

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

PORT_MAX: Final = 65_535
_HOST: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.%a-z]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{0,5}))?")
"""A name or address with an optional port (RFC 3986 section 3.2), of the characters that names of hosts have."""
HOP_COUNT: Final = 16
"""Hops of an X-Forwarded-For that are looked at: nobody has more proxies in a row."""


def client_address(peer: str, forwarded_for: Sequence[str], trusted: Sequence[IpNetwork]) -> str:
    """Return the address of the client behind `peer`, the other end of the TCP connection.

    `forwarded_for` are the values of X-Forwarded-For in the order of their lines. The rightmost hop that is not one of
    the `trusted` proxies is the client: everything left of it is what the client claims. A hop that is no address ends
    the search; the one before it is the client.
    """
    address = parse_address(peer)
    if address is None:
        return peer
    hops = [hop.strip() for line in forwarded_for for hop in line.split(",")]
    for hop in reversed(hops[-HOP_COUNT:]):
        if not is_trusted(address, trusted):
            break
        before = parse_address(hop)
        if before is None:
            break
        address = before
    return str(address)


def is_trusted(address: IpAddress, trusted: Sequence[IpNetwork]) -> bool:
    """Whether an address is one of the operator's proxies."""
    return any(address.version == network.version and address in network for network in trusted)


def parse_address(text: str) -> IpAddress | None:
    """Return an address as proxies write it: bare, with a port, in brackets."""
    parts = _HOST.fullmatch(text) if text.startswith("[") or text.count(":") == 1 else None
    try:
        return native(parse_ip((text if parts is None else parts["name"].strip("[]")).partition("%")[0]))
    except ValueError:
        return None


def is_host_allowed(host: str, allowed: Sequence[str]) -> bool:
    """Whether a Host header names this server; an empty list allows every name (DNS rebinding is not kept out then).

    An entry is a name or an address, without port; `*.example.org` stands for every name below it.
    """
    if not allowed:
        return True
    parts = _HOST.fullmatch(host)
    if parts is None or int(parts["port"] or 0) > PORT_MAX:
        return False
    return _name_matches(parts["name"].strip("[]").removesuffix(".").lower(), allowed)


def is_origin_allowed(origin: str | None, allowed: Sequence[str]) -> bool:
    """Whether a page of this origin (RFC 6454) may connect; a request without one does not come from a page.

    An entry is an origin such as `https://app.example.org`, or `*`; an empty list allows every page.
    """
    if origin is None or not allowed or "*" in allowed:
        return True
    return origin.lower() in (entry.lower().rstrip("/") for entry in allowed)


def _name_matches(name: str, allowed: Sequence[str]) -> bool:
    for entry in allowed:
        wanted = entry.lower().strip("[]")
        if name == wanted or (wanted.startswith("*.") and name.endswith(wanted[1:]) and len(name) > len(wanted) - 1):
            return True
    return False
