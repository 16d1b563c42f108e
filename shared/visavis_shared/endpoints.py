"""Transport addresses as text."""

from __future__ import annotations

import functools
import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visavis_shared.stun import Address


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
def parse_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an IP address without a zone, remembered: of a client's a server asks ten times until it has joined.

    Raises ValueError.
    """
    return ipaddress.ip_address(text)


def is_numeric(host: str) -> bool:
    """Whether `host` is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
