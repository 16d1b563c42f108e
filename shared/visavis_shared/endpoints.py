"""Transport addresses as text."""

from __future__ import annotations

import functools
import ipaddress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from visavis_shared.stun import Address

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052 section 2.1: behind it is the whole of IPv4."""


def format_address(address: Address) -> str:
    """Return `ip:port`, or `[ip]:port` for IPv6."""
    ip, port = address
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def parse_host_port(text: str, default_port: int) -> tuple[str, int]:
    """Read `host`, `host:port`, `[ipv6]:port` or a bare IPv6 address.

    Raises ValueError that says what is wrong.
    """
    host, port = text.strip(), ""
    if host.startswith("["):
        host, bracket, rest = host[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is not [ipv6]:port")
        port = rest[1:]
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
    if not host:
        raise ValueError(f"{text!r} has no host")
    if not port:
        return host, default_port
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError(f"{text!r}: the port must be 1 to 65535")
    return host, int(port)


@functools.lru_cache(maxsize=1024)
def parse_ip(text: str) -> IpAddress:
    """Return an IP address without a zone, remembered: of a client's a server asks ten times until it has joined.

    Raises ValueError.
    """
    return ipaddress.ip_address(text)


def native(address: IpAddress) -> IpAddress:
    """Return the IPv4 address of a host that is shown as an IPv6 one: IPv4-mapped, or by NAT64 (RFC 7915).

    Whoever is known by an address is known by it whichever way a socket, a proxy or a translator writes it.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address


def is_numeric(host: str) -> bool:
    """Whether `host` is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
