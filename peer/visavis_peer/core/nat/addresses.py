"""Which local addresses an agent uses: a pure choice over what the machine lists."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

ADDRESS_COUNT: Final = 10
"""Local addresses at most: each is a socket and a row of candidate pairs (RFC 8445 section 19.5.1 bounds the pairs)."""

CONTAINER_PREFIXES: Final = (
    "docker", "br-", "veth", "virbr", "vmnet", "vboxnet", "lxc", "lxd", "cni", "flannel", "cali", "kube", "podman",
    "ifb", "dummy",
)  # fmt: skip
"""Bridges to containers and virtual machines of this host, which no peer can reach (aiortc#1183, netbird#5109)."""


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface as the machine lists it."""

    name: str
    addresses: tuple[str, ...]
    """IPv4 and IPv6 addresses, without zone."""
    up: bool = True
    default_route: bool = False


MISSING: Final = "this machine has no such interface"


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """An address to bind to."""

    ip: str
    interface: str
    preference: int
    """ICE local preference, 0 to 65535 (RFC 8445 section 5.1.2.1): higher is tried first."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """An interface or address that is not used, and why."""

    interface: str
    address: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class AddressChoice:
    """What is used, best first, and what is not."""

    used: tuple[LocalAddress, ...]
    skipped: tuple[Skipped, ...]

    @property
    def missing(self) -> list[str]:
        """Names of interfaces that were chosen and are not there."""
        return [each.interface for each in self.skipped if each.reason == MISSING]


def choose_addresses(interfaces: Sequence[Interface], only: Collection[str] = ()) -> AddressChoice:
    """Choose the addresses to bind to.

    `only` names interfaces: then nothing else is used, and those are used whatever their kind. Loopback is the last
    resort of a machine that has nothing else. IPv6 comes before IPv4 on the same interface (RFC 8421 section 4).
    """
    kept: list[tuple[Interface, str]] = []
    loopback: list[tuple[Interface, str]] = []
    skipped: list[Skipped] = []
    for interface in interfaces:
        reason = _interface_refusal(interface, only)
        if reason:
            skipped.append(Skipped(interface.name, None, reason))
            continue
        for address in interface.addresses:
            ip = ipaddress.ip_address(address)
            if ip.is_loopback and interface.name not in only:
                loopback.append((interface, address))
            elif refusal := _address_refusal(ip):
                skipped.append(Skipped(interface.name, address, refusal))
            else:
                kept.append((interface, address))
    if not kept:
        kept = loopback
    else:
        skipped += [Skipped(interface.name, address, "loopback") for interface, address in loopback]
    here = [interface.name for interface in interfaces]
    skipped += [Skipped(name, None, MISSING) for name in only if name not in here]
    kept.sort(key=lambda pair: (not pair[0].default_route, ipaddress.ip_address(pair[1]).version == 4))
    skipped += [Skipped(interface.name, address, "too many addresses") for interface, address in kept[ADDRESS_COUNT:]]
    used = tuple(
        LocalAddress(address, interface.name, 65535 - rank)
        for rank, (interface, address) in enumerate(kept[:ADDRESS_COUNT])
    )
    return AddressChoice(used, tuple(skipped))


def _interface_refusal(interface: Interface, only: Collection[str]) -> str | None:
    if only:
        return None if interface.name in only else "not chosen by --interface"
    if interface.name.startswith(CONTAINER_PREFIXES):
        return "leads to containers or virtual machines"
    if not interface.up:
        return "down"
    if not interface.addresses:
        return "no address"
    return None


def _address_refusal(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str | None:
    if ip.is_link_local:
        return "link-local"
    if ip.is_unspecified or ip.is_multicast:
        return "not a unicast address"
    return None
