"""The part of netifaces that `interfaces` uses, by psutil: for Pythons that netifaces-plus has no wheels for.

psutil knows no routes. Linux tells them in /proc; elsewhere the kernel is asked which address it would send from, which
gives the interface of the default route, and no gateway is known (so none is asked for a port).
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import psutil

AF_INET: Final = int(socket.AF_INET)
AF_INET6: Final = int(socket.AF_INET6)

_LINUX: Final = sys.platform == "linux"
_PROC: Final = Path("/proc/net")
_RTF_UP: Final = 0x1
_RTF_REJECT: Final = 0x200
"""Flags of a route, linux/route.h."""
_ANYWHERE: Final = {socket.AF_INET: ("192.0.2.1", 9), socket.AF_INET6: ("2001:db8::1", 9)}
"""Documentation addresses (RFC 5737, RFC 3849), which only a default route leads to; nothing is sent there."""

Gateways = dict[int | str, list[tuple[str, str, bool]] | dict[int, tuple[str, str]]]
"""By family its gateways with their interfaces, and whether they are the default; the default of each by "default"."""


class _Route(NamedTuple):
    """A default route; the smallest metric wins."""

    metric: int
    gateway: str
    """All zeros where the network is on the link."""
    interface: str


def interfaces() -> list[str]:
    """Return the names of all interfaces."""
    return list(psutil.net_if_addrs())


def ifaddresses(name: str) -> dict[int, list[dict[str, str]]]:
    """Return the addresses of an interface by family.

    Raises ValueError where there is no such interface.
    """
    found: dict[int, list[dict[str, str]]] = {}
    for entry in psutil.net_if_addrs().get(name, ()):
        found.setdefault(int(entry.family), []).append({"addr": entry.address})
    if not found and name not in psutil.net_if_stats():
        raise ValueError(f"there is no interface {name}")
    return found


def gateways() -> Gateways:
    """Return the gateways of default routes, and the interfaces that these lead through."""
    routes = {AF_INET: sorted(_ipv4_routes()), AF_INET6: sorted(_ipv6_routes())}
    default = {family: (each[0].gateway, each[0].interface) for family, each in routes.items() if each}
    if not _LINUX:
        default = dict(_asked())
    listed: Gateways = {"default": default}
    for family, each in routes.items():
        reached = [route for route in each if not ipaddress.ip_address(route.gateway).is_unspecified]
        listed[family] = [(route.gateway, route.interface, route is each[0]) for route in reached]
    return listed


def _table(name: str) -> Iterator[list[str]]:
    """Yield the fields of each line of a table of /proc/net; of none where there is no such table."""
    with contextlib.suppress(OSError):
        for line in (_PROC / name).read_text().splitlines():
            yield line.split()


def _ipv4_routes() -> Iterator[_Route]:
    for interface, destination, gateway, flags, _, _, metric, mask, *_ in _table("route"):
        if destination == mask == "00000000" and _usable(flags):
            # as the kernel holds it: network order, written as a number of this machine
            packed = int(gateway, 16).to_bytes(4, sys.byteorder)
            yield _Route(int(metric), str(ipaddress.IPv4Address(packed)), interface)


def _ipv6_routes() -> Iterator[_Route]:
    for destination, prefix, _, _, gateway, metric, _, _, flags, interface in _table("ipv6_route"):
        if int(destination, 16) == int(prefix, 16) == 0 and _usable(flags):
            yield _Route(int(metric, 16), str(ipaddress.IPv6Address(int(gateway, 16))), interface)


def _usable(flags: str) -> bool:
    return int(flags, 16) & (_RTF_UP | _RTF_REJECT) == _RTF_UP


def _asked() -> Iterator[tuple[int, tuple[str, str]]]:
    """Ask the kernel which interface it would send through, by family; it answers without sending anything."""
    listed: Mapping[str, list[tuple[str, str]]] = {
        name: [(entry.address.partition("%")[0], name) for entry in entries]
        for name, entries in psutil.net_if_addrs().items()
    }
    owners = dict(pair for pairs in listed.values() for pair in pairs)
    for family, target in _ANYWHERE.items():
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect(target)
            if (name := owners.get(sock.getsockname()[0].partition("%")[0])) is not None:
                yield int(family), ("", name)
