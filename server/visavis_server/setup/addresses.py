"""By which address this machine may be reached."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import Final

_ELSEWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses for documentation (RFC 5737, RFC 3849): asked for the way there only, nothing is sent."""


def reachable_address(host: str) -> str:
    """Return `host`, or for a wildcard the address from which this machine would send to the internet.

    Behind a NAT that is not the address by which others reach it. Without a way there it is loopback.
    """
    if not ipaddress.ip_address(host).is_unspecified:
        return host
    for family, elsewhere in _ELSEWHERE:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((elsewhere, 9))
            return str(sock.getsockname()[0])
    return "127.0.0.1"
