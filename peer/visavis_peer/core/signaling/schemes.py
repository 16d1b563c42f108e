"""Whether the address of a server that was given without a scheme means http or https."""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

_IPV4: Final = "127.0.0.0/8 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 169.254.0.0/16"
_IPV6: Final = "::1/128 fc00::/7 fe80::/10"
_AT_HOME: Final = tuple(ipaddress.ip_network(each) for each in f"{_IPV4} {_IPV6}".split())
"""Loopback, private (RFC 1918, RFC 4193) and link-local addresses: nobody gets a certificate for them."""


def with_scheme(server: str) -> str:
    """Return `server` as a URL: where it has no scheme with https, but for this machine and numeric private addresses.

    What is no URL stays none; whoever uses it says so.
    """
    if "://" in server:
        return server
    rest = server.removeprefix("//")
    return f"{'http' if _is_at_home(rest) else 'https'}://{rest}"


def _is_at_home(rest: str) -> bool:
    try:
        host = urlsplit(f"//{rest}").hostname or ""
    except ValueError:
        return False
    if host.rstrip(".") == "localhost" or host.rstrip(".").endswith(".localhost"):  # RFC 6761 section 6.3
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in _AT_HOME)
